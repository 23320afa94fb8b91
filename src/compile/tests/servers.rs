//! Servers that answer, but not as they should.

use bytes::Bytes;
use futures::stream;
use prost::Message as _;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::longrunning::{Operation, operation};
use pumphouse_proto::reapi::action_cache_server::{ActionCache, ActionCacheServer};
use pumphouse_proto::reapi::capabilities_server::{Capabilities, CapabilitiesServer};
use pumphouse_proto::reapi::content_addressable_storage_server::{
    ContentAddressableStorage, ContentAddressableStorageServer,
};
use pumphouse_proto::reapi::execution_server::{Execution, ExecutionServer};
use pumphouse_proto::reapi::{
    ActionResult, BatchReadBlobsRequest, BatchReadBlobsResponse, BatchUpdateBlobsRequest, BatchUpdateBlobsResponse,
    CacheCapabilities, ExecuteRequest, ExecuteResponse, ExecutionCapabilities, FindMissingBlobsRequest,
    FindMissingBlobsResponse, GetActionResultRequest, GetCapabilitiesRequest, GetTreeRequest, GetTreeResponse,
    OutputFile, OutputSymlink, ServerCapabilities, SpliceBlobRequest, SpliceBlobResponse, SplitBlobRequest,
    SplitBlobResponse, UpdateActionResultRequest, WaitExecutionRequest, digest_function,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// Outputs are not what their digests say.
    WrongContent,
    /// Outputs have names that nobody asked for.
    WrongNames,
    /// There is no object.
    NoObject,
    /// An output is a link to elsewhere.
    Link,
    /// An output's size is absurd.
    AbsurdSize,
    /// A digest is malformed.
    WrongDigest,
    /// An output is in no CAS.
    NoBlob,
    /// The operation is done and carries rubbish.
    Rubbish,
    /// The stream ends without a word.
    Silence,
    /// Inputs are missing however often they are sent.
    Insatiable,
    /// It names blobs by another function.
    OtherDigests,
    /// The cache's result is a wrong one, and nothing is executed.
    WrongCachedResult,
    /// The compiler fails, whatever it compiles.
    EveryCompileFails,
}

impl Behaviour {
    pub(super) const ALL: [Self; 13] = [
        Self::WrongContent,
        Self::WrongNames,
        Self::NoObject,
        Self::Link,
        Self::AbsurdSize,
        Self::WrongDigest,
        Self::NoBlob,
        Self::Rubbish,
        Self::Silence,
        Self::Insatiable,
        Self::OtherDigests,
        Self::WrongCachedResult,
        Self::EveryCompileFails,
    ];

    /// The reason for which the compile is local.
    pub(super) const fn expected_reason(self) -> &'static str {
        match self {
            Self::WrongCachedResult => "no-server",
            Self::EveryCompileFails => "remote-failed",
            _ => "server-error",
        }
    }

    /// Whether the user is told of the server: a failed compile may be the source's fault.
    pub(super) const fn is_named(self) -> bool {
        !matches!(self, Self::EveryCompileFails)
    }

    fn result(self) -> ActionResult {
        let file = |path: &str, named: &[u8], contents: &[u8]| OutputFile {
            path: path.to_owned(),
            digest: Some(Digest::of(named).into()),
            contents: Bytes::copy_from_slice(contents),
            ..OutputFile::default()
        };
        let [object, depfile] = [file("a.o", b"object", b"object"), file("a.d", b"depfile", b"depfile")];
        let mut result = ActionResult { output_files: vec![object, depfile], ..ActionResult::default() };
        match self {
            Self::WrongContent | Self::WrongCachedResult => result.output_files[0] = file("a.o", b"one", b"two"),
            Self::WrongNames => result.output_files.push(file("../../escaped", b"x", b"x")),
            Self::NoObject => drop(result.output_files.remove(0)),
            Self::Link => result.output_symlinks.push(OutputSymlink {
                path: "a.o".to_owned(),
                target: "/etc/passwd".to_owned(),
                node_properties: None,
            }),
            Self::AbsurdSize => set_size(&mut result.output_files[0], i64::MAX),
            Self::WrongDigest => set_size(&mut result.output_files[0], -1),
            Self::NoBlob => result.output_files[0] = file("a.o", b"nowhere", b""),
            Self::EveryCompileFails => result = ActionResult { exit_code: 1, ..ActionResult::default() },
            _ => {}
        }
        result
    }
}

fn set_size(file: &mut OutputFile, size_bytes: i64) {
    if let Some(digest) = &mut file.digest {
        digest.size_bytes = size_bytes;
    }
    file.contents = Bytes::new();
}

/// Serves on a port of the kernel's choice for as long as `runtime` lives, and gives the address.
pub(super) fn serve(runtime: &tokio::runtime::Runtime, behaviour: Behaviour) -> String {
    let server = Hostile(behaviour);
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("bound");
    let serving = tonic::transport::Server::builder()
        .add_service(CapabilitiesServer::new(server))
        .add_service(ActionCacheServer::new(server))
        .add_service(ContentAddressableStorageServer::new(server))
        .add_service(ExecutionServer::new(server))
        .serve_with_incoming(TcpListenerStream::new(listener));
    runtime.spawn(serving);
    format!("grpc://{address}")
}

#[derive(Debug, Clone, Copy)]
struct Hostile(Behaviour);

#[tonic::async_trait]
impl Capabilities for Hostile {
    async fn get_capabilities(
        &self,
        _request: Request<GetCapabilitiesRequest>,
    ) -> Result<Response<ServerCapabilities>, Status> {
        let function = match self.0 {
            Behaviour::OtherDigests => digest_function::Value::Md5,
            _ => digest_function::Value::Sha256,
        };
        let cache_capabilities =
            CacheCapabilities { digest_functions: vec![function.into()], ..CacheCapabilities::default() };
        let execution_capabilities = ExecutionCapabilities {
            exec_enabled: self.0 != Behaviour::WrongCachedResult,
            ..ExecutionCapabilities::default()
        };
        Ok(Response::new(ServerCapabilities {
            cache_capabilities: Some(cache_capabilities),
            execution_capabilities: Some(execution_capabilities),
            ..ServerCapabilities::default()
        }))
    }
}

#[tonic::async_trait]
impl ActionCache for Hostile {
    async fn get_action_result(
        &self,
        _request: Request<GetActionResultRequest>,
    ) -> Result<Response<ActionResult>, Status> {
        match self.0 {
            Behaviour::WrongCachedResult => Ok(Response::new(self.0.result())),
            _ => Err(Status::not_found("no result")),
        }
    }

    async fn update_action_result(
        &self,
        _request: Request<UpdateActionResultRequest>,
    ) -> Result<Response<ActionResult>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}

type Operations = stream::Iter<std::vec::IntoIter<Result<Operation, Status>>>;

#[tonic::async_trait]
impl Execution for Hostile {
    type ExecuteStream = Operations;
    type WaitExecutionStream = Operations;

    async fn execute(&self, request: Request<ExecuteRequest>) -> Result<Response<Operations>, Status> {
        let action = Digest::try_from(&request.into_inner().action_digest)?;
        let mut response = ExecuteResponse { result: Some(self.0.result()), ..ExecuteResponse::default() };
        if self.0 == Behaviour::Insatiable {
            response.status =
                Some(pumphouse_proto::status::to_message(&pumphouse_proto::status::missing_blobs(&[action])));
        }
        let value = match self.0 {
            Behaviour::Rubbish => b"\xff\xff\xff".to_vec(),
            _ => response.encode_to_vec(),
        };
        let operation = Operation {
            name: "operation".to_owned(),
            done: true,
            result: Some(operation::Result::Response(prost_types::Any { type_url: String::new(), value })),
            ..Operation::default()
        };
        let operations = if self.0 == Behaviour::Silence { vec![] } else { vec![Ok(operation)] };
        Ok(Response::new(stream::iter(operations)))
    }

    async fn wait_execution(&self, _request: Request<WaitExecutionRequest>) -> Result<Response<Operations>, Status> {
        Err(Status::not_found("no such operation"))
    }
}

#[tonic::async_trait]
impl ContentAddressableStorage for Hostile {
    type GetTreeStream = stream::Empty<Result<GetTreeResponse, Status>>;

    /// Claims to have everything.
    async fn find_missing_blobs(
        &self,
        _request: Request<FindMissingBlobsRequest>,
    ) -> Result<Response<FindMissingBlobsResponse>, Status> {
        Ok(Response::new(FindMissingBlobsResponse::default()))
    }

    async fn batch_update_blobs(
        &self,
        _request: Request<BatchUpdateBlobsRequest>,
    ) -> Result<Response<BatchUpdateBlobsResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn batch_read_blobs(
        &self,
        _request: Request<BatchReadBlobsRequest>,
    ) -> Result<Response<BatchReadBlobsResponse>, Status> {
        Ok(Response::new(BatchReadBlobsResponse::default()))
    }

    async fn get_tree(&self, _request: Request<GetTreeRequest>) -> Result<Response<Self::GetTreeStream>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn split_blob(&self, _request: Request<SplitBlobRequest>) -> Result<Response<SplitBlobResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn splice_blob(&self, _request: Request<SpliceBlobRequest>) -> Result<Response<SpliceBlobResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}
