//! The core under a load: many workers, many tasks, many builds of many parties. It prints what that costs; what it checks is
//! that nothing is forgotten.
//!
//! `PUMPHOUSE_LOAD=WORKERS,TASKS cargo test --release -p pumphouse-server a_crowd -- --nocapture` makes it as large as one likes.

use super::Limits;
use super::core::Core;
use super::effect::Effect;
use super::ids::{ActionKey, BuildId, OperationId, SessionId, Time, WorkerId};
use super::platform::{Offer, Requirements};
use super::task::ExecuteTask;
use super::worker::{ReportedRun, WorkerState};
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{ActionResult, ExecuteResponse, Platform, platform::Property};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// As large as it is in every run of the tests.
const WORKERS: usize = 100;
const TASKS: usize = 2_000;

const SLOTS: usize = 4;
const PARTIES: usize = 20;
const BUILDS: usize = 10;
/// One worker in so many, and one task in so many, is of another platform.
const OTHERS: usize = 10;

fn platform(number: usize) -> Platform {
    let cpu = if number.is_multiple_of(OTHERS) { "arm" } else { "x86" };
    Platform { properties: vec![Property { name: "cpu".to_owned(), value: cpu.to_owned() }] }
}

fn task(number: usize) -> ExecuteTask {
    ExecuteTask {
        action: ActionKey { instance_name: "".into(), digest: Digest::of(&number.to_le_bytes()) },
        do_not_cache: false,
        requirements: Requirements::from(&platform(number)),
        priority: (number % 7) as i32,
        build: BuildId {
            party: format!("party {}", number % PARTIES).into(),
            name: format!("build {}", number % BUILDS).into(),
        },
        timeout: Duration::from_secs(60),
        queued_at: SystemTime::UNIX_EPOCH,
    }
}

fn worker(number: usize, runs: Vec<ReportedRun>) -> WorkerState {
    let id: Arc<str> = format!("worker {number}").into();
    let offer = Offer::from(&platform(number));
    WorkerState { display_name: Arc::clone(&id), id: WorkerId(id), offer, slots: SLOTS, runs, is_draining: false }
}

/// What this process has in memory, in bytes.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok()).unwrap_or_default() * 4096
}

#[test]
fn a_crowd_of_workers_ends_every_task_once() {
    let sizes = std::env::var("PUMPHOUSE_LOAD").ok();
    let sizes = sizes.as_deref().and_then(|text| text.split_once(','));
    let sizes = sizes.and_then(|(workers, tasks)| Some((workers.parse().ok()?, tasks.parse().ok()?)));
    let (workers, tasks): (usize, usize) = sizes.unwrap_or((WORKERS, TASKS));
    let limits = Limits { queued_tasks: tasks, operations: 2 * tasks, ..Limits::default() };
    let mut core = Core::new(limits, "load".to_owned());
    let now = |step: usize| Time(Duration::from_micros(step as u64));
    // Everything waits, for a worker comes last that takes nothing.
    core.worker_spoke(now(0), SessionId(u64::MAX), WorkerState { is_draining: true, ..worker(usize::MAX, Vec::new()) });
    let before = resident_bytes();
    let begun = Instant::now();
    for number in 0..tasks {
        core.execute(now(number), OperationId(number as u128 + 1), task(number)).expect("there is room");
    }
    let queued = begun.elapsed();
    let each = resident_bytes().saturating_sub(before) / tasks;
    core.take_effects();
    assert_eq!(core.statistics().queued_tasks, tasks);

    let (mut done, mut waits) = (HashSet::new(), Vec::new());
    let (mut held, mut stores) = (HashMap::<usize, HashSet<_>>::new(), VecDeque::new());
    let mut running = VecDeque::new();
    let mut take = |core: &mut Core, running: &mut VecDeque<_>, stores: &mut VecDeque<_>| {
        for effect in core.take_effects() {
            match effect {
                Effect::Desire { session, assignments } if session.0 != u64::MAX => {
                    let held = held.entry(session.0 as usize).or_default();
                    held.retain(|run| assignments.iter().any(|assignment| assignment.run == *run));
                    for assignment in assignments {
                        if held.insert(assignment.run.clone()) {
                            running.push_back((session.0 as usize, assignment));
                        }
                    }
                }
                Effect::Store { task, .. } => stores.push_back(task),
                _ => {}
            }
        }
    };
    let begun = Instant::now();
    for number in 0..workers {
        core.worker_spoke(now(tasks), SessionId(number as u64), worker(number, Vec::new()));
        take(&mut core, &mut running, &mut stores);
    }
    let connected = begun.elapsed();
    assert_eq!(running.len(), tasks.min(workers * SLOTS), "no slot is free while tasks wait");
    let begun = Instant::now();
    let result = ExecuteResponse { result: Some(ActionResult::default()), ..ExecuteResponse::default() };
    let result = Arc::new(result);
    while let Some((number, assignment)) = running.pop_front() {
        assert!(done.insert(assignment.action.clone()), "{:?} runs twice", assignment.action);
        let run = ReportedRun {
            run: assignment.run,
            action: assignment.action,
            do_not_cache: false,
            completed: Some(Arc::clone(&result)),
            is_vouched_for: true,
        };
        let told = Instant::now();
        core.worker_spoke(now(tasks + done.len()), SessionId(number as u64), worker(number, vec![run]));
        take(&mut core, &mut running, &mut stores);
        waits.push(told.elapsed());
        while let Some(task) = stores.pop_front() {
            core.stored(now(tasks + done.len()), task);
        }
    }
    let ran = begun.elapsed();
    assert_eq!((done.len(), core.statistics().queued_tasks, core.statistics().running_tasks), (tasks, 0, 0));
    waits.sort_unstable();
    let rate = |count: usize, elapsed: Duration| count as f64 / elapsed.as_secs_f64();
    println!(
        "{workers} workers, {tasks} tasks: {:.0} queued a second, {each} bytes each; all workers came in {connected:?}; \
         {:.0} assignments a second, half of them in {:?}, 99 of 100 in {:?}",
        rate(tasks, queued),
        rate(tasks, ran),
        waits[waits.len() / 2],
        waits[waits.len() * 99 / 100],
    );
}
