//! A server for a test, clients of it, and a worker that does what the test says.

use bytes::Bytes;
use prost::Message as _;
use pumphouse_proto::bytestream::byte_stream_client::ByteStreamClient;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::longrunning::{self, operations_client::OperationsClient};
use pumphouse_proto::reapi::action_cache_client::ActionCacheClient;
use pumphouse_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use pumphouse_proto::reapi::execution_client::ExecutionClient;
use pumphouse_proto::reapi::{
    self, Action, ActionResult, BatchUpdateBlobsRequest, Command, ExecuteOperationMetadata, ExecuteRequest,
    ExecuteResponse, FindMissingBlobsRequest, Platform, batch_update_blobs_request, execution_stage,
};
use pumphouse_proto::worker::workers_client::WorkersClient;
use pumphouse_proto::worker::{Assignment, CurrentState, DesiredState, Run, run};
use pumphouse_server::{Config, Server};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// A server that runs until it is stopped.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) channel: Channel,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<anyhow::Result<()>>,
    dir: Option<tempfile::TempDir>,
}

/// A configuration for tests: everything short and small.
pub(crate) fn config(dir: &Path) -> Config {
    Config {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        dir: dir.to_owned(),
        free_disk_bytes: 0,
        ..Config::default()
    }
}

impl TestServer {
    /// Starts a server in a directory of its own.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts a server in a directory of its own, with a changed configuration.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        change(&mut config);
        let mut server = Self::start_from(config).await;
        server.dir = Some(dir);
        server
    }

    /// Starts a server in a directory of its own, with a changed configuration, whose `channel` is of no use: connections to it
    /// are encrypted.
    pub(crate) async fn start_with_unconnected(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        change(&mut config);
        let mut server = Self::serve(config, false).await;
        server.dir = Some(dir);
        server
    }

    /// Starts a server as configured.
    pub(crate) async fn start_from(config: Config) -> Self {
        Self::serve(config, true).await
    }

    async fn serve(config: Config, connects: bool) -> Self {
        let server = Server::bind(config).await.unwrap();
        let address = server.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(async {
            let _ = stopped.await;
        }));
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = if connects { endpoint.connect().await.unwrap() } else { endpoint.connect_lazy() };
        Self { address, channel, stop: Some(stop), serving, dir: None }
    }

    /// Asks the server to end, without waiting.
    pub(crate) fn begin_stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Ends the server.
    pub(crate) async fn stop(mut self) {
        if self.stop.is_some() {
            self.begin_stop();
        }
        self.serving.await.unwrap().unwrap();
    }

    /// Ends the server without letting it do anything any more.
    pub(crate) async fn kill(self) {
        self.serving.abort();
        let _ = self.serving.await;
    }

    pub(crate) fn cas(&self) -> ContentAddressableStorageClient<Channel> {
        ContentAddressableStorageClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    pub(crate) fn bytestream(&self) -> ByteStreamClient<Channel> {
        ByteStreamClient::new(self.channel.clone())
    }

    pub(crate) fn action_cache(&self) -> ActionCacheClient<Channel> {
        ActionCacheClient::new(self.channel.clone())
    }

    pub(crate) fn execution(&self) -> ExecutionClient<Channel> {
        ExecutionClient::new(self.channel.clone())
    }

    pub(crate) fn operations(&self) -> OperationsClient<Channel> {
        OperationsClient::new(self.channel.clone())
    }

    /// Stores blobs.
    pub(crate) async fn upload(&self, blobs: &[&[u8]]) -> Vec<Digest> {
        let digests: Vec<Digest> = blobs.iter().map(|blob| Digest::of(blob)).collect();
        let requests = digests.iter().zip(blobs).map(|(digest, blob)| batch_update_blobs_request::Request {
            digest: Some(digest.into()),
            data: Bytes::copy_from_slice(blob),
            compressor: 0,
        });
        let request = BatchUpdateBlobsRequest { requests: requests.collect(), ..Default::default() };
        let response = self.cas().batch_update_blobs(request).await.unwrap().into_inner();
        assert!(response.responses.iter().all(|response| response.status.as_ref().unwrap().code == 0), "{response:?}");
        digests
    }

    /// Which of some blobs are missing.
    pub(crate) async fn missing(&self, digests: &[Digest]) -> Vec<Digest> {
        let blob_digests = digests.iter().map(Into::into).collect();
        let request = FindMissingBlobsRequest { blob_digests, ..Default::default() };
        let missing = self.cas().find_missing_blobs(request).await.unwrap().into_inner().missing_blob_digests;
        missing.iter().map(|digest| Digest::try_from(digest).unwrap()).collect()
    }

    /// Stores an action that is unlike those of other names.
    pub(crate) async fn upload_action(&self, name: &str, change: impl FnOnce(&mut Action)) -> Digest {
        let command = Command { arguments: vec!["run".into(), name.into()], ..Default::default() }.encode_to_vec();
        let mut action = Action {
            command_digest: Some(Digest::of(&command).into()),
            input_root_digest: Some(Digest::EMPTY.into()),
            ..Default::default()
        };
        change(&mut action);
        let action = action.encode_to_vec();
        self.upload(&[&command, &action]).await[1]
    }

    /// Begins to execute an action.
    pub(crate) async fn execute(&self, action: Digest) -> Streaming<longrunning::Operation> {
        self.try_execute(execute_request(action)).await.unwrap()
    }

    pub(crate) async fn try_execute(
        &self,
        request: ExecuteRequest,
    ) -> Result<Streaming<longrunning::Operation>, Status> {
        Ok(self.execution().execute(request).await?.into_inner())
    }
}

pub(crate) fn execute_request(action: Digest) -> ExecuteRequest {
    ExecuteRequest { action_digest: Some(action.into()), ..Default::default() }
}

/// An operation's stage.
pub(crate) fn stage(operation: &longrunning::Operation) -> execution_stage::Value {
    let metadata: ExecuteOperationMetadata = operation.metadata.as_ref().unwrap().to_msg().unwrap();
    metadata.stage()
}

/// A completed operation's response.
pub(crate) fn response(operation: &longrunning::Operation) -> ExecuteResponse {
    assert!(operation.done, "{operation:?}");
    assert_eq!(stage(operation), execution_stage::Value::Completed);
    match operation.result.as_ref().unwrap() {
        longrunning::operation::Result::Response(response) => response.to_msg().unwrap(),
        longrunning::operation::Result::Error(error) => panic!("an operation never has an error: {error:?}"),
    }
}

/// The end of an operation's stream.
pub(crate) async fn finish(stream: &mut Streaming<longrunning::Operation>) -> ExecuteResponse {
    loop {
        let operation = stream.message().await.unwrap().expect("the stream ends only after the end of the operation");
        if operation.done {
            assert!(stream.message().await.unwrap().is_none(), "nothing comes after the end");
            return response(&operation);
        }
    }
}

/// A worker that does what the test says.
pub(crate) struct TestWorker {
    state: CurrentState,
    outgoing: mpsc::Sender<CurrentState>,
    incoming: Streaming<DesiredState>,
    pub(crate) desired: Vec<Assignment>,
}

impl TestWorker {
    pub(crate) async fn connect(server: &TestServer, id: &str, slots: u32, platform: &[(&str, &str)]) -> Self {
        Self::connect_with(server, worker_state(id, slots, platform)).await
    }

    pub(crate) async fn connect_with(server: &TestServer, state: CurrentState) -> Self {
        // A connection of its own, so that it can break.
        let channel = Endpoint::from_shared(format!("http://{}", server.address)).unwrap().connect().await.unwrap();
        let (outgoing, states) = mpsc::channel(16);
        outgoing.send(state.clone()).await.unwrap();
        let states = tokio_stream::wrappers::ReceiverStream::new(states);
        let incoming = WorkersClient::new(channel).session(states).await.unwrap().into_inner();
        let mut worker = Self { state, outgoing, incoming, desired: Vec::new() };
        worker.next_desired().await;
        worker
    }

    /// Waits for the next thing that the scheduler wants.
    pub(crate) async fn next_desired(&mut self) -> &[Assignment] {
        let desired = tokio::time::timeout(Duration::from_secs(20), self.incoming.message()).await;
        self.desired = desired.expect("the scheduler speaks").unwrap().expect("the session goes on").assignments;
        &self.desired
    }

    /// Waits until the scheduler wants exactly so many runs.
    pub(crate) async fn until_desired(&mut self, count: usize) -> Vec<Assignment> {
        while self.desired.len() != count {
            self.next_desired().await;
        }
        self.desired.clone()
    }

    /// Waits for the end of the session.
    pub(crate) async fn until_ended(&mut self) -> Option<Status> {
        loop {
            match self.incoming.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(status) => return Some(status),
            }
        }
    }

    /// Tells the scheduler what the worker holds.
    pub(crate) async fn hold(&mut self, runs: Vec<Run>) {
        self.state.runs = runs;
        self.outgoing.send(self.state.clone()).await.unwrap();
    }

    /// Tells the scheduler what the worker holds, if it still listens.
    pub(crate) async fn try_hold(&mut self, runs: Vec<Run>) {
        self.state.runs = runs;
        let _ = self.outgoing.send(self.state.clone()).await;
    }

    /// Ends a run; forgets it when the scheduler doesn't want it any more.
    pub(crate) async fn complete(&mut self, assignment: &Assignment, response: ExecuteResponse) {
        self.hold(vec![completed(assignment, response)]).await;
        while self.desired.iter().any(|desired| desired.run_id == assignment.run_id) {
            self.next_desired().await;
        }
        self.hold(Vec::new()).await;
    }

    pub(crate) fn state(&self) -> CurrentState {
        self.state.clone()
    }
}

pub(crate) fn worker_state(id: &str, slots: u32, platform: &[(&str, &str)]) -> CurrentState {
    CurrentState {
        worker_id: id.into(),
        display_name: format!("worker {id}"),
        platform: Some(self::platform(platform)),
        slots,
        ..Default::default()
    }
}

pub(crate) fn platform(properties: &[(&str, &str)]) -> Platform {
    let property =
        |(name, value): &(&str, &str)| reapi::platform::Property { name: (*name).into(), value: (*value).into() };
    Platform { properties: properties.iter().map(property).collect() }
}

pub(crate) fn executing(assignment: &Assignment) -> Run {
    Run {
        run_id: assignment.run_id.clone(),
        instance_name: assignment.instance_name.clone(),
        action_digest: assignment.action_digest.clone(),
        do_not_cache: assignment.do_not_cache,
        digest_function: assignment.digest_function,
        state: Some(run::State::Executing(pumphouse_proto::worker::Executing {})),
    }
}

pub(crate) fn completed(assignment: &Assignment, response: ExecuteResponse) -> Run {
    Run { state: Some(run::State::Completed(response)), ..executing(assignment) }
}

/// A result with this exit code.
pub(crate) fn exit(exit_code: i32) -> ExecuteResponse {
    ExecuteResponse { result: Some(ActionResult { exit_code, ..Default::default() }), ..Default::default() }
}

/// No result, for this reason.
pub(crate) fn failure(status: &Status) -> ExecuteResponse {
    ExecuteResponse { status: Some(pumphouse_proto::status::to_message(status)), ..Default::default() }
}
