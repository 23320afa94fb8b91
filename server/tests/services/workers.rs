//! Workers that come, go, and come back.

use crate::support::*;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{GetActionResultRequest, WaitExecutionRequest};
use pumphouse_proto::worker::{Assignment, CurrentState};
use std::time::Duration;
use tonic::{Code, Status};

#[tokio::test]
async fn a_lost_workers_run_is_given_to_another() {
    let server = TestServer::start_with(|config| config.scheduler.worker_grace = Duration::from_millis(100)).await;
    let mut lost = TestWorker::connect(&server, "a", 1, &[]).await;
    let mut other = TestWorker::connect(&server, "b", 1, &[]).await;
    let action = server.upload_action("a", |_| {}).await;
    let mut stream = server.execute(action).await;
    let first = lost.until_desired(1).await.remove(0);
    drop(lost);
    let second = other.until_desired(1).await.remove(0);
    assert_eq!(second.action_digest, first.action_digest);
    assert_ne!(second.run_id, first.run_id, "it is another run");
    other.complete(&second, exit(0)).await;
    finish(&mut stream).await;
    server.stop().await;
}

#[tokio::test]
async fn a_worker_that_comes_back_in_time_goes_on() {
    let server = TestServer::start().await;
    let mut worker = TestWorker::connect(&server, "w", 1, &[]).await;
    let action = server.upload_action("a", |_| {}).await;
    let mut stream = server.execute(action).await;
    let assignment = worker.until_desired(1).await.remove(0);
    worker.hold(vec![executing(&assignment)]).await;
    let state = worker.state();
    drop(worker);
    let mut worker = TestWorker::connect_with(&server, state).await;
    assert_eq!(worker.until_desired(1).await[0].run_id, assignment.run_id);
    worker.complete(&assignment, exit(0)).await;
    finish(&mut stream).await;
    server.stop().await;
}

#[tokio::test]
async fn a_second_session_ends_the_first() {
    let server = TestServer::start().await;
    let mut first = TestWorker::connect(&server, "w", 1, &[]).await;
    let mut second = TestWorker::connect(&server, "w", 1, &[]).await;
    first.try_hold(Vec::new()).await;
    assert_eq!(first.until_ended().await.unwrap().code(), Code::Aborted);
    first.try_hold(Vec::new()).await;
    let action = server.upload_action("a", |_| {}).await;
    let mut stream = server.execute(action).await;
    let assignment = second.until_desired(1).await.remove(0);
    second.complete(&assignment, exit(0)).await;
    finish(&mut stream).await;
    server.stop().await;
}

#[tokio::test]
async fn an_action_that_no_worker_survives_is_given_up() {
    let server = TestServer::start_with(|config| {
        config.scheduler.worker_grace = Duration::from_millis(20);
        config.scheduler.attempts = 3;
    });
    let server = server.await;
    let action = server.upload_action("a", |_| {}).await;
    let mut stream = server.execute(action).await;
    for number in 0..3 {
        let mut worker = TestWorker::connect(&server, &format!("w{number}"), 1, &[]).await;
        worker.until_desired(1).await;
    }
    let status = finish(&mut stream).await.status.unwrap();
    assert_eq!(status.code, i32::from(Code::Unavailable));
    assert!(status.message.contains("after 3 attempts"), "{}", status.message);
    server.stop().await;
}

#[tokio::test]
async fn a_broken_workers_failure_is_tried_elsewhere() {
    let server = TestServer::start().await;
    let mut broken = TestWorker::connect(&server, "a", 4, &[]).await;
    let mut good = TestWorker::connect(&server, "b", 4, &[]).await;
    let action = server.upload_action("a", |_| {}).await;
    let mut stream = server.execute(action).await;
    let assignment = broken.until_desired(1).await.remove(0);
    broken.complete(&assignment, failure(&Status::internal("the disk is full"))).await;
    let assignment = good.until_desired(1).await.remove(0);
    good.complete(&assignment, exit(0)).await;
    assert_eq!(finish(&mut stream).await.result.unwrap().exit_code, 0);
    server.stop().await;
}

#[tokio::test]
async fn a_draining_worker_gets_nothing_new() {
    let server = TestServer::start().await;
    let state = CurrentState { draining: true, ..worker_state("a", 4, &[]) };
    let draining = TestWorker::connect_with(&server, state).await;
    let mut other = TestWorker::connect(&server, "b", 1, &[]).await;
    let action = server.upload_action("a", |_| {}).await;
    let mut stream = server.execute(action).await;
    let assignment = other.until_desired(1).await.remove(0);
    other.complete(&assignment, exit(0)).await;
    finish(&mut stream).await;
    assert!(draining.desired.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_restarted_server_adopts_what_is_running() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start_from(config(dir.path())).await;
    let mut worker = TestWorker::connect(&server, "w", 2, &[]).await;
    let running = server.upload_action("running", |_| {}).await;
    let done = server.upload_action("done", |_| {}).await;
    let mut stream = server.execute(running).await;
    let name = stream.message().await.unwrap().unwrap().name;
    let first = worker.until_desired(1).await.remove(0);
    let _done = server.execute(done).await;
    let second = worker.until_desired(2).await.into_iter().find(|run| run.run_id != first.run_id).unwrap();
    let mut state = worker.state();
    state.runs = vec![executing(&first), completed(&second, exit(0))];
    server.kill().await;

    let server = TestServer::start_from(config(dir.path())).await;
    let mut worker = TestWorker::connect_with(&server, state).await;
    assert_eq!(worker.until_desired(1).await[0].run_id, first.run_id, "the run goes on, the result is taken");
    let request = GetActionResultRequest { action_digest: Some(done.into()), ..Default::default() };
    server.action_cache().get_action_result(request).await.unwrap();
    let mut waiting =
        server.execution().wait_execution(WaitExecutionRequest { name: name.clone() }).await.unwrap().into_inner();
    assert_eq!(waiting.message().await.unwrap().unwrap().name, name);
    let mut again = server.execute(running).await;
    worker.complete(&first, exit(0)).await;
    finish(&mut waiting).await;
    finish(&mut again).await;
    assert_eq!(worker.desired.len(), 0, "it ran once");
    server.stop().await;
}

#[tokio::test]
async fn runs_that_no_server_gave_are_not_adopted() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start_from(config(dir.path())).await;
    let mut worker = TestWorker::connect(&server, "w", 2, &[]).await;
    let given = server.upload_action("given", |_| {}).await;
    let wanted = server.upload_action("wanted", |_| {}).await;
    let _stream = server.execute(given).await;
    let run = worker.until_desired(1).await.remove(0);
    let forged = |run_id: &str| {
        let assignment = Assignment { run_id: run_id.into(), action_digest: Some(wanted.into()), ..run.clone() };
        completed(&assignment, exit(0))
    };
    let mut state = worker.state();
    // Made up, or a good run's name for another action.
    state.runs = vec![forged("made-up"), forged("made-up.00112233445566778899aabbccddeeff"), forged(&run.run_id)];
    server.kill().await;
    let server = TestServer::start_from(config(dir.path())).await;
    let mut worker = TestWorker::connect_with(&server, state).await;
    worker.until_desired(0).await;
    let request = GetActionResultRequest { action_digest: Some(wanted.into()), ..Default::default() };
    assert_eq!(server.action_cache().get_action_result(request).await.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}

#[tokio::test]
async fn a_restarted_server_cancels_what_nobody_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start_from(config(dir.path())).await;
    let mut worker = TestWorker::connect(&server, "w", 2, &[]).await;
    let action = server.upload_action("a", |_| {}).await;
    let _stream = server.execute(action).await;
    let run = worker.until_desired(1).await.remove(0);
    let mut state = worker.state();
    state.runs = vec![executing(&run)];
    server.kill().await;
    let mut config = config(dir.path());
    config.scheduler.adoption_grace = Duration::from_millis(100);
    let server = TestServer::start_from(config).await;
    let mut worker = TestWorker::connect_with(&server, state).await;
    assert_eq!(worker.desired.len(), 1);
    worker.until_desired(0).await;
    server.stop().await;
}

#[tokio::test]
async fn malformed_states_end_the_session() {
    let server = TestServer::start().await;
    let good = TestWorker::connect(&server, "w", 1, &[]).await.state();
    let run = executing(&pumphouse_proto::worker::Assignment { run_id: "t".into(), ..Default::default() });
    let cases = [
        ("worker_id", CurrentState { worker_id: String::new(), ..good.clone() }),
        ("slots", CurrentState { slots: u32::MAX, ..good.clone() }),
        ("runs.action_digest", CurrentState { runs: vec![run], ..good }),
    ];
    for (field, state) in cases {
        let states = tokio_stream::once(state);
        let mut client = pumphouse_proto::worker::workers_client::WorkersClient::new(server.channel.clone());
        let mut desired = client.session(states).await.unwrap().into_inner();
        let error = loop {
            match desired.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{field}: the session ended well"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert!(error.message().contains(field), "{field}: {error}");
    }
    assert_eq!(server.missing(&[Digest::EMPTY]).await, []);
    server.stop().await;
}

/// A worker that fails whatever it is given, at once.
async fn fail_everything(mut worker: TestWorker) {
    loop {
        worker.next_desired().await;
        let failed = failure(&Status::internal("there is no directory"));
        let runs = worker.desired.iter().map(|assignment| completed(assignment, failed.clone())).collect();
        worker.try_hold(runs).await;
    }
}

#[tokio::test]
async fn workers_that_fail_at_once_leave_the_queue_to_one_that_works() {
    let server = TestServer::start().await;
    let mut bad = Vec::new();
    for number in 0..4 {
        let worker = TestWorker::connect(&server, &format!("bad {number}"), 4, &[]).await;
        bad.push(tokio::spawn(fail_everything(worker)));
    }
    let mut good = TestWorker::connect(&server, "good", 1, &[]).await;
    let works = tokio::spawn(async move {
        loop {
            match good.desired.first().cloned() {
                Some(assignment) => good.complete(&assignment, exit(0)).await,
                None => drop(good.next_desired().await),
            }
        }
    });
    let mut streams = Vec::new();
    for number in 0..12 {
        let action = server.upload_action(&format!("action {number}"), |_| {}).await;
        streams.push(server.execute(action).await);
    }
    for stream in &mut streams {
        let response = tokio::time::timeout(Duration::from_secs(60), finish(stream)).await.expect("in time");
        assert_eq!(response.result.as_ref().map(|result| result.exit_code), Some(0), "{response:?}");
    }
    works.abort();
    bad.iter().for_each(tokio::task::JoinHandle::abort);
    server.stop().await;
}
