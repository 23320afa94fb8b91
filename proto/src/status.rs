//! Statuses and their details: the one place where an error becomes a status of gRPC.
//!
//! **Source:** Remote Execution API v2, `Execute` and `ExecuteResponse.status`; `google.rpc` error details.

use crate::digest::{Digest, InvalidDigest};
use crate::rpc;
use prost::Message as _;
use prost_types::Any;
use tonic::{Code, Status};

/// The type of a violation that says that a blob is absent.
const MISSING: &str = "MISSING";

impl From<InvalidDigest> for Status {
    fn from(error: InvalidDigest) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

/// A status's message for items of a batch and for `ExecuteResponse`, with its details.
pub fn to_message(status: &Status) -> rpc::Status {
    let details = rpc::Status::decode(status.details()).map(|decoded| decoded.details).unwrap_or_default();
    rpc::Status { code: status.code().into(), message: status.message().to_owned(), details }
}

/// The status that an item of a batch, or an `ExecuteResponse`, carries.
pub fn from_message(message: &rpc::Status) -> Status {
    if message.details.is_empty() {
        return Status::new(Code::from(message.code), message.message.clone());
    }
    Status::with_details(Code::from(message.code), message.message.clone(), message.encode_to_vec().into())
}

/// `OK`, as items of a batch say it.
pub fn ok() -> rpc::Status {
    rpc::Status::default()
}

/// The status of an action whose inputs are absent: each named, so that the client uploads them and tries again.
///
/// # Panics
/// Never: a message always encodes into a growing vector.
pub fn missing_blobs(digests: &[Digest]) -> Status {
    let violations = digests
        .iter()
        .map(|digest| rpc::precondition_failure::Violation {
            r#type: MISSING.to_owned(),
            subject: format!("blobs/{digest}"),
            description: String::new(),
        })
        .collect();
    let detail = Any::from_msg(&rpc::PreconditionFailure { violations }).expect("a message encodes into a vector");
    with_details(Code::FailedPrecondition, format!("{} blobs are missing from the CAS", digests.len()), vec![detail])
}

/// The absent blobs that a status names, if that is what it says and all that it says.
pub fn missing_blobs_in(status: &Status) -> Option<Vec<Digest>> {
    if status.code() != Code::FailedPrecondition {
        return None;
    }
    let message = rpc::Status::decode(status.details()).ok()?;
    let [detail] = message.details.as_slice() else { return None };
    let failure: rpc::PreconditionFailure = detail.to_msg().ok()?;
    failure.violations.iter().map(missing_blob).collect::<Option<Vec<_>>>().filter(|digests| !digests.is_empty())
}

/// A refusal for want of room, with the time after which to try again.
///
/// # Panics
/// Where `retry_after` is longer than protocol buffers can say (some 10,000 years).
pub fn overloaded(message: impl Into<String>, retry_after: std::time::Duration) -> Status {
    retryable(Code::ResourceExhausted, message.into(), retry_after)
}

/// A failure for a reason that passes, with the time after which to try again.
///
/// # Panics
/// As [`overloaded`].
pub fn unavailable(message: impl Into<String>, retry_after: std::time::Duration) -> Status {
    retryable(Code::Unavailable, message.into(), retry_after)
}

fn retryable(code: Code, message: String, retry_after: std::time::Duration) -> Status {
    let delay = prost_types::Duration::try_from(retry_after).expect("a retry delay is short");
    let detail = Any::from_msg(&rpc::RetryInfo { retry_delay: Some(delay) }).expect("a message encodes into a vector");
    with_details(code, message, vec![detail])
}

/// A refusal that says which fields are wrong.
///
/// # Panics
/// Never: a message always encodes into a growing vector.
pub fn bad_request(code: Code, message: String, field_violations: Vec<rpc::bad_request::FieldViolation>) -> Status {
    let detail = Any::from_msg(&rpc::BadRequest { field_violations }).expect("a message encodes into a vector");
    with_details(code, message, vec![detail])
}

fn missing_blob(violation: &rpc::precondition_failure::Violation) -> Option<Digest> {
    let segments: Vec<&str> = violation.subject.split('/').collect();
    match Digest::parse_end(&segments) {
        Ok((["blobs"], digest)) if violation.r#type == MISSING => Some(digest),
        _ => None,
    }
}

fn with_details(code: Code, message: String, details: Vec<Any>) -> Status {
    let encoded = rpc::Status { code: code.into(), message: message.clone(), details }.encode_to_vec();
    Status::with_details(code, message, encoded.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::DigestFunction;

    #[test]
    fn missing_blobs_are_named_and_read_back() {
        let digests = vec![Digest::of(b"a"), DigestFunction::Blake3.digest(b"b")];
        let status = missing_blobs(&digests);
        assert_eq!(missing_blobs_in(&status), Some(digests.clone()));
        let again = from_message(&to_message(&status));
        assert_eq!(missing_blobs_in(&again), Some(digests));
        assert_eq!(missing_blobs_in(&Status::failed_precondition("no such platform")), None);
    }
}
