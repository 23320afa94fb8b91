//! `pumphouse stop` and `pumphouse stats`: short words with the daemon, if there is one.

use crate::ipc::socket::{self, Directories};
use crate::ipc::without;
use crate::ipc::{self, Answer, Request};
use crate::stats;
use anyhow::{Context as _, bail};
use clap::Args;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;

/// The arguments of `pumphouse stats`.
#[derive(Debug, Args)]
pub(super) struct StatsArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Set the counters to zero, after printing them
    #[arg(long)]
    zero: bool,
}

/// Ends the daemon and waits until it is gone. No daemon is no error.
pub(super) fn stop() -> anyhow::Result<()> {
    let directories = Directories::from_environment()?;
    let Some(mut stream) = connect(&directories)? else {
        writeln!(io::stdout(), "no daemon serves {}", directories.socket.display())?;
        return Ok(());
    };
    match ask(&mut stream, &Request::Stop)? {
        // A daemon of another build leaves for being asked.
        Answer::Acknowledged | Answer::OtherBuild => {}
        answer => bail!("the daemon gave an unexpected answer: {answer:?}"),
    }
    // The daemon's end of the connection is closed when its process is.
    let _ = stream.read_to_end(&mut Vec::new());
    Ok(())
}

/// Prints the statistics, and sets them to zero if asked to.
pub(super) fn stats(arguments: &StatsArguments) -> anyhow::Result<()> {
    let directories = Directories::from_environment()?;
    tell(&directories, &Request::FlushStatistics)?;
    let mut counters = stats::read(&directories.state)?;
    let without = without::read(&directories);
    counters.without_daemon = without.counts;
    if let Some((time, message)) = without.failure {
        counters.problems.add(&message, time);
    }
    let text = if arguments.json { counters.to_json() + "\n" } else { stats::render(&counters) };
    io::stdout().write_all(text.as_bytes())?;
    if arguments.zero {
        without::zero(&directories);
        if !tell(&directories, &Request::ZeroStatistics)? {
            directories.create()?;
            stats::zero(&directories.state)
                .with_context(|| format!("{}: writing the statistics", directories.state.display()))?;
        }
    }
    Ok(())
}

/// Has the daemon write its statistics; false where none serves.
pub(super) fn flush(directories: &Directories) -> anyhow::Result<bool> {
    tell(directories, &Request::FlushStatistics)
}

/// Has the daemon do something; false where none serves, or one of another build, or one that does not answer.
fn tell(directories: &Directories, request: &Request) -> anyhow::Result<bool> {
    let Some(mut stream) = connect(directories)? else { return Ok(false) };
    stream.set_read_timeout(Some(ipc::SILENCE_LIMIT))?;
    match ask(&mut stream, request) {
        Ok(Answer::Acknowledged) => Ok(true),
        Ok(Answer::OtherBuild) => Ok(false),
        Ok(answer) => bail!("the daemon gave an unexpected answer: {answer:?}"),
        Err(error) if error.downcast_ref().is_some_and(socket::is_silence) => Ok(false),
        Err(error) => Err(error),
    }
}

fn connect(directories: &Directories) -> anyhow::Result<Option<UnixStream>> {
    match socket::connect(&directories.socket) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if socket::is_absence(&error) => Ok(None),
        Err(error) => {
            Err(error).with_context(|| format!("connecting to the daemon of {}", directories.socket.display()))
        }
    }
}

fn ask(stream: &mut UnixStream, request: &Request) -> anyhow::Result<Answer> {
    stream.write_all(&request.encode())?;
    let mut header = [0; 5];
    stream.read_exact(&mut header).context("the daemon ended without an answer")?;
    let (length, tag) = ipc::decode_header(header)?;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    Ok(Answer::decode(tag, &payload)?)
}
