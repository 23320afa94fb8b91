//! What a worker and its supervisors say to each other: framed messages over a Unix socket.
//!
//! A conversation: [`Setup`], then (where the supervisor makes a user namespace) an empty frame each way around the
//! writing of its id maps, then [`Ready`]; after that any number of [`Command`] and [`Report`], one at a time. An empty
//! frame while a command runs means "kill it". The worker's end of the socket closed means "kill it and leave".

use prost::Message;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The largest message: a command line and environment, or captured output, with room to spare.
pub(super) const FRAME_SIZE_BYTES: usize = 256 * 1024 * 1024;

/// How a supervisor confines what it runs.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Setup {
    #[prost(enumeration = "Level", tag = "1")]
    pub(super) level: i32,
    /// The slot's directory: `root/` below it is the replica, `stage/` is empty.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) slot_dir: Vec<u8>,
    /// Directories and symbolic links directly below the host's root that actions of the host kind see.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub(super) host_entries: Vec<Vec<u8>>,
    /// How much an action may write in all, in bytes.
    #[prost(uint64, tag = "4")]
    pub(super) scratch_size_bytes: u64,
    /// How many files an action may create.
    #[prost(uint64, tag = "5")]
    pub(super) scratch_files: u64,
    /// The user and group under which actions run where the level can change them; as the kernel outside sees them.
    #[prost(uint32, tag = "6")]
    pub(super) action_id: u32,
    /// How many processes an action may have at a time.
    #[prost(uint64, tag = "7")]
    pub(super) processes: u64,
    /// How much memory one process may allocate, in bytes; 0 is no limit.
    #[prost(uint64, tag = "8")]
    pub(super) process_memory_bytes: u64,
    /// Files (`cgroup.procs`) through which the supervisor joins its control groups.
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub(super) control_groups: Vec<Vec<u8>>,
}

/// How far the isolation goes; the order is from most to least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Level {
    /// Namespaces, a user namespace among them.
    UserNamespaces = 0,
    /// Namespaces made by a privileged worker, and an unprivileged user for actions.
    Namespaces = 1,
    /// A root directory of their own and an unprivileged user for actions, nothing else.
    Chroot = 2,
    /// Only a working directory of their own.
    None = 3,
}

/// Whether a supervisor can run actions.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Ready {
    /// Why not; empty if it can.
    #[prost(string, tag = "1")]
    pub(super) error: String,
    /// What it has to do without, in words.
    #[prost(string, repeated, tag = "2")]
    pub(super) lacks: Vec<String>,
}

/// A command to run.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Command {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) arguments: Vec<Vec<u8>>,
    /// Names and values by turns.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) environment: Vec<Vec<u8>>,
    /// The absolute path at which the input root stands.
    #[prost(bytes = "vec", tag = "3")]
    pub(super) exec_root: Vec<u8>,
    /// Relative to the exec root.
    #[prost(bytes = "vec", tag = "4")]
    pub(super) working_directory: Vec<u8>,
    /// Directories to create, relative to the exec root.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub(super) directories: Vec<Vec<u8>>,
    /// How much of each of standard output and standard error is taken, in bytes.
    #[prost(uint64, tag = "6")]
    pub(super) output_size_bytes: u64,
}

/// How a command ended. The exec root's directory comes with it as a descriptor, where it came to exist, and after it
/// the mount namespace that the directory is mounted in, where there is one.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Report {
    #[prost(oneof = "Ending", tags = "1, 2, 3, 4")]
    pub(super) ending: Option<Ending>,
    #[prost(bytes = "bytes", tag = "5")]
    pub(super) stdout: bytes::Bytes,
    #[prost(bytes = "bytes", tag = "6")]
    pub(super) stderr: bytes::Bytes,
    /// The stream that exceeded its limit, for which the command was killed.
    #[prost(string, tag = "7")]
    pub(super) overflow: String,
    #[prost(uint64, tag = "8")]
    pub(super) user_us: u64,
    #[prost(uint64, tag = "9")]
    pub(super) system_us: u64,
    #[prost(uint64, tag = "10")]
    pub(super) peak_resident_bytes: u64,
    /// What the action had to do without, in words.
    #[prost(string, repeated, tag = "11")]
    pub(super) lacks: Vec<String>,
}

/// The ways in which a command ends.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Ending {
    /// It exited with this code.
    #[prost(int32, tag = "1")]
    Exited(i32),
    /// This signal killed it.
    #[prost(int32, tag = "2")]
    Signaled(i32),
    /// It could not be started, and that is the fault of the action.
    #[prost(string, tag = "3")]
    Refused(String),
    /// The sandbox could not be built.
    #[prost(string, tag = "4")]
    Broken(String),
}

/// How many descriptors come with one frame at most.
const DESCRIPTORS: usize = 2;

/// Sends one frame, with descriptors if there are any. Blocks.
pub(super) fn send(socket: impl AsFd, body: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let frame = frame(body);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let mut sent = 0;
    while sent < frame.len() {
        sent +=
            match rustix::net::sendmsg(&socket, &[IoSlice::new(&frame[sent..])], &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(length) => length,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
        ancillary.clear();
    }
    Ok(())
}

/// A body with its length before it.
pub(super) fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&u32::try_from(body.len()).expect("a frame is below 4 GiB").to_le_bytes());
    frame.extend_from_slice(body);
    frame
}

/// A body and the descriptors that came with it.
pub(super) type Frame = (Vec<u8>, Vec<OwnedFd>);

/// Puts frames together from what arrives.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Receiver {
    /// The next whole frame and the descriptors that came with it, if they are here.
    pub(super) fn take(&mut self) -> io::Result<Option<Frame>> {
        let Some(header) = self.bytes.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*header) as usize;
        if length > FRAME_SIZE_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("frame of {length} bytes is too large")));
        }
        if self.bytes.len() < 4 + length {
            return Ok(None);
        }
        let body = self.bytes[4..4 + length].to_vec();
        self.bytes.drain(..4 + length);
        Ok(Some((body, std::mem::take(&mut self.descriptors))))
    }

    /// Receives once; false at the end of the stream.
    pub(super) fn fill(&mut self, socket: impl AsFd) -> io::Result<bool> {
        let mut piece = [0; 16 * 1024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received =
            rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut piece)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        self.bytes.extend_from_slice(&piece[..received.bytes]);
        Ok(received.bytes > 0)
    }

    /// Waits for a whole frame; none at the end of the stream. Blocks.
    pub(super) fn receive(&mut self, socket: impl AsFd) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            match self.fill(&socket) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use pumphouse_fuzz::{bounded, check, like};

    #[test]
    fn frames_and_messages_of_any_bytes() {
        let command = Command { arguments: vec![b"a".to_vec()], output_size_bytes: 9, ..Command::default() };
        let report = Report { ending: Some(Ending::Signaled(9)), stdout: "out".into(), ..Report::default() };
        let setup = Setup { host_entries: vec![b"/usr".to_vec()], action_id: 1000, ..Setup::default() };
        let bodies = [command.encode_to_vec(), report.encode_to_vec(), setup.encode_to_vec(), Vec::new()];
        let frames: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
        check(&like(&[frames]), |bytes| {
            bounded(bytes.len(), || {
                let mut receiver = Receiver { bytes: bytes.to_vec(), descriptors: Vec::new() };
                while let Ok(Some((body, _))) = receiver.take() {
                    let _ = (Setup::decode(&*body), Ready::decode(&*body), Command::decode(&*body));
                    let report = Report::decode(&*body);
                    assert!(
                        report.is_err()
                            || Report::decode(&*report.clone().unwrap_or_default().encode_to_vec()) == report
                    );
                }
                assert!(receiver.bytes.len() <= bytes.len());
            });
        });
    }
}
