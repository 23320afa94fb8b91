//! When a call is tried again, and after how long.

use std::time::Duration;
use tonic::{Code, Status};

/// How many times a call is made before its error stands.
pub const ATTEMPTS: u32 = 4;

/// How long the first retry waits; each further one waits twice as long.
pub const FIRST_DELAY: Duration = Duration::from_millis(50);

/// Whether the same call may succeed when it is made again: the peer is away, restarting or overloaded.
pub fn is_transient(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::ResourceExhausted | Code::Aborted | Code::Unknown)
}

/// How long to wait before attempt `attempt` (the second attempt is 1).
pub fn delay(attempt: u32) -> Duration {
    FIRST_DELAY * 2_u32.saturating_pow(attempt.saturating_sub(1))
}

/// Makes `call` until it succeeds, fails for good, or [`ATTEMPTS`] are used up.
///
/// # Errors
/// The last attempt's status.
pub async fn retrying<T, F>(mut call: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    for attempt in 1..ATTEMPTS {
        match call().await {
            Err(status) if is_transient(&status) => tokio::time::sleep(delay(attempt)).await,
            outcome => return outcome,
        }
    }
    call().await
}
