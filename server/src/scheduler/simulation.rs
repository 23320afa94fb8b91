//! The core under random clients, workers and failures, from a seed: whatever happens, its invariants hold and
//! everything ends.
//!
//! Workers here are models of real ones: they hold what they were last told to hold, messages in both directions are
//! delayed, repeated and reordered against other workers', streams break, processes die, and the scheduler itself is
//! replaced by a new one that knows nothing.

use super::core::{Core, Refused};
use super::effect::{Assignment, Effect};
use super::ids::{ActionKey, BuildId, OperationId, RunId, SessionId, TaskId, Time, WorkerId};
use super::platform::{Offer, Requirements};
use super::task::ExecuteTask;
use super::worker::{ReportedRun, WorkerState};
use super::{Limits, OperationView, Stage};
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{ActionResult, ExecuteResponse, Platform, platform::Property};
use pumphouse_proto::status;
use pumphouse_random::Random;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tonic::{Code, Status};

/// How many worlds are simulated by the tests, and how many things happen in each before it comes to rest. More
/// worlds by `PUMPHOUSE_SEEDS`, one by `PUMPHOUSE_SEED`.
const SEEDS: u64 = 20;
const STEPS: usize = 1_000;

/// A worker process.
#[derive(Debug)]
struct SimulatedWorker {
    id: WorkerId,
    offer: Offer,
    slots: usize,
    session: Option<SessionId>,
    /// What it runs, and how it ended where it has.
    runs: BTreeMap<RunId, SimulatedRun>,
    /// Said by the scheduler, not arrived yet.
    inbox: VecDeque<Vec<Assignment>>,
    /// Said by it, not arrived yet.
    outbox: VecDeque<WorkerState>,
    is_draining: bool,
}

#[derive(Debug, Clone)]
struct SimulatedRun {
    assignment: Assignment,
    completed: Option<Arc<ExecuteResponse>>,
}

impl SimulatedWorker {
    fn state(&self) -> WorkerState {
        let run = |run: &SimulatedRun| ReportedRun {
            run: run.assignment.run.clone(),
            action: run.assignment.action.clone(),
            do_not_cache: run.assignment.do_not_cache,
            completed: run.completed.clone(),
            is_vouched_for: true,
        };
        WorkerState {
            id: self.id.clone(),
            display_name: Arc::clone(&self.id.0),
            offer: self.offer.clone(),
            slots: self.slots,
            runs: self.runs.values().map(run).collect(),
            is_draining: self.is_draining,
        }
    }

    /// Does what the scheduler wants.
    fn obey(&mut self, desired: Vec<Assignment>) {
        let wanted: BTreeSet<RunId> = desired.iter().map(|assignment| assignment.run.clone()).collect();
        self.runs.retain(|run, _| wanted.contains(run));
        for assignment in desired {
            let run = assignment.run.clone();
            self.runs.entry(run).or_insert(SimulatedRun { assignment, completed: None });
        }
        let running = self.runs.values().filter(|run| run.completed.is_none()).count();
        assert!(running <= self.slots, "a worker never has more runs than slots");
    }

    fn speak(&mut self) {
        let state = self.state();
        self.outbox.push_back(state);
    }
}

/// What a client of the simulation knows of its operation.
#[derive(Debug)]
struct SimulatedClient {
    stage: Stage,
    watches: bool,
}

struct World {
    random: Random,
    now: Time,
    limits: Limits,
    core: Core,
    workers: Vec<SimulatedWorker>,
    clients: BTreeMap<OperationId, SimulatedClient>,
    /// Results on their way to the action cache.
    storing: Vec<TaskId>,
    next_operation: u128,
    next_session: u64,
    next_worker: u64,
    incarnation: u64,
    /// How many operations ended, by code.
    ended: BTreeMap<i32, usize>,
    stored: usize,
}

const PLATFORMS: &[(&str, &str)] = &[("os", "linux"), ("os", "windows"), ("os", "plan9")];

impl World {
    fn new(seed: u64) -> Self {
        let aging = Duration::from_secs(20);
        let limits = Limits { queued_tasks: 40, operations: 120, aging, ..Limits::default() };
        Self {
            random: Random::new(seed),
            now: Time::default(),
            core: Core::new(limits.clone(), "scheduler0".to_owned()),
            limits,
            workers: Vec::new(),
            clients: BTreeMap::new(),
            storing: Vec::new(),
            next_operation: 0,
            next_session: 0,
            next_worker: 0,
            incarnation: 0,
            ended: BTreeMap::new(),
            stored: 0,
        }
    }

    /// Carries out what the core wants, and checks it.
    fn settle(&mut self) {
        for effect in self.core.take_effects() {
            match effect {
                Effect::Publish { operation, view } => self.published(operation, &view),
                Effect::Forget(operation) => {
                    let forgotten = self.clients.remove(&operation);
                    assert!(
                        forgotten.is_none_or(|client| client.stage == Stage::Completed),
                        "only ended ones are forgotten"
                    );
                }
                Effect::Desire { session, assignments } => {
                    let worker = self.workers.iter_mut().find(|worker| worker.session == Some(session));
                    if let Some(worker) = worker {
                        worker.inbox.push_back(assignments);
                    }
                }
                Effect::EndSession(session, _) => {
                    if let Some(worker) = self.workers.iter_mut().find(|worker| worker.session == Some(session)) {
                        worker.session = None;
                        worker.inbox.clear();
                        worker.outbox.clear();
                    }
                }
                Effect::Store { task, response, .. } => {
                    assert_eq!(response.result.as_ref().map(|result| result.exit_code), Some(0));
                    self.storing.push(task);
                }
            }
        }
        self.core.check();
    }

    fn published(&mut self, operation: OperationId, view: &OperationView) {
        let Some(client) = self.clients.get_mut(&operation) else { return };
        assert!(client.stage != Stage::Completed, "nothing comes after the end");
        client.stage = view.stage;
        assert_eq!(view.response.is_some(), view.stage == Stage::Completed);
        if let Some(response) = &view.response {
            let code = response.status.as_ref().map_or(0, |status| status.code);
            *self.ended.entry(code).or_default() += 1;
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..25 => self.client_executes(),
            25..29 => self.client_leaves_or_comes_back(),
            29..31 => self.client_cancels(),
            31..33 => self.worker_comes(),
            33..48 => self.worker_hears(),
            48..63 => self.scheduler_hears(),
            63..80 => self.run_ends(),
            80..83 => self.stream_breaks(),
            83..84 => self.worker_dies(),
            84..85 => self.worker_changes(),
            85..90 => self.result_is_stored(),
            90..99 => self.time_passes(),
            _ if self.random.one_in(20) => self.scheduler_is_replaced(),
            _ => {}
        }
        self.settle();
    }

    fn client_executes(&mut self) {
        let operation = OperationId(self.next_operation);
        self.next_operation += 1;
        let action = self.random.below(60);
        let os = if self.random.one_in(10) { self.random.below(PLATFORMS.len()) } else { 0 };
        let execute = ExecuteTask {
            action: ActionKey { instance_name: "".into(), digest: Digest::of(format!("{action} {os}").as_bytes()) },
            do_not_cache: action < 5,
            requirements: Requirements::from(&platform(&PLATFORMS[os..=os])),
            priority: self.random.below(3) as i32 - 1,
            build: BuildId {
                party: format!("party{}", self.random.below(2)).into(),
                name: format!("build{}", self.random.below(3)).into(),
            },
            timeout: Duration::from_secs(60),
            queued_at: SystemTime::UNIX_EPOCH,
        };
        self.clients.insert(operation, SimulatedClient { stage: Stage::Queued, watches: true });
        if let Err(Refused::QueueFull(_) | Refused::OperationsFull(_)) = self.core.execute(self.now, operation, execute)
        {
            self.clients.remove(&operation);
        }
    }

    fn client_leaves_or_comes_back(&mut self) {
        let Some(operation) = self.random.pick_from(self.clients.keys().copied()) else { return };
        let client = self.clients.get_mut(&operation).expect("picked from these");
        client.watches = !client.watches;
        if client.watches {
            assert!(self.core.client_joined(operation), "a known operation can be waited for");
        } else {
            self.core.client_left(self.now, operation);
        }
    }

    fn client_cancels(&mut self) {
        let Some(operation) = self.random.pick_from(self.clients.keys().copied()) else { return };
        assert!(self.core.cancel(self.now, operation));
    }

    fn worker_comes(&mut self) {
        if self.workers.len() < 5 {
            let os = self.random.below(2);
            self.workers.push(SimulatedWorker {
                id: WorkerId(format!("worker{}", self.next_worker).into()),
                offer: Offer::from(&platform(&PLATFORMS[os..=os])),
                slots: 1 + self.random.below(3),
                session: None,
                runs: BTreeMap::new(),
                inbox: VecDeque::new(),
                outbox: VecDeque::new(),
                is_draining: false,
            });
            self.next_worker += 1;
        }
        // Those whose streams broke connect again.
        for worker in self.workers.iter_mut().filter(|worker| worker.session.is_none()) {
            worker.session = Some(SessionId(self.next_session));
            self.next_session += 1;
            worker.speak();
        }
    }

    fn some_worker(&mut self, fits: impl Fn(&SimulatedWorker) -> bool) -> Option<&mut SimulatedWorker> {
        let fitting = self.workers.iter().enumerate().filter(|(_, worker)| fits(worker)).map(|(index, _)| index);
        let index = self.random.pick_from(fitting)?;
        self.workers.get_mut(index)
    }

    fn worker_hears(&mut self) {
        let Some(worker) = self.some_worker(|worker| !worker.inbox.is_empty()) else { return };
        if let Some(desired) = worker.inbox.pop_front() {
            worker.obey(desired);
            worker.speak();
        }
    }

    fn scheduler_hears(&mut self) {
        let now = self.now;
        let is_repeated = self.random.one_in(10);
        let Some(worker) = self.some_worker(|worker| worker.session.is_some() && !worker.outbox.is_empty()) else {
            return;
        };
        let (session, state) = (worker.session.expect("chosen so"), worker.outbox.pop_front().expect("chosen so"));
        if is_repeated {
            self.core.worker_spoke(now, session, state.clone());
        }
        self.core.worker_spoke(now, session, state);
    }

    fn run_ends(&mut self) {
        let response = self.some_response();
        let Some(worker) = self.some_worker(|worker| worker.runs.values().any(|run| run.completed.is_none())) else {
            return;
        };
        let run = worker.runs.values_mut().find(|run| run.completed.is_none()).expect("chosen so");
        run.completed = Some(Arc::new(response));
        worker.speak();
    }

    fn some_response(&mut self) -> ExecuteResponse {
        let failed =
            |status: Status| ExecuteResponse { status: Some(status::to_message(&status)), ..Default::default() };
        match self.random.below(20) {
            0 => failed(Status::internal("the disk broke")),
            1 => failed(Status::unavailable("the network broke")),
            2 => failed(Status::deadline_exceeded("the action took too long")),
            3 => failed(status::missing_blobs(&[Digest::EMPTY])),
            number => {
                let exit_code = i32::from(number == 4);
                ExecuteResponse { result: Some(ActionResult { exit_code, ..Default::default() }), ..Default::default() }
            }
        }
    }

    fn stream_breaks(&mut self) {
        let now = self.now;
        let Some(worker) = self.some_worker(|worker| worker.session.is_some()) else { return };
        let session = worker.session.take().expect("chosen so");
        worker.inbox.clear();
        worker.outbox.clear();
        self.core.session_ended(now, session);
    }

    fn worker_dies(&mut self) {
        if self.workers.is_empty() {
            return;
        }
        let worker = self.random.below(self.workers.len());
        let worker = self.workers.remove(worker);
        if let Some(session) = worker.session {
            self.core.session_ended(self.now, session);
        }
    }

    fn worker_changes(&mut self) {
        let Some(worker) = self.some_worker(|_| true) else { return };
        worker.is_draining = !worker.is_draining;
        worker.speak();
    }

    fn result_is_stored(&mut self) {
        if self.storing.is_empty() {
            return;
        }
        let task = self.storing.swap_remove(0);
        self.stored += 1;
        self.core.stored(self.now, task);
    }

    fn time_passes(&mut self) {
        self.now = self.now + Duration::from_millis(self.random.number() % 2000);
        for worker in self.workers.iter_mut().filter(|worker| worker.session.is_some()) {
            if worker.outbox.is_empty() {
                worker.speak();
            }
        }
        self.core.tick(self.now);
    }

    /// The scheduler crashes and another takes its place: all streams break, all operations are lost.
    fn scheduler_is_replaced(&mut self) {
        self.incarnation += 1;
        self.core = Core::new(self.limits.clone(), format!("scheduler{}", self.incarnation));
        self.clients.clear();
        self.storing.clear();
        for worker in &mut self.workers {
            worker.session = None;
            worker.inbox.clear();
            worker.outbox.clear();
        }
    }

    /// No more clients; workers are well and work on: everything must end, and nothing must be left.
    fn come_to_rest(&mut self) {
        for _ in 0..10_000 {
            if self.core.is_idle() {
                break;
            }
            self.worker_comes();
            self.run_ends();
            for _ in 0..4 {
                self.worker_hears();
                self.scheduler_hears();
                self.settle();
            }
            self.result_is_stored();
            if self.random.one_in(5) {
                self.time_passes();
            }
            self.settle();
        }
        assert!(self.core.is_idle(), "everything ends: {:#?}", self.core);
        assert!(self.clients.is_empty(), "and everybody is told: {:?}", self.clients);
        while !self.workers.is_empty() {
            self.worker_dies();
        }
        self.now = self.now + Duration::from_secs(24 * 3600);
        self.core.tick(self.now);
        self.settle();
        assert!(self.core.is_empty(), "nothing is left: {:#?}", self.core);
    }
}

fn platform(properties: &[(&str, &str)]) -> Platform {
    let property = |(name, value): &(&str, &str)| Property { name: (*name).into(), value: (*value).into() };
    Platform { properties: properties.iter().map(property).collect() }
}

#[test]
fn whatever_happens_everything_ends() {
    let mut ended = BTreeMap::new();
    let mut stored = 0;
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let seeds = match number("PUMPHOUSE_SEED") {
        Some(seed) => seed..seed + SEEDS,
        None => 0..number("PUMPHOUSE_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.come_to_rest();
        for (code, count) in world.ended {
            *ended.entry(code).or_insert(0) += count;
        }
        stored += world.stored;
    }
    // The simulation is worth something only if all of this happens in it.
    for code in [Code::Ok, Code::Cancelled, Code::DeadlineExceeded, Code::FailedPrecondition, Code::Unavailable] {
        assert!(ended.get(&i32::from(code)).is_some_and(|count| *count > 0), "{code:?} in {ended:?}");
    }
    assert!(stored > 500, "{stored}");
}
