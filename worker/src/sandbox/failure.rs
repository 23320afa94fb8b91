//! Whose fault it is that a command does not run.

/// Why a command does not run.
#[derive(Debug)]
pub(super) enum Failure {
    /// It asks for what can't be: the action's fault.
    Refused(String),
    /// The sandbox failed: the machine's fault.
    Broken(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(error)
    }
}
