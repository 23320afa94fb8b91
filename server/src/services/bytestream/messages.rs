//! The messages of a `Write`, taken from the connection without being copied: their bytes are those of the frames in which
//! they came.
//!
//! **Source:** gRPC over HTTP/2, `Length-Prefixed-Message`; `google.bytestream.WriteRequest`.

use super::super::AnswerStream;
use bytes::{Buf, Bytes};
use futures::stream::{self, StreamExt as _};
use hyper::body::Body as _;
use prost::DecodeError;
use prost::encoding::{self, DecodeContext, WireType};
use pumphouse_proto::bytestream::WriteRequest;
use std::collections::VecDeque;
use std::pin::Pin;
use tonic::Status;
use tonic::body::Body;

/// What stands before a message: whether it is compressed, and its length.
const HEAD_SIZE_BYTES: usize = 5;

/// A message of a `Write`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WriteMessage {
    pub(super) resource_name: String,
    pub(super) write_offset: i64,
    pub(super) finish_write: bool,
    /// Its bytes, in order.
    pub(super) data: Vec<Bytes>,
}

impl WriteMessage {
    /// The number of its bytes.
    pub(super) fn size_bytes(&self) -> usize {
        self.data.iter().map(Bytes::len).sum()
    }

    fn decode(message: &mut Pieces) -> Result<Self, DecodeError> {
        let mut decoded = Self::default();
        let context = DecodeContext::default();
        while message.has_remaining() {
            let (field, wire_type) = encoding::decode_key(message)?;
            let context = context.clone();
            match field {
                1 => encoding::string::merge(wire_type, &mut decoded.resource_name, message, context)?,
                2 => encoding::int64::merge(wire_type, &mut decoded.write_offset, message, context)?,
                3 => encoding::bool::merge(wire_type, &mut decoded.finish_write, message, context)?,
                10 => {
                    encoding::check_wire_type(WireType::LengthDelimited, wire_type)?;
                    let length = encoding::decode_varint(message)?;
                    let length = usize::try_from(length).ok().filter(|length| *length <= message.remaining());
                    // The last one counts, as everywhere in protocol buffers.
                    decoded.data = message.split_front(length.ok_or_else(underflow)?).pieces.into();
                }
                _ => encoding::skip_field(wire_type, field, message, context)?,
            }
        }
        Ok(decoded)
    }
}

impl From<WriteRequest> for WriteMessage {
    fn from(request: WriteRequest) -> Self {
        let WriteRequest { resource_name, write_offset, finish_write, data } = request;
        Self { resource_name, write_offset, finish_write, data: vec![data] }
    }
}

/// The error of a message that ends too early, as prost has it.
fn underflow() -> DecodeError {
    encoding::decode_varint(&mut &[][..]).expect_err("there is no number in nothing")
}

/// Bytes that came in pieces.
#[derive(Debug, Default)]
struct Pieces {
    /// None is empty.
    pieces: VecDeque<Bytes>,
    size_bytes: usize,
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.size_bytes += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// The first `length` bytes, of which there are so many.
    fn split_front(&mut self, length: usize) -> Self {
        let mut taken = Self::default();
        while taken.size_bytes < length {
            let Some(first) = self.pieces.front_mut() else { break };
            let wanted = length - taken.size_bytes;
            let piece = if first.len() <= wanted { self.pieces.pop_front() } else { Some(first.split_to(wanted)) };
            taken.push(piece.unwrap_or_default());
        }
        self.size_bytes -= taken.size_bytes;
        taken
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.size_bytes
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.size_bytes, "nothing is behind the end");
        self.split_front(count);
    }
}

/// The messages in the body of a request.
pub(super) struct Messages {
    body: Body,
    waiting: Pieces,
    most_bytes: usize,
}

impl Messages {
    /// Those in `body`, of which none is longer than `most_bytes`.
    pub(super) fn new(body: Body, most_bytes: usize) -> Self {
        Self { body, waiting: Pieces::default(), most_bytes }
    }

    /// The messages, each when it is asked for.
    pub(super) fn into_stream(self) -> AnswerStream<WriteMessage> {
        stream::try_unfold(self, |mut messages| async {
            let next = messages.next().await?;
            Ok(next.map(|message| (message, messages)))
        })
        .boxed()
    }

    /// The next message; `None` behind the last one.
    ///
    /// # Errors
    /// `INTERNAL` where the body ends within a message or what it holds is none, `OUT_OF_RANGE` where one is too long,
    /// `UNIMPLEMENTED` where one is compressed, and what the connection says.
    async fn next(&mut self) -> Result<Option<WriteMessage>, Status> {
        if !self.have(HEAD_SIZE_BYTES).await? {
            return if self.waiting.has_remaining() { Err(cut_off()) } else { Ok(None) };
        }
        let (is_compressed, length) = (self.waiting.get_u8() != 0, self.waiting.get_u32() as usize);
        if is_compressed {
            return Err(Status::unimplemented("a message is compressed, which its headers don't say"));
        }
        if length > self.most_bytes {
            let most = self.most_bytes;
            return Err(Status::out_of_range(format!("a message of {length} bytes is longer than {most}")));
        }
        if !self.have(length).await? {
            return Err(cut_off());
        }
        let mut message = self.waiting.split_front(length);
        let decoded = WriteMessage::decode(&mut message);
        decoded.map(Some).map_err(|error| Status::internal(format!("a message can't be decoded: {error}")))
    }

    /// Waits for `size` bytes; `false` where the body ends before.
    async fn have(&mut self, size: usize) -> Result<bool, Status> {
        while self.waiting.remaining() < size {
            let frame = std::future::poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await;
            match frame {
                // Trailers mean nothing.
                Some(frame) => self.waiting.push(frame?.into_data().unwrap_or_default()),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

fn cut_off() -> Status {
    Status::internal("the stream ended within a message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    /// A body of these bytes, in frames of `size`.
    fn body(bytes: &[u8], size: usize) -> Messages {
        let frames: Vec<_> = bytes.chunks(size).map(|piece| Ok::<_, Status>(Bytes::copy_from_slice(piece))).collect();
        Messages::new(Body::new(axum::body::Body::from_stream(stream::iter(frames))), 10_000)
    }

    fn framed(messages: &[WriteRequest]) -> Vec<u8> {
        let frame = |message: &WriteRequest| {
            let encoded = message.encode_to_vec();
            [&[0][..], &(encoded.len() as u32).to_be_bytes(), &encoded].concat()
        };
        messages.iter().flat_map(frame).collect()
    }

    fn message(name: &str, offset: i64, length: usize) -> WriteRequest {
        let data: Vec<u8> = (0..length).map(|number| number as u8).collect();
        WriteRequest { resource_name: name.into(), write_offset: offset, finish_write: length == 0, data: data.into() }
    }

    #[tokio::test]
    async fn messages_come_out_however_they_were_cut() {
        let sent = [message("name", 0, 3000), message("", 3000, 1), WriteRequest::default(), message("x", -1, 0)];
        for size in [1, 2, 7, 1000, 100_000] {
            let mut messages = body(&framed(&sent), size);
            for expect in &sent {
                let got = messages.next().await.expect("is good").expect("there is one");
                assert_eq!(got.size_bytes(), expect.data.len());
                let data = Bytes::from(got.data.concat());
                let WriteMessage { resource_name, write_offset, finish_write, .. } = got;
                assert_eq!(WriteRequest { resource_name, write_offset, finish_write, data }, *expect);
            }
            assert_eq!(messages.next().await.expect("is good"), None);
        }
    }

    #[tokio::test]
    async fn what_is_no_message_is_refused_in_words() {
        let whole = framed(&[message("name", 0, 300)]);
        for cut in [1, 4, 5, 100, whole.len() - 1] {
            let error = body(&whole[..cut], 64).next().await.expect_err("is cut off");
            assert_eq!((error.code(), error.message()), (tonic::Code::Internal, "the stream ended within a message"));
        }
        let wrong: [(&[u8], tonic::Code); 5] = [
            (&[1, 0, 0, 0, 0], tonic::Code::Unimplemented),
            (&[0, 255, 0, 0, 0], tonic::Code::OutOfRange),
            // A field of bytes that is longer than its message, one of another type, and no field at all.
            (&[0, 0, 0, 0, 2, 0x52, 9], tonic::Code::Internal),
            (&[0, 0, 0, 0, 2, 0x50, 9], tonic::Code::Internal),
            (&[0, 0, 0, 0, 1, 0x80], tonic::Code::Internal),
        ];
        for (bytes, code) in wrong {
            assert_eq!(body(bytes, 3).next().await.expect_err("is wrong").code(), code, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn fields_come_in_any_order_and_unknown_ones_mean_nothing() {
        // 10: "ab", 99: 5, 2: 7, 10: "c", 1: "n"
        let fields = [0x52, 2, b'a', b'b', 0x98, 0x06, 5, 0x10, 7, 0x52, 1, b'c', 0x0a, 1, b'n'];
        let bytes = [&[0, 0, 0, 0, fields.len() as u8][..], &fields].concat();
        let expect = WriteRequest::decode(&fields[..]).expect("is one");
        let got = body(&bytes, 2).next().await.expect("is good").expect("there is one");
        assert_eq!(got, WriteMessage::from(expect));
    }
}
