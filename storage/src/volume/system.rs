//! A real directory.

mod link;

use super::{FileStat, Volume, VolumeFile};
use crate::record::PACKED;
use rustix::fs::{AtFlags, FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Files that are stored can be read by everybody and written by nobody.
const MODE: Mode = Mode::from_raw_mode(0o444);

/// How large a hole is tried.
const HOLE_SIZE_BYTES: u64 = 4096;

/// How files come about that have no final name yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temporaries {
    /// Without a name, so that a crash leaves nothing behind.
    Nameless,
    /// With a name in the scratch directory: where the file system has no nameless files (NFS), or they can't be
    /// given a name (no `/proc`).
    Named,
}

/// A directory that this process alone uses, for as long as the value lives.
#[derive(Debug)]
pub struct SystemVolume {
    path: PathBuf,
    root: OwnedFd,
    temporaries: Temporaries,
    next_temporary: AtomicU64,
    boot: [u8; 16],
    punches: bool,
    /// Held for as long as the directory is open.
    _lock: File,
}

/// A file in it.
#[derive(Debug)]
pub struct SystemFile {
    file: File,
    /// The name in the scratch directory, if it is a temporary file that has one.
    named: Option<PathBuf>,
}

impl Drop for SystemFile {
    fn drop(&mut self) {
        if let Some(path) = &self.named {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl SystemVolume {
    /// Opens or creates the directory at `path` and clears its scratch directory; nameless temporaries only where they
    /// work.
    ///
    /// # Errors
    /// Another process has it open, or the file system says no: the message names the path.
    pub fn open(path: &Path, temporaries: Temporaries) -> io::Result<Self> {
        let failed = |operation: &'static str| {
            move |error: io::Error| {
                io::Error::new(error.kind(), format!("cannot {operation} {}: {error}", path.display()))
            }
        };
        std::fs::create_dir_all(path).map_err(failed("create"))?;
        let lock = lock(path).map_err(failed("lock"))?;
        let scratch = path.join("tmp");
        if scratch.exists() {
            std::fs::remove_dir_all(&scratch).map_err(failed("clear the scratch directory of"))?;
        }
        std::fs::create_dir(&scratch).map_err(failed("create the scratch directory of"))?;
        let root = rustix::fs::open(path, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| failed("open")(errno.into()))?;
        let mut volume = Self {
            path: path.to_owned(),
            root,
            temporaries,
            next_temporary: AtomicU64::new(0),
            boot: boot_id(),
            punches: true,
            _lock: lock,
        };
        if !volume.can_publish() {
            volume.temporaries = Temporaries::Named;
        }
        volume.punches = volume.can_punch();
        if !volume.punches {
            tracing::info!(directory = %path.display(), "the file system has no holes: each small content has a file of its own");
        }
        Ok(volume)
    }

    /// Whether the file system has holes: NFS before 4.2 hasn't, nor have some of FUSE.
    fn can_punch(&self) -> bool {
        const PROBE: &str = "tmp/hole";
        let punched = self.create(PROBE).and_then(|file| {
            // A length takes no room, of which there may be none.
            rustix::fs::ftruncate(&file.file, 2 * HOLE_SIZE_BYTES)?;
            file.punch(0, HOLE_SIZE_BYTES)
        });
        let _ = self.remove(PROBE);
        let errno = punched.err().and_then(|error| Errno::from_io_error(&error));
        !matches!(errno, Some(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV))
    }

    /// Whether a temporary file can be made and given a name.
    fn can_publish(&self) -> bool {
        let linked = self.temporary().and_then(|temporary| self.link(&temporary, "tmp/probe"));
        let _ = self.remove("tmp/probe");
        linked.is_ok()
    }

    fn open_at(&self, name: &str, flags: OFlags, mode: Mode) -> io::Result<File> {
        Ok(File::from(rustix::fs::openat(&self.root, name, flags | OFlags::CLOEXEC, mode)?))
    }
}

impl Volume for SystemVolume {
    type File = SystemFile;

    fn open(&self, name: &str) -> io::Result<SystemFile> {
        Ok(SystemFile { file: self.open_at(name, OFlags::RDONLY, Mode::empty())?, named: None })
    }

    fn temporary(&self) -> io::Result<SystemFile> {
        if self.temporaries == Temporaries::Nameless {
            let file = self.open_at("tmp", OFlags::TMPFILE | OFlags::WRONLY, MODE)?;
            return Ok(SystemFile { file, named: None });
        }
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let name = format!("tmp/{}-{number}", std::process::id());
        let file = self.open_at(&name, OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY, MODE)?;
        Ok(SystemFile { file, named: Some(self.path.join(name)) })
    }

    fn link(&self, file: &SystemFile, name: &str) -> io::Result<()> {
        match &file.named {
            None => rustix::fs::linkat(
                rustix::fs::CWD,
                format!("/proc/self/fd/{}", file.file.as_raw_fd()),
                &self.root,
                name,
                AtFlags::SYMLINK_FOLLOW,
            )?,
            Some(path) => rustix::fs::linkat(rustix::fs::CWD, path, &self.root, name, AtFlags::empty())?,
        }
        Ok(())
    }

    fn open_to_change(&self, name: &str) -> io::Result<SystemFile> {
        Ok(SystemFile { file: self.open_at(name, OFlags::RDWR, Mode::empty())?, named: None })
    }

    fn create(&self, name: &str) -> io::Result<SystemFile> {
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::RDWR;
        Ok(SystemFile { file: self.open_at(name, flags, Mode::from_raw_mode(0o644))?, named: None })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.root, from, &self.root, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.root, name, AtFlags::empty())?)
    }

    fn create_directory(&self, name: &str) -> io::Result<()> {
        match rustix::fs::mkdirat(&self.root, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let files = match std::fs::read_dir(self.path.join(directory)) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        // A name that is not text is not ours.
        files.filter_map(|file| file.map(|file| file.file_name().into_string().ok()).transpose()).collect()
    }

    fn stat(&self, name: &str) -> io::Result<FileStat> {
        Ok(file_stat(&rustix::fs::statat(&self.root, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    fn has_other_links(&self, name: &str) -> bool {
        rustix::fs::statat(&self.root, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| stat.st_nlink > 1)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn punches(&self) -> bool {
        self.punches
    }

    fn boot(&self) -> [u8; 16] {
        self.boot
    }

    fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        // Without random numbers the boot's name must do.
        if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_err() {
            bytes.copy_from_slice(&self.boot[..8]);
        }
        u64::from_le_bytes(bytes)
    }

    fn seconds(&self) -> u32 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs() as u32)
    }

    fn place(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

impl VolumeFile for SystemFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    /// Into memory that nobody has had to fill before.
    fn read_into(&self, buffer: &mut Vec<u8>, offset: u64) -> io::Result<usize> {
        let filled = buffer.len();
        while buffer.len() < buffer.capacity() {
            let at = offset + (buffer.len() - filled) as u64;
            match rustix::io::pread(&self.file, rustix::buffer::spare_capacity(buffer), at) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(buffer.len() - filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.file, flags, offset, length)?)
    }

    fn stat(&self) -> io::Result<FileStat> {
        Ok(file_stat(&rustix::fs::fstat(&self.file)?))
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn file_stat(stat: &rustix::fs::Stat) -> FileStat {
    let modified = (stat.st_mtime as u64).wrapping_mul(1_000_000_000).wrapping_add(stat.st_mtime_nsec);
    FileStat { size_bytes: stat.st_size as u64, modified: modified.clamp(1, PACKED - 1) }
}

fn lock(path: &Path) -> io::Result<File> {
    let file = File::create(path.join("lock"))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(io::Error::other("another server uses this directory")),
        Err(errno) => Err(errno.into()),
    }
}

/// The kernel's name for this boot; where that can't be known, one that has never been.
fn boot_id() -> [u8; 16] {
    let mut boot = [0; 16];
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if const_hex::decode_to_slice(text.trim().replace('-', ""), &mut boot).is_err() {
        let _ = rustix::rand::getrandom(&mut boot, rustix::rand::GetRandomFlags::empty());
    }
    boot
}
