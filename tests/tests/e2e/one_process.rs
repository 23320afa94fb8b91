//! `pumphouse up`: server and worker in one process send each other no blob, and what is large is on the disk once.

use anyhow::{Context, Result, ensure};
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{self, Command, Directory, FileNode};
use pumphouse_proto::status::{from_message, missing_blobs_in};
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::remote::{Remote, blob, digest, shell};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use tonic::Code;

/// So many bytes, whose sums differ by `seed`.
fn content(size: usize, seed: u8) -> Vec<u8> {
    (0..size).map(|at| (at % 251) as u8 ^ seed).collect()
}

/// What the server says of itself, by HTTP.
fn figures(site: &Pumphouse) -> Result<String> {
    let mut stream = std::net::TcpStream::connect(site.address())?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", site.address())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    ensure!(text.contains("pumphouse_calls_total"), "{text}");
    Ok(text)
}

/// How often methods were called whose name contains one of `names`, over all addresses of the server.
fn calls(figures: &str, names: &[&str]) -> u64 {
    let lines = figures.lines().filter(|line| line.starts_with("pumphouse_calls_total"));
    let meant = lines.filter(|line| names.iter().any(|name| line.contains(name)));
    meant.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// The files below `directory` of that size: how many names they have, and their inodes.
fn files_of(directory: &Path, size: usize) -> Result<(usize, BTreeSet<u64>)> {
    let (mut names, mut inodes) = (0, BTreeSet::new());
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // What is removed at this moment doesn't count.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            let (more, others) = files_of(&entry.path(), size)?;
            names += more;
            inodes.extend(others);
        } else if metadata.is_file() && metadata.len() == size as u64 {
            names += 1;
            inodes.insert(metadata.ino());
        }
    }
    Ok((names, inodes))
}

/// Runs an action, and gives its result, which has to be there.
async fn result_of(remote: &Remote, action: reapi::Digest) -> Result<reapi::ActionResult> {
    let response = remote.execute(action).await?;
    let status = response.status.clone().unwrap_or_default();
    ensure!(status.code == 0, "{status:?}");
    let result = response.result.context("no result")?;
    ensure!(result.exit_code == 0, "{result:?}");
    Ok(result)
}

/// A command that says the inputs' checksums, as `cksum` does.
fn sums() -> Command {
    shell("cat * | cksum; for file in *; do stat -c '%a %Y' \"$file\"; done", &[])
}

#[tokio::test]
async fn no_blob_is_sent_to_oneself_and_no_large_one_stored_twice() -> Result<()> {
    let site = Pumphouse::up()?;
    let remote = Remote::connect(site.address()).await?;
    let (plain, tool) = (content(1_000_003, 0), content(700_001, 1));
    let small = content(1000, 2);
    let script = "cat plain plain plain > large-output; cat small > small-output; cat tool > /dev/null; \
                  mkdir tree && cat tool small > tree/inside";
    let command = shell(script, &["large-output", "small-output", "tree"]);
    let inputs = [("plain", &plain[..], false), ("tool", &tool, true), ("small", &small, false)];
    let action = remote.prepare(&command, &inputs, |_| ()).await?;
    let storage = ["ContentAddressableStorage", "ByteStream"];
    let before = figures(&site)?;
    let result = result_of(&remote, action).await?;
    let after = figures(&site)?;
    ensure!(calls(&after, &["Execution/Execute"]) == 1, "{after}");
    ensure!(calls(&after, &storage) == calls(&before, &storage), "a blob went over the wire\n{before}\n{after}");
    for (input, mode) in [(&plain, 0o444), (&tool, 0o555)] {
        let (names, inodes) = files_of(&site.storage(), input.len())?;
        ensure!(
            names >= 3 && inodes.len() == 1,
            "{names} names for the files {inodes:?}: store, worker and input root"
        );
        let hash = digest(input).hash.to_string();
        let metadata = std::fs::metadata(site.storage().join("server/cas").join(&hash[..2]).join(&hash))?;
        ensure!((metadata.mode() & 0o777, metadata.mtime()) == (mode, 1_000_000_000), "{metadata:?}");
    }
    let (_, outputs) = files_of(&site.storage(), 3 * plain.len())?;
    ensure!(outputs.len() == 1, "{outputs:?}");
    let large = result.output_files.iter().find(|file| file.path == "large-output").context("no large output")?;
    let name = format!("blobs/{}/{}", large.digest.clone().context("no digest")?.hash, 3 * plain.len());
    ensure!(remote.read(&name, 0, 0).await? == [&plain[..], &plain, &plain].concat());
    Ok(())
}

#[tokio::test]
async fn an_output_that_becomes_an_input_is_one_file() -> Result<()> {
    let site = Pumphouse::up()?;
    let remote = Remote::connect(site.address()).await?;
    let made = content(2_000_003, 3);
    let copy = shell("cat a b > made", &["made"]);
    let parts = [("a", &made[..1_000_001], false), ("b", &made[1_000_001..], false)];
    result_of(&remote, remote.prepare(&copy, &parts, |_| ()).await?).await?;
    // The client sends the input root alone: the input is what the action before made.
    let root = Directory {
        files: vec![FileNode { name: "made".to_owned(), digest: Some(digest(&made)), ..Default::default() }],
        ..Default::default()
    };
    remote.store(&[blob(&root)]).await?;
    let edit = |action: &mut reapi::Action| action.input_root_digest = Some(digest(&blob(&root)));
    result_of(&remote, remote.prepare(&shell("cksum made", &[]), &[], edit).await?).await?;
    let (names, inodes) = files_of(&site.storage(), made.len())?;
    ensure!(names >= 3 && inodes.len() == 1, "{names} names for the files {inodes:?}");
    Ok(())
}

#[tokio::test]
async fn an_input_with_and_without_execute_bits_is_right_both_ways() -> Result<()> {
    let site = Pumphouse::up()?;
    let remote = Remote::connect(site.address()).await?;
    let input = content(500_009, 4);
    let both = [("plain", &input[..], false), ("tool", &input, true)];
    for inputs in [&both[..], &both[..1], &both[1..], &both[..]] {
        let result = result_of(&remote, remote.prepare(&sums(), inputs, |_| ()).await?).await?;
        let said = String::from_utf8_lossy(&result.stdout_raw).into_owned();
        let modes: Vec<&str> = said.lines().skip(1).collect();
        let expected: Vec<&str> =
            inputs.iter().map(|input| if input.2 { "555 1000000000" } else { "444 1000000000" }).collect();
        ensure!(modes == expected, "{said}");
    }
    let name = format!("blobs/{}/{}", digest(&input).hash, input.len());
    ensure!(remote.read(&name, 0, 0).await? == input);
    Ok(())
}

#[tokio::test]
async fn what_the_store_evicts_stays_for_as_long_as_an_input_root_has_it() -> Result<()> {
    let arguments = ["--slots", "1", "--cas-size", "8M", "--promised-lifetime", "0"];
    let site = Pumphouse::start("up", &arguments)?;
    let remote = Remote::connect(site.address()).await?;
    let input = content(1_500_007, 5);
    let root = Directory {
        files: vec![FileNode { name: "input".to_owned(), digest: Some(digest(&input)), ..Default::default() }],
        ..Default::default()
    };
    let first = result_of(&remote, remote.prepare(&sums(), &[("input", &input, false)], |_| ()).await?).await?;
    for seed in 10..30 {
        remote.store(&[content(1_000_000, seed).into()]).await?;
    }
    ensure!(remote.missing(vec![digest(&input)]).await? == [digest(&input)], "it is evicted");
    let figures = figures(&site)?;
    let stored = figures.lines().find_map(|line| line.strip_prefix("pumphouse_cas_bytes ")?.parse::<u64>().ok());
    ensure!(stored.is_some_and(|bytes| bytes <= 8 << 20), "{figures}");
    // The input root is as it was, so nothing has to be fetched. The server itself looks at the root directory alone.
    remote.store(&[blob(&root)]).await?;
    let script = "cat * | cksum; stat -c '%a %Y' input; : another action";
    let edit = |action: &mut reapi::Action| action.input_root_digest = Some(digest(&blob(&root)));
    let second = result_of(&remote, remote.prepare(&shell(script, &[]), &[], edit).await?).await?;
    ensure!(first.stdout_raw == second.stdout_raw, "{first:?} {second:?}");
    ensure!(files_of(&site.storage(), input.len())?.1.len() == 1);
    // With the next input root it goes, and its room with it; an action that wants it hears that it is missing.
    result_of(&remote, remote.prepare(&shell("true", &[]), &[], |_| ()).await?).await?;
    ensure!(files_of(&site.storage(), input.len())?.0 == 0, "the worker keeps what the store has evicted");
    let action = remote.prepare(&shell("cat input", &[]), &[], edit).await?;
    let status = remote.execute(action).await?.status.context("no status")?;
    let missing = missing_blobs_in(&from_message(&status));
    ensure!(missing == Some(vec![Digest::of(&input)]), "{missing:?}");
    Ok(())
}

#[tokio::test]
async fn outputs_for_which_there_is_no_room_are_an_exhausted_resource() -> Result<()> {
    let site = Pumphouse::start("up", &["--slots", "1", "--cas-size", "2M"])?;
    let remote = Remote::connect(site.address()).await?;
    // In memory, and from its file.
    for megabytes in [3, 20] {
        let script = format!("head -c {megabytes}M /dev/zero > output");
        let action = remote.prepare(&shell(&script, &["output"]), &[], |_| ()).await?;
        let status = remote.execute(action).await?.status.unwrap_or_default();
        ensure!(status.code == Code::ResourceExhausted as i32, "{status:?}");
        ensure!(status.message.contains("no room"), "{status:?}");
    }
    let action = remote.prepare(&shell("echo small > output", &["output"]), &[], |_| ()).await?;
    result_of(&remote, action).await?;
    Ok(())
}

#[tokio::test]
async fn a_restart_links_anew() -> Result<()> {
    let mut site = Pumphouse::up()?;
    let input = content(1_200_007, 6);
    let inputs = [("input", &input[..], false), ("small", b"small", false)];
    let mut said = BTreeSet::new();
    for (number, end) in ["", "in order", "killed"].into_iter().enumerate() {
        match end {
            "" => {}
            "killed" => {
                site.server.kill()?;
                site.restart("up")?;
            }
            _ => {
                site.server.terminate()?;
                ensure!(files_of(&site.storage(), input.len())?.1.len() == 1);
                site.restart("up")?;
            }
        }
        let remote = Remote::connect(site.address()).await?;
        let missing = remote.missing(vec![digest(&input)]).await?;
        ensure!(missing.is_empty() == (number > 0), "{end}: {missing:?}");
        let edit = |action: &mut reapi::Action| action.do_not_cache = true;
        let result = result_of(&remote, remote.prepare(&sums(), &inputs, edit).await?).await?;
        said.insert(result.stdout_raw);
        let (names, inodes) = files_of(&site.storage(), input.len())?;
        ensure!(names >= 3 && inodes.len() == 1, "{end}: {names} names for the files {inodes:?}");
    }
    ensure!(said.len() == 1, "{said:?}");
    Ok(())
}
