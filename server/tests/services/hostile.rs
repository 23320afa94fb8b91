//! What no client should send: it gets a clear answer, and the server goes on.

use crate::support::*;
use bytes::{Buf as _, BufMut as _, Bytes};
use pumphouse_proto::cas_client::REQUEST_METADATA_HEADER;
use pumphouse_proto::digest::Digest;
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
