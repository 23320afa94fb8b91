//! A server with very many blobs: what each costs in memory and on the disk, how soon a start with them listens, and how long it
//! takes to ask for ten thousand of them.

use crate::table::Table;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::StreamExt as _;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use pumphouse_proto::reapi::{BatchUpdateBlobsRequest, FindMissingBlobsRequest, batch_update_blobs_request};
use pumphouse_tests::process::Service;
use pumphouse_tests::program::program;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};

/// How many there are where nobody says.
const BLOBS: u64 = 1_000_000;
/// How many are stored with one call.
const TOGETHER: u64 = 5_000;
/// How many calls are under way.
const CALLS: usize = 4;
/// How many are asked for with one call, and how often.
const ASKED: u64 = 10_000;
const QUESTIONS: u64 = 50;

/// What the numbered blob holds.
fn content(number: u64) -> Bytes {
    Bytes::from(format!("blob {number}"))
}

/// A server in `directory`; says how long it took until it listened.
async fn start(directory: &Path) -> Result<(Service, ContentAddressableStorageClient<Channel>, Duration)> {
    let mut command = Command::new(program()?);
    command.args(["server", "--listen", "127.0.0.1:0", "--dir"]).arg(directory.join("server"));
    let begun = Instant::now();
    let service = Service::start(&mut command, &directory.join("server.log"))?;
    let address = service.says("listening on ")?;
    let listens = begun.elapsed();
    let channel = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect().await?;
    Ok((service, ContentAddressableStorageClient::new(channel), listens))
}

/// What a process has in memory and has never shared, in bytes.
fn resident_bytes(service: &Service) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.id().as_raw_nonzero()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("RssAnon")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// Stores and asks.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let blobs = match arguments {
        [blobs] => blobs.parse().context("a number of blobs")?,
        _ => BLOBS,
    };
    tokio::runtime::Runtime::new()?.block_on(measure(blobs))
}

async fn measure(blobs: u64) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (mut server, client, empty) = start(directory.path()).await?;
    let idle = resident_bytes(&server)?;
    let begun = Instant::now();
    let stored = futures::stream::iter((0..blobs).step_by(TOGETHER as usize)).map(|start| {
        let mut client = client.clone();
        async move {
            let request = |number| {
                let data = content(number);
                let digest = Some(Digest::of(&data).into());
                batch_update_blobs_request::Request { digest, data, ..Default::default() }
            };
            let requests = (start..blobs.min(start + TOGETHER)).map(request).collect();
            let request = BatchUpdateBlobsRequest { requests, ..Default::default() };
            let responses = client.batch_update_blobs(request).await?.into_inner().responses;
            anyhow::Ok(responses.iter().all(|response| response.status.as_ref().is_none_or(|status| status.code == 0)))
        }
    });
    let stored: Vec<Result<bool>> = stored.buffer_unordered(CALLS).collect().await;
    ensure!(stored.into_iter().collect::<Result<Vec<_>>>()?.into_iter().all(|stored| stored), "a blob was not stored");
    let rate = blobs as f64 / begun.elapsed().as_secs_f64();
    drop(client);
    server.terminate()?;
    drop(server);

    let (server, mut client, listens) = start(directory.path()).await?;
    let mut waits = Vec::new();
    for question in 0..QUESTIONS {
        let number = |at: u64| (question * 7_919 + at * 97) % blobs;
        let blob_digests = (0..ASKED).map(|at| Digest::of(&content(number(at))).into()).collect();
        let request = FindMissingBlobsRequest { blob_digests, ..Default::default() };
        let begun = Instant::now();
        let missing = client.find_missing_blobs(request).await?.into_inner().missing_blob_digests;
        waits.push(begun.elapsed());
        ensure!(missing.is_empty(), "{} blobs are missing", missing.len());
    }
    waits.sort_unstable();
    let memory = resident_bytes(&server)?;
    let mut table = Table::new(&["", "empty", "with blobs"]);
    let mut row = |name: &str, empty: String, full: String| table.row([name.to_owned(), empty, full]);
    row("blobs", "0".to_owned(), blobs.to_string());
    row("until it listens", format!("{empty:.2?}"), format!("{listens:.2?}"));
    row("memory", format!("{:.1} MB", idle as f64 / 1e6), format!("{:.1} MB", memory as f64 / 1e6));
    row("memory a blob", String::new(), format!("{} B", memory.saturating_sub(idle) / blobs.max(1)));
    row("stored a second", String::new(), format!("{rate:.0}"));
    row("FindMissing of 10,000, half", String::new(), format!("{:.1?}", waits[waits.len() / 2]));
    row("FindMissing of 10,000, worst", String::new(), format!("{:.1?}", waits[waits.len() - 1]));
    table.print();
    Ok(())
}
