//! How slowly content may come: whoever sends next to nothing keeps what he has sent, or his turn, in everybody's way.

use std::time::Duration;
use tokio::time::Instant;

/// How much has to come in a second, counted from the beginning and after [`RATE_GRACE`].
const LEAST_BYTES_PER_SECOND: u64 = 4 * 1024;

/// How long it may be slower.
const RATE_GRACE: Duration = Duration::from_secs(60);

/// What has come of some content, and since when.
#[derive(Debug)]
pub(crate) struct Rate {
    begun: Instant,
    grace: Duration,
    received: u64,
}

impl Rate {
    /// Nothing has come yet.
    pub(crate) fn begin() -> Self {
        Self::begin_with(RATE_GRACE)
    }

    /// Nothing has come yet, and it may be slow for that long.
    pub(crate) fn begin_with(grace: Duration) -> Self {
        Self { begun: Instant::now(), grace, received: 0 }
    }

    /// The bytes that came, as they came.
    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    /// Counts what has come.
    ///
    /// # Errors
    /// It is too little for the time that it took; says so in words.
    pub(crate) fn add(&mut self, size_bytes: u64) -> Result<(), String> {
        self.received += size_bytes;
        let late = self.begun.elapsed().saturating_sub(self.grace).as_secs();
        if self.received >= late * LEAST_BYTES_PER_SECOND {
            return Ok(());
        }
        Err(format!(
            "{} bytes came in {:?}, less than {LEAST_BYTES_PER_SECOND} a second; it was given up",
            self.received,
            self.begun.elapsed(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_upload_may_be_slow_for_a_while() {
        let mut rate = Rate::begin();
        tokio::time::advance(RATE_GRACE).await;
        rate.add(1).expect("in time");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(rate.add(1).expect_err("too slow").contains("less than"));
        rate.add(10 * LEAST_BYTES_PER_SECOND).expect("as much as needed");
    }
}
