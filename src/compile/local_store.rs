//! Results of compiles that the launcher ran, for the local cache.
//!
//! What a local compile read is not known, only what it would have read before it began. So its result is stored under
//! that only if a second look after its end finds the same, and no input was touched since shortly before it began:
//! an input that changed and changed back, or changed within a tick of the clock, must not name a result.

use super::Compiler;
use super::prepare::Prepared;
use super::remote_run::stream;
use crate::ipc::Completed;
use crate::local::INLINE_OUTPUT_SIZE_BYTES;
use crate::outputs::{Place, Presence};
use bytes::Bytes;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{ActionResult, OutputFile};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How coarse the time stamps of files may be: a few ticks of the kernel's clock.
pub(super) const TICK: Duration = Duration::from_millis(20);

/// How a local compile's result enters the cache.
#[derive(Debug)]
pub struct StorePlan(Box<Prepared>);

impl StorePlan {
    pub(super) fn new(prepared: Prepared) -> Self {
        Self(Box::new(prepared))
    }
}

impl Compiler {
    /// Stores the result of a compile that began at `start` and succeeded, if it is certain what it was made of. Blocks;
    /// the outputs must not change meanwhile.
    pub fn store_local_run(&self, plan: &StorePlan, completed: &Completed, start: SystemTime) {
        let prepared = &*plan.0;
        let action = prepared.action.digest;
        if !self.inputs_are_the_same(prepared, start) {
            tracing::debug!(%action, "not stored: inputs changed around the compile");
            return;
        }
        let mut result = ActionResult {
            stdout_raw: stream(&completed.stdout),
            stderr_raw: stream(&completed.stderr),
            ..ActionResult::default()
        };
        for place in &prepared.places {
            match read_output(place, start) {
                Ok(Some(file)) => result.output_files.push(file),
                Ok(None) if place.presence == Presence::Possible => {}
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%action, %error, output = %place.path.display(), "not stored");
                    return;
                }
            }
        }
        self.keep(&action, &result, &prepared.places);
    }

    fn inputs_are_the_same(&self, prepared: &Prepared, start: SystemTime) -> bool {
        let untouched =
            |path: &Path| path.symlink_metadata().is_ok_and(|metadata| last_touch(&metadata) + TICK < start);
        let closure = &prepared.closure;
        if !closure.files.iter().all(|file| untouched(&file.path))
            || !closure.symlinks.iter().all(|(path, _)| untouched(path))
        {
            return false;
        }
        let again = self.scanner.scan(&prepared.command);
        let tools = self.toolchains.of(&prepared.command);
        again.is_ok_and(|again| again == *closure)
            && tools.is_ok_and(|tools| tools.identity == prepared.toolchain.identity)
    }
}

/// When a file's content or name last changed.
fn last_touch(metadata: &Metadata) -> SystemTime {
    let changed = UNIX_EPOCH
        + Duration::from_secs(metadata.ctime().max(0) as u64)
        + Duration::from_nanos(metadata.ctime_nsec().max(0) as u64);
    metadata.modified().map_or(changed, |modified| modified.max(changed))
}

/// The output at `place`; none where there is none, or one from before the compile.
fn read_output(place: &Place, start: SystemTime) -> io::Result<Option<OutputFile>> {
    let metadata = match place.path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !metadata.is_file() || last_touch(&metadata) + TICK < start {
        return Ok(None);
    }
    let content = Bytes::from(std::fs::read(&place.path)?);
    let digest = Digest::of(&content);
    let is_inline = digest.size_bytes() <= INLINE_OUTPUT_SIZE_BYTES;
    Ok(Some(OutputFile {
        path: place.name.clone(),
        digest: Some(digest.into()),
        contents: if is_inline { content } else { Bytes::new() },
        ..OutputFile::default()
    }))
}
