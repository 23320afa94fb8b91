//! The names of operations: `[INSTANCE/]operations/ID/[FUNCTION/]HASH/SIZE`.
//!
//! A name carries its action's digest, so that a server that never heard of the operation knows what is waited for.

use crate::scheduler::{ActionKey, OperationId};
use pumphouse_proto::digest::Digest;
use std::fmt;
use tonic::Status;

const KEYWORD: &str = "operations";

/// An operation's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OperationName {
    pub(super) action: ActionKey,
    pub(super) id: OperationId,
}

impl fmt::Display for OperationName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.action.instance_name.is_empty() {
            write!(formatter, "{}/", self.action.instance_name)?;
        }
        write!(formatter, "{KEYWORD}/{}/{}", self.id, self.action.digest)
    }
}

impl OperationName {
    /// Reads a name.
    pub(super) fn parse(name: &str) -> Result<Self, Status> {
        let parsed = || {
            let segments: Vec<&str> = name.split('/').collect();
            let (rest, digest) = Digest::parse_end(&segments).ok()?;
            let [instance @ .., keyword, id] = rest else { return None };
            if *keyword != KEYWORD || id.len() != 32 {
                return None;
            }
            let id = OperationId(u128::from_str_radix(id, 16).ok()?);
            let instance_name = instance.join("/");
            super::request::check_instance_name(&instance_name).ok()?;
            let parsed = Self { action: ActionKey { instance_name: instance_name.into(), digest }, id };
            // Numbers can be written in several ways, and an operation has one name.
            (parsed.to_string() == name).then_some(parsed)
        };
        // The name may be another server's: clients that hear "not found" execute again.
        parsed().ok_or_else(|| Status::not_found(format!("no operation {name:?}: that is no name of this server's")))
    }
}

/// The instance in the name of a collection of operations, as `ListOperations` has it.
pub(super) fn parse_collection(name: &str) -> Result<&str, Status> {
    if name.is_empty() {
        // What clients send that know of no instances.
        return Ok("");
    }
    match name.strip_suffix(KEYWORD) {
        Some("") => Ok(""),
        Some(instance) if instance.ends_with('/') => Ok(&instance[..instance.len() - 1]),
        _ => Err(Status::invalid_argument(format!("name: {name:?} is not of the form [INSTANCE/]{KEYWORD}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumphouse_proto::digest::DigestFunction;

    #[test]
    fn names_are_written_and_read() {
        for instance_name in ["", "main", "a/operations/b"] {
            for function in DigestFunction::ALL {
                let action = ActionKey { instance_name: instance_name.into(), digest: function.digest(b"action") };
                let name = OperationName { action, id: OperationId(0xabc) };
                assert_eq!(OperationName::parse(&name.to_string()).expect("well formed"), name);
            }
        }
    }

    #[test]
    fn malformed_names_are_refused() {
        let good = format!("operations/{}/{}", OperationId(1), Digest::of(b"a"));
        assert!(OperationName::parse(&good).is_ok());
        for name in ["", "operations", "x", &good[1..], &format!("{good}/"), &format!("{good}0x"), "a/b/c/d/e/f"] {
            assert!(OperationName::parse(name).is_err(), "{name}");
        }
        let hash = Digest::of(b"a").hash_hex();
        for (id, size) in [
            ("+".to_owned() + &"0".repeat(31), "1"),
            ("A".repeat(32), "1"),
            ("a".repeat(32), "+1"),
            ("a".repeat(32), "01"),
        ] {
            assert!(OperationName::parse(&format!("operations/{id}/{hash}/{size}")).is_err(), "{id} {size}");
        }
        assert_eq!(parse_collection("").expect("well formed"), "");
        assert_eq!(parse_collection("operations").expect("well formed"), "");
        assert_eq!(parse_collection("a/b/operations").expect("well formed"), "a/b");
        assert!(parse_collection("aoperations").is_err());
    }
}
