//! Why an include server leaves a compile to its client.

use crate::fallback::{Fallback, Reason};
use crate::include_server::mirror::MirrorError;
use std::fmt;

/// A compile that the client has to preprocess by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotCovered {
    /// The name under which it is counted.
    pub(super) name: &'static str,
    /// What is said about it.
    pub(super) message: String,
    /// Whether somebody may want a mail about it: the compile itself is fine.
    pub(super) is_trouble: bool,
}

impl NotCovered {
    /// The compiler reads a file that was not found.
    pub(super) fn discrepancy(message: String) -> Self {
        Self { name: "discrepancy", message, is_trouble: true }
    }
}

impl fmt::Display for NotCovered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl From<Fallback> for NotCovered {
    fn from(fallback: Fallback) -> Self {
        let is_trouble = !matches!(
            fallback.reason,
            Reason::NotACompile
                | Reason::SourceCount
                | Reason::StandardStream
                | Reason::Unreadable
                | Reason::MalformedFlag
        );
        Self { name: fallback.reason.name(), message: fallback.to_string(), is_trouble }
    }
}

impl From<MirrorError> for NotCovered {
    fn from(error: MirrorError) -> Self {
        let reason = match &error {
            MirrorError::Changed(_) => Reason::Changing,
            MirrorError::Refused { .. } => Reason::Unscannable,
            MirrorError::Write { .. } => Reason::ServerError,
        };
        Self { name: reason.name(), message: error.to_string(), is_trouble: true }
    }
}
