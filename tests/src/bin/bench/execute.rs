//! `Execute` of `/bin/true`: how many a second, and what one costs beyond the bare process, at several concurrencies.
//!
//! Every action is unique (its salt), so nothing is answered from the cache. As Bazel does: look up, ask what is missing,
//! upload, execute.

use crate::table::Table;
use crate::usage::{milliseconds, process, quantile};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use pumphouse_proto::reapi::{Action, Command, Directory, ExecuteRequest, GetActionResultRequest};
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::remote::{Remote, blob, digest};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Actions at each concurrency.
const ACTIONS: usize = 1000;

/// Prints the table.
pub(crate) fn run() -> Result<()> {
    let site = Pumphouse::up()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut table = Table::new(&["/bin/true", "concurrency", "a second", "p50", "p95", "overhead p50", "server cpu"]);
    let mut bare = Vec::new();
    for _ in 0..ACTIONS {
        let start = Instant::now();
        ensure!(std::process::Command::new("/bin/true").status()?.success(), "/bin/true failed");
        bare.push(start.elapsed());
    }
    let floor = quantile(&mut bare, 0.5);
    let total: Duration = bare.iter().sum();
    table.row([
        "fork and exec".to_owned(),
        "1".to_owned(),
        format!("{:.0}", ACTIONS as f64 / total.as_secs_f64()),
        milliseconds(floor),
        milliseconds(quantile(&mut bare, 0.95)),
        String::new(),
        String::new(),
    ]);
    let bound = std::env::args().nth(2);
    let (name, address) = match &bound {
        Some(address) => ("the given server", address.clone()),
        None => ("pumphouse up", site.address().to_owned()),
    };
    for (round, concurrency) in [1, 8, 64].into_iter().enumerate() {
        let cpu = || if bound.is_none() { process(site.server.id()) } else { Ok(Duration::ZERO) };
        let before = cpu()?;
        let start = Instant::now();
        let mut each = runtime.block_on(actions(&address, concurrency, round * ACTIONS))?;
        let wall = start.elapsed();
        let cpu = cpu()?.saturating_sub(before);
        let median = quantile(&mut each, 0.5);
        table.row([
            name.to_owned(),
            concurrency.to_string(),
            format!("{:.0}", ACTIONS as f64 / wall.as_secs_f64()),
            milliseconds(median),
            milliseconds(quantile(&mut each, 0.95)),
            milliseconds(median.saturating_sub(floor)),
            milliseconds(cpu / ACTIONS as u32),
        ]);
    }
    table.print();
    println!("another server of the same API: tests/bench execute HOST:PORT");
    Ok(())
}

/// Runs [`ACTIONS`] actions, `concurrency` at a time, and gives how long each took.
async fn actions(address: &str, concurrency: usize, first: usize) -> Result<Vec<Duration>> {
    let remote = Remote::connect(address).await?;
    let next = Arc::new(AtomicUsize::new(0));
    let run = |remote: Remote, next: Arc<AtomicUsize>| async move {
        let mut each = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= ACTIONS {
                return anyhow::Ok(each);
            }
            let start = Instant::now();
            one(&remote, first + index).await?;
            each.push(start.elapsed());
        }
    };
    let tasks: Vec<_> = (0..concurrency).map(|_| tokio::spawn(run(remote.clone(), next.clone()))).collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    Ok(all)
}

/// One action, as a build tool runs it.
async fn one(remote: &Remote, index: usize) -> Result<()> {
    let command = blob(&Command { arguments: vec!["/bin/true".to_owned()], ..Default::default() });
    let root = blob(&Directory::default());
    let salt = format!("{}-{index}", std::process::id());
    let action = blob(&Action {
        command_digest: Some(digest(&command)),
        input_root_digest: Some(digest(&root)),
        salt: Bytes::from(salt),
        ..Default::default()
    });
    let key = digest(&action);
    let look_up = GetActionResultRequest { action_digest: Some(key.clone()), ..Default::default() };
    ensure!(remote.action_cache.clone().get_action_result(look_up).await.is_err(), "a unique action is cached");
    let missing = remote.missing(vec![digest(&command), digest(&root), key.clone()]).await?;
    let blobs: Vec<_> = [command, root, action].into_iter().filter(|blob| missing.contains(&digest(blob))).collect();
    remote.store(&blobs).await?;
    let request = ExecuteRequest { action_digest: Some(key), skip_cache_lookup: true, ..Default::default() };
    let response = remote.execute_with(request).await?;
    let result = response.result.clone().with_context(|| format!("{response:?}"))?;
    ensure!(result.exit_code == 0 && !response.cached_result, "{response:?}");
    Ok(())
}
