//! The daemon's end of a connection: whole frames in and out, and the news that the launcher is gone.

use crate::compile::Wanted;
use crate::ipc::{self, Answer, HEARTBEAT_INTERVAL, Report};
use rustix::process::Pid;
use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// How long a launcher may take to send its request, or to take an answer.
const TRANSFER_LIMIT: Duration = Duration::from_secs(30);

/// A launcher, or `pumphouse stop` and the like.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    peer: Option<Pid>,
    group: u32,
}

impl Connection {
    /// Takes a connection of this user.
    ///
    /// # Errors
    /// It is another user's.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        let peer = stream.peer_cred()?;
        if peer.uid() == rustix::process::geteuid().as_raw() {
            Ok(Self { peer: peer.pid().and_then(Pid::from_raw), group: peer.gid(), stream })
        } else {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, "a connection of another user"))
        }
    }

    /// The process at the other end, by its id here; none where it can't be seen from this process's namespace.
    pub(super) const fn peer(&self) -> Option<Pid> {
        self.peer
    }

    /// What the launcher wants as long as it waits.
    ///
    /// # Errors
    /// This process has too many files open.
    pub(super) fn wanted(&self) -> io::Result<Wanted> {
        Ok(Wanted::by(Some(self.stream.as_fd().try_clone_to_owned()?)))
    }

    /// The group of the process at the other end, where it is not this process's.
    pub(super) fn other_group(&self) -> Option<u32> {
        Some(self.group).filter(|group| *group != rustix::process::getegid().as_raw())
    }

    /// Reads one frame: its tag and its payload. What was read is lost where the future is dropped.
    ///
    /// # Errors
    /// The connection ends or the frame is malformed.
    pub(super) async fn read_frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut header = [0; 5];
        self.stream.read_exact(&mut header).await?;
        let (length, tag) = ipc::decode_header(header)?;
        let mut payload = vec![0; length];
        tokio::time::timeout(TRANSFER_LIMIT, self.stream.read_exact(&mut payload)).await??;
        Ok((tag, payload))
    }

    /// Reads the first frame, for which a launcher has a limited time.
    ///
    /// # Errors
    /// As [`Self::read_frame`], or the time is over.
    pub(super) async fn read_request(&mut self) -> io::Result<(u8, Vec<u8>)> {
        tokio::time::timeout(TRANSFER_LIMIT, self.read_frame()).await?
    }

    /// Reads the launcher's next report.
    ///
    /// # Errors
    /// As [`Self::read_frame`].
    pub(super) async fn read_report(&mut self) -> io::Result<Report> {
        let (tag, payload) = self.read_frame().await?;
        Report::decode(tag, &payload)
    }

    /// Sends an answer.
    ///
    /// # Errors
    /// The launcher is gone or does not read.
    pub(super) async fn send(&mut self, answer: &Answer) -> io::Result<()> {
        tokio::time::timeout(TRANSFER_LIMIT, self.stream.write_all(&answer.encode())).await?
    }

    /// Awaits `work` and keeps the launcher patient; none, with `work` dropped, when the launcher is gone.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(super) async fn alive<T>(&mut self, work: impl Future<Output = T>) -> io::Result<Option<T>> {
        tokio::pin!(work);
        let mut heartbeats =
            tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT_INTERVAL, HEARTBEAT_INTERVAL);
        loop {
            tokio::select! {
                biased;
                () = self.gone() => return Ok(None),
                done = &mut work => return Ok(Some(done)),
                _ = heartbeats.tick() => {}
            }
            self.send(&Answer::Heartbeat).await?;
        }
    }

    /// Awaits the end of the launcher, which says nothing while it waits. Cancel safe.
    pub(super) async fn gone(&self) {
        while self.stream.readable().await.is_ok() {
            // Bytes while none are due come from a launcher that breaks the protocol, which is as good as gone. Readiness
            // without bytes is left over from the request.
            match self.stream.try_read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => return,
            }
        }
    }
}
