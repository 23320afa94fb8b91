//! Any server of the Remote Execution API: its action cache, its CAS and its workers.
//!
//! Whatever a server says is checked: digests against content, names against what was asked for, sizes against limits.
//! What it breaks is a [`RemoteError`], and the compile happens locally. This module knows actions and blobs, and nothing
//! about compilers or the command line.

mod availability;
mod download;
mod execute;
mod health;
mod session;
mod upload;

pub(crate) use availability::{Remote, Remotes};
pub(crate) use download::{Fetched, check_result, must_fetch_bytes};
pub(crate) use execute::{Executed, Progress};
pub(crate) use health::{Health, Service, Trial};
pub(crate) use session::{Caller, InUse};
pub(crate) use upload::Blobs;

use tonic::{Code, Status};

/// Why a server could not be used for a compile. What it says goes on after the server's name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    /// It does not answer at all.
    #[error("can't be reached: {0}")]
    Unreachable(String),
    /// It can't run compiles, or not ours.
    #[error("can't be used: {0}")]
    Unusable(String),
    /// A call failed.
    #[error("failed at {call}: {}", describe(status))]
    Call {
        /// Which.
        call: &'static str,
        /// How.
        status: Box<Status>,
    },
    /// It said something that can't be right.
    #[error("gave a wrong answer: {0}")]
    Wrong(String),
    /// An input changed between scan and upload.
    #[error("was sent an input that changed: {0}")]
    Changed(String),
    /// An output could not be written here.
    #[error("has a result that can't be written here: {0}")]
    Output(#[from] std::io::Error),
}

impl RemoteError {
    /// The failure of `call`.
    fn call(call: &'static str) -> impl Fn(Status) -> Self {
        move |status| Self::Call { call, status: Box::new(status) }
    }

    /// Whether the server is not to blame.
    pub(crate) const fn is_our_own(&self) -> bool {
        matches!(self, Self::Changed(_) | Self::Output(_))
    }

    /// Whether it says that the server is gone rather than that this compile is in trouble.
    pub(crate) fn is_absence(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Call { status, .. } => status.code() == Code::Unavailable,
            _ => false,
        }
    }
}

fn describe(status: &Status) -> String {
    match status.message() {
        "" => format!("{:?}", status.code()),
        message => format!("{:?}: {message}", status.code()),
    }
}
