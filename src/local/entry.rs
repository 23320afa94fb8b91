//! An entry's bytes: a mark, a checksum, and the compressed `ActionResult` after the digest of its action.
//!
//! The checksum is over the compressed bytes, which are fewer. The action's digest stands inside, so an entry under
//! another's name is noticed as well.

use bytes::Bytes;
use prost::Message as _;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::ActionResult;
use std::io;

/// The first bytes of every entry, the format's version among them.
const MARK: &[u8; 8] = b"PHCACHE1";

/// The size of the mark and the checksum.
const HEADER_SIZE_BYTES: usize = 8 + 32;

/// The size of an action's digest in front of the message.
const NAME_SIZE_BYTES: usize = 32 + 8;

/// The largest entry that is read or written, in bytes, also uncompressed: many outputs of the largest inline size.
pub(super) const ENTRY_SIZE_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// The entry of `action`.
///
/// # Errors
/// It is too large.
pub(super) fn encode(action: &Digest, result: &ActionResult) -> io::Result<Bytes> {
    let size_bytes = NAME_SIZE_BYTES + result.encoded_len();
    if size_bytes > ENTRY_SIZE_LIMIT_BYTES {
        return Err(io::Error::other("result is too large for the local cache"));
    }
    let mut plain = Vec::with_capacity(size_bytes);
    plain.extend_from_slice(action.hash());
    plain.extend_from_slice(&action.size_bytes().to_le_bytes());
    result.encode(&mut plain).map_err(io::Error::other)?;
    let compressed = lz4_flex::block::compress_prepend_size(&plain);
    let mut content = Vec::with_capacity(HEADER_SIZE_BYTES + compressed.len());
    content.extend_from_slice(MARK);
    content.extend_from_slice(Digest::of(&compressed).hash());
    content.extend_from_slice(&compressed);
    Ok(content.into())
}

/// Reads the entry of `action`, or says what is wrong with it.
pub(super) fn decode(action: &Digest, content: &[u8]) -> Result<ActionResult, String> {
    let (header, compressed) = content.split_at_checked(HEADER_SIZE_BYTES).ok_or("it is too short")?;
    let (mark, checksum) = header.split_at(MARK.len());
    if mark != MARK {
        return Err("it has another format".to_owned());
    }
    if Digest::of(compressed).hash() != checksum {
        return Err("its checksum is wrong".to_owned());
    }
    let (size_bytes, block) = lz4_flex::block::uncompressed_size(compressed).map_err(|error| error.to_string())?;
    if size_bytes > ENTRY_SIZE_LIMIT_BYTES {
        return Err("it is too large".to_owned());
    }
    let plain = Bytes::from(lz4_flex::block::decompress(block, size_bytes).map_err(|error| error.to_string())?);
    if plain.len() < NAME_SIZE_BYTES
        || plain[..32] != *action.hash()
        || plain[32..NAME_SIZE_BYTES] != action.size_bytes().to_le_bytes()
    {
        return Err("it is another action's".to_owned());
    }
    ActionResult::decode(plain.slice(NAME_SIZE_BYTES..)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod fuzz {
    use super::{decode, encode};
    use pumphouse_fuzz::{bounded, check, like};
    use pumphouse_proto::digest::Digest;
    use pumphouse_proto::reapi::ActionResult;

    #[test]
    fn only_what_was_written_is_an_entry() {
        let action = Digest::of(b"action");
        let result = ActionResult { exit_code: 1, stdout_raw: b"out"[..].into(), ..ActionResult::default() };
        let whole = encode(&action, &result).expect("small");
        check(&like(&[&whole]), |bytes| {
            let decoded = bounded(bytes.len(), || decode(&action, &bytes));
            assert_eq!(decoded.ok(), (bytes[..] == whole[..]).then(|| result.clone()));
        });
    }
}
