//! Where the programs' own messages go.
//!
//! A log that can't be written is lost, and nothing else: a program whose standard error is a closed pipe, or one that
//! nobody reads any more, goes on.

use crate::daemon::Relog;
use crate::stats::{Recorder, Statistics};
use anyhow::Context as _;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt, reload};

/// What is logged where nothing is said.
pub(super) const DEFAULT: &str = "info";

/// Logs what `directives` say to standard error. Gives what changes them.
///
/// # Errors
/// They are not understood.
pub(super) fn to_stderr(directives: &str) -> anyhow::Result<Relog> {
    let is_terminal = io::stderr().is_terminal();
    let lines = fmt::layer().with_ansi(is_terminal).log_internal_errors(false).with_writer(|| LossyStderr);
    let (filter, handle) = reload::Layer::new(filter(directives)?);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    Ok(relog(handle))
}

/// Logs what `directives` say to `file`; warnings and errors also count as problems of `statistics`. Gives what changes
/// the directives.
///
/// # Errors
/// They are not understood.
pub(super) fn to_file(directives: &str, file: File, statistics: &Arc<Statistics>) -> anyhow::Result<Relog> {
    let lines = fmt::layer().with_ansi(false).log_internal_errors(false).with_writer(file);
    let problems = Recorder(Arc::clone(statistics));
    let (filter, handle) = reload::Layer::new(filter(directives)?);
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(problems).init();
    Ok(relog(handle))
}

fn relog<S: 'static>(handle: reload::Handle<EnvFilter, S>) -> Relog {
    Box::new(move |directives| match filter(directives) {
        // The subscriber lives as long as the process.
        Ok(filter) => drop(handle.reload(filter)),
        Err(error) => tracing::warn!("{error:#}"),
    })
}

/// Standard error, as long as somebody reads it: what can't be written at once is lost.
struct LossyStderr;

/// What a pipe takes at once where it says that it takes anything, in bytes.
const PIPE_PART_BYTES: usize = 4096;

impl Write for LossyStderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Two threads that have both found room might not both have it.
        static WRITING: Mutex<()> = Mutex::new(());
        let _writing = WRITING.lock();
        let stderr = io::stderr();
        for part in bytes.chunks(PIPE_PART_BYTES) {
            let mut polled = [PollFd::new(&stderr, PollFlags::OUT)];
            let is_ready = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0)
                && polled[0].revents().contains(PollFlags::OUT);
            if !is_ready || stderr.lock().write_all(part).is_err() {
                break;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads directives as `tracing` understands them. A level alone is meant for Pumphouse; the libraries warn at most.
fn filter(directives: &str) -> anyhow::Result<EnvFilter> {
    let is_level = !directives.contains(['=', ',', '[']);
    let meant = if is_level { format!("warn,pumphouse={directives}") } else { directives.to_owned() };
    EnvFilter::try_new(meant)
        .with_context(|| format!("{directives:?} are not log directives, such as debug or info,h2=debug"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_alone_is_for_pumphouse() {
        let check = |directives: &str, expect: Option<&str>| {
            assert_eq!(filter(directives).ok().map(|filter| filter.to_string()).as_deref(), expect);
        };
        check("debug", Some("pumphouse=debug,warn"));
        check("trace,h2=debug", Some("h2=debug,trace"));
        check("pumphouse=loud", None);
    }
}
