//! What a command has made: found below the exec root, hashed, and put into the messages of an action result.
//!
//! Look-ups happen inside the exec root: links are followed there and nowhere else, and `..` ends at it. What a command
//! promised and did not make is left out. What is neither file, directory nor link can't be an output and is left out.
//!
//! **Source:** Remote Execution API v2, messages `Command` (`output_paths` and the lists before it), `ActionResult`,
//! `OutputFile`, `OutputDirectory`, `OutputSymlink`, `Tree`.

mod tree;

use crate::error::ExecutionError;
use crate::in_root;
use anyhow::Context as _;
use bytes::Bytes;
use pumphouse_proto::cas_client::{Source, Upload};
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_proto::reapi::command::OutputDirectoryFormat;
use pumphouse_proto::reapi::{ActionResult, Command, OutputDirectory, OutputFile, OutputSymlink};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// Outputs above this are hashed in pieces and uploaded from their files; smaller ones are read once into memory.
const STREAMED_SIZE_BYTES: u64 = 16 * 1024 * 1024;

/// How much of one action's outputs is in memory; what comes after it is uploaded from its files.
const MEMORY_SIZE_BYTES: u64 = 256 * 1024 * 1024;

/// How many files of one action are held open for their upload.
const HELD_FILES: usize = 4096;

/// Standard output and standard error up to this size stand in the result itself, besides their digests.
const INLINE_SIZE_BYTES: usize = 64 * 1024;

/// How a command names its outputs, which decides where links are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// In `output_paths`: whatever is there.
    Any,
    /// In `output_files`.
    File,
    /// In `output_directories`.
    Directory,
}

/// A promise of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Promise {
    /// As the command says it.
    path: String,
    kind: Kind,
}

/// The outputs that a command promises.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Promises {
    working_directory: PathBuf,
    promised: Vec<Promise>,
    /// As what directories are reported.
    directory_format: OutputDirectoryFormat,
}

/// What a command has made.
#[derive(Debug, Default)]
pub struct Outputs {
    /// What the outputs are named by.
    function: DigestFunction,
    /// A result with the outputs in it.
    pub result: ActionResult,
    /// Every blob that the result names.
    pub uploads: Vec<Upload>,
    /// The files that uploads read from by their descriptors; they must live until the upload is over.
    pub(crate) held: Vec<OwnedFd>,
    in_memory_bytes: u64,
}

impl Promises {
    /// Reads what `command` promises; `output_paths` beats the older lists.
    ///
    /// # Errors
    /// A path is absolute.
    #[expect(deprecated, reason = "clients of API 2.0 know only the older lists")]
    pub fn of(command: &Command) -> Result<Self, ExecutionError> {
        let promise = |kind| move |path: &String| Promise { path: path.clone(), kind };
        let promises: Vec<Promise> = if command.output_paths.is_empty() {
            let files = command.output_files.iter().map(promise(Kind::File));
            files.chain(command.output_directories.iter().map(promise(Kind::Directory))).collect()
        } else {
            command.output_paths.iter().map(promise(Kind::Any)).collect()
        };
        for promise in &promises {
            if promise.path.starts_with('/') || promise.path.contains('\0') {
                return Err(ExecutionError::Invalid(format!("output path {:?} is not relative", promise.path)));
            }
        }
        Ok(Self {
            working_directory: PathBuf::from(&command.working_directory),
            promised: promises,
            directory_format: command.output_directory_format(),
        })
    }

    /// The directories that must be there before the command runs, relative to the exec root: those above outputs.
    pub fn parents(&self) -> Vec<PathBuf> {
        let mut parents: Vec<PathBuf> = self
            .promised
            .iter()
            .filter(|promise| !promise.path.is_empty())
            .map(|promise| self.working_directory.join(&promise.path))
            .filter_map(|path| path.parent().map(Path::to_owned))
            .collect();
        parents.sort_unstable();
        parents.dedup();
        parents
    }

    /// Whether an output's path leads out of the exec root by its `..`.
    pub fn leave_the_root(&self) -> Option<&str> {
        let leaves = |promise: &&Promise| {
            let mut depth = 0_i64;
            self.working_directory.join(&promise.path).components().any(|component| {
                depth += match component {
                    Component::ParentDir => -1,
                    Component::Normal(_) => 1,
                    _ => 0,
                };
                depth < 0
            })
        };
        self.promised.iter().find(leaves).map(|promise| promise.path.as_str())
    }

    /// Finds and reads the outputs below `exec_root`, and names them by `function`. Blocks.
    ///
    /// # Errors
    /// A name is not UTF-8, a tree is too large, or the file system fails.
    pub fn collect(&self, exec_root: impl AsFd, function: DigestFunction) -> Result<Outputs, ExecutionError> {
        let mut outputs = Outputs::new(function);
        for promise in &self.promised {
            self.collect_one(exec_root.as_fd(), promise, &mut outputs)?;
        }
        Ok(outputs)
    }

    fn collect_one(
        &self,
        exec_root: BorrowedFd<'_>,
        promise: &Promise,
        outputs: &mut Outputs,
    ) -> Result<(), ExecutionError> {
        let path = self.working_directory.join(&promise.path);
        let Some(place) = Place::find(exec_root, &path).with_context(|| format!("looking for {}", path.display()))?
        else {
            return Ok(());
        };
        match place.file_type {
            FileType::RegularFile if promise.kind != Kind::Directory => {
                let (digest, is_executable) = outputs.add_file(place.parent.as_fd(), &place.name)?;
                outputs.result.output_files.push(OutputFile {
                    path: promise.path.clone(),
                    digest: Some(digest.into()),
                    is_executable,
                    ..OutputFile::default()
                });
            }
            FileType::Directory if promise.kind != Kind::File => {
                let directory =
                    in_root::open_entry(place.parent.as_fd(), &place.name, OFlags::RDONLY | OFlags::DIRECTORY)
                        .with_context(|| format!("opening {}", path.display()))?;
                let digests = outputs.add_directory(directory.as_fd(), self.directory_format)?;
                outputs.result.output_directories.push(OutputDirectory {
                    path: promise.path.clone(),
                    tree_digest: digests.tree.map(Into::into),
                    is_topologically_sorted: digests.tree.is_some(),
                    root_directory_digest: digests.root.map(Into::into),
                });
            }
            FileType::Symlink => outputs.add_symlink(exec_root, &path, &place, promise)?,
            _ => {}
        }
        Ok(())
    }
}

impl Outputs {
    /// None yet; what comes is named by `function`.
    pub fn new(function: DigestFunction) -> Self {
        Self { function, ..Self::default() }
    }

    /// Takes in standard output and standard error: by digest, and inline while they are small.
    pub fn add_streams(&mut self, stdout: &Bytes, stderr: &Bytes) {
        let mut add = |bytes: &Bytes| {
            if bytes.is_empty() {
                return (None, Bytes::new());
            }
            let digest = self.function.digest(bytes);
            self.uploads.push(Upload { digest, source: Source::Bytes(bytes.clone()) });
            (Some(digest.into()), if bytes.len() <= INLINE_SIZE_BYTES { bytes.clone() } else { Bytes::new() })
        };
        let (stdout_digest, stdout_raw) = add(stdout);
        let (stderr_digest, stderr_raw) = add(stderr);
        let result = &mut self.result;
        (result.stdout_digest, result.stdout_raw) = (stdout_digest, stdout_raw);
        (result.stderr_digest, result.stderr_raw) = (stderr_digest, stderr_raw);
    }

    /// Reads and hashes a file; gives its digest and whether it can be run.
    fn add_file(&mut self, at: BorrowedFd<'_>, name: &Path) -> Result<(Digest, bool), ExecutionError> {
        let describe = || format!("reading output {}", name.display());
        let descriptor = match in_root::open_entry(at, name, OFlags::RDONLY | OFlags::NONBLOCK) {
            // The worker owns the file, but the command took its own right to read away.
            Err(Errno::ACCESS) => {
                rustix::fs::chmodat(at, name, Mode::from_raw_mode(0o600), AtFlags::empty()).with_context(describe)?;
                in_root::open_entry(at, name, OFlags::RDONLY | OFlags::NONBLOCK)
            }
            outcome => outcome,
        }
        .with_context(describe)?;
        let file = File::from(descriptor);
        let metadata = file.metadata().with_context(describe)?;
        let is_executable = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0;
        let is_too_much = self.in_memory_bytes + metadata.len() > MEMORY_SIZE_BYTES && metadata.len() > 0;
        if metadata.len() > STREAMED_SIZE_BYTES || is_too_much {
            if self.held.len() >= HELD_FILES {
                return Err(ExecutionError::TooLarge(format!(
                    "outputs are larger than {MEMORY_SIZE_BYTES} bytes in too many files"
                )));
            }
            let digest = hash(&file, self.function).with_context(describe)?;
            let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
            self.uploads.push(Upload { digest, source: Source::File(path) });
            self.held.push(file.into());
            return Ok((digest, is_executable));
        }
        self.in_memory_bytes += metadata.len();
        let mut content = Vec::with_capacity(metadata.len() as usize);
        (&file).read_to_end(&mut content).with_context(describe)?;
        let digest = self.function.digest(&content);
        if !digest.names_nothing() {
            self.uploads.push(Upload { digest, source: Source::Bytes(content.into()) });
        }
        Ok((digest, is_executable))
    }

    #[expect(deprecated, reason = "clients of API 2.0 know only the older lists")]
    fn add_symlink(
        &mut self,
        exec_root: BorrowedFd<'_>,
        path: &Path,
        place: &Place,
        promise: &Promise,
    ) -> Result<(), ExecutionError> {
        let target = read_link(place.parent.as_fd(), &place.name)?;
        let symlink = OutputSymlink { path: promise.path.clone(), target, ..OutputSymlink::default() };
        let result = &mut self.result;
        match promise.kind {
            Kind::Any => {
                // The older lists, for clients that know no other, say what the link leads to.
                let leads_to_directory = leads_to_directory(exec_root, path);
                let older = if leads_to_directory {
                    &mut result.output_directory_symlinks
                } else {
                    &mut result.output_file_symlinks
                };
                older.push(symlink.clone());
                result.output_symlinks.push(symlink);
            }
            Kind::File => result.output_file_symlinks.push(symlink),
            Kind::Directory => result.output_directory_symlinks.push(symlink),
        }
        Ok(())
    }
}

/// Where an output is: the directory that holds it, its name there, and what it is.
struct Place {
    parent: OwnedFd,
    name: PathBuf,
    file_type: FileType,
}

impl Place {
    /// Finds `path` below `root` without following it if it is a link; none if nothing is there.
    fn find(root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<Self>> {
        let (parent, name) = match (path.parent(), path.components().next_back()) {
            (Some(parent), Some(Component::Normal(name))) => (parent, Path::new(name)),
            // The exec root itself, or a path that ends in `..`: a directory in any case.
            _ => (path, Path::new(".")),
        };
        let parent = match in_root::open_directory(root, parent) {
            Ok(parent) => parent,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let file_type = FileType::from_raw_mode(stat.st_mode);
                Ok(Some(Self { parent, name: name.to_owned(), file_type }))
            }
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn leads_to_directory(root: BorrowedFd<'_>, path: &Path) -> bool {
    in_root::open_directory(root, path).is_ok()
}

fn read_link(at: BorrowedFd<'_>, name: &Path) -> Result<String, ExecutionError> {
    let target =
        rustix::fs::readlinkat(at, name, Vec::new()).with_context(|| format!("reading link {}", name.display()))?;
    target
        .into_string()
        .map_err(|_| ExecutionError::Refused(format!("target of output link {} is not UTF-8", name.display())))
}

fn hash(mut file: &File, function: DigestFunction) -> io::Result<Digest> {
    let mut hasher = function.hasher();
    let mut piece = vec![0; 256 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&piece[..length]),
        }
    }
}
