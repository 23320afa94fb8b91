//! One compile, from its request to its answer: the client's table of contents.
//!
//! Every compile ends as one of two [`Decision`]s: its outputs are in place and the launcher replays what the compiler
//! said, or the launcher runs the compiler. Nothing that goes wrong here is an error of the compile: it is a reason to
//! run it locally.

mod audit;
mod build;
mod in_flight;
mod local_store;
mod patience;
mod prepare;
mod race;
mod remote_run;
mod roots;
mod slots;
#[cfg(test)]
mod tests;
mod turns;
mod wanted;
mod witness;

pub(crate) use wanted::Wanted;

use crate::audit::Drawn;
use crate::audit::distrust::{Distrust, Trust};
use crate::config::{self, Config, REMOTE_VARIABLE, Settings};
use crate::fallback::{Fallback, Reason};
use crate::files::events::Events;
use crate::ipc::socket::Directories;
use crate::ipc::{CompileRequest, Completed, Terminal};
use crate::local::LocalCache;
use crate::remote::{RemoteError, Remotes};
use crate::scan::Scanner;
use crate::stats::{Outcome, Stage, StageTimes, Statistics, Success};
use crate::toolchain::Toolchains;
use audit::Hit;
use build::Notices;
use in_flight::{Claim, End, InFlight, Leader};
use local_store::StorePlan;
use patience::{Expectations, Unit};
use prepare::{Front, Prepared};
use pumphouse_proto::connection::Credentials;
use race::Winner;
use remote_run::Failure;
use roots::Roots;
use slots::{LocalSlot, Slots};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use turns::{Turns, Unfinished};
use wanted::GivesUp;

/// After how many discrepancies (the remote compile fails, the local one succeeds) the rest of a build stays local.
const DEMOTION_LIMIT: u32 = 3;

/// The local cache's directory in the state directory.
const CACHE: &str = "cache";

/// What handles compiles: everything that is remembered from one to the next.
#[derive(Debug)]
pub(crate) struct Handler {
    settings: Arc<Settings>,
    statistics: Arc<Statistics>,
    notices: Notices,
    toolchains: Toolchains,
    scanner: Scanner,
    roots: Roots,
    cache: LocalCache,
    in_flight: Arc<InFlight>,
    events: Arc<Events>,
    remotes: Remotes,
    /// Hits that are to be compiled again.
    drawn: Drawn<Arc<Hit>>,
    /// What was found to be wrong.
    distrust: Distrust,
    state: PathBuf,
    /// How long compiles take here.
    expectations: Expectations,
    /// The places for compiles that run on this machine.
    pub slots: Slots,
    /// The turns of what blocks.
    turns: Turns,
}

/// How a compile goes on.
#[derive(Debug)]
pub(crate) enum Decision {
    /// The outputs are in place.
    Done {
        /// What the compiler said.
        completed: Completed,
        /// Where the result came from.
        outcome: Outcome,
    },
    /// The launcher runs the compiler.
    Local(Box<LocalPlan>),
}

/// A compile that the launcher runs.
#[derive(Debug)]
pub(crate) struct LocalPlan {
    /// The compiler; empty where it was not understood which one, and the launcher finds it.
    pub compiler: PathBuf,
    /// The arguments to use instead of those written, where they differ.
    pub arguments: Option<Vec<OsString>>,
    /// What the user is told.
    pub notice: Vec<u8>,
    /// Why it is local.
    pub fallback: Fallback,
    /// How its result enters the local cache, where it may.
    pub store: Option<StorePlan>,
    /// Where it has a place on this machine already.
    pub slot: Option<LocalSlot>,
    /// What its time says something about.
    unit: Option<Unit>,
}

/// Why a server has no result for a compile.
#[derive(Debug)]
struct Refusal {
    fallback: Fallback,
    /// What the user is told.
    notice: Vec<u8>,
    /// The place on this machine that it was given meanwhile.
    slot: Option<LocalSlot>,
}

impl Refusal {
    fn quiet(reason: Reason, detail: &str) -> Self {
        Self { fallback: Fallback::new(reason, detail), notice: Vec::new(), slot: None }
    }
}

impl Handler {
    /// Opens what is kept in `directories`.
    ///
    /// # Errors
    /// A directory can't be created or read.
    pub(crate) fn new(
        settings: Arc<Settings>,
        directories: &Directories,
        statistics: Arc<Statistics>,
    ) -> anyhow::Result<Self> {
        let config = settings.current();
        Ok(Self {
            statistics,
            notices: Notices::default(),
            toolchains: Toolchains::open(Some(&directories.state)),
            scanner: Scanner::open(Some(&directories.state)),
            roots: Roots::default(),
            cache: LocalCache::open(&directories.state.join(CACHE), config.cache_size_bytes)?,
            in_flight: Arc::default(),
            events: Arc::default(),
            remotes: Remotes::default(),
            drawn: Drawn::new(config.audit),
            distrust: Distrust::open(&directories.state),
            state: directories.state.clone(),
            expectations: Expectations::default(),
            slots: Slots::new(config.local_jobs),
            turns: Turns::default(),
            settings,
        })
    }

    /// Takes a configuration that has changed from `old` to `new`, as far as it is not asked for with each compile.
    pub(crate) fn configure(&self, old: &Config, new: &Config) {
        self.cache.set_limit(new.cache_size_bytes);
        self.slots.resize(old.local_jobs, new.local_jobs);
    }

    /// Decides about a compile, and does all of it that the launcher need not do, as long as it is `wanted`. Dropped, it stops:
    /// nothing runs on, here or on a server, and no output is put in place any more.
    pub(crate) async fn compile(
        self: &Arc<Self>,
        request: Arc<CompileRequest>,
        wanted: &Arc<Wanted>,
        times: &mut StageTimes,
    ) -> Decision {
        let terminal = request.terminal;
        let _gives_up = GivesUp(wanted);
        match self.decide(request, wanted, times).await {
            // Compilers cut lines to a terminal's width, and add colours and links that it knows.
            Decision::Done { completed, .. } if terminal == Terminal::Yes && completed.says_anything() => {
                let fallback = Fallback::new(Reason::Terminal, "");
                let (compiler, notice) = (PathBuf::new(), completed.notice);
                let plan =
                    LocalPlan { compiler, arguments: None, notice, fallback, store: None, slot: None, unit: None };
                Decision::Local(Box::new(plan))
            }
            decision => decision,
        }
    }

    async fn decide(
        self: &Arc<Self>,
        request: Arc<CompileRequest>,
        wanted: &Arc<Wanted>,
        times: &mut StageTimes,
    ) -> Decision {
        self.notices.compile_begins(Instant::now());
        // 1. understand the command line, 2. identify the compiler, 3. find what is read, 4. build the input root,
        // 5. build the action, 6. look into the local cache: all of it blocks, and takes a millisecond where it is warm.
        let front = self.front(Arc::clone(&request), wanted, times).await;
        let (prepared, claim) = match front {
            Front::Hit(completed) => return Decision::Done { completed, outcome: Outcome::LocalHit },
            Front::Refused { compiler, fallback } => {
                tracing::debug!(%fallback, "compiling locally");
                let (notice, store, slot, unit) = (Vec::new(), None, None, None);
                let plan = LocalPlan { compiler, arguments: None, notice, fallback, store, slot, unit };
                return Decision::Local(Box::new(plan));
            }
            Front::Ready(prepared, claim) => (prepared, claim),
        };
        let leader = match claim {
            Some(claim) => match self.lead(&request, &prepared, wanted, claim, times).await {
                Led::Done(completed) => return Decision::Done { completed, outcome: Outcome::LocalHit },
                Led::Runs(leader) => leader,
            },
            None => None,
        };
        // 7. ask the server for a result, 8. have it made there, 9. put the outputs in place.
        match self.remote(&request, &prepared, wanted, times).await {
            Ok((completed, outcome)) => {
                if outcome == Outcome::RemoteHit && prepared.command.is_deterministic {
                    self.offer_audit(&request, || Arc::clone(&prepared));
                }
                if let Some(leader) = leader {
                    leader.end(End::Done);
                }
                Decision::Done { completed, outcome }
            }
            Err(refusal) => self.local_after_remote(prepared, leader, refusal),
        }
    }

    /// Waits while an equal compile runs, and takes its result; else gives the right to run this one, with the duty to tell
    /// those that wait for it.
    async fn lead(
        self: &Arc<Self>,
        request: &CompileRequest,
        prepared: &Arc<Prepared>,
        wanted: &Arc<Wanted>,
        mut claim: Claim,
        times: &mut StageTimes,
    ) -> Led {
        loop {
            let end = match claim {
                Claim::Lead(leader) => return Led::Runs(Some(leader)),
                Claim::Follow(follower) => times.time_async(Stage::Follow, follower.end()).await,
            };
            match end {
                End::Done => {
                    let restored = self.restore_again(request, prepared, wanted).await;
                    return restored.map_or(Led::Runs(None), Led::Done);
                }
                End::Failed => return Led::Runs(None),
                End::Abandoned => claim = self.in_flight.claim(prepared.action.digest),
            }
        }
    }

    /// Notes how a compile that the launcher ran has ended, and how long it took.
    pub(crate) fn local_run_ended(&self, plan: &LocalPlan, success: Success, time: Duration) {
        if let (Some(unit), Success::Yes) = (plan.unit, success) {
            self.expectations.measured(unit, time);
        }
        if plan.fallback.reason == Reason::RemoteFailed && success == Success::Yes {
            self.statistics.update(|counters| counters.discrepancies += 1);
            let count = self.notices.add_discrepancy();
            tracing::warn!(fallback = %plan.fallback, count, "a discrepancy: the local compile succeeded");
        }
    }

    /// Writes what the next daemon can use.
    pub(crate) fn remember(&self) {
        self.events.rest();
        // What another daemon found wrong must not be written down again.
        self.heed_audits();
        self.cache.remember_usage();
        if let Err(error) = self.scanner.keep() {
            tracing::warn!(%error, "writing what the scanner knows");
        }
    }

    async fn front(
        self: &Arc<Self>,
        request: Arc<CompileRequest>,
        wanted: &Arc<Wanted>,
        times: &mut StageTimes,
    ) -> Front {
        let (handler, asking) = (Arc::clone(self), Arc::clone(wanted));
        let directory = request.working_directory.clone();
        let mut own_times = std::mem::take(times);
        let work = move || {
            let front = handler.prepare(&request, &asking, &mut own_times);
            (front, own_times)
        };
        match self.turns.take(&directory, || wanted.give_up(), work).await {
            Ok((front, own_times)) => {
                *times = own_times;
                front
            }
            Err(unfinished) => Front::Refused { compiler: PathBuf::new(), fallback: unfinished.fallback() },
        }
    }

    async fn remote(
        self: &Arc<Self>,
        request: &CompileRequest,
        prepared: &Arc<Prepared>,
        wanted: &Arc<Wanted>,
        times: &mut StageTimes,
    ) -> Result<(Completed, Outcome), Refusal> {
        if self.is_distrusted(prepared) {
            return Err(Refusal::quiet(Reason::Distrusted, ""));
        }
        let Some((address, credentials)) = self.server(request) else {
            return Err(Refusal::quiet(Reason::NoServer, ""));
        };
        if self.notices.discrepancies() >= DEMOTION_LIMIT {
            let message = format!(
                "{DEMOTION_LIMIT} compiles failed remotely and succeeded locally; the rest of this build compiles locally"
            );
            let notice = self.notices.once("demoted", &message);
            return Err(Refusal { notice, ..Refusal::quiet(Reason::Demoted, "") });
        }
        let unavailable = |error: &RemoteError| {
            let notice = self.notices.once(&address, &format!("the server {address} {error}; compiling locally"));
            Refusal { notice, ..Refusal::quiet(Reason::ServerError, &error.to_string()) }
        };
        let remote = self.remotes.get(&address, &credentials).map_err(|error| unavailable(&error))?;
        let session = remote.session().await.map_err(|error| unavailable(&error))?.begin_use();
        // Boxed, so that hits don't pay for the state of a remote run.
        let (said, result) = match Box::pin(self.race(request, prepared, (&remote, session), times)).await {
            Winner::Local(refusal) => return Err(refusal),
            Winner::Server(said, result) => (said, *result),
        };
        let finished = match result {
            Ok(finished) => self.finish(request, finished, prepared, wanted, times).await,
            Err(failure) => Err(failure),
        };
        match finished {
            Ok((completed, outcome)) => {
                Ok((Completed { notice: [completed.notice, said].concat(), ..completed }, outcome))
            }
            Err(failure) => {
                let refusal = match failure {
                    Failure::Compile => Refusal::quiet(Reason::RemoteFailed, ""),
                    Failure::CacheOnly => Refusal::quiet(Reason::NoServer, "the server does not execute"),
                    Failure::Unplaced(fallback) => Refusal { fallback, notice: Vec::new(), slot: None },
                    Failure::Server(RemoteError::Changed(message)) => Refusal::quiet(Reason::Changing, &message),
                    Failure::Server(error) => {
                        if error.is_absence() {
                            remote.report_lost();
                        }
                        unavailable(&error)
                    }
                };
                Err(Refusal { notice: [said, refusal.notice].concat(), ..refusal })
            }
        }
    }

    /// Whether no result of `prepared` is believed: one was found to be wrong, or too many of its toolchain.
    fn is_distrusted(&self, prepared: &Prepared) -> bool {
        self.distrust.trust(&prepared.action.name, &prepared.toolchain.identity) == Trust::Never
    }

    /// Forgets all that was learned if an audit, of this daemon or of another one that shares its directory, found it wrong.
    fn heed_audits(&self) {
        if self.distrust.heed() {
            self.scanner.forget();
            self.toolchains.forget();
        }
    }

    /// Has a hit compiled again some time, if it is drawn.
    fn offer_audit(&self, request: &CompileRequest, prepared: impl FnOnce() -> Arc<Prepared>) {
        self.drawn.offer(|| Arc::new(Hit { prepared: prepared(), request: request.clone() }));
    }

    /// The server that the request names, or else the configuration, and how it is to know this user.
    fn server(&self, request: &CompileRequest) -> Option<(String, Credentials)> {
        let variable = |wanted: &str| {
            let named = request.environment.iter().find(|(name, _)| name == wanted);
            named.map(|(_, value)| value)
        };
        let settings = self.settings.current();
        let address = match variable(REMOTE_VARIABLE) {
            Some(value) => Some(value.to_string_lossy().into_owned()).filter(|address| !address.is_empty()),
            None => settings.remote.clone(),
        };
        // A relative path is the launcher's.
        let file = |name: &str| variable(name).filter(|value| !value.is_empty());
        let file = |name: &str| file(name).map(|value| request.working_directory.join(value));
        Some((address?, config::credentials(file, settings.credentials.clone())))
    }

    /// Tells of a corrupt cache entry, and counts it.
    fn report_corrupt(&self, message: &str) -> Vec<u8> {
        self.statistics.update(|counters| counters.corrupt_entries += 1);
        self.notices.once(message, message)
    }

    /// What is left to the launcher once the server gave no result.
    fn local_after_remote(&self, prepared: Arc<Prepared>, leader: Option<Leader>, refusal: Refusal) -> Decision {
        let Refusal { fallback, notice, slot } = refusal;
        let notice = [prepared.notice.clone(), notice].concat();
        let compiler = prepared.command.program.clone();
        let unit = Some(self.expectations.unit(&prepared));
        // A closure that may lack something must not name a result.
        let is_trusted = !matches!(fallback.reason, Reason::RemoteFailed | Reason::Demoted | Reason::Distrusted);
        // What is stored must be what the action says, colours included.
        let arguments = is_trusted.then(|| prepared.command.arguments.clone());
        let plan = StorePlan::new(prepared, leader);
        let store = if is_trusted {
            Some(plan)
        } else {
            plan.give_up();
            None
        };
        tracing::debug!(%fallback, "compiling locally");
        Decision::Local(Box::new(LocalPlan { compiler, arguments, notice, fallback, store, slot, unit }))
    }
}

impl Unfinished {
    /// What follows for a compile whose work this was.
    fn fallback(self) -> Fallback {
        match self {
            Self::Silent => Fallback::new(Reason::SilentFiles, ""),
            Self::Panicked(error) => {
                tracing::error!(%error, "a part of a compile panicked");
                Fallback::new(Reason::Unscannable, "an internal error, which the daemon's log names")
            }
        }
    }
}

/// Whether a compile still is to be run.
enum Led {
    /// An equal one was.
    Done(Completed),
    /// It is, and others may wait for it.
    Runs(Option<Leader>),
}
