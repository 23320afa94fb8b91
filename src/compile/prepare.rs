//! The steps of a compile that need no server, up to the local cache's answer.

use super::Handler;
use super::in_flight::Claim;
use super::wanted::Wanted;
use crate::action::Action;
use crate::audit::distrust::Trust;
use crate::command::{self, CompileCommand, Family, environment::STDERR_IS_TERMINAL};
use crate::fallback::{Fallback, Reason};
use crate::ipc::vantage::Vantage;
use crate::ipc::{CompileRequest, Completed, DEPTH_VARIABLE, Terminal};
use crate::local::{BlobRead, Lookup};
use crate::outputs::{OutputPaths, Staging};
use crate::scan::closure::Closure;
use crate::stats::{Stage, StageTimes};
use crate::toolchain::{Objects, Toolchain};
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::ActionResult;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// What the steps came to.
pub(super) enum Front {
    /// The result was in the local cache, and the outputs are in place.
    Hit(Completed),
    /// The compile is for the real compiler.
    Refused { compiler: PathBuf, fallback: Fallback },
    /// The action is ready to be run somewhere, by this compile or by an equal one.
    Ready(Arc<Prepared>, Option<Claim>),
}

/// A compile whose action is known.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) command: CompileCommand,
    pub(super) toolchain: Arc<Toolchain>,
    pub(super) closure: Arc<Closure>,
    pub(super) places: OutputPaths,
    pub(super) action: Action,
    /// What the local cache had to say, for the user.
    pub(super) notice: Vec<u8>,
}

impl Handler {
    /// Takes `request` as far as it goes without a server. Blocks on the file system.
    pub(super) fn prepare(&self, request: &CompileRequest, wanted: &Wanted, times: &mut StageTimes) -> Front {
        if !wanted.is_waited_for() {
            // It waited for its turn for so long that its launcher has ended, and hears nothing of this.
            return Front::Refused { compiler: PathBuf::new(), fallback: Fallback::new(Reason::NotACompile, "") };
        }
        self.settings.refresh();
        self.heed_audits();
        let parsed = times.time(Stage::Parse, || parse(request));
        let command = match parsed {
            Ok(command) => command,
            Err(fallback) => return Front::Refused { compiler: PathBuf::new(), fallback },
        };
        let program = command.program.clone();
        match self.prepare_command(command, request, times) {
            Ok(mut prepared) => match times.time(Stage::LocalCache, || self.restore(&prepared, wanted)) {
                Restored::Hit(completed) => {
                    if prepared.command.is_deterministic {
                        self.offer_audit(request, || Arc::new(prepared));
                    }
                    Front::Hit(completed)
                }
                Restored::Miss(notice) => {
                    prepared.notice = notice;
                    self.claim(prepared, request, wanted)
                }
            },
            Err(fallback) => Front::Refused { compiler: program, fallback },
        }
    }

    /// Decides who runs an action that is not in the cache.
    fn claim(&self, prepared: Prepared, request: &CompileRequest, wanted: &Wanted) -> Front {
        // A compiler that a local compile started must not wait for that one.
        if request.environment.iter().any(|(name, _)| name == DEPTH_VARIABLE) {
            return Front::Ready(Arc::new(prepared), None);
        }
        let claim = self.in_flight.claim(prepared.action.digest);
        // An equal compile may have ended between the look into the cache and the claim.
        if matches!(claim, Claim::Lead(_))
            && let Restored::Hit(completed) = self.restore(&prepared, wanted)
        {
            return Front::Hit(completed);
        }
        Front::Ready(Arc::new(prepared), Some(claim))
    }

    /// Looks into the cache once more, after an equal compile has ended.
    pub(super) async fn restore_again(
        self: &Arc<Self>,
        request: &CompileRequest,
        prepared: &Arc<Prepared>,
        wanted: &Arc<Wanted>,
    ) -> Option<Completed> {
        let (handler, known, asking) = (Arc::clone(self), Arc::clone(prepared), Arc::clone(wanted));
        let work = move || handler.restore(&known, &asking);
        match self.turns.take(&request.working_directory, || wanted.give_up(), work).await {
            Ok(Restored::Hit(completed)) => Some(completed),
            _ => None,
        }
    }

    fn prepare_command(
        &self,
        command: CompileCommand,
        request: &CompileRequest,
        times: &mut StageTimes,
    ) -> Result<Prepared, Fallback> {
        let places = times.time(Stage::Parse, || {
            OutputPaths::find(&command.outputs, &request.working_directory, request.umask, request.group)
        })?;
        // What is seen from now on serves the toolchain and the closure.
        let asked = Instant::now();
        let toolchain = times.time(Stage::Toolchain, || self.toolchains.of_since(&command, asked))?;
        if toolchain.objects == Objects::Passing {
            return Err(Fallback::new(Reason::TimeDependent, "the object holds the time of day"));
        }
        let closure = times.time(Stage::Scan, || self.scanner.scan_since(&command, asked))?;
        // Clang knows the variable only from version 16 on.
        let is_fixed =
            command.family == Family::Gcc && command.environment.iter().any(|(name, _)| name == "SOURCE_DATE_EPOCH");
        if closure.time_dependent && !is_fixed {
            return Err(Fallback::new(Reason::TimeDependent, ""));
        }
        let action = times.time(Stage::InputRoot, || {
            let root = self.roots.digest(&closure, &toolchain, &places)?;
            let action = Action::new(&command, &toolchain.environment, &request.working_directory, &places, root)?;
            match self.distrust.trust(&action.name, &toolchain.identity) {
                Trust::Whole | Trust::Never => Ok(action),
                Trust::Since(salt) => {
                    action.salted(salt).map_err(|error| Fallback::new(Reason::Distrusted, error.to_string()))
                }
            }
        })?;
        Ok(Prepared { command, toolchain, closure, places, action, notice: Vec::new() })
    }

    /// Looks the action up, and puts the outputs in place if it is known.
    fn restore(&self, prepared: &Prepared, wanted: &Wanted) -> Restored {
        if self.is_distrusted(prepared) {
            return Restored::Miss(Vec::new());
        }
        match self.cache.lookup(&prepared.action.digest) {
            Lookup::Miss => Restored::Miss(Vec::new()),
            Lookup::Corrupt(message) => Restored::Miss(self.report_corrupt(&message)),
            Lookup::Hit(result) => self.place(&result, &prepared.places, wanted),
        }
    }

    fn place(&self, result: &ActionResult, places: &OutputPaths, wanted: &Wanted) -> Restored {
        let mut staging = Staging::new();
        // The object comes first in the list of places, and so is renamed last.
        for place in places {
            let Some(file) = result.output_files.iter().find(|file| file.path == place.name) else { continue };
            let Ok(digest) = Digest::try_from(&file.digest) else { return Restored::Miss(Vec::new()) };
            if digest.size_bytes() == file.contents.len() as u64 {
                if let Err(error) = staging.write(place, &file.contents) {
                    return Restored::failed(&error);
                }
                continue;
            }
            let copied = staging.create(place).and_then(|mut target| self.cache.copy_blob(&digest, &mut target));
            match copied {
                Ok(BlobRead::Copied) => {}
                Ok(BlobRead::Missing) => return Restored::Miss(Vec::new()),
                Ok(BlobRead::Corrupt(message)) => return Restored::Miss(self.report_corrupt(&message)),
                Err(error) => return Restored::failed(&error),
            }
        }
        match wanted.place(|| staging.commit()) {
            None => Restored::Miss(Vec::new()),
            Some(Ok(())) => Restored::Hit(Completed {
                wait_status: 0,
                stdout: result.stdout_raw.to_vec(),
                stderr: result.stderr_raw.to_vec(),
                notice: Vec::new(),
            }),
            Some(Err(error)) => Restored::failed(&error),
        }
    }
}

enum Restored {
    Hit(Completed),
    Miss(Vec<u8>),
}

impl Restored {
    /// Outputs can't be written: the compiler says so better.
    fn failed(error: &std::io::Error) -> Self {
        tracing::warn!(%error, "writing outputs");
        Self::Miss(Vec::new())
    }
}

/// Understands the request's command line, once it is certain that both sides see the same files.
fn parse(request: &CompileRequest) -> Result<CompileCommand, Fallback> {
    if Vantage::own().ok() != Some(request.vantage) {
        return Err(Fallback::new(Reason::OtherVantage, "the daemon sees other files than the launcher"));
    }
    let directory = &request.working_directory;
    let is_same = std::fs::metadata(directory)
        .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (request.device, request.inode));
    if !is_same {
        return Err(Fallback::at(Reason::Unreadable, "the daemon sees another directory there", directory, 0));
    }
    match request.terminal {
        Terminal::No => command::parse(&request.arguments, directory, &request.environment),
        Terminal::Yes => {
            let mut environment = request.environment.clone();
            environment.push((STDERR_IS_TERMINAL.into(), "1".into()));
            command::parse(&request.arguments, directory, &environment)
        }
    }
}
