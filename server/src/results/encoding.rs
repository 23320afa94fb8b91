//! A result as bytes: the SHA-256 of what follows, then the key as text, then the message.
//!
//! The size of an action that nobody said is written as 0.

use super::{ResultKey, Stored, UNKNOWN_SIZE_BYTES};
use crate::scheduler::ActionKey;
use prost::Message as _;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::ActionResult;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// How many bytes stand before the key.
const SUM_SIZE_BYTES: usize = 32;

/// The key as it stands before the message.
pub(super) fn header(key: &ResultKey) -> String {
    format!("{} {}\n", key.digest(), key.scope())
}

/// The result under that key as bytes.
pub(super) fn encode(key: &ResultKey, result: &ActionResult) -> Vec<u8> {
    let header = header(key);
    let mut content = Vec::with_capacity(SUM_SIZE_BYTES + header.len() + result.encoded_len());
    content.extend([0; SUM_SIZE_BYTES]);
    content.extend(header.as_bytes());
    result.encode(&mut content).expect("a vector grows");
    let sum = Sha256::digest(&content[SUM_SIZE_BYTES..]);
    content[..SUM_SIZE_BYTES].copy_from_slice(&sum);
    content
}

/// What stands behind the sum; `None` where the bytes aren't whole.
pub(super) fn checked(content: &[u8]) -> Option<&[u8]> {
    let (sum, rest) = content.split_at_checked(SUM_SIZE_BYTES)?;
    (Sha256::digest(rest)[..] == *sum).then_some(rest)
}

/// What is stored under `key`, or under the same action with another size; `None` where it is something else's.
pub(super) fn decode(key: &ResultKey, rest: &[u8]) -> Option<Stored> {
    let digest = key.digest();
    let rest = match digest.function().segment() {
        Some(function) => rest.strip_prefix(function.as_bytes())?.strip_prefix(b"/")?,
        None => rest,
    };
    let rest = rest.strip_prefix(digest.hash_hex().as_bytes())?.strip_prefix(b"/")?;
    let end = memchr::memchr(b' ', rest)?;
    let size_bytes: u64 = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
    let rest = rest[end + 1..].strip_prefix(key.scope().as_bytes())?.strip_prefix(b"\n")?;
    let result = Arc::new(ActionResult::decode(rest).ok()?);
    let key = match key {
        ResultKey::Action(ActionKey { instance_name, .. }) | ResultKey::ActionHash { instance_name, .. } => {
            let (instance_name, hash) = (Arc::clone(instance_name), *digest.hash());
            let digest = Digest::named(digest.function(), hash, size_bytes);
            if digest == Digest::new(hash, UNKNOWN_SIZE_BYTES) {
                ResultKey::ActionHash { instance_name, hash }
            } else {
                ResultKey::Action(ActionKey { instance_name, digest })
            }
        }
        other => (size_bytes == digest.size_bytes()).then(|| other.clone())?,
    };
    Some(Stored { key, result })
}
