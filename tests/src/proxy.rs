//! A server between client and server that passes calls on, and does as it is told with some of them: what hung, frozen and
//! hostile servers do. It can be told otherwise at any time.

use anyhow::Result;
use futures::stream::{self, StreamExt as _};
use parking_lot::Mutex;
use pumphouse_proto::bytestream::byte_stream_server::{ByteStream, ByteStreamServer};
use pumphouse_proto::bytestream::{
    QueryWriteStatusRequest, QueryWriteStatusResponse, ReadRequest, ReadResponse, WriteRequest, WriteResponse,
};
use pumphouse_proto::longrunning::Operation;
use pumphouse_proto::reapi::execution_server::{Execution, ExecutionServer};
use pumphouse_proto::reapi::{ExecuteOperationMetadata, ExecuteRequest, WaitExecutionRequest, execution_stage};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::codegen::{BoxFuture, BoxStream, Service};
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

/// The services that are passed on.
const SERVICES: [&str; 5] = [
    "build.bazel.remote.execution.v2.Capabilities",
    "build.bazel.remote.execution.v2.ActionCache",
    "build.bazel.remote.execution.v2.ContentAddressableStorage",
    "build.bazel.remote.execution.v2.Execution",
    "google.bytestream.ByteStream",
];

/// How often an operation that gets nowhere says so.
const REPEAT: Duration = Duration::from_millis(100);

/// What becomes of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// All are passed on.
    None,
    /// Calls whose path ends so are taken in and never answered.
    Silent(&'static str),
    /// Calls whose path ends so are kept until something else is to become of calls, and passed on then.
    Held(&'static str),
    /// Calls whose path ends so are answered with a head, and no message ever.
    Mute(&'static str),
    /// Every execution stays in this stage, and says so again and again.
    Stays(execution_stage::Value),
    /// Every execution is refused, as by workers of another platform, after this time.
    Refused(Duration),
}

/// A running proxy; it ends with this value.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    state: Arc<Mutex<State>>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    faults: usize,
    changed: Arc<Notify>,
}

/// Ends when `held` is no longer what becomes of calls.
async fn released(state: &Mutex<State>, held: Fault) {
    loop {
        let news = Arc::clone(&state.lock().changed);
        let next = news.notified();
        if state.lock().fault != held {
            return;
        }
        next.await;
    }
}

impl Proxy {
    /// A proxy before the server at `HOST:PORT`.
    ///
    /// # Errors
    /// When it can't listen.
    pub fn before(server: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let state = Arc::new(Mutex::new(State { fault: Fault::None, faults: 0, changed: Arc::default() }));
        let entered = runtime.enter();
        let channel = Endpoint::new(format!("http://{server}"))?.connect_lazy();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?.to_string();
        let routes = Server::builder()
            .add_service(Forward::<0>(channel.clone(), Arc::clone(&state)))
            .add_service(Forward::<1>(channel.clone(), Arc::clone(&state)))
            .add_service(Forward::<2>(channel.clone(), Arc::clone(&state)))
            .add_service(Forward::<3>(channel.clone(), Arc::clone(&state)))
            .add_service(Forward::<4>(channel, Arc::clone(&state)));
        runtime.spawn(routes.serve_with_incoming(TcpListenerStream::new(listener)));
        drop(entered);
        Ok(Self { address, state, _runtime: runtime })
    }

    /// `grpc://HOST:PORT`.
    pub fn remote(&self) -> String {
        format!("grpc://{}", self.address)
    }

    /// Does this with calls from now on; those that it holds already stay as they are, unless they were [held](Fault::Held).
    pub fn set(&self, fault: Fault) {
        let mut state = self.state.lock();
        (state.fault, state.faults) = (fault, 0);
        state.changed.notify_waiters();
    }

    /// How many calls the present fault has struck.
    pub fn faults(&self) -> usize {
        self.state.lock().faults
    }
}

/// The service number `SERVICE`, passed on.
#[derive(Debug, Clone)]
struct Forward<const SERVICE: usize>(Channel, Arc<Mutex<State>>);

impl<const SERVICE: usize> NamedService for Forward<SERVICE> {
    const NAME: &'static str = SERVICES[SERVICE];
}

impl<const SERVICE: usize> Service<HttpRequest<Body>> for Forward<SERVICE> {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let path = request.uri().path();
        let is_execution = path.ends_with("/Execute") || path.ends_with("/WaitExecution");
        let mut state = self.1.lock();
        let fault = match state.fault {
            Fault::Silent(end) | Fault::Mute(end) | Fault::Held(end) if path.ends_with(end) => state.fault,
            Fault::Stays(_) | Fault::Refused(_) if is_execution => state.fault,
            _ => Fault::None,
        };
        state.faults += usize::from(fault != Fault::None);
        let (mut channel, shared) = (self.0.clone(), Arc::clone(&self.1));
        Box::pin(async move {
            if matches!(fault, Fault::Held(_)) {
                released(&shared, fault).await;
            }
            match fault {
                Fault::None | Fault::Held(_) => match std::future::poll_fn(|context| channel.poll_ready(context)).await
                {
                    Ok(()) => match channel.call(request).await {
                        Ok(response) => Ok(response.map(Body::new)),
                        Err(error) => Ok(Status::unavailable(error.to_string()).into_http()),
                    },
                    Err(error) => Ok(Status::unavailable(error.to_string()).into_http()),
                },
                Fault::Silent(_) => std::future::pending().await,
                Fault::Mute(_) if !is_execution => ByteStreamServer::new(Stuck(fault)).call(request).await,
                _ => ExecutionServer::new(Stuck(fault)).call(request).await,
            }
        })
    }
}

/// What answers in the server's place.
#[derive(Debug, Clone, Copy)]
struct Stuck(Fault);

impl Stuck {
    async fn operations(self) -> Result<Response<BoxStream<Operation>>, Status> {
        let stage = match self.0 {
            Fault::Stays(stage) => stage,
            Fault::Refused(after) => {
                tokio::time::sleep(after).await;
                return Err(Status::failed_precondition("no worker has the platform of this action"));
            }
            _ => return Ok(Response::new(stream::pending().boxed())),
        };
        let metadata = ExecuteOperationMetadata { stage: stage.into(), ..Default::default() };
        let operation = Operation {
            name: "operation".to_owned(),
            metadata: Some(prost_types::Any {
                type_url: String::new(),
                value: prost::Message::encode_to_vec(&metadata),
            }),
            ..Operation::default()
        };
        let again = stream::unfold(operation, |operation| async move {
            tokio::time::sleep(REPEAT).await;
            Some((Ok(operation.clone()), operation))
        });
        Ok(Response::new(again.boxed()))
    }
}

#[tonic::async_trait]
impl Execution for Stuck {
    type ExecuteStream = BoxStream<Operation>;
    type WaitExecutionStream = BoxStream<Operation>;

    async fn execute(&self, _request: Request<ExecuteRequest>) -> Result<Response<Self::ExecuteStream>, Status> {
        self.operations().await
    }

    async fn wait_execution(
        &self,
        _request: Request<WaitExecutionRequest>,
    ) -> Result<Response<Self::WaitExecutionStream>, Status> {
        self.operations().await
    }
}

#[tonic::async_trait]
impl ByteStream for Stuck {
    type ReadStream = BoxStream<ReadResponse>;

    async fn read(&self, _request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        Ok(Response::new(stream::pending().boxed()))
    }

    /// Takes in nothing of it.
    async fn write(&self, _request: Request<Streaming<WriteRequest>>) -> Result<Response<WriteResponse>, Status> {
        std::future::pending().await
    }

    async fn query_write_status(
        &self,
        _request: Request<QueryWriteStatusRequest>,
    ) -> Result<Response<QueryWriteStatusResponse>, Status> {
        std::future::pending().await
    }
}
