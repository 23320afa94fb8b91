//! Results of compiles that the launcher ran, for the local cache.
//!
//! What a local compile read is not known, only what it would have read before it began. So its result is stored under
//! that only if a second look after its end finds the same, every input is sure to have stood since before it began, and
//! nothing that was looked for came or went meanwhile: an input that changed and changed back, or changed within a tick of
//! its file system's clock, must not name a result. Neither must an output that somebody else wrote (see `witness`).

use super::Handler;
use super::in_flight::{End, Leader};
use super::prepare::Prepared;
use super::remote_run::stream;
use super::witness::{Witness, Written, is_unchanged, written};
use crate::files::lease;
use crate::files::stamp::watch::Watch;
use crate::files::stamp::{Moment, Stamp};
use crate::ipc::Completed;
use crate::local::INLINE_OUTPUT_SIZE_BYTES;
use crate::outputs::{OutputPath, Presence};
use crate::stats::{Stage, StageTimes};
use bytes::Bytes;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{ActionResult, OutputFile};
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

/// How a local compile's result enters the cache. Others that wait for it learn when this is dropped that they wait in vain.
#[derive(Debug)]
pub(crate) struct StorePlan {
    prepared: Arc<Prepared>,
    leader: Option<Leader>,
}

impl StorePlan {
    pub(super) const fn new(prepared: Arc<Prepared>, leader: Option<Leader>) -> Self {
        Self { prepared, leader }
    }

    /// Notes that the compile failed: there is nothing to store, and equal compiles are for their launchers to run.
    pub(crate) fn give_up(self) {
        if let Some(leader) = self.leader {
            leader.end(End::Failed);
        }
    }
}

impl Handler {
    /// Begins to watch what the compile of `plan` in `directory` reads and writes, just before it runs. Gives the plan back,
    /// unless the files don't answer: then nothing is to be stored.
    pub(crate) async fn witness(self: &Arc<Self>, directory: &Path, plan: StorePlan) -> Option<(StorePlan, Witness)> {
        let handler = Arc::clone(self);
        let work = move || {
            let witness = handler.witness_now(&plan);
            (plan, witness)
        };
        self.turns.take(directory, || true, work).await.ok()
    }

    /// As [`Self::witness`]. Blocks for a moment.
    pub(super) fn witness_now(&self, plan: &StorePlan) -> Witness {
        Witness::new(&self.events, &plan.prepared)
    }

    /// Stores the result of a compile that ran in `directory` under the eyes of `witness` and succeeded, if it is certain what
    /// it was made of, and that the outputs are its own. The launcher must not have ended.
    pub(crate) async fn store_local_run(
        self: &Arc<Self>,
        directory: &Path,
        plan: StorePlan,
        completed: Completed,
        witness: Witness,
        times: &mut StageTimes,
    ) {
        let handler = Arc::clone(self);
        let work = move || handler.store_now(plan, &completed, &witness);
        // What takes too long is stored later, or not: nothing hangs on it.
        let _ = times.time_async(Stage::LocalCache, self.turns.take(directory, || true, work)).await;
    }

    /// As [`Self::store_local_run`]. Blocks.
    pub(super) fn store_now(&self, plan: StorePlan, completed: &Completed, witness: &Witness) {
        let action = plan.prepared.action.digest;
        match self.local_result(&plan.prepared, completed, witness) {
            Ok(result) => self.keep(&action, &result, &plan.prepared.places),
            Err(reason) => tracing::debug!(%action, reason, "not stored"),
        }
        if let Some(leader) = plan.leader {
            leader.end(End::Done);
        }
    }

    fn local_result(
        &self,
        prepared: &Prepared,
        completed: &Completed,
        witness: &Witness,
    ) -> Result<ActionResult, &'static str> {
        let mut result = ActionResult {
            stdout_raw: stream(&completed.stdout),
            stderr_raw: stream(&completed.stderr),
            ..ActionResult::default()
        };
        let account = witness.account().ok_or("what happened meanwhile is not known")?;
        for (place, events) in prepared.places.iter().zip(&account.files) {
            match written(events, place, prepared) {
                Written::Once => {
                    let file = read_output(place).map_err(|_| "an output changed while it was read")?;
                    result.output_files.push(file);
                }
                Written::Never if place.presence == Presence::Possible => {}
                Written::Never => return Err("an output was not written"),
                Written::ByOthers => return Err("an output has another writer"),
            }
        }
        if !self.inputs_are_the_same(prepared, witness.start) {
            return Err("inputs changed around the compile");
        }
        let later = witness.account().ok_or("what happened meanwhile is not known")?;
        if !account.files.iter().zip(&later.files).all(|(earlier, later)| is_unchanged(earlier, later)) {
            return Err("an output changed after the compile");
        }
        if witness.inputs_held_still(&later, prepared) { Ok(result) } else { Err("an input came or went meanwhile") }
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

/// The output at `place`, as one reading finds it.
fn read_output(place: &OutputPath) -> io::Result<OutputFile> {
    let mut file = File::open(&place.path)?;
    // Before it is read and after it: whoever writes now, or opened it before it was watched, is not this compile.
    if lease::is_being_written(&file) {
        return Err(io::Error::other("is still being written"));
    }
    let before = file.metadata()?;
    let mut content = Vec::with_capacity(before.len() as usize);
    file.read_to_end(&mut content)?;
    let is_same =
        |metadata: &Metadata| metadata.nlink() == 1 && Stamp::of_metadata(metadata) == Stamp::of_metadata(&before);
    if lease::is_being_written(&file) {
        return Err(io::Error::other("is still being written"));
    }
    if !before.is_file() || !is_same(&file.metadata()?) || !is_same(&place.path.symlink_metadata()?) {
        return Err(io::Error::other("changed while it was read"));
    }
    let content = Bytes::from(content);
    let digest = Digest::of(&content);
    let is_inline = digest.size_bytes() <= INLINE_OUTPUT_SIZE_BYTES;
    Ok(OutputFile {
        path: place.name.clone(),
        digest: Some(digest.into()),
        contents: if is_inline { content } else { Bytes::new() },
        ..OutputFile::default()
    })
}
