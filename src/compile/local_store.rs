//! Results of compiles that the launcher ran, for the local cache.
//!
//! What a local compile read is not known, only what it would have read before it began. So its result is stored under
//! that only if a second look after its end finds the same, and every input is sure to have stood since before it began:
//! an input that changed and changed back, or changed within a tick of its file system's clock, must not name a result.
//! An output is the compile's if its stamp is another one than before.

use super::Compiler;
use super::prepare::Prepared;
use super::remote_run::stream;
use crate::files::stamp::watch::Watch;
use crate::files::stamp::{Links, Moment, Sight, Stamp};
use crate::ipc::Completed;
use crate::local::INLINE_OUTPUT_SIZE_BYTES;
use crate::outputs::{Place, Presence};
use bytes::Bytes;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{ActionResult, OutputFile};
use std::io;

/// How a local compile's result enters the cache.
#[derive(Debug)]
pub struct StorePlan {
    prepared: Box<Prepared>,
    /// What stood at the outputs' places before.
    before: Vec<Option<Sight>>,
}

impl StorePlan {
    /// The plan for a compile that has not begun. Costs a look at each output's place.
    pub(super) fn new(prepared: Prepared) -> Self {
        let before = prepared.places.iter().map(|place| Sight::at(&place.path, Links::Seen)).collect();
        Self { prepared: Box::new(prepared), before }
    }
}

impl Compiler {
    /// Stores the result of a compile that began at `start` and succeeded, if it is certain what it was made of. Blocks;
    /// the outputs must not change meanwhile.
    pub(crate) fn store_local_run(&self, plan: &StorePlan, completed: &Completed, start: Moment) {
        let prepared = &*plan.prepared;
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
        for (place, before) in prepared.places.iter().zip(&plan.before) {
            match read_output(place, before.as_ref()) {
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

    fn inputs_are_the_same(&self, prepared: &Prepared, start: Moment) -> bool {
        let closure = &prepared.closure;
        let paths = closure.files.iter().map(|file| &file.path).chain(closure.symlinks.iter().map(|(path, _)| path));
        if !paths.map(|path| Watch::link(path)).all(|watch| watch.stamp().is_some() && watch.stood_at(start)) {
            return false;
        }
        let again = self.scanner.scan(&prepared.command);
        let tools = self.toolchains.of(&prepared.command);
        again.is_ok_and(|again| again == *closure)
            && tools.is_ok_and(|tools| tools.identity == prepared.toolchain.identity)
    }
}

/// The output at `place`; none where there is none, or one from `before` the compile.
///
/// # Errors
/// Where it can't be read, or may be from before the compile although it looks alike.
fn read_output(place: &Place, before: Option<&Sight>) -> io::Result<Option<OutputFile>> {
    let metadata = match place.path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !metadata.is_file() {
        return Ok(None);
    }
    match before {
        Some(before) if before.stamp != Stamp::of_metadata(&metadata) => {}
        Some(before) if before.settled.holds() => return Ok(None),
        Some(_) => return Err(io::Error::other("its time stamp does not tell whether it was written")),
        None => {}
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
