//! A connection to a server whose capabilities are known.

use super::RemoteError;
use prost::Message as _;
use pumphouse_proto::address::Address;
use pumphouse_proto::cas_client::{CasClient, REQUEST_METADATA_HEADER};
use pumphouse_proto::connection::{Connection, Credentials, Dialer, innermost};
use pumphouse_proto::digest::Digest;
use pumphouse_proto::limits;
use pumphouse_proto::longrunning::operations_client::OperationsClient;
use pumphouse_proto::reapi::action_cache_client::ActionCacheClient;
use pumphouse_proto::reapi::capabilities_client::CapabilitiesClient;
use pumphouse_proto::reapi::execution_client::ExecutionClient;
use pumphouse_proto::reapi::{
    ActionResult, GetActionResultRequest, GetCapabilitiesRequest, RequestMetadata, ServerCapabilities, ToolDetails,
    digest_function,
};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::metadata::BinaryMetadataValue;
use tonic::{Code, Request};

/// How long the connection may take to open.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How often a connection with calls under way is checked.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// How long the answer to such a check may take.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a server that compiles wait for, and that says nothing, is asked whether it is there.
const PULSE_INTERVAL: Duration = Duration::from_secs(1);

/// How long it may take to say so: then compiles no longer wait for it.
const PULSE_LIMIT: Duration = Duration::from_secs(3);

/// How much a server may send before it is told that it arrived, for a call and for a connection, in bytes.
const CALL_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Connections for the calls that wait for workers: servers allow some 100 calls on a connection, and waiting ones must
/// not keep others out.
const EXECUTION_CONNECTIONS: usize = 4;

/// A server that can be used.
#[derive(Debug)]
pub(crate) struct Session {
    instance_name: String,
    cas: CasClient,
    calls: Connection,
    executions: Vec<Connection>,
    next_execution: AtomicUsize,
    executes: bool,
    /// A connection of its own, on which no blobs stand in the way.
    pulse: Connection,
    /// How many times the server said something.
    heard: Arc<AtomicU64>,
    users: AtomicUsize,
    silent: CancellationToken,
}

/// A compile's use of a session, which is watched for as long as there is one.
#[derive(Debug)]
pub(crate) struct InUse(Arc<Session>);

impl InUse {
    /// One more use.
    #[must_use]
    pub(crate) fn again(&self) -> Self {
        self.0.begin_use()
    }
}

impl Deref for InUse {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who asks: travels with every call of a compile.
#[derive(Debug, Clone)]
pub(crate) struct Caller(BinaryMetadataValue);

impl Caller {
    /// A compile of `target` by the action `action`, in the build that is called `build`.
    pub(crate) fn new(build: &str, action: Digest, target: &str) -> Self {
        let metadata = RequestMetadata {
            tool_details: Some(ToolDetails {
                tool_name: "pumphouse".to_owned(),
                tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            }),
            action_id: action.hash_hex(),
            tool_invocation_id: build.to_owned(),
            action_mnemonic: "CppCompile".to_owned(),
            target_id: target.to_owned(),
            ..RequestMetadata::default()
        };
        Self(BinaryMetadataValue::from_bytes(&metadata.encode_to_vec()))
    }

    /// A call that says who asks, and that ends after `timeout` if there is one.
    pub(super) fn request<T>(&self, message: T, timeout: Option<Duration>) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert_bin(REQUEST_METADATA_HEADER, self.0.clone());
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        request
    }
}

impl Session {
    /// Connects and asks for the capabilities.
    ///
    /// # Errors
    /// Nobody answers, or the server lacks what a client of this kind needs.
    pub(super) async fn open(address: &Address, credentials: &Credentials) -> Result<Self, RemoteError> {
        let tune = |endpoint: tonic::transport::Endpoint| {
            endpoint
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
                .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
                .initial_stream_window_size(CALL_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        };
        let dialer = Dialer::new(address, credentials, tune);
        let dialer = dialer.map_err(|error| RemoteError::Unusable(error.to_string()))?;
        let calls = dialer.connect().await.map_err(|error| RemoteError::Unreachable(innermost(&error)))?;
        let mut request = Request::new(GetCapabilitiesRequest { instance_name: address.instance_name.clone() });
        request.set_timeout(CONNECT_TIMEOUT);
        let capabilities = match CapabilitiesClient::new(calls.clone()).get_capabilities(request).await {
            Ok(capabilities) => capabilities.into_inner(),
            Err(status) if status.code() == Code::Unavailable => {
                return Err(RemoteError::Unreachable(status.message().to_owned()));
            }
            Err(status) => return Err(RemoteError::Unusable(format!("GetCapabilities: {}", super::describe(&status)))),
        };
        let cache = capabilities.cache_capabilities.as_ref();
        let sha256 = i32::from(digest_function::Value::Sha256);
        if !cache.is_some_and(|cache| cache.digest_functions.contains(&sha256)) {
            return Err(RemoteError::Unusable("it does not name blobs by SHA-256".to_owned()));
        }
        let batch_size_bytes = cache.map_or(0, |cache| cache.max_batch_total_size_bytes.max(0) as usize);
        Ok(Self {
            cas: CasClient::new(calls.clone(), &address.instance_name, batch_size_bytes)
                .with_writes_over(dialer.connect_lazy()),
            instance_name: address.instance_name.clone(),
            calls,
            executions: (0..EXECUTION_CONNECTIONS).map(|_| dialer.connect_lazy()).collect(),
            next_execution: AtomicUsize::new(0),
            executes: executes(&capabilities),
            pulse: dialer.connect_lazy(),
            heard: Arc::default(),
            users: AtomicUsize::new(0),
            silent: CancellationToken::new(),
        })
    }

    /// Whether the server runs actions, rather than being a cache alone.
    pub(crate) const fn executes(&self) -> bool {
        self.executes
    }

    /// Begins to use it.
    pub(crate) fn begin_use(self: &Arc<Self>) -> InUse {
        self.users.fetch_add(1, Ordering::Relaxed);
        InUse(Arc::clone(self))
    }

    /// Ends once the server no longer answers, while somebody waits for it.
    pub(crate) async fn silent(&self) {
        self.silent.cancelled().await;
    }

    /// Counts what moves, whatever it is.
    pub(crate) fn meter(&self) -> &AtomicU64 {
        &self.heard
    }

    /// Notes that the server said something.
    pub(super) fn heard(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    /// Watches the server for as long as it is there: ends when compiles wait for it and it does not answer.
    pub(super) async fn watch(&self) {
        loop {
            let before = self.heard.load(Ordering::Relaxed);
            tokio::time::sleep(PULSE_INTERVAL).await;
            let is_silent = || self.heard.load(Ordering::Relaxed) == before;
            if self.users.load(Ordering::Relaxed) == 0 || !is_silent() {
                continue;
            }
            let mut request = Request::new(GetCapabilitiesRequest { instance_name: self.instance_name.clone() });
            request.set_timeout(PULSE_LIMIT);
            let mut pulse = CapabilitiesClient::new(self.pulse.clone());
            let asked = tokio::time::timeout(PULSE_LIMIT, pulse.get_capabilities(request)).await;
            if !matches!(asked, Ok(Ok(_))) && is_silent() {
                self.silent.cancel();
                return;
            }
        }
    }

    /// The instance that is used.
    pub(super) fn instance_name(&self) -> &str {
        &self.instance_name
    }

    /// A client of the CAS that says who asks.
    pub(crate) fn cas(&self, caller: &Caller) -> CasClient {
        self.cas.clone().with_request_metadata(caller.0.clone()).with_meter(Arc::clone(&self.heard))
    }

    /// A client for one execution.
    pub(super) fn execution(&self) -> (ExecutionClient<Connection>, OperationsClient<Connection>) {
        let number = self.next_execution.fetch_add(1, Ordering::Relaxed) % self.executions.len();
        let channel = self.executions[number].clone();
        let client = ExecutionClient::new(channel).max_decoding_message_size(limits::DECODED_MESSAGE_SIZE_BYTES);
        (client, OperationsClient::new(self.calls.clone()))
    }

    /// Asks the action cache, which puts what is small into the answer itself.
    ///
    /// # Errors
    /// The call failed; that there is no result is none.
    pub(crate) async fn action_result(
        &self,
        caller: &Caller,
        action: Digest,
        inline_output_files: Vec<String>,
    ) -> Result<Option<ActionResult>, RemoteError> {
        let request = GetActionResultRequest {
            instance_name: self.instance_name.clone(),
            action_digest: Some(action.into()),
            inline_stdout: true,
            inline_stderr: true,
            inline_output_files,
            digest_function: 0,
        };
        let mut client =
            ActionCacheClient::new(self.calls.clone()).max_decoding_message_size(limits::DECODED_MESSAGE_SIZE_BYTES);
        let answer = client.get_action_result(caller.request(request, Some(limits::CALL_TIMEOUT))).await;
        self.heard();
        match answer {
            Ok(result) => Ok(Some(result.into_inner())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(RemoteError::call("GetActionResult")(status)),
        }
    }
}

fn executes(capabilities: &ServerCapabilities) -> bool {
    capabilities.execution_capabilities.as_ref().is_some_and(|execution| execution.exec_enabled)
}
