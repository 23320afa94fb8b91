//! A digest as messages hold it: whatever a client wrote, though what nearly all of them write takes no memory of its own.
//!
//! Generated code would keep each hash as a string. Most messages of this API are lists of digests, and making, reading and
//! freeing those strings was half of the price of a call that looks for a thousand blobs.
//!
//! **Source:** Remote Execution API v2, message `Digest`; the protocol buffers encoding.

use prost::bytes::{Buf, BufMut};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message, Name};
use std::fmt;

/// The digits of a hash that is one.
const HASH_DIGITS: usize = 64;
/// How their number is written before them.
const HASH_DIGITS_VARINT: u8 = 64;

const HASH_FIELD: u32 = 1;
const SIZE_BYTES_FIELD: u32 = 2;

/// `build.bazel.remote.execution.v2.Digest`.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct DigestMessage {
    /// The hash as text.
    pub hash: HashText,
    /// The size, which may be nonsense.
    pub size_bytes: i64,
}

/// The text of a hash. Equal texts are equal values.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HashText(Text);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Text {
    /// 64 lower-case hexadecimal digits, as the bytes that they mean.
    Digits([u8; 32]),
    /// Anything else.
    Other(Box<str>),
}

impl HashText {
    /// The bytes that the text means, where it is 64 lower-case hexadecimal digits.
    pub const fn bytes(&self) -> Option<&[u8; 32]> {
        match &self.0 {
            Text::Digits(bytes) => Some(bytes),
            Text::Other(_) => None,
        }
    }

    fn is_empty(&self) -> bool {
        matches!(&self.0, Text::Other(text) if text.is_empty())
    }
}

/// The bytes that 64 lower-case hexadecimal digits mean; `None` where it isn't those.
pub(super) fn hash_of(text: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let is_hash = text.len() == HASH_DIGITS
        // No early end: the compiler makes it a few vector instructions.
        && text.iter().fold(true, |is_lower, byte| is_lower & !byte.is_ascii_uppercase())
        && const_hex::decode_to_slice(text, &mut bytes).is_ok();
    is_hash.then_some(bytes)
}

impl Default for HashText {
    fn default() -> Self {
        Self(Text::Other(Box::default()))
    }
}

impl From<[u8; 32]> for HashText {
    fn from(hash: [u8; 32]) -> Self {
        Self(Text::Digits(hash))
    }
}

impl From<&str> for HashText {
    fn from(text: &str) -> Self {
        Self(hash_of(text.as_bytes()).map_or_else(|| Text::Other(text.into()), Text::Digits))
    }
}

impl From<String> for HashText {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl fmt::Display for HashText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Text::Digits(bytes) => formatter.write_str(const_hex::Buffer::<32>::new().format(bytes)),
            Text::Other(text) => formatter.write_str(text),
        }
    }
}

impl fmt::Debug for HashText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), formatter)
    }
}

impl fmt::Debug for DigestMessage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hash, size_bytes } = self;
        formatter.debug_struct("Digest").field("hash", hash).field("size_bytes", size_bytes).finish()
    }
}

impl Name for DigestMessage {
    const NAME: &'static str = "Digest";
    const PACKAGE: &'static str = "build.bazel.remote.execution.v2";
}

impl Message for DigestMessage {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        match &self.hash.0 {
            Text::Digits(bytes) => {
                encoding::encode_key(HASH_FIELD, WireType::LengthDelimited, buffer);
                buffer.put_u8(HASH_DIGITS_VARINT);
                buffer.put_slice(const_hex::Buffer::<32>::new().format(bytes).as_bytes());
            }
            Text::Other(text) if !text.is_empty() => encoding::string::encode(HASH_FIELD, &text.to_string(), buffer),
            Text::Other(_) => {}
        }
        if self.size_bytes != 0 {
            encoding::int64::encode(SIZE_BYTES_FIELD, &self.size_bytes, buffer);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            HASH_FIELD => {
                if wire_type == WireType::LengthDelimited
                    && let [HASH_DIGITS_VARINT, rest @ ..] = buffer.chunk()
                    && let Some(hash) = rest.get(..HASH_DIGITS).and_then(hash_of)
                {
                    self.hash = hash.into();
                    buffer.advance(1 + HASH_DIGITS);
                    return Ok(());
                }
                let mut text = String::new();
                encoding::string::merge(wire_type, &mut text, buffer, context)?;
                self.hash = text.into();
                Ok(())
            }
            SIZE_BYTES_FIELD => encoding::int64::merge(wire_type, &mut self.size_bytes, buffer, context),
            _ => encoding::skip_field(wire_type, tag, buffer, context),
        }
    }

    fn encoded_len(&self) -> usize {
        let hash = match &self.hash.0 {
            Text::Digits(_) => encoding::key_len(HASH_FIELD) + 1 + HASH_DIGITS,
            Text::Other(_) if self.hash.is_empty() => 0,
            Text::Other(text) => encoding::string::encoded_len(HASH_FIELD, &text.to_string()),
        };
        let size =
            if self.size_bytes == 0 { 0 } else { encoding::int64::encoded_len(SIZE_BYTES_FIELD, &self.size_bytes) };
        hash + size
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message as generated code has it.
    #[derive(Clone, PartialEq, Message)]
    struct Generated {
        #[prost(string, tag = "1")]
        hash: String,
        #[prost(int64, tag = "2")]
        size_bytes: i64,
    }

    #[test]
    fn it_is_read_and_written_as_generated_code_does() {
        let good = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for hash in
            [good, "", "x", &good.to_uppercase(), &good[1..], &format!("{good}0"), &"é".repeat(32), &"z".repeat(64)]
        {
            for size_bytes in [0, 1, 5_000_000_000, -1, i64::MIN, i64::MAX] {
                let generated = Generated { hash: hash.to_owned(), size_bytes };
                let ours = DigestMessage { hash: hash.into(), size_bytes };
                let bytes = generated.encode_to_vec();
                assert_eq!(ours.encode_to_vec(), bytes);
                assert_eq!(ours.encoded_len(), bytes.len());
                assert_eq!(DigestMessage::decode(bytes.as_slice()).expect("good"), ours);
                assert_eq!((ours.hash.to_string().as_str(), ours.hash.bytes().is_some()), (hash, hash == good));
                // As it comes in pieces, and beside what a later version may say.
                for split in 0..bytes.len() {
                    let pieces = bytes[..split].chain(&bytes[split..]);
                    assert_eq!(DigestMessage::decode(pieces).expect("good"), ours);
                }
                let more = [&b"\x1a\x01x"[..], &bytes, b"\x20\x07"].concat();
                assert_eq!(DigestMessage::decode(more.as_slice()).expect("good"), ours);
            }
        }
    }

    #[test]
    fn what_generated_code_refuses_is_refused() {
        for bytes in
            [&b"\x0a\x41x"[..], b"\x0a\x40x", b"\x0a\x02\xff\xfe", b"\x08\x40", b"\x12\x01x", b"\x0a", b"\x00\x00"]
        {
            assert!(Generated::decode(bytes).is_err(), "{bytes:?}");
            assert!(DigestMessage::decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
