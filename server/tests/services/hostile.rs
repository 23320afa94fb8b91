//! What no client should send: it gets a clear answer, and the server goes on.

use crate::http::request;
use crate::support::*;
use bytes::{Buf as _, BufMut as _, Bytes};
use prost::Message as _;
use pumphouse_proto::cas_client::REQUEST_METADATA_HEADER;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::limits::ENTRIES_PER_MESSAGE;
use pumphouse_proto::reapi::{ActionResult, ExecuteResponse, OutputSymlink, UpdateActionResultRequest};
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};

/// Sends and receives bytes as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// A reproducible stream of numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Bytes that look like a message more often than chance would have it.
    fn message(&mut self, depth: u32) -> Vec<u8> {
        let mut message = Vec::new();
        for _ in 0..self.next() % 6 {
            let field = self.next() % 12 + 1;
            let content = match self.next() % 5 {
                0 => {
                    message.extend([(field << 3) as u8, (self.next() % 128) as u8]);
                    continue;
                }
                1 => vec![0xff; (self.next() % 12) as usize],
                2 => Digest::of(b"x").hash_hex().into_bytes(),
                3 if depth < 3 => self.message(depth + 1),
                _ => b"uploads/u/blobs/e3b0/0".to_vec(),
            };
            message.extend([(field << 3 | 2) as u8, content.len() as u8]);
            message.extend(content);
        }
        if self.next().is_multiple_of(10) {
            message.truncate(message.len() / 2);
        }
        message
    }
}

const METHODS: &[&str] = &[
    "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities",
    "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs",
    "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs",
    "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchReadBlobs",
    "/build.bazel.remote.execution.v2.ContentAddressableStorage/GetTree",
    "/build.bazel.remote.execution.v2.ActionCache/GetActionResult",
    "/build.bazel.remote.execution.v2.ActionCache/UpdateActionResult",
    "/build.bazel.remote.execution.v2.Execution/Execute",
    "/build.bazel.remote.execution.v2.Execution/WaitExecution",
    "/google.bytestream.ByteStream/Read",
    "/google.bytestream.ByteStream/Write",
    "/google.bytestream.ByteStream/QueryWriteStatus",
    "/google.longrunning.Operations/ListOperations",
    "/google.longrunning.Operations/GetOperation",
    "/google.longrunning.Operations/CancelOperation",
    "/google.longrunning.Operations/DeleteOperation",
    "/google.longrunning.Operations/WaitOperation",
    "/pumphouse.worker.v1.Workers/Session",
    "/no.such.Service/Method",
];

#[tokio::test]
async fn random_messages_get_an_answer() {
    let server = TestServer::start().await;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..3000 {
        let method = METHODS[round % METHODS.len()];
        let message = Bytes::from(random.message(0));
        let mut client = Grpc::new(server.channel.clone());
        client.ready().await.unwrap();
        let mut request = Request::new(tokio_stream::once(message.clone()));
        let rubbish = MetadataValue::from_bytes(&random.next().to_le_bytes());
        request.metadata_mut().insert_bin(REQUEST_METADATA_HEADER, rubbish);
        let answered = client.streaming(request, PathAndQuery::from_static(method), Raw).await;
        let mut last = Ok(());
        match answered {
            Ok(answer) => {
                let mut answers = answer.into_inner();
                loop {
                    match answers.message().await {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(status) => {
                            last = Err(status);
                            break;
                        }
                    }
                }
            }
            Err(status) => last = Err(status),
        }
        if let Err(status) = last {
            let fine = [
                Code::InvalidArgument,
                Code::NotFound,
                Code::OutOfRange,
                Code::FailedPrecondition,
                Code::Unimplemented,
            ];
            // A message that can't be decoded is INTERNAL in tonic's own words.
            let is_undecodable = status.code() == Code::Internal && status.message().contains("decode");
            assert!(fine.contains(&status.code()) || is_undecodable, "{method} {message:?}: {status:?}");
        }
    }
    assert_eq!(server.missing(&[Digest::EMPTY]).await, [], "the server is well");
    server.stop().await;
}

#[tokio::test]
async fn calls_are_cancelled_by_the_thousand() {
    let server = TestServer::start().await;
    let action = server.upload_action("a", |_| {}).await;
    for _ in 0..20 {
        let mut streams = Vec::new();
        for _ in 0..100 {
            streams.push(server.execute(action).await);
        }
        drop(streams);
    }
    assert_eq!(server.missing(&[action]).await, [], "the connection is still there");
    server.stop().await;
}

#[tokio::test]
async fn connections_that_say_nothing_end_and_others_go_on() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = TestServer::start().await;
    let begun = std::time::Instant::now();
    let mut silent = Vec::new();
    for first in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM", b"GET /healthz HT"] {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        stream.write_all(first).await.unwrap();
        silent.push(tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await }));
    }
    server.upload(&[b"meanwhile"]).await;
    for stream in silent {
        let _ = tokio::time::timeout(Duration::from_secs(60), stream).await.expect("ended").unwrap();
    }
    assert!(begun.elapsed() >= Duration::from_secs(5), "there is time to speak");
    assert!(server.missing(&server.upload(&[b"after"]).await).await.is_empty());
    server.stop().await;
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = &(payload.len() as u32).to_be_bytes()[1..];
    [length, &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A call whose message is announced and never comes whole.
fn unfinished_call(stream: u32, server: &TestServer, length: u32) -> Vec<u8> {
    let authority = server.address.to_string();
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", &authority),
        (":path", "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    // Literals that are not indexed.
    let text = |text: &str| [&[text.len() as u8][..], text.as_bytes()].concat();
    let block: Vec<u8> = headers.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect();
    let begun = [&[0][..], &length.to_be_bytes(), b"\x0a\x00"].concat();
    [frame(1, 4, stream, &block), frame(0, 0, stream, &begun)].concat()
}

#[tokio::test]
async fn large_messages_that_never_come_hold_up_their_own_peer_alone() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    const LENGTH: u32 = 60 * 1024 * 1024;
    let server = TestServer::start().await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.9:0".parse().unwrap()).unwrap();
    let mut peer = socket.connect(server.address).await.unwrap();
    let calls = (0..40).flat_map(|number| unfinished_call(2 * number + 1, &server, LENGTH));
    let bytes: Vec<u8> =
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".iter().copied().chain(frame(4, 0, 0, &[])).chain(calls).collect();
    peer.write_all(&bytes).await.unwrap();
    let (mut answers, _requests) = peer.into_split();
    let answered = tokio::spawn(async move {
        let (mut seen, mut piece) = (Vec::<u8>::new(), [0; 4096]);
        // A refusal is told in a header.
        while !seen.windows(11).any(|window| window == b"grpc-status") {
            match answers.read(&mut piece).await.unwrap() {
                0 => return false,
                length => seen.extend(&piece[..length]),
            }
        }
        true
    });
    for number in 0..20_u8 {
        let blob = vec![number; 3_000_000];
        let stored = tokio::time::timeout(Duration::from_secs(20), server.upload(&[&blob])).await;
        assert!(server.missing(&stored.expect("at once")).await.is_empty());
    }
    assert!(!answered.is_finished(), "those that wait have time");
    answered.abort();
    server.stop().await;
}

#[tokio::test]
async fn what_lists_more_than_anything_sensible_does_is_refused_by_name() {
    let server = TestServer::start().await;
    let listing = ActionResult {
        output_symlinks: vec![OutputSymlink::default(); ENTRIES_PER_MESSAGE + 1],
        ..ActionResult::default()
    };
    let is_refusal = |code: Code, message: &str| {
        assert_eq!(code, Code::InvalidArgument, "{message}");
        assert!(message.contains("action_result") && message.contains("entries"), "{message}");
    };
    let action = server.upload_action("a", |_| {}).await;
    let update = UpdateActionResultRequest {
        action_digest: Some(action.into()),
        action_result: Some(listing.clone()),
        ..Default::default()
    };
    let refused = server.action_cache().update_action_result(update).await.unwrap_err();
    is_refusal(refused.code(), refused.message());

    let answer = request(&server, "PUT", &format!("/ac/{}", action.hash_hex()), &[], &listing.encode_to_vec()).await;
    assert!(answer.status == 400 && answer.text().contains("entries"), "{}", answer.text());

    let mut worker = TestWorker::connect(&server, "w", 1, &[]).await;
    let mut stream = server.execute(action).await;
    let assignment = worker.until_desired(1).await.remove(0);
    worker.complete(&assignment, ExecuteResponse { result: Some(listing), ..ExecuteResponse::default() }).await;
    let status = finish(&mut stream).await.status.unwrap();
    is_refusal(Code::from(status.code), &status.message);

    let directory = [0x1a, 0].repeat(ENTRIES_PER_MESSAGE + 1);
    let root = server.upload(&[&directory]).await[0];
    let action = server.upload_action("b", |action| action.input_root_digest = Some(root.into())).await;
    let refused = server.try_execute(execute_request(action)).await.unwrap_err();
    assert!(refused.code() == Code::InvalidArgument && refused.message().contains("entries"), "{refused}");
    server.stop().await;
}
