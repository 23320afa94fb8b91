//! `Execution`: needs a worker with `/bin/sh`.

use super::suite::{Outcome, Suite, Verdict, check, fails, same};
use super::target::{Target, raw_digest};
use bytes::Bytes;
use futures::StreamExt as _;
use prost::Message as _;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::longrunning::{GetOperationRequest, Operation, operation};
use pumphouse_proto::reapi::command::{EnvironmentVariable, OutputDirectoryFormat};
use pumphouse_proto::reapi::{
    Action, ActionResult, Command, Directory, DirectoryNode, ExecuteOperationMetadata, ExecuteRequest, ExecuteResponse,
    FileNode, GetActionResultRequest, SymlinkNode, Tree, WaitExecutionRequest, execution_stage,
};
use pumphouse_proto::rpc::PreconditionFailure;
use tonic::{Code, Status};

/// Runs `script` by a shell, with these outputs.
pub(super) fn shell(script: &str, outputs: &[&str]) -> Command {
    Command {
        arguments: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        output_paths: outputs.iter().map(|path| (*path).to_owned()).collect(),
        environment_variables: vec![EnvironmentVariable { name: "PATH".into(), value: "/usr/bin:/bin".into() }],
        ..Default::default()
    }
}

/// Stores command and action, which is unlike any other; gives its digest.
async fn prepare(
    target: &Target,
    command: Command,
    root: Digest,
    edit: impl FnOnce(&mut Action),
) -> Result<Digest, Outcome> {
    let mut command = command;
    let value = target.upload_id();
    command.environment_variables.push(EnvironmentVariable { name: "UNIQUE".into(), value });
    let mut action = Action {
        command_digest: Some(target.store_message(&command).await?.into()),
        input_root_digest: Some(root.into()),
        timeout: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
        ..Default::default()
    };
    edit(&mut action);
    target.store_message(&action).await
}

/// Stores a directory.
async fn root(target: &Target, directory: &Directory) -> Result<Digest, Outcome> {
    target.store_message(directory).await
}

async fn empty_root(target: &Target) -> Result<Digest, Outcome> {
    root(target, &Directory::default()).await
}

pub(super) async fn operations(target: &Target, request: ExecuteRequest) -> Result<Vec<Operation>, Status> {
    let request = ExecuteRequest { instance_name: target.instance(), ..request };
    let mut stream = target.execution().execute(request).await?.into_inner();
    let mut operations = Vec::new();
    while let Some(operation) = stream.next().await {
        operations.push(operation?);
    }
    Ok(operations)
}

pub(super) fn response(operations: &[Operation]) -> Result<ExecuteResponse, Outcome> {
    match operations.last().and_then(|operation| operation.result.as_ref()) {
        Some(operation::Result::Response(response)) => {
            response.to_msg().map_err(|error| Outcome::Wrong(error.to_string()))
        }
        other => Err(Outcome::Wrong(format!("no response at the end: {other:?}"))),
    }
}

fn of(action: Digest) -> ExecuteRequest {
    ExecuteRequest { action_digest: Some(action.into()), skip_cache_lookup: true, ..Default::default() }
}

async fn execute(target: &Target, action: Digest) -> Result<ExecuteResponse, Outcome> {
    response(&operations(target, of(action)).await?)
}

/// Runs a script; gives its result.
async fn run(target: &Target, command: Command) -> Result<ActionResult, Outcome> {
    let root = empty_root(target).await?;
    let action = prepare(target, command, root, |_| {}).await?;
    let response = execute(target, action).await?;
    let status = response.status.unwrap_or_default();
    check(status.code == 0, || format!("status {}: {}", status.code, status.message))?;
    response.result.ok_or_else(|| Outcome::Wrong("there is no result".to_owned()))
}

async fn said(target: &Target, raw: &Bytes, digest: Option<&pumphouse_proto::reapi::Digest>) -> Result<Bytes, Outcome> {
    match digest.and_then(|digest| Digest::try_from(digest).ok()) {
        Some(digest) if raw.is_empty() => Ok(target.read(&target.read_name(digest), 0, 0).await?),
        _ => Ok(raw.clone()),
    }
}

async fn stdout(target: &Target, result: &ActionResult) -> Result<Bytes, Outcome> {
    said(target, &result.stdout_raw, result.stdout_digest.as_ref()).await
}

pub(super) fn add(suite: &mut Suite) {
    add_results(suite);
    add_outputs(suite);
    add_inputs(suite);
    add_operations(suite);
    add_bad(suite);
}

fn add_results(suite: &mut Suite) {
    for code in [0, 1, 7, 255] {
        suite.case(
            format!("execute/exit-{code}"),
            "the exit code is the result's, not an error",
            move |target| async move {
                let result = run(&target, shell(&format!("exit {code}"), &[])).await?;
                same("exit_code", &result.exit_code, &code)
            },
        );
    }
    suite.case("execute/stdout", "standard output is given", |target| async move {
        let result = run(&target, shell("printf said", &[])).await?;
        same("standard output", &stdout(&target, &result).await?, &Bytes::from_static(b"said"))
    });
    suite.case("execute/stderr", "standard error is given", |target| async move {
        let result = run(&target, shell("printf said >&2", &[])).await?;
        let said = said(&target, &result.stderr_raw, result.stderr_digest.as_ref()).await?;
        same("standard error", &said, &Bytes::from_static(b"said"))
    });
    suite.case("execute/stdout-large", "megabytes of standard output are given", |target| async move {
        let result = run(&target, shell("head -c 3000000 /dev/zero | tr '\\0' x", &[])).await?;
        same("bytes", &stdout(&target, &result).await?.len(), &3_000_000)
    });
    suite.case("execute/environment", "the environment is the command's", |target| async move {
        let mut command = shell("printf %s \"$NAME\"", &[]);
        command.environment_variables.push(EnvironmentVariable { name: "NAME".into(), value: "a b".into() });
        let result = run(&target, command).await?;
        same("standard output", &stdout(&target, &result).await?, &Bytes::from_static(b"a b"))
    });
    suite.case("execute/arguments", "arguments come as they are", |target| async move {
        let mut command = shell("printf '%s|' \"$@\"", &[]);
        command.arguments.extend(["0", "a b", "", "*", "\"'"].map(str::to_owned));
        let result = run(&target, command).await?;
        same("standard output", &stdout(&target, &result).await?, &Bytes::from_static(b"a b||*|\"'|"))
    });
    suite.case(
        "execute/timeout",
        "an action's own timeout is DEADLINE_EXCEEDED within the response",
        |target| async move {
            let root = empty_root(&target).await?;
            let timeout = Some(prost_types::Duration { seconds: 1, nanos: 0 });
            let action =
                prepare(&target, shell("printf said; sleep 30", &[]), root, |action| action.timeout = timeout).await?;
            let response = execute(&target, action).await?;
            same("status", &response.status.unwrap_or_default().code, &(Code::DeadlineExceeded as i32))
        },
    );
    suite.case("execute/signal", "a command that a signal ends has no exit code 0", |target| async move {
        let result = run(&target, shell("kill -9 $$", &[])).await?;
        check(result.exit_code != 0, || "exit code 0".to_owned())
    });
    suite.case("execute/absent-program", "a program that is absent is no success", |target| async move {
        let root = empty_root(&target).await?;
        let command = Command { arguments: vec!["/no/such/program".into()], ..Default::default() };
        let action = prepare(&target, command, root, |_| {}).await?;
        let response = execute(&target, action).await?;
        let failed = response.status.unwrap_or_default().code != 0;
        check(failed || response.result.unwrap_or_default().exit_code != 0, || "it succeeds".to_owned())
    });
    suite.case("execute/metadata", "times of the execution are in order", |target| async move {
        let metadata = run(&target, shell("true", &[])).await?.execution_metadata.unwrap_or_default();
        let times = [
            metadata.queued_timestamp,
            metadata.worker_start_timestamp,
            metadata.execution_start_timestamp,
            metadata.execution_completed_timestamp,
            metadata.worker_completed_timestamp,
        ];
        let times: Vec<_> = times.into_iter().flatten().map(|time| (time.seconds, time.nanos)).collect();
        check(times.len() == 5 && times.is_sorted(), || format!("{times:?}"))
    });
}

fn add_outputs(suite: &mut Suite) {
    suite.case("outputs/file", "an output file is stored", |target| async move {
        let result = run(&target, shell("printf made > o", &["o"])).await?;
        let digest = Digest::of(b"made");
        let found: Vec<_> = result.output_files.iter().map(|file| (file.path.as_str(), file.digest.clone())).collect();
        same("output_files", &found, &vec![("o", Some(digest.into()))])?;
        same("missing", &target.missing(&[digest]).await?, &Vec::new())
    });
    suite.case("outputs/executable", "executable files are told", |target| async move {
        let result = run(&target, shell("printf x > o; chmod +x o; printf y > p", &["o", "p"])).await?;
        let mut found: Vec<_> =
            result.output_files.iter().map(|file| (file.path.as_str(), file.is_executable)).collect();
        found.sort_unstable();
        same("is_executable", &found, &vec![("o", true), ("p", false)])
    });
    suite.case("outputs/absent", "an output that isn't made is left out; that is no error", |target| async move {
        let result = run(&target, shell("true", &["o"])).await?;
        same("output_files", &result.output_files.len(), &0)
    });
    suite.case("outputs/parents", "directories of outputs are there before", |target| async move {
        let result = run(&target, shell("printf x > a/b/o", &["a/b/o"])).await?;
        same("output_files", &result.output_files.len(), &1)
    });
    suite.case("outputs/not-asked-for", "what isn't asked for isn't given", |target| async move {
        let result = run(&target, shell("printf x > o; printf y > p", &["o"])).await?;
        let found: Vec<_> = result.output_files.iter().map(|file| file.path.as_str()).collect();
        same("output_files", &found, &vec!["o"])
    });
    add_output_directories(suite);
    suite.case("outputs/symlink", "a symbolic link is given as one, dangling or not", |target| async move {
        let result = run(&target, shell("ln -s nowhere l", &["l"])).await?;
        #[expect(deprecated, reason = "servers of version 2.0 say it there")]
        let links: Vec<_> = result
            .output_symlinks
            .iter()
            .chain(&result.output_file_symlinks)
            .map(|link| link.target.as_str())
            .collect();
        check(links.contains(&"nowhere"), || format!("{links:?}"))
    });
    suite.case("outputs/old-fields", "clients of version 2.0 name files and directories apart", |target| async move {
        let mut command = shell("printf x > o; mkdir d; printf y > d/f", &[]);
        #[expect(deprecated, reason = "it is what is asked for")]
        {
            command.output_files = vec!["o".into()];
            command.output_directories = vec!["d".into()];
        }
        let result = run(&target, command).await?;
        same("outputs", &(result.output_files.len(), result.output_directories.len()), &(1, 1))
    });
    suite.case("outputs/empty-file", "an empty file is an output", |target| async move {
        let result = run(&target, shell(": > o", &["o"])).await?;
        let digests: Vec<_> = result.output_files.iter().map(|file| file.digest.clone()).collect();
        same("digests", &digests, &vec![Some(Digest::EMPTY.into())])
    });
    suite.case("outputs/of-a-failure", "an action that fails has outputs as well", |target| async move {
        let result = run(&target, shell("printf x > o; exit 3", &["o"])).await?;
        same("exit code and outputs", &(result.exit_code, result.output_files.len()), &(3, 1))
    });
    suite.case("outputs/working-directory", "outputs are named from the working directory", |target| async move {
        let mut command = shell("printf x > o", &["o"]);
        command.working_directory = "sub/dir".into();
        let result = run(&target, command).await?;
        let found: Vec<_> = result.output_files.iter().map(|file| file.path.as_str()).collect();
        same("output_files", &found, &vec!["o"])
    });
}

fn add_output_directories(suite: &mut Suite) {
    suite.case("outputs/directory", "an output directory is a Tree", |target| async move {
        let result = run(&target, shell("mkdir -p d/e; printf x > d/f; printf y > d/e/g", &["d"])).await?;
        let directory = result.output_directories.first().ok_or_else(|| Outcome::Wrong("there is none".to_owned()))?;
        let digest = directory.tree_digest.as_ref().and_then(|digest| Digest::try_from(digest).ok());
        let digest = digest.ok_or_else(|| Outcome::Wrong("there is no tree_digest".to_owned()))?;
        let content = target.read(&target.read_name(digest), 0, 0).await?;
        let tree = Tree::decode(content).map_err(|error| Outcome::Wrong(error.to_string()))?;
        let root = tree.root.unwrap_or_default();
        same("the root's names", &(root.files.len(), root.directories.len(), tree.children.len()), &(1, 1, 1))
    });
    suite.case(
        "outputs/directory-format",
        "an output directory comes as a Directory where that is asked for",
        |target| async move {
            let mut command = shell("mkdir -p d/e; printf x > d/f; printf y > d/e/g", &["d"]);
            command.output_directory_format = OutputDirectoryFormat::TreeAndDirectory.into();
            let result = run(&target, command).await?;
            let directory =
                result.output_directories.first().ok_or_else(|| Outcome::Wrong("there is none".to_owned()))?;
            check(directory.tree_digest.is_some(), || "there is no tree_digest".to_owned())?;
            let root = directory.root_directory_digest.as_ref().and_then(|digest| Digest::try_from(digest).ok());
            let root = root.ok_or_else(|| Outcome::Wrong("there is no root_directory_digest".to_owned()))?;
            let content = target.read(&target.read_name(root), 0, 0).await?;
            let root = Directory::decode(content).map_err(|error| Outcome::Wrong(error.to_string()))?;
            same("the root's names", &(root.files.len(), root.directories.len()), &(1, 1))?;
            let below = root.directories[0].digest.as_ref().and_then(|digest| Digest::try_from(digest).ok());
            let below = below.ok_or_else(|| Outcome::Wrong("the directory below it has no digest".to_owned()))?;
            target.read(&target.read_name(below), 0, 0).await.map(drop).map_err(Outcome::from)
        },
    );
}

fn add_inputs(suite: &mut Suite) {
    let node = |name: &str, digest: Digest, is_executable: bool| FileNode {
        name: name.into(),
        digest: Some(digest.into()),
        is_executable,
        ..Default::default()
    };
    suite.case("inputs/file", "input files are there", move |target| async move {
        let content = target.unique(50);
        let digest = target.store(std::slice::from_ref(&content)).await?[0];
        let root = root(&target, &Directory { files: vec![node("in", digest, false)], ..Default::default() }).await?;
        let action = prepare(&target, shell("cat in", &[]), root, |_| {}).await?;
        let result = execute(&target, action).await?.result.unwrap_or_default();
        same("standard output", &stdout(&target, &result).await?, &content)
    });
    suite.case("inputs/executable", "an executable input may be run, by a relative path", move |target| async move {
        let digest = target.store(&[Bytes::from_static(b"#!/bin/sh\nprintf ran\n")]).await?[0];
        let root = root(&target, &Directory { files: vec![node("tool", digest, true)], ..Default::default() }).await?;
        let command = Command { arguments: vec!["./tool".into()], ..Default::default() };
        let action = prepare(&target, command, root, |_| {}).await?;
        let result = execute(&target, action).await?.result.unwrap_or_default();
        same("standard output", &stdout(&target, &result).await?, &Bytes::from_static(b"ran"))
    });
    suite.case("inputs/directories", "directories are there, empty ones as well", |target| async move {
        let empty = empty_root(&target).await?;
        let node = |name: &str| DirectoryNode { name: name.into(), digest: Some(empty.into()) };
        let root = root(&target, &Directory { directories: vec![node("a"), node("b")], ..Default::default() }).await?;
        let action = prepare(&target, shell("ls", &[]), root, |_| {}).await?;
        let result = execute(&target, action).await?.result.unwrap_or_default();
        same("standard output", &stdout(&target, &result).await?, &Bytes::from_static(b"a\nb\n"))
    });
    suite.case("inputs/symlinks", "symbolic links are there as links", |target| async move {
        let link = SymlinkNode { name: "l".into(), target: "t".into(), ..Default::default() };
        let root = root(&target, &Directory { symlinks: vec![link], ..Default::default() }).await?;
        let action = prepare(&target, shell("readlink l", &[]), root, |_| {}).await?;
        let result = execute(&target, action).await?.result.unwrap_or_default();
        same("standard output", &stdout(&target, &result).await?, &Bytes::from_static(b"t\n"))
    });
    suite.case("inputs/not-shared", "what one action does to an input, no other sees", move |target| async move {
        let content = target.unique(50);
        let digest = target.store(std::slice::from_ref(&content)).await?[0];
        let root = root(&target, &Directory { files: vec![node("in", digest, false)], ..Default::default() }).await?;
        let spoil = "chmod +w in; printf spoilt > in; rm -f in; true";
        for script in [spoil, "cat in"] {
            let action = prepare(&target, shell(script, &[]), root, |_| {}).await?;
            let result = execute(&target, action).await?.result.unwrap_or_default();
            if script != spoil {
                same("standard output", &stdout(&target, &result).await?, &content)?;
            }
        }
        Ok(())
    });
    suite.case("inputs/apart", "nothing of an action before is there", |target| async move {
        let root = empty_root(&target).await?;
        for _ in 0..4 {
            let action = prepare(&target, shell("ls; printf x > left", &[]), root, |_| {}).await?;
            let result = execute(&target, action).await?.result.unwrap_or_default();
            same("standard output", &stdout(&target, &result).await?, &Bytes::new())?;
        }
        Ok(())
    });
    suite.case("inputs/working-directory", "the working directory is there", |target| async move {
        let mut command = shell("pwd", &[]);
        command.working_directory = "sub/dir".into();
        let result = run(&target, command).await?;
        let said = stdout(&target, &result).await?;
        check(said.ends_with(b"/sub/dir\n"), || String::from_utf8_lossy(&said).into_owned())
    });
}

fn stage(operation: &Operation) -> Result<execution_stage::Value, Outcome> {
    let metadata = operation.metadata.as_ref().ok_or_else(|| Outcome::Wrong("no metadata".to_owned()))?;
    let metadata = metadata.to_msg::<ExecuteOperationMetadata>();
    Ok(metadata.map_err(|error| Outcome::Wrong(error.to_string()))?.stage())
}

fn add_operations(suite: &mut Suite) {
    suite.case(
        "operations/done-at-the-end",
        "an operation is done exactly when it is completed, at the end",
        |target| async move {
            let root = empty_root(&target).await?;
            let action = prepare(&target, shell("true", &[]), root, |_| {}).await?;
            let operations = operations(&target, of(action)).await?;
            for (at, operation) in operations.iter().enumerate() {
                let is_last = at + 1 == operations.len();
                let is_completed = stage(operation)? == execution_stage::Value::Completed;
                same("done, completed", &(operation.done, is_completed), &(is_last, is_last))?;
            }
            Ok(())
        },
    );
    suite.case("operations/name", "all of them have one name", |target| async move {
        let root = empty_root(&target).await?;
        let action = prepare(&target, shell("true", &[]), root, |_| {}).await?;
        let operations = operations(&target, of(action)).await?;
        let names: std::collections::BTreeSet<_> = operations.iter().map(|operation| operation.name.as_str()).collect();
        check(names.len() == 1 && !names.contains(""), || format!("{names:?}"))
    });
    suite.case("operations/no-error", "a failed action is no error of the operation", |target| async move {
        let root = empty_root(&target).await?;
        let action = prepare(&target, shell("exit 9", &[]), root, |_| {}).await?;
        response(&operations(&target, of(action)).await?).map(drop)
    });
    suite.case("operations/action-digest", "the metadata name the action", |target| async move {
        let root = empty_root(&target).await?;
        let action = prepare(&target, shell("true", &[]), root, |_| {}).await?;
        let operations = operations(&target, of(action)).await?;
        let metadata = operations.last().and_then(|operation| operation.metadata.as_ref());
        let metadata = metadata.and_then(|metadata| metadata.to_msg::<ExecuteOperationMetadata>().ok());
        same("action_digest", &metadata.unwrap_or_default().action_digest, &Some(action.into()))
    });
    suite.case("operations/first-at-once", "the first operation comes before the action ends", |target| async move {
        let root = empty_root(&target).await?;
        let action = prepare(&target, shell("sleep 5", &[]), root, |_| {}).await?;
        let request = ExecuteRequest { instance_name: target.instance(), ..of(action) };
        let begun = std::time::Instant::now();
        let mut stream = target.execution().execute(request).await?.into_inner();
        let first = stream.message().await?;
        check(first.is_some_and(|first| !first.done), || "the first one is done".to_owned())?;
        check(begun.elapsed().as_secs() < 4, || format!("it took {:?}", begun.elapsed()))
    });
    suite.case("operations/wait", "WaitExecution joins an execution", |target| async move {
        let root = empty_root(&target).await?;
        let action = prepare(&target, shell("sleep 2; printf said", &[]), root, |_| {}).await?;
        let request = ExecuteRequest { instance_name: target.instance(), ..of(action) };
        let mut stream = target.execution().execute(request).await?.into_inner();
        let name = stream.message().await?.unwrap_or_default().name;
        let mut waiting = target.execution().wait_execution(WaitExecutionRequest { name }).await?.into_inner();
        let mut last = Vec::new();
        while let Some(operation) = waiting.next().await {
            last.push(operation?);
        }
        let result = response(&last)?.result.unwrap_or_default();
        same("standard output", &stdout(&target, &result).await?, &Bytes::from_static(b"said"))
    });
    suite.case("operations/wait-unknown", "a name that nobody gave is NOT_FOUND", |target| async move {
        let name = format!("{}operations/{}", target.prefix(), target.upload_id());
        let waited = match target.execution().wait_execution(WaitExecutionRequest { name }).await {
            Err(status) => Err(status),
            Ok(stream) => stream.into_inner().message().await,
        };
        fails(waited, &[Code::NotFound, Code::InvalidArgument])
    });
    suite.case("operations/get-unknown", "an operation that nobody began is NOT_FOUND", |target| async move {
        let name = format!("{}operations/{}", target.prefix(), target.upload_id());
        let codes = [Code::NotFound, Code::Unimplemented, Code::InvalidArgument];
        fails(target.operations().get_operation(GetOperationRequest { name }).await, &codes)
    });
    suite.case("operations/equal", "equal actions at the same time are all answered", |target| async move {
        let root = empty_root(&target).await?;
        let action = prepare(&target, shell("sleep 1; printf said", &[]), root, |_| {}).await?;
        let all = futures::future::join_all((0..5).map(|_| execute(&target, action))).await;
        for response in all {
            let result = response?.result.unwrap_or_default();
            same("standard output", &stdout(&target, &result).await?, &Bytes::from_static(b"said"))?;
        }
        Ok(())
    });
    add_caching(suite);
}

fn add_caching(suite: &mut Suite) {
    suite.case("caching/hit", "what was run is found in the cache", |target| async move {
        let root = empty_root(&target).await?;
        let action = prepare(&target, shell("printf said", &[]), root, |_| {}).await?;
        execute(&target, action).await?;
        let again = response(&operations(&target, ExecuteRequest { skip_cache_lookup: false, ..of(action) }).await?)?;
        check(again.cached_result, || "it is run again".to_owned())
    });
    suite.case("caching/result", "what was run has a result in the action cache", |target| async move {
        let root = empty_root(&target).await?;
        let action = prepare(&target, shell("printf x > o", &["o"]), root, |_| {}).await?;
        execute(&target, action).await?;
        let request = GetActionResultRequest {
            instance_name: target.instance(),
            action_digest: Some(action.into()),
            ..Default::default()
        };
        let result = target.action_cache().get_action_result(request).await?.into_inner();
        same("output_files", &result.output_files.len(), &1)
    });
    for (name, script, do_not_cache) in [("do-not-cache", "true", true), ("failure", "exit 1", false)] {
        suite.case(format!("caching/{name}"), "failures, and what says so, are not cached", move |target| async move {
            let root = empty_root(&target).await?;
            let action =
                prepare(&target, shell(script, &[]), root, |action| action.do_not_cache = do_not_cache).await?;
            execute(&target, action).await?;
            let request = GetActionResultRequest {
                instance_name: target.instance(),
                action_digest: Some(action.into()),
                ..Default::default()
            };
            match target.action_cache().get_action_result(request).await {
                Err(status) => fails::<()>(Err(status), &[Code::NotFound]),
                Ok(_) if do_not_cache => Err(Outcome::Wrong("it is in the cache".to_owned())),
                Ok(result) => check(result.into_inner().exit_code != 0, || "it is a success there".to_owned()),
            }
        });
    }
    suite.case("caching/skip", "a look into the cache may be skipped", |target| async move {
        let root = empty_root(&target).await?;
        let action = prepare(&target, shell("true", &[]), root, |_| {}).await?;
        execute(&target, action).await?;
        check(!execute(&target, action).await?.cached_result, || "the result is from the cache".to_owned())
    });
}

async fn missing(target: &Target, action: Digest, expected: &[Digest]) -> Verdict {
    use prost::Message as _;
    let refused = match operations(target, of(action)).await {
        Err(status) => status,
        Ok(operations) => {
            let status = response(&operations)?.status.unwrap_or_default();
            Status::with_details(Code::from(status.code), status.message.clone(), status.encode_to_vec().into())
        }
    };
    same("code", &refused.code(), &Code::FailedPrecondition)?;
    let status = pumphouse_proto::rpc::Status::decode(refused.details()).unwrap_or_default();
    let failures = status.details.iter().filter_map(|detail| detail.to_msg::<PreconditionFailure>().ok());
    let violations: Vec<_> = failures.flat_map(|failure| failure.violations).collect();
    check(violations.iter().all(|violation| violation.r#type == "MISSING"), || format!("{violations:?}"))?;
    for digest in expected {
        let subject = format!("blobs/{digest}");
        check(violations.iter().any(|violation| violation.subject == subject), || {
            format!("{subject} is not in {violations:?}")
        })?;
    }
    Ok(())
}

fn add_bad(suite: &mut Suite) {
    suite.case("bad-action/absent", "an absent action is told as a missing blob", |target| async move {
        let action = Digest::of(&target.unique(60));
        missing(&target, action, &[action]).await
    });
    suite.case("bad-action/absent-command", "an absent command is told as a missing blob", |target| async move {
        let (root, command) = (empty_root(&target).await?, Digest::of(&target.unique(60)));
        let action =
            prepare(&target, shell("true", &[]), root, |action| action.command_digest = Some(command.into())).await?;
        missing(&target, action, &[command]).await
    });
    suite.case("bad-action/absent-root", "an absent input root is told as a missing blob", |target| async move {
        let root = Digest::of(&target.unique(60));
        let action = prepare(&target, shell("true", &[]), root, |_| {}).await?;
        missing(&target, action, &[root]).await
    });
    suite.case("bad-action/absent-file", "an absent input is told as a missing blob", |target| async move {
        let file = Digest::of(&target.unique(60));
        let node = FileNode { name: "in".into(), digest: Some(file.into()), ..Default::default() };
        let root = root(&target, &Directory { files: vec![node], ..Default::default() }).await?;
        let action = prepare(&target, shell("true", &[]), root, |_| {}).await?;
        missing(&target, action, &[file]).await
    });
    suite.case("bad-action/no-arguments", "a command without arguments is refused", |target| async move {
        refused(&target, Command::default(), |_| {}).await
    });
    suite.case("bad-action/no-command", "an action without a command is refused", |target| async move {
        refused(&target, shell("true", &[]), |action| action.command_digest = None).await
    });
    suite.case("bad-action/no-root", "an action without an input root is refused", |target| async move {
        refused(&target, shell("true", &[]), |action| action.input_root_digest = None).await
    });
    suite.case("bad-action/bad-command-digest", "a malformed digest in an action is refused", |target| async move {
        refused(&target, shell("true", &[]), |action| action.command_digest = Some(raw_digest("x", 1))).await
    });
    suite.case("bad-action/negative-timeout", "a negative timeout is refused", |target| async move {
        let timeout = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        refused(&target, shell("true", &[]), move |action| action.timeout = timeout).await
    });
    suite.case("bad-action/endless-timeout", "a timeout beyond the server's is refused", |target| async move {
        let timeout = Some(prost_types::Duration { seconds: 315_576_000_000, nanos: 0 });
        refused(&target, shell("true", &[]), move |action| action.timeout = timeout).await
    });
    suite.case("bad-action/no-message", "an action that is no message is refused", |target| async move {
        let action = target.store(&[Bytes::from([&target.unique(50)[..], &[0xff; 20]].concat())]).await?[0];
        ends_badly(operations(&target, of(action)).await)
    });
    suite.case("bad-action/no-digest", "a request without an action is refused", |target| async move {
        fails(operations(&target, ExecuteRequest::default()).await, &[Code::InvalidArgument])
    });
    let file = |name: &str| FileNode { name: name.into(), digest: Some(Digest::EMPTY.into()), ..Default::default() };
    let roots = [
        ("unsorted", Directory { files: vec![file("b"), file("a")], ..Default::default() }),
        ("repeated", Directory { files: vec![file("a"), file("a")], ..Default::default() }),
        ("slash", Directory { files: vec![file("a/b")], ..Default::default() }),
        ("dots", Directory { files: vec![file("..")], ..Default::default() }),
        ("dot", Directory { files: vec![file(".")], ..Default::default() }),
        ("no-name", Directory { files: vec![file("")], ..Default::default() }),
        (
            "no-digest",
            Directory { files: vec![FileNode { name: "a".into(), ..Default::default() }], ..Default::default() },
        ),
        (
            "file-and-link",
            Directory {
                files: vec![file("a")],
                symlinks: vec![SymlinkNode { name: "a".into(), target: "t".into(), ..Default::default() }],
                ..Default::default()
            },
        ),
    ];
    for (name, directory) in roots {
        suite.case(
            format!("bad-root/{name}"),
            "a directory that isn't canonical is refused",
            move |target| async move {
                let root = root(&target, &directory).await?;
                let action = prepare(&target, shell("true", &[]), root, |_| {}).await?;
                ends_badly(operations(&target, of(action)).await)
            },
        );
    }
    for (name, path) in [("absolute", "/tmp"), ("outside", "../out"), ("far-outside", "a/../../out")] {
        suite.case(
            format!("bad-working-directory/{name}"),
            "a working directory outside of the root is refused",
            move |target| async move {
                let mut command = shell("true", &[]);
                command.working_directory = path.into();
                refused(&target, command, |_| {}).await
            },
        );
    }
}

async fn refused(target: &Target, command: Command, edit: impl FnOnce(&mut Action)) -> Verdict {
    let root = empty_root(target).await?;
    let action = prepare(target, command, root, edit).await?;
    ends_badly(operations(target, of(action)).await)
}

/// Requires `INVALID_ARGUMENT`, be it of the call or in the response.
fn ends_badly(ended: Result<Vec<Operation>, Status>) -> Verdict {
    match ended {
        Err(status) => fails::<()>(Err(status), &[Code::InvalidArgument, Code::FailedPrecondition]),
        Ok(operations) => {
            let status = response(&operations)?.status.unwrap_or_default();
            let codes = [Code::InvalidArgument as i32, Code::FailedPrecondition as i32];
            check(codes.contains(&status.code), || format!("status {}: {}", status.code, status.message))
        }
    }
}
