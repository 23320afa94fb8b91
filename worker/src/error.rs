//! Why an action has no result, and which status says so: the one place of the worker where that is decided.
//!
//! A command that ran and failed is not in here: its exit code is a result.
//!
//! **Source:** Remote Execution API v2, `ExecuteResponse.status` and the errors of `Execute`.

use pumphouse_proto::digest::{Digest, InvalidDigest};
use pumphouse_proto::status;
use pumphouse_proto::tree::InvalidDirectory;
use tonic::Status;

/// Why an action has no result.
#[derive(Debug, thiserror::Error)]
pub enum ExecutionError {
    /// The CAS lacks these: the action, its command, directories or files of its input root.
    #[error("{} blobs are missing from the CAS", .0.len())]
    Missing(Vec<Digest>),
    /// The action, its command or its input root is malformed.
    #[error("{0}")]
    Invalid(String),
    /// The command can't be started in this input root.
    #[error("{0}")]
    Refused(String),
    /// It ran longer than it may.
    #[error("command ran longer than its timeout of {} ms", .0.as_millis())]
    TimedOut(std::time::Duration),
    /// It asked for more than an action gets of something that is named.
    #[error("{0}")]
    TooLarge(String),
    /// The store, which is in this process, has no room for its outputs.
    #[error("{0}")]
    Full(String),
    /// Nobody wants the result any more.
    #[error("action was cancelled")]
    Cancelled,
    /// A call to the server failed.
    #[error("{}", .0.message())]
    Call(#[from] Status),
    /// The worker failed.
    #[error("{0:#}")]
    Worker(#[from] anyhow::Error),
}

impl From<InvalidDirectory> for ExecutionError {
    fn from(error: InvalidDirectory) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<InvalidDigest> for ExecutionError {
    fn from(error: InvalidDigest) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl ExecutionError {
    /// The status for `ExecuteResponse.status`. `DEADLINE_EXCEEDED` is the action's own timeout and nothing else.
    pub fn status(&self) -> Status {
        let message = self.to_string();
        match self {
            Self::Missing(digests) => status::missing_blobs(digests),
            Self::Invalid(_) => Status::invalid_argument(message),
            Self::Refused(_) => Status::failed_precondition(message),
            Self::TimedOut(_) => Status::deadline_exceeded(message),
            Self::TooLarge(_) | Self::Full(_) => Status::resource_exhausted(message),
            Self::Cancelled => Status::cancelled(message),
            Self::Call(call) => Status::unavailable(format!("worker could not reach the CAS: {}", call.message())),
            Self::Worker(_) => Status::unavailable(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tonic::Code;

    #[test]
    fn every_error_has_its_status() {
        let check = |error: ExecutionError, expect: Code| assert_eq!(error.status().code(), expect, "{error}");
        check(ExecutionError::Invalid("x".to_owned()), Code::InvalidArgument);
        check(ExecutionError::Refused("x".to_owned()), Code::FailedPrecondition);
        check(ExecutionError::TimedOut(Duration::from_secs(1)), Code::DeadlineExceeded);
        check(ExecutionError::TooLarge("x".to_owned()), Code::ResourceExhausted);
        check(ExecutionError::Full("x".to_owned()), Code::ResourceExhausted);
        check(ExecutionError::Cancelled, Code::Cancelled);
        check(ExecutionError::Call(Status::deadline_exceeded("x")), Code::Unavailable);
        check(ExecutionError::Worker(anyhow::anyhow!("x")), Code::Unavailable);
        let missing = vec![Digest::of(b"a"), Digest::of(b"b")];
        assert_eq!(status::missing_blobs_in(&ExecutionError::Missing(missing.clone()).status()), Some(missing));
    }
}
