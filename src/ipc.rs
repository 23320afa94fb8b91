//! What launcher and daemon say to each other over their Unix socket.
//!
//! A frame is a length (four bytes, little endian, of what follows), a tag (one byte) and fields. The launcher sends a
//! [`Request`]; the daemon answers with [`Answer`]s, the last of which ends the exchange. When the daemon asks the
//! launcher to run the compiler itself, the launcher says so with [`Report`]s. Both sides are the same program, and the
//! request carries its [`BuildId`], so the encoding may change with every version.
//!
//! This file knows no sockets: it turns values into bytes and bytes into values, and every length is checked against
//! what is there.

mod codec;
#[cfg(test)]
mod fuzz;
/// Where the socket is.
pub(crate) mod socket;
/// From where a process sees the file system.
pub(crate) mod vantage;
pub(crate) mod without;

use codec::{Decoder, Encoder};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use vantage::Vantage;

/// The largest frame that either side accepts, in bytes: a command line of the kernel's limit, or what a compiler wrote
/// to standard output and standard error.
pub(crate) const FRAME_SIZE_BYTES: usize = 64 * 1024 * 1024;

/// How often the daemon tells a waiting launcher that it is alive.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);

/// How long a launcher waits without a heartbeat before it compiles by itself: some heartbeats' time, since the machine may
/// be busy.
pub(crate) const SILENCE_LIMIT: Duration = Duration::from_secs(HEARTBEAT_INTERVAL.as_secs() * 5);

/// The environment variable that says how deep launchers stand in each other: set for the compilers that they start,
/// which may be scripts that start one.
pub(crate) const DEPTH_VARIABLE: &str = "PUMPHOUSE_DEPTH";

/// Which build of the program this is: two builds never share a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BuildId(pub u64);

impl BuildId {
    /// The id of the running program: a hash of its sources, given by the build script.
    pub(crate) const OWN: Self = Self(parse_hexadecimal(env!("PUMPHOUSE_BUILD_ID")));
}

/// What a client of the daemon asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// Compile this.
    Compile(CompileRequest),
    /// Finish what is running, then leave.
    Stop,
    /// Write the statistics to disk.
    FlushStatistics,
    /// Set the statistics to zero.
    ZeroStatistics,
}

/// One invocation of a compiler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CompileRequest {
    /// From where the launcher sees the file system; a daemon elsewhere does not answer for it.
    pub vantage: Vantage,
    /// The working directory as `getcwd` gives it.
    pub working_directory: PathBuf,
    /// The device of the working directory, by which the daemon knows that it sees the same one.
    pub device: u64,
    /// The inode of the working directory.
    pub inode: u64,
    /// The file mode creation mask of the launcher.
    pub umask: u32,
    /// The group of the launcher where it is not the daemon's: it does not travel, for the socket tells it.
    pub group: Option<u32>,
    /// Whether standard error is a terminal, so that the compiler would write in colour.
    pub terminal: Terminal,
    /// The compiler as written, then its arguments.
    pub arguments: Vec<OsString>,
    /// The environment variables that may matter.
    pub environment: Vec<(OsString, OsString)>,
}

/// Where the launcher's standard error goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Terminal {
    /// To a terminal.
    Yes,
    /// To a pipe or a file.
    No,
}

/// What the daemon says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Still at it.
    Heartbeat,
    /// The compile is done and its outputs are in place.
    Done(Completed),
    /// Run the compiler at this place, with the arguments as they were written.
    RunLocally(LocalRun),
    /// The daemon is of another build, and is leaving; start another.
    OtherBuild,
    /// The control request is done.
    Acknowledged,
}

/// How a compile ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Completed {
    /// The status as `wait` gives it.
    pub wait_status: i32,
    /// What the compiler wrote to standard output.
    pub stdout: Vec<u8>,
    /// What the compiler wrote to standard error.
    pub stderr: Vec<u8>,
    /// What Pumphouse has to say besides, for standard error; usually empty.
    pub notice: Vec<u8>,
}

impl Completed {
    /// Whether the compiler wrote anything.
    pub(crate) const fn says_anything(&self) -> bool {
        !self.stdout.is_empty() || !self.stderr.is_empty()
    }
}

/// A compile that the launcher is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalRun {
    /// The compiler, from the launcher's working directory; empty where the launcher is to find it.
    pub compiler: PathBuf,
    /// The arguments to use instead of those written, where there are any: a compiler whose output is captured does not see
    /// the terminal.
    pub arguments: Option<Vec<OsString>>,
    /// What becomes of the compiler's output.
    pub output: LocalOutput,
    /// What Pumphouse has to say besides, for standard error; usually empty.
    pub notice: Vec<u8>,
}

/// What becomes of a local compiler's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LocalOutput {
    /// The compiler inherits the launcher's.
    Inherited,
    /// The launcher reads it, reports it to the daemon for the cache, and replays it.
    Captured,
}

/// What the launcher says about a compiler that it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Report {
    /// It runs, with this process id; it is killed when the launcher goes away.
    Started(u32),
    /// It ended. With [`LocalOutput::Inherited`], the output is empty here.
    Finished(Completed),
    /// It could not be started.
    NotStarted,
}

impl Request {
    /// The request as one frame, this program's build first.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let tag = match self {
            Self::Compile(_) => 1,
            Self::Stop => 2,
            Self::FlushStatistics => 3,
            Self::ZeroStatistics => 4,
        };
        let mut encoder = Encoder::new(tag);
        encoder.u64(BuildId::OWN.0);
        if let Self::Compile(request) = self {
            encoder.u64(request.vantage.mount);
            encoder.u64(request.vantage.device);
            encoder.u64(request.vantage.inode);
            encoder.path(&request.working_directory);
            encoder.u64(request.device);
            encoder.u64(request.inode);
            encoder.u32(request.umask);
            encoder.u32(u32::from(request.terminal == Terminal::Yes));
            encoder.strings(&request.arguments);
            encoder.u32(request.environment.len() as u32);
            for (name, value) in &request.environment {
                encoder.string(name);
                encoder.string(value);
            }
        }
        encoder.finish()
    }

    /// Reads the build of who asks, and the request where the build is this one; another's may mean anything.
    ///
    /// # Errors
    /// The frame is malformed.
    pub(crate) fn decode(tag: u8, payload: &[u8]) -> io::Result<(BuildId, Option<Self>)> {
        let mut decoder = Decoder::new(payload);
        let build = BuildId(decoder.u64()?);
        if build != BuildId::OWN {
            return Ok((build, None));
        }
        let request = match tag {
            1 => Self::Compile(CompileRequest {
                vantage: Vantage { mount: decoder.u64()?, device: decoder.u64()?, inode: decoder.u64()? },
                working_directory: decoder.path()?,
                device: decoder.u64()?,
                inode: decoder.u64()?,
                umask: decoder.u32()?,
                group: None,
                terminal: if decoder.u32()? == 0 { Terminal::No } else { Terminal::Yes },
                arguments: decoder.strings()?,
                environment: (0..decoder.count()?)
                    .map(|_| Ok((decoder.string()?, decoder.string()?)))
                    .collect::<io::Result<_>>()?,
            }),
            2 => Self::Stop,
            3 => Self::FlushStatistics,
            4 => Self::ZeroStatistics,
            _ => return Err(codec::malformed("request has an unknown tag")),
        };
        decoder.finish()?;
        Ok((build, Some(request)))
    }
}

impl Answer {
    /// The answer as one frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Heartbeat => Encoder::new(1).finish(),
            Self::Done(completed) => completed.encode(2),
            Self::RunLocally(run) => {
                let mut encoder = Encoder::new(3);
                encoder.path(&run.compiler);
                encoder.u32(u32::from(run.arguments.is_some()));
                encoder.strings(run.arguments.as_deref().unwrap_or_default());
                encoder.u32(u32::from(run.output == LocalOutput::Captured));
                encoder.bytes(&run.notice);
                encoder.finish()
            }
            Self::OtherBuild => Encoder::new(4).finish(),
            Self::Acknowledged => Encoder::new(5).finish(),
        }
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// The frame is malformed.
    pub(crate) fn decode(tag: u8, payload: &[u8]) -> io::Result<Self> {
        let mut decoder = Decoder::new(payload);
        let answer = match tag {
            1 => Self::Heartbeat,
            2 => Self::Done(Completed::decode(&mut decoder)?),
            3 => Self::RunLocally(LocalRun {
                compiler: decoder.path()?,
                arguments: match (decoder.u32()?, decoder.strings()?) {
                    (0, _) => None,
                    (_, arguments) => Some(arguments),
                },
                output: if decoder.u32()? == 0 { LocalOutput::Inherited } else { LocalOutput::Captured },
                notice: decoder.bytes()?.to_vec(),
            }),
            4 => Self::OtherBuild,
            5 => Self::Acknowledged,
            _ => return Err(codec::malformed("answer has an unknown tag")),
        };
        decoder.finish()?;
        Ok(answer)
    }
}

impl Report {
    /// The report as one frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Started(process) => {
                let mut encoder = Encoder::new(1);
                encoder.u32(*process);
                encoder.finish()
            }
            Self::Finished(completed) => completed.encode(2),
            Self::NotStarted => Encoder::new(3).finish(),
        }
    }

    /// Reads a report.
    ///
    /// # Errors
    /// The frame is malformed.
    pub(crate) fn decode(tag: u8, payload: &[u8]) -> io::Result<Self> {
        let mut decoder = Decoder::new(payload);
        let report = match tag {
            1 => Self::Started(decoder.u32()?),
            2 => Self::Finished(Completed::decode(&mut decoder)?),
            3 => Self::NotStarted,
            _ => return Err(codec::malformed("report has an unknown tag")),
        };
        decoder.finish()?;
        Ok(report)
    }
}

impl Completed {
    fn encode(&self, tag: u8) -> Vec<u8> {
        let mut encoder = Encoder::new(tag);
        encoder.u32(self.wait_status.cast_unsigned());
        encoder.bytes(&self.stdout);
        encoder.bytes(&self.stderr);
        encoder.bytes(&self.notice);
        encoder.finish()
    }

    fn decode(decoder: &mut Decoder<'_>) -> io::Result<Self> {
        Ok(Self {
            wait_status: decoder.u32()?.cast_signed(),
            stdout: decoder.bytes()?.to_vec(),
            stderr: decoder.bytes()?.to_vec(),
            notice: decoder.bytes()?.to_vec(),
        })
    }
}

/// The length and the tag that a frame's first five bytes announce; the length is that of the payload after them.
///
/// # Errors
/// The length is none, or above [`FRAME_SIZE_BYTES`].
pub(crate) fn decode_header(header: [u8; 5]) -> io::Result<(usize, u8)> {
    let [a, b, c, d, tag] = header;
    match (u32::from_le_bytes([a, b, c, d]) as usize).checked_sub(1) {
        Some(length) if length <= FRAME_SIZE_BYTES => Ok((length, tag)),
        _ => Err(codec::malformed("frame has an impossible length")),
    }
}

const fn parse_hexadecimal(text: &str) -> u64 {
    match u64::from_str_radix(text, 16) {
        Ok(value) => value,
        Err(_) => panic!("the build script gives 16 hexadecimal digits"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(encoded: &[u8]) -> (u8, &[u8]) {
        let (length, tag) = decode_header(encoded[..5].try_into().expect("five bytes")).expect("a header");
        assert_eq!(encoded.len(), 5 + length);
        (tag, &encoded[5..])
    }

    fn compile_request() -> Request {
        Request::Compile(CompileRequest {
            vantage: Vantage { mount: 3, device: 2, inode: 1 },
            working_directory: "/build".into(),
            device: 1,
            inode: u64::MAX,
            umask: 0o022,
            group: None,
            terminal: Terminal::Yes,
            arguments: vec!["gcc".into(), "-c".into(), "".into()],
            environment: vec![("PATH".into(), "/bin:/usr/bin".into())],
        })
    }

    #[test]
    fn a_request_survives_the_wire() {
        for request in [compile_request(), Request::Stop, Request::FlushStatistics, Request::ZeroStatistics] {
            let encoded = request.encode();
            let (tag, payload) = frame(&encoded);
            assert_eq!(Request::decode(tag, payload).expect("decodes"), (BuildId::OWN, Some(request)));
        }
    }

    #[test]
    fn another_build_is_recognised_without_reading_on() {
        let encoded = Request::Stop.encode();
        let (tag, payload) = frame(&encoded);
        let mut payload = payload.to_vec();
        payload[0] ^= 1;
        payload.extend_from_slice(b"anything");
        let (build, request) = Request::decode(tag, &payload).expect("decodes");
        assert_ne!(build, BuildId::OWN);
        assert_eq!(request, None);
    }

    #[test]
    fn answers_and_reports_survive_the_wire() {
        let completed =
            Completed { wait_status: -1, stdout: b"out".to_vec(), stderr: vec![0, 255], notice: b"n".to_vec() };
        let run = LocalRun {
            compiler: "/usr/bin/gcc".into(),
            arguments: Some(vec!["-c".into()]),
            output: LocalOutput::Captured,
            notice: vec![],
        };
        for answer in [
            Answer::Heartbeat,
            Answer::Done(completed.clone()),
            Answer::RunLocally(run),
            Answer::OtherBuild,
            Answer::Acknowledged,
        ] {
            let encoded = answer.encode();
            let (tag, payload) = frame(&encoded);
            assert_eq!(Answer::decode(tag, payload).expect("decodes"), answer);
        }
        for report in [Report::Started(7), Report::Finished(completed), Report::NotStarted] {
            let encoded = report.encode();
            let (tag, payload) = frame(&encoded);
            assert_eq!(Report::decode(tag, payload).expect("decodes"), report);
        }
    }

    #[test]
    fn every_truncation_and_every_excess_is_an_error() {
        let encoded = compile_request().encode();
        let (tag, payload) = frame(&encoded);
        for length in 0..payload.len() {
            assert!(Request::decode(tag, &payload[..length]).is_err(), "{length} bytes");
        }
        assert!(Request::decode(tag, &[payload, b"x"].concat()).is_err());
        assert!(Answer::decode(99, &[]).is_err());
        assert!(decode_header([0, 0, 0, 0, 1]).is_err());
        assert!(decode_header([255, 255, 255, 255, 1]).is_err());
    }
}
