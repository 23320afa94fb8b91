//! `Read` and `Write` without copies: each piece of a blob goes out as it was read, behind the few bytes that make it a message,
//! and comes in as the connection gives it.
//!
//! tonic's codec would copy every message into a buffer of its own, which is a fifth of what a large blob costs to read. All
//! else is tonic's: the requests of `Read`, and the other calls.
//!
//! **Source:** gRPC over HTTP/2, `Length-Prefixed-Message`; `google.bytestream.ReadResponse`.

use super::super::{AnswerStream, Backend};
use super::messages::Messages;
use super::read::read;
use super::write::write;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use hyper::body::Frame;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use pumphouse_proto::bytestream::byte_stream_server::ByteStreamServer;
use pumphouse_proto::bytestream::{ReadRequest, ReadResponse, WriteResponse};
use pumphouse_proto::limits::DECODED_MESSAGE_SIZE_BYTES;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::body::Body;
use tonic::codec::{Codec as _, Streaming};
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response, header};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;
use tonic::{Extensions, Status};
use tonic_prost::ProstCodec;

/// The calls that are answered here.
const READ: &str = "/google.bytestream.ByteStream/Read";
const WRITE: &str = "/google.bytestream.ByteStream/Write";

/// The field of `ReadResponse` that holds the bytes.
const DATA_FIELD: u32 = 10;

/// The service `ByteStream`.
#[derive(Clone)]
pub(crate) struct ByteStreams {
    backend: Backend,
    others: ByteStreamServer<Backend>,
}

impl ByteStreams {
    /// That of `backend`.
    pub(crate) fn new(backend: &Backend) -> Self {
        let others = ByteStreamServer::new(backend.clone()).max_decoding_message_size(DECODED_MESSAGE_SIZE_BYTES);
        Self { backend: backend.clone(), others }
    }
}

impl NamedService for ByteStreams {
    const NAME: &'static str = ByteStreamServer::<Backend>::NAME;
}

impl Service<Request<Body>> for ByteStreams {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_read = match request.uri().path() {
            READ => true,
            WRITE => false,
            _ => return self.others.call(request),
        };
        let backend = self.backend.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let answered = match check_encoding(&head.headers) {
                Err(status) => Err(status),
                Ok(()) if is_read => answer_read(&backend, &head.extensions, body).await,
                Ok(()) => answer_write(&backend, &head.extensions, body).await,
            };
            Ok(answered.map_or_else(Status::into_http, |frames| {
                let mut response = Response::new(Body::new(Frames { frames, is_over: false }));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                response
            }))
        })
    }
}

fn check_encoding(headers: &HeaderMap) -> Result<(), Status> {
    match headers.get("grpc-encoding").filter(|encoding| *encoding != "identity") {
        Some(encoding) => Err(Status::unimplemented(format!("grpc-encoding: {encoding:?} is not supported"))),
        None => Ok(()),
    }
}

async fn answer_read(backend: &Backend, extensions: &Extensions, body: Body) -> Result<AnswerStream<Bytes>, Status> {
    let decoder = ProstCodec::<ReadResponse, ReadRequest>::default().decoder();
    let mut requests = Streaming::new_request(decoder, body, None, Some(DECODED_MESSAGE_SIZE_BYTES));
    let request = requests.message().await?.ok_or_else(|| Status::internal("the request has no message"))?;
    Ok(in_frames(read(&backend.blobs, extensions, &request).await?))
}

async fn answer_write(backend: &Backend, extensions: &Extensions, body: Body) -> Result<AnswerStream<Bytes>, Status> {
    let messages = Messages::new(body, DECODED_MESSAGE_SIZE_BYTES);
    let committed_size = write(backend, extensions, messages.into_stream()).await?;
    let message = WriteResponse { committed_size }.encode_to_vec();
    let frame = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
    Ok(stream::iter([Ok(Bytes::from(frame))]).boxed())
}

/// Messages of pieces: the head of each goes by itself.
fn in_frames(pieces: AnswerStream<Bytes>) -> AnswerStream<Bytes> {
    pieces.map_ok(|piece| stream::iter([Ok(head_of(piece.len())), Ok(piece)])).try_flatten().boxed()
}

/// Frames, and the status at their end.
struct Frames {
    frames: AnswerStream<Bytes>,
    is_over: bool,
}

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        let status = match ready!(this.frames.as_mut().poll_next(context)) {
            Some(Ok(frame)) => return Poll::Ready(Some(Ok(Frame::data(frame)))),
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        this.is_over = true;
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

/// What stands before `length` bytes of a blob: the message's length, and that of its one field.
fn head_of(length: usize) -> Bytes {
    let field_size = key_len(DATA_FIELD) + encoded_len_varint(length as u64);
    let mut head = BytesMut::with_capacity(1 + size_of::<u32>() + field_size);
    head.put_u8(0);
    head.put_u32((field_size + length) as u32);
    encode_key(DATA_FIELD, WireType::LengthDelimited, &mut head);
    encode_varint(length as u64, &mut head);
    head.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::body::Body as _;

    async fn frames(pieces: Vec<Result<Bytes, Status>>) -> (Vec<u8>, HeaderMap) {
        let mut body = Frames { frames: in_frames(stream::iter(pieces).boxed()), is_over: false };
        let (mut data, mut trailers) = (Vec::new(), None);
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            assert!(trailers.is_none(), "nothing comes behind the status");
            match frame.expect("is good").into_data() {
                Ok(piece) => data.extend(piece),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        assert!(body.is_end_stream());
        (data, trailers.expect("a status"))
    }

    #[tokio::test]
    async fn messages_are_those_of_the_encoder() {
        for sizes in [&[][..], &[1], &[0, 127, 128], &[262_144, 3], &[3_000_000]] {
            let pieces: Vec<Bytes> = sizes.iter().map(|size| Bytes::from(vec![7; *size])).collect();
            let (data, trailers) = frames(pieces.iter().cloned().map(Ok).collect()).await;
            let mut rest = &data[..];
            for piece in pieces {
                let length = u32::from_be_bytes(rest[1..5].try_into().expect("four")) as usize;
                let message = ReadResponse::decode(&rest[5..5 + length]).expect("is a message");
                assert!(rest[0] == 0 && message.data == piece);
                rest = &rest[5 + length..];
            }
            assert!(rest.is_empty() && trailers["grpc-status"] == "0", "{trailers:?}");
        }
        let broken = vec![Ok(Bytes::from_static(b"x")), Err(Status::data_loss("rotten"))];
        let (_, trailers) = frames(broken).await;
        assert!(trailers["grpc-status"] == "15" && trailers["grpc-message"] == "rotten", "{trailers:?}");
    }
}
