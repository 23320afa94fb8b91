//! Executing through the whole server.

use crate::support::*;
use bytes::Bytes;
use prost::Message as _;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{
    Action, ActionResult, Command, Directory, ExecuteOperationMetadata, ExecuteRequest, ExecutionPolicy, FileNode,
    GetActionResultRequest, WaitExecutionRequest, execution_stage::Value as Stage,
};
use pumphouse_proto::rpc;
use pumphouse_proto::status::missing_blobs_in;
use std::time::Duration;
use tonic::{Code, Status};

async fn is_cached(server: &TestServer, action: Digest) -> bool {
    let request = GetActionResultRequest { action_digest: Some(action.into()), ..Default::default() };
    match server.action_cache().get_action_result(request).await {
        Ok(_) => true,
        Err(status) if status.code() == Code::NotFound => false,
        Err(status) => panic!("{status}"),
    }
}

#[tokio::test]
async fn an_action_is_executed_and_then_cached() {
    let server = TestServer::start().await;
    let action = server.upload_action("a", |_| {}).await;
    let mut stream = server.execute(action).await;
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(stage(&first), Stage::Queued, "the first state comes at once");
    let mut worker = TestWorker::connect(&server, "w", 1, &[]).await;
    let assignment = worker.until_desired(1).await.remove(0);
    assert_eq!(Digest::try_from(&assignment.action_digest).unwrap(), action);
    assert!(assignment.timeout.unwrap().seconds > 0, "an action without a timeout gets one");
    worker.hold(vec![executing(&assignment)]).await;
    let second = stream.message().await.unwrap().unwrap();
    assert_eq!(stage(&second), Stage::Executing);
    assert_eq!(second.name, first.name);
    let metadata: ExecuteOperationMetadata = second.metadata.unwrap().to_msg().unwrap();
    assert_eq!(metadata.partial_execution_metadata.unwrap().worker, "worker w");
    assert_eq!(Digest::try_from(&metadata.action_digest).unwrap(), action);
    worker.complete(&assignment, exit(0)).await;
    let executed = finish(&mut stream).await;
    assert!(!executed.cached_result);
    assert!(executed.result.unwrap().execution_metadata.unwrap().queued_timestamp.is_some());
    assert!(is_cached(&server, action).await, "the result was cached before the operation completed");
    let cached = finish(&mut server.execute(action).await).await;
    assert!(cached.cached_result);
    server.stop().await;
}

#[tokio::test]
async fn skipping_the_cache_skips_only_reading() {
    let server = TestServer::start().await;
    let mut worker = TestWorker::connect(&server, "w", 1, &[]).await;
    let action = server.upload_action("a", |_| {}).await;
    for exit_code in [0, 0] {
        let request = ExecuteRequest { skip_cache_lookup: true, ..execute_request(action) };
        let mut stream = server.try_execute(request).await.unwrap();
        let assignment = worker.until_desired(1).await.remove(0);
        worker.complete(&assignment, exit(exit_code)).await;
        assert!(!finish(&mut stream).await.cached_result);
        assert!(is_cached(&server, action).await);
    }
    server.stop().await;
}

#[tokio::test]
async fn failures_are_not_cached() {
    let server = TestServer::start().await;
    let mut worker = TestWorker::connect(&server, "w", 1, &[]).await;
    let partial = ActionResult { stderr_raw: Bytes::from_static(b"partial"), ..Default::default() };
    let mut timed_out = failure(&Status::deadline_exceeded("the action took too long"));
    timed_out.result = Some(partial);
    for (name, response) in [("exit", exit(1)), ("timeout", timed_out)] {
        let action = server.upload_action(name, |_| {}).await;
        let mut stream = server.execute(action).await;
        let assignment = worker.until_desired(1).await.remove(0);
        worker.complete(&assignment, response.clone()).await;
        let finished = finish(&mut stream).await;
        assert_eq!(finished.status.map(|status| status.code), response.status.map(|status| status.code));
        let (finished, expect) = (finished.result.unwrap(), response.result.unwrap());
        assert_eq!((finished.exit_code, finished.stderr_raw), (expect.exit_code, expect.stderr_raw));
        assert!(!is_cached(&server, action).await, "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn uncacheable_actions_are_neither_merged_nor_cached() {
    let server = TestServer::start().await;
    let mut worker = TestWorker::connect(&server, "w", 2, &[]).await;
    let action = server.upload_action("a", |action| action.do_not_cache = true).await;
    let mut streams = [server.execute(action).await, server.execute(action).await];
    let assignments = worker.until_desired(2).await;
    assert!(assignments.iter().all(|assignment| assignment.do_not_cache));
    worker.hold(assignments.iter().map(|assignment| completed(assignment, exit(0))).collect()).await;
    for stream in &mut streams {
        assert!(!finish(stream).await.cached_result);
    }
    assert!(!is_cached(&server, action).await);
    server.stop().await;
}

#[tokio::test]
async fn equal_actions_in_flight_are_one_run() {
    let server = TestServer::start().await;
    let mut worker = TestWorker::connect(&server, "w", 4, &[]).await;
    let action = server.upload_action("a", |_| {}).await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(server.execute(action).await);
    }
    let assignment = worker.until_desired(1).await.remove(0);
    worker.complete(&assignment, exit(0)).await;
    for stream in &mut streams {
        assert_eq!(finish(stream).await.result.unwrap().exit_code, 0);
    }
    server.stop().await;
}

#[tokio::test]
async fn every_missing_blob_is_named_at_once() {
    let server = TestServer::start().await;
    let check = async |action: Digest, expect: &[Digest]| {
        let status = server.try_execute(execute_request(action)).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        let detail = rpc::Status::decode(status.details()).unwrap().details;
        assert_eq!(detail.len(), 1, "no other detail");
        let failure: rpc::PreconditionFailure = detail[0].to_msg().unwrap();
        assert!(failure.violations.iter().all(|violation| violation.r#type == "MISSING"));
        let mut missing = missing_blobs_in(&status).unwrap();
        let mut expect = expect.to_vec();
        missing.sort_unstable();
        expect.sort_unstable();
        assert_eq!(missing, expect);
    };
    let absent = Digest::of(b"absent action");
    check(absent, &[absent]).await;
    let file = |name: &str, content: &[u8]| FileNode {
        name: name.into(),
        digest: Some(Digest::of(content).into()),
        ..Default::default()
    };
    let root = Directory { files: vec![file("a", b"here"), file("b", b"gone")], ..Default::default() }.encode_to_vec();
    server.upload(&[&root, b"here"]).await;
    let command = Command { arguments: vec!["absent".into()], ..Default::default() }.encode_to_vec();
    let action = Action {
        command_digest: Some(Digest::of(&command).into()),
        input_root_digest: Some(Digest::of(&root).into()),
        ..Default::default()
    };
    let action = server.upload(&[&action.encode_to_vec()]).await[0];
    check(action, &[Digest::of(&command), Digest::of(b"gone")]).await;
    let rootless = Action {
        command_digest: Some(Digest::of(&command).into()),
        input_root_digest: Some(Digest::of(b"absent root").into()),
        ..Default::default()
    };
    let action = server.upload(&[&rootless.encode_to_vec()]).await[0];
    check(action, &[Digest::of(&command), Digest::of(b"absent root")]).await;
    server.stop().await;
}

#[tokio::test]
async fn what_a_worker_found_missing_reaches_the_client() {
    let server = TestServer::start().await;
    let mut worker = TestWorker::connect(&server, "w", 1, &[]).await;
    let action = server.upload_action("a", |_| {}).await;
    let mut stream = server.execute(action).await;
    let assignment = worker.until_desired(1).await.remove(0);
    let missing = pumphouse_proto::status::missing_blobs(&[Digest::of(b"deep")]);
    worker.complete(&assignment, failure(&missing)).await;
    let status = pumphouse_proto::status::from_message(&finish(&mut stream).await.status.unwrap());
    assert_eq!(missing_blobs_in(&status).unwrap(), [Digest::of(b"deep")]);
    server.stop().await;
}

#[tokio::test]
async fn malformed_actions_are_refused() {
    let server = TestServer::start().await;
    let unsorted = Directory {
        files: ["b", "a"]
            .map(|name| FileNode { name: name.into(), digest: Some(Digest::EMPTY.into()), ..Default::default() })
            .into(),
        ..Default::default()
    };
    let unsorted = server.upload(&[&unsorted.encode_to_vec()]).await[0];
    let empty_command = server.upload(&[b""]).await[0];
    let rubbish = server.upload(&[b"\xff\xff\xff"]).await[0];
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let cases = [
        ("timeout", server.upload_action("t", |action| action.timeout = seconds(1_000_000)).await),
        ("timeout", server.upload_action("n", |action| action.timeout = seconds(-1)).await),
        ("command_digest", server.upload_action("c", |action| action.command_digest = None).await),
        ("input_root_digest", server.upload_action("i", |action| action.input_root_digest = None).await),
        ("out of order", server.upload_action("u", |action| action.input_root_digest = Some(unsorted.into())).await),
        ("arguments", server.upload_action("e", |action| action.command_digest = Some(empty_command.into())).await),
        ("command_digest", server.upload_action("r", |action| action.command_digest = Some(rubbish.into())).await),
        ("action_digest", rubbish),
    ];
    for (expect, action) in cases {
        let status = server.try_execute(execute_request(action)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{expect}: {status}");
        assert!(status.message().contains(expect), "{expect}: {status}");
    }
    server.stop().await;
}

#[tokio::test]
async fn outputs_are_inlined_for_the_client_that_asks() {
    let server = TestServer::start().await;
    let mut worker = TestWorker::connect(&server, "w", 1, &[]).await;
    let stdout = server.upload(&[b"hello"]).await[0];
    let action = server.upload_action("a", |_| {}).await;
    let mut asking =
        server.try_execute(ExecuteRequest { inline_stdout: true, ..execute_request(action) }).await.unwrap();
    let mut silent = server.execute(action).await;
    let assignment = worker.until_desired(1).await.remove(0);
    let mut response = exit(0);
    response.result.as_mut().unwrap().stdout_digest = Some(stdout.into());
    worker.complete(&assignment, response).await;
    let asked = finish(&mut asking).await.result.unwrap();
    assert_eq!(asked.stdout_raw, "hello");
    assert_eq!(Digest::try_from(&asked.stdout_digest).unwrap(), stdout);
    assert!(finish(&mut silent).await.result.unwrap().stdout_raw.is_empty());
    let again = ExecuteRequest { inline_stdout: true, ..execute_request(action) };
    let cached = finish(&mut server.try_execute(again).await.unwrap()).await;
    assert!(cached.cached_result);
    assert_eq!(cached.result.unwrap().stdout_raw, "hello");
    server.stop().await;
}

/// Has actions of these names and priorities executed.
async fn execute_by_priority(server: &TestServer, actions: &[(&str, i32)]) -> Vec<Digest> {
    let mut digests = Vec::new();
    for (name, priority) in actions {
        let action = server.upload_action(name, |_| {}).await;
        let policy = ExecutionPolicy { priority: *priority };
        let request = ExecuteRequest { execution_policy: Some(policy), ..execute_request(action) };
        // Nobody leaves: an operation is kept for a while without its stream.
        drop(server.try_execute(request).await.unwrap());
        digests.push(action);
    }
    digests
}

/// Lets a worker with one slot run them, which has to be in this order.
async fn run_in_order(server: &TestServer, order: impl Iterator<Item = Digest>) {
    let mut worker = TestWorker::connect(server, "w", 1, &[]).await;
    for expect in order {
        let assignment = worker.until_desired(1).await.remove(0);
        assert_eq!(Digest::try_from(&assignment.action_digest).unwrap(), expect);
        worker.hold(vec![completed(&assignment, exit(0))]).await;
        while worker.desired.iter().any(|desired| desired.run_id == assignment.run_id) {
            worker.next_desired().await;
        }
    }
}

#[tokio::test]
async fn lower_priorities_run_sooner() {
    let server = TestServer::start().await;
    let actions = execute_by_priority(&server, &[("late", 10), ("middle", 0), ("soon", -10)]).await;
    run_in_order(&server, actions.into_iter().rev()).await;
    server.stop().await;
}

#[tokio::test]
async fn what_has_waited_for_long_runs_first_whatever_its_priority() {
    let aging = Duration::from_millis(200);
    let server = TestServer::start_with(|config| config.scheduler.aging = aging).await;
    let mut actions = execute_by_priority(&server, &[("late", 10), ("later", 1_000_000)]).await;
    tokio::time::sleep(2 * aging).await;
    actions.extend(execute_by_priority(&server, &[("middle", 0), ("soon", -10)]).await);
    actions.swap(2, 3);
    run_in_order(&server, actions.into_iter()).await;
    server.stop().await;
}

#[tokio::test]
async fn old_clients_have_the_platform_in_the_command() {
    let server = TestServer::start().await;
    let mut plain = TestWorker::connect(&server, "plain", 1, &[("os", "linux")]).await;
    let mut arm = TestWorker::connect(&server, "arm", 1, &[("os", "linux"), ("cpu", "x86"), ("cpu", "arm")]).await;
    #[expect(deprecated, reason = "that is what old clients do")]
    let command = Command {
        arguments: vec!["old".into()],
        output_files: vec!["o".into()],
        platform: Some(platform(&[("cpu", "arm")])),
        ..Default::default()
    };
    let command = server.upload(&[&command.encode_to_vec()]).await[0];
    let action = server.upload_action("old", |action| action.command_digest = Some(command.into())).await;
    let mut stream = server.execute(action).await;
    let assignment = arm.until_desired(1).await.remove(0);
    arm.complete(&assignment, exit(0)).await;
    finish(&mut stream).await;
    let both = server.upload_action("both", |action| {
        action.command_digest = Some(command.into());
        action.platform = Some(platform(&[("os", "linux")]));
    });
    let mut stream = server.execute(both.await).await;
    // The action's platform beats the command's, so either worker will do; both are idle, and the names decide.
    let assignment = arm.until_desired(1).await.remove(0);
    arm.complete(&assignment, exit(0)).await;
    finish(&mut stream).await;
    assert!(plain.desired.is_empty());
    plain.hold(Vec::new()).await;
    server.stop().await;
}

#[tokio::test]
async fn an_impossible_platform_is_explained() {
    let server = TestServer::start_with(|config| config.scheduler.platform_wait = Duration::from_millis(200)).await;
    let _worker = TestWorker::connect(&server, "w", 1, &[("os", "linux")]).await;
    let action = server.upload_action("a", |action| action.platform = Some(platform(&[("os", "plan9")]))).await;
    let status = finish(&mut server.execute(action).await).await.status.unwrap();
    assert_eq!(status.code, i32::from(Code::FailedPrecondition));
    assert!(status.message.contains("worker w, has os=linux where \"plan9\" is asked for"), "{}", status.message);
    server.stop().await;
}

#[tokio::test]
async fn without_workers_nobody_waits_for_ever() {
    let server = TestServer::start_with(|config| config.scheduler.no_worker_wait = Duration::from_millis(200)).await;
    let action = server.upload_action("a", |_| {}).await;
    let status = finish(&mut server.execute(action).await).await.status.unwrap();
    assert_eq!(status.code, i32::from(Code::Unavailable));
    server.stop().await;
}

#[tokio::test]
async fn too_many_actions_are_refused_with_a_hint() {
    let server = TestServer::start_with(|config| config.scheduler.queued_tasks = 2).await;
    let mut streams = Vec::new();
    for name in ["a", "b"] {
        let action = server.upload_action(name, |_| {}).await;
        streams.push(server.execute(action).await);
    }
    let action = server.upload_action("c", |_| {}).await;
    let status = server.try_execute(execute_request(action)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = rpc::Status::decode(status.details()).unwrap().details;
    let hint: rpc::RetryInfo = details[0].to_msg().unwrap();
    assert!(hint.retry_delay.unwrap().seconds > 0);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_lost_its_stream_waits_again() {
    let server = TestServer::start().await;
    let mut worker = TestWorker::connect(&server, "w", 1, &[]).await;
    let action = server.upload_action("a", |_| {}).await;
    let mut stream = server.execute(action).await;
    let name = stream.message().await.unwrap().unwrap().name;
    assert!(name.ends_with(&format!("/{action}")), "the name carries the action: {name}");
    drop(stream);
    let request = WaitExecutionRequest { name: name.clone() };
    let mut stream = server.execution().wait_execution(request.clone()).await.unwrap().into_inner();
    assert!(!stream.message().await.unwrap().unwrap().done, "the present state comes at once");
    let assignment = worker.until_desired(1).await.remove(0);
    worker.complete(&assignment, exit(0)).await;
    finish(&mut stream).await;
    let mut late = server.execution().wait_execution(request).await.unwrap().into_inner();
    finish(&mut late).await;
    // An operation that was forgotten, of an action whose result is cached, and one of an unknown action.
    let forgotten = WaitExecutionRequest { name: name.replace(&name[11..20], "000000000") };
    let mut cached = server.execution().wait_execution(forgotten).await.unwrap().into_inner();
    assert!(finish(&mut cached).await.cached_result);
    let unknown = WaitExecutionRequest { name: name.replace(&action.to_string(), &Digest::of(b"other").to_string()) };
    assert_eq!(server.execution().wait_execution(unknown).await.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}

#[tokio::test]
async fn what_a_killed_server_did_not_finish_is_begun_again_for_those_who_wait() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start_from(config(dir.path())).await;
    let action = server.upload_action("a", |_| {}).await;
    let mut worker = TestWorker::connect(&server, "gone", 1, &[]).await;
    let mut stream = server.execute(action).await;
    let name = stream.message().await.unwrap().unwrap().name;
    worker.until_desired(1).await;
    server.kill().await;
    let server = TestServer::start_from(config(dir.path())).await;
    let mut worker = TestWorker::connect(&server, "another", 1, &[]).await;
    let request = WaitExecutionRequest { name: name.clone() };
    let mut stream = server.execution().wait_execution(request).await.unwrap().into_inner();
    let mut other = server.execution().wait_execution(WaitExecutionRequest { name }).await.unwrap().into_inner();
    let assignment = worker.until_desired(1).await.remove(0);
    worker.complete(&assignment, exit(0)).await;
    for stream in [&mut stream, &mut other] {
        let response = finish(stream).await;
        assert_eq!(response.result.as_ref().map(|result| result.exit_code), Some(0), "{response:?}");
    }
    assert_eq!(worker.desired.len(), 0, "it ran once");
    server.stop().await;
}

#[tokio::test]
async fn when_all_clients_are_gone_the_run_is_cancelled() {
    let server = TestServer::start_with(|config| config.scheduler.client_grace = Duration::from_millis(100)).await;
    let mut worker = TestWorker::connect(&server, "w", 1, &[]).await;
    let action = server.upload_action("a", |_| {}).await;
    let (one, other) = (server.execute(action).await, server.execute(action).await);
    let assignment = worker.until_desired(1).await.remove(0);
    worker.hold(vec![executing(&assignment)]).await;
    drop(one);
    let started = std::time::Instant::now();
    drop(other);
    worker.until_desired(0).await;
    assert!(started.elapsed() >= Duration::from_millis(100), "there is a grace period");
    server.stop().await;
}
