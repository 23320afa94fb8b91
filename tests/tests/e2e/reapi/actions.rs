//! Execution: stages, missing inputs, caching, outputs of every kind, limits, and clients that come back.

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{self, Action, Command, ExecuteRequest, Platform, WaitExecutionRequest, platform};
use pumphouse_proto::status::missing_blobs_in;
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::remote::{Remote, answer, blob, digest, shell};
use tonic::Code;

/// An answer's status: 0 when the command was run at all.
fn status(response: &reapi::ExecuteResponse) -> i32 {
    response.status.clone().unwrap_or_default().code
}

#[tokio::test]
async fn a_command_runs_and_its_answer_says_all() -> Result<()> {
    let site = Pumphouse::up()?;
    let remote = Remote::connect(site.address()).await?;
    let command = shell("cat input; echo err >&2; echo out > result; exit 3", &["result", "never-made"]);
    let action = remote.prepare(&command, &[("input", b"in\n", false)], |_| ()).await?;
    let operations =
        remote.operations(ExecuteRequest { action_digest: Some(action.clone()), ..Default::default() }).await?;
    ensure!(operations.len() >= 2, "the first operation is said at once: {operations:?}");
    let response = answer(&operations)?;
    ensure!(status(&response) == 0 && !response.cached_result, "{response:?}");
    let result = response.result.context("no result")?;
    ensure!(result.exit_code == 3, "{result:?}");
    let text = async |raw: &[u8], digest: &Option<reapi::Digest>| match digest {
        Some(digest) if raw.is_empty() => remote.fetch(digest.clone()).await,
        _ => Ok(raw.to_vec().into()),
    };
    ensure!(text(&result.stdout_raw, &result.stdout_digest).await? == "in\n");
    ensure!(text(&result.stderr_raw, &result.stderr_digest).await? == "err\n");
    ensure!(result.output_files.len() == 1, "a missing output is left out: {result:?}");
    let file = &result.output_files[0];
    ensure!(file.path == "result" && remote.fetch(file.digest.clone().context("no digest")?).await? == "out\n");
    let metadata = result.execution_metadata.context("no metadata")?;
    ensure!(!metadata.worker.is_empty() && metadata.execution_start_timestamp.is_some(), "{metadata:?}");
    // A failure is not remembered.
    let again = remote.execute(action).await?;
    ensure!(!again.cached_result, "{again:?}");
    Ok(())
}

#[tokio::test]
async fn missing_inputs_are_all_named_at_once() -> Result<()> {
    let site = Pumphouse::up()?;
    let remote = Remote::connect(site.address()).await?;
    let execute = |action: reapi::Digest| async {
        let request = ExecuteRequest { action_digest: Some(action), ..Default::default() };
        // Either the call fails with that status, or the response carries it.
        match remote.operations(request).await {
            Err(status) => anyhow::Ok(status),
            Ok(operations) => {
                let message = answer(&operations)?.status.context("no status")?;
                Ok(pumphouse_proto::status::from_message(&message))
            }
        }
    };
    let check = |status: tonic::Status, mut expected: Vec<Digest>| {
        ensure!(status.code() == Code::FailedPrecondition, "{status:?}");
        let mut missing = missing_blobs_in(&status).with_context(|| format!("{status:?}: no precise details"))?;
        missing.sort_by_key(Digest::hash_hex);
        expected.sort_by_key(Digest::hash_hex);
        ensure!(missing == expected, "{missing:?} are named, {expected:?} are missing");
        Ok(())
    };
    check(execute(digest(b"no action")).await?, vec![Digest::of(b"no action")])?;

    let command = shell("true", &[]);
    let file = |name: &str, content: &[u8]| reapi::FileNode {
        name: name.to_owned(),
        digest: Some(digest(content)),
        ..Default::default()
    };
    let root = reapi::Directory {
        files: vec![file("a", b"absent one"), file("b", b"absent two"), file("c", b"present")],
        ..Default::default()
    };
    let action = Action {
        command_digest: Some(digest(&blob(&command))),
        input_root_digest: Some(digest(&blob(&root))),
        ..Default::default()
    };
    remote.store(&[blob(&action), blob(&root), "present".into()]).await?;
    let expected = vec![Digest::of(&blob(&command)), Digest::of(b"absent one"), Digest::of(b"absent two")];
    check(execute(digest(&blob(&action))).await?, expected)?;
    // With them it runs.
    remote.store(&[blob(&command), "absent one".into(), "absent two".into()]).await?;
    ensure!(status(&remote.execute(digest(&blob(&action))).await?) == 0);
    Ok(())
}

#[tokio::test]
async fn only_success_is_cached_and_only_where_it_may_be() -> Result<()> {
    let site = Pumphouse::up()?;
    let remote = Remote::connect(site.address()).await?;
    // The result tells one run from another.
    let command = shell("cat /proc/sys/kernel/random/uuid > id", &["id"]);
    let id = |response: reapi::ExecuteResponse| {
        let result = response.result.context("no result")?;
        anyhow::Ok((response.cached_result, result.output_files.first().and_then(|file| file.digest.clone())))
    };
    let action = remote.prepare(&command, &[], |_| ()).await?;
    let (cached, first) = id(remote.execute(action.clone()).await?)?;
    ensure!(!cached && first.is_some());
    ensure!(id(remote.execute(action.clone()).await?)? == (true, first.clone()));
    let request = ExecuteRequest { action_digest: Some(action.clone()), skip_cache_lookup: true, ..Default::default() };
    let (cached, second) = id(remote.execute_with(request).await?)?;
    ensure!(!cached && second != first, "skip_cache_lookup runs again");
    ensure!(id(remote.execute(action).await?)? == (true, second), "and what it gave is the new result");

    let action = remote.prepare(&command, &[], |action| action.do_not_cache = true).await?;
    let (_, first) = id(remote.execute(action.clone()).await?)?;
    let (cached, second) = id(remote.execute(action).await?)?;
    ensure!(!cached && first != second, "do_not_cache is remembered");
    Ok(())
}

#[tokio::test]
async fn equal_actions_in_flight_are_one_run() -> Result<()> {
    let site = Pumphouse::up()?;
    let remote = Remote::connect(site.address()).await?;
    let command =
        shell("cat /proc/sys/kernel/random/uuid > id; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done", &["id"]);
    let action = remote.prepare(&command, &[], |_| ()).await?;
    let runs = futures::future::try_join_all((0..8).map(|_| remote.execute(action.clone()))).await?;
    let digests: std::collections::BTreeSet<_> = runs
        .iter()
        .filter_map(|response| Some(response.result.as_ref()?.output_files.first()?.digest.as_ref()?.hash.to_string()))
        .collect();
    ensure!(digests.len() == 1, "{} runs", digests.len());
    Ok(())
}

#[tokio::test]
async fn outputs_of_every_kind_come_back() -> Result<()> {
    let site = Pumphouse::up()?;
    let remote = Remote::connect(site.address()).await?;
    let script = "mkdir -p deep/tree/sub && echo 1 > deep/tree/one && chmod +x deep/tree/one && echo 2 > deep/tree/sub/two && \
                  ln -s one deep/tree/link && ln -s nowhere dangling && echo x > out/file";
    let command = shell(script, &["deep/tree", "dangling", "out/file"]);
    let action = remote.prepare(&command, &[], |_| ()).await?;
    let response = remote.execute(action).await?;
    let result = response.result.clone().with_context(|| format!("{response:?}"))?;
    ensure!(result.exit_code == 0, "the parents of outputs are made: {result:?}");
    ensure!(result.output_files.iter().any(|file| file.path == "out/file"), "{result:?}");
    ensure!(
        result.output_symlinks.iter().any(|link| (&*link.path, &*link.target) == ("dangling", "nowhere")),
        "{result:?}"
    );
    let directory = result.output_directories.first().context("no output directory")?;
    ensure!(directory.path == "deep/tree", "{directory:?}");
    let bytes = remote.fetch(directory.tree_digest.clone().context("no tree")?).await?;
    let tree = <reapi::Tree as prost::Message>::decode(bytes)?;
    let root = tree.root.context("no root")?;
    ensure!(root.files[0].name == "one" && root.files[0].is_executable && root.symlinks[0].target == "one", "{root:?}");
    ensure!(root.directories[0].name == "sub" && tree.children.len() == 1, "{root:?}");

    // Old clients ask otherwise.
    #[expect(deprecated, reason = "old clients send these fields")]
    let command = Command {
        arguments: shell("mkdir -p d && echo 1 > d/f && echo 2 > f", &[]).arguments,
        output_files: vec!["f".to_owned()],
        output_directories: vec!["d".to_owned()],
        ..Default::default()
    };
    let action = remote.prepare(&command, &[], |_| ()).await?;
    let result = remote.execute(action).await?.result.context("no result")?;
    ensure!((result.output_files.len(), result.output_directories.len()) == (1, 1), "{result:?}");
    Ok(())
}

#[tokio::test]
async fn inputs_are_read_only_and_shared_with_nobody() -> Result<()> {
    let site = Pumphouse::up()?;
    let remote = Remote::connect(site.address()).await?;
    let (tool, data): (&[u8], &[u8]) = (b"#!/bin/sh\ncat data\n", b"original\n");
    // Tries to spoil an input; then a second action reads it.
    let spoil =
        shell("(echo spoilt > data) 2>/dev/null; (chmod u+w data && echo spoilt > data) 2>/dev/null; exit 0", &[]);
    let action = remote.prepare(&spoil, &[("data", data, false), ("tool", tool, true)], |_| ()).await?;
    ensure!(status(&remote.execute(action).await?) == 0);
    let command = Command { arguments: vec!["./tool".to_owned()], ..Default::default() };
    let action = remote.prepare(&command, &[("data", data, false), ("tool", tool, true)], |_| ()).await?;
    let response = remote.execute(action).await?;
    let result = response.result.clone().with_context(|| format!("{response:?}"))?;
    let stdout = match (&result.stdout_raw, &result.stdout_digest) {
        (raw, Some(digest)) if raw.is_empty() => remote.fetch(digest.clone()).await?,
        (raw, _) => raw.clone(),
    };
    ensure!(stdout == data, "{result:?}");
    Ok(())
}

#[tokio::test]
async fn an_actions_own_timeout_ends_it_and_says_what_it_printed() -> Result<()> {
    let site = Pumphouse::up()?;
    let remote = Remote::connect(site.address()).await?;
    let command = shell("echo partial; while :; do :; done", &[]);
    let timeout = prost_types::Duration { seconds: 1, nanos: 0 };
    let action = remote.prepare(&command, &[], |action| action.timeout = Some(timeout)).await?;
    let response = remote.execute(action).await?;
    ensure!(status(&response) == Code::DeadlineExceeded as i32, "{response:?}");
    let result = response.result.context("no partial result")?;
    let stdout = match (&result.stdout_raw, &result.stdout_digest) {
        (raw, Some(digest)) if raw.is_empty() => remote.fetch(digest.clone()).await?,
        (raw, _) => raw.clone(),
    };
    ensure!(stdout == "partial\n", "{result:?}");
    Ok(())
}

#[tokio::test]
async fn a_client_that_lost_its_stream_finds_the_operation_again() -> Result<()> {
    let site = Pumphouse::up()?;
    let remote = Remote::connect(site.address()).await?;
    let command = shell("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done > f", &["f"]);
    let action = remote.prepare(&command, &[], |_| ()).await?;
    let request = ExecuteRequest { action_digest: Some(action), ..Default::default() };
    let mut stream = remote.execution.clone().execute(request).await?.into_inner();
    let first = stream.next().await.context("no operation")??;
    drop(stream);
    let wait = WaitExecutionRequest { name: first.name.clone() };
    let mut stream = remote.execution.clone().wait_execution(wait).await?.into_inner();
    let mut operations = Vec::new();
    while let Some(operation) = stream.next().await {
        operations.push(operation?);
    }
    ensure!(operations.iter().all(|operation| operation.name == first.name), "{operations:?}");
    let result = answer(&operations)?.result.context("no result")?;
    ensure!(result.output_files.len() == 1, "{result:?}");

    let wait = WaitExecutionRequest { name: "operations/of-nobody".to_owned() };
    let code = remote.execution.clone().wait_execution(wait).await.map_or_else(|status| status.code(), |_| Code::Ok);
    ensure!(code == Code::NotFound, "{code:?}");
    Ok(())
}

#[tokio::test]
async fn what_no_worker_can_do_is_refused_with_the_difference() -> Result<()> {
    let site = Pumphouse::up()?;
    let remote = Remote::connect(site.address()).await?;
    let property = platform::Property { name: "OSFamily".to_owned(), value: "plan9".to_owned() };
    let platform = Platform { properties: vec![property] };
    let action = remote.prepare(&shell("true", &[]), &[], |action| action.platform = Some(platform)).await?;
    let request = ExecuteRequest { action_digest: Some(action), ..Default::default() };
    let message = match remote.operations(request).await {
        Err(status) => status.message().to_owned(),
        Ok(operations) => answer(&operations)?.status.context("it ran")?.message,
    };
    ensure!(message.contains("plan9") || message.contains("OSFamily"), "{message}");
    Ok(())
}

#[tokio::test]
async fn malformed_actions_are_refused_not_run() -> Result<()> {
    let site = Pumphouse::up()?;
    let remote = Remote::connect(site.address()).await?;
    let file = |name: &str| reapi::FileNode { name: name.to_owned(), digest: Some(digest(b"")), ..Default::default() };
    let roots =
        [vec![file("b"), file("a")], vec![file("a"), file("a")], vec![file("..")], vec![file("a/b")], vec![file("")]];
    for files in roots {
        let root = reapi::Directory { files, ..Default::default() };
        remote.store(&[blob(&root)]).await?;
        let action = remote
            .prepare(&shell("true", &[]), &[], |action| action.input_root_digest = Some(digest(&blob(&root))))
            .await?;
        let request = ExecuteRequest { action_digest: Some(action), ..Default::default() };
        let code = match remote.operations(request).await {
            Err(status) => status.code() as i32,
            Ok(operations) => status(&answer(&operations)?),
        };
        ensure!(code == Code::InvalidArgument as i32, "{root:?}: {code}");
    }
    let commands = [
        Command::default(),
        Command { working_directory: "../outside".to_owned(), ..shell("true", &[]) },
        shell("true", &["../outside"]),
        shell("true", &["/etc/passwd"]),
    ];
    for command in commands {
        let action = remote.prepare(&command, &[], |_| ()).await?;
        let request = ExecuteRequest { action_digest: Some(action), ..Default::default() };
        let code = match remote.operations(request).await {
            Err(status) => status.code() as i32,
            Ok(operations) => status(&answer(&operations)?),
        };
        ensure!(code == Code::InvalidArgument as i32, "{command:?}: {code}");
    }
    Ok(())
}
