//! The include scanner: which files a compile reads, without preprocessing it.
//!
//! The answer may be too large and is never too small; what can't be known is a
//! [`Fallback`](crate::fallback::Fallback) with file and line. This file is the front door; the floors, from the ground up:
//!
//! * [`lex`]: a file's bytes to its directives, once for all compiles that read it alike
//! * [`preprocess`]: tokens, macros and conditions. A condition is true, false or *unknown*, and unknown takes both
//!   branches. A macro with several possible definitions counts as each of them in turn; as an unknown number where those
//!   are too many.
//! * [`text`]: what text between directives may hold that reads files. Text is not expanded; but where macros make
//!   pragmas, or assembly that reads files, a compile is replayed again with an eye on their uses, each whole with the
//!   outermost macro in whose arguments it stands. Files in which none of their names stands are read as always.
//! * [`probe`]: what the compiler itself says of its macros and directories. Where specs, configuration files or `-B` may
//!   say more than the command line, the driver is asked what it hands on, and that is followed in place of the arguments
//!   ([`handed_on`](crate::command::handed_on)); only what reads or writes files unseen in them is refused.
//! * [`search`]: where a header's name leads
//! * [`memory`]: what one scan learns for the next, which checks it against the disk: what a header did, by the macros
//!   that it read; whole closures, by their commands. A daemon that rests or leaves keeps the directives of files, and the
//!   compilers' answers, under the stamps of what they came from: the next one reads and asks only what has changed.
//! * [`replay`]: a compile's directives, run under its macros, and what they read. What `#pragma GCC target` may have
//!   changed is unknown, or asked.
//! * [`closure`]: the answer, and the log of a replay from which it is put together
//! * [`project`]: all units of a project, measured and verified

pub mod closure;
pub mod lex;
mod limits;
mod memory;
mod preprocess;
mod probe;
pub mod project;
mod replay;
mod search;
#[cfg(test)]
mod tests;
mod text;
pub mod work;

use crate::command::{CompileCommand, Language};
use crate::fallback::{Fallback, Reason};
use crate::files::View;
use crate::files::resolve::{Resolution, Trail};
use crate::heap;
use crate::scan::closure::Closure;
use crate::scan::closure::assemble::{Assembled, assemble};
use crate::scan::limits::MAX_SCAN_ATTEMPTS;
use crate::scan::memory::closures::{ClosureMemo, Said};
use crate::scan::memory::world::{KnownSetting, World};
use crate::scan::probe::DriverAnswer;
use crate::scan::replay::Replay;
use crate::scan::search::header::Sighting;
use crate::scan::search::setting::Searcher;
use crate::scan::work::{Counters, Work};
use parking_lot::RwLock;
use std::borrow::Cow;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Finds what compiles read. One serves all threads of a daemon; what it learns of one compile it uses for the next, and
/// checks before it does.
#[derive(Debug)]
pub struct Scanner {
    state: Option<PathBuf>,
    counters: Arc<Counters>,
    memory: RwLock<Arc<Memory>>,
}

#[derive(Debug)]
struct Memory {
    world: World,
    closures: ClosureMemo,
}

impl Memory {
    fn new(state: Option<&Path>, counters: &Arc<Counters>) -> Arc<Self> {
        Arc::new(Self { world: World::new(state, Arc::clone(counters)), closures: ClosureMemo::default() })
    }
}

impl Scanner {
    /// A scanner that keeps what the next daemon can use in `state`, if one is given. Reads nothing yet.
    pub fn open(state: Option<&Path>) -> Self {
        let counters = Arc::default();
        let memory = RwLock::new(Memory::new(state, &counters));
        Self { state: state.map(Path::to_path_buf), counters, memory }
    }

    /// What `command` reads, as of now. Blocks; costs a `stat` for each file and directory that the answer depends on
    /// where nothing changed, and gives the same `Arc` again. The first compile under new flags runs the compiler.
    ///
    /// # Errors
    /// A [`Fallback`] where the answer can't be known.
    pub fn scan(&self, command: &CompileCommand) -> Result<Arc<Closure>, Fallback> {
        self.scan_since(command, Instant::now())
    }

    /// Like [`Scanner::scan`], as of `asked`: what other scans checked after that moment isn't checked again.
    ///
    /// # Errors
    /// A [`Fallback`] where the answer can't be known.
    pub fn scan_since(&self, command: &CompileCommand, asked: Instant) -> Result<Arc<Closure>, Fallback> {
        let memory = self.memory();
        let world = &memory.world;
        let mut view = world.store.view_since(asked);
        if let Some(closure) = memory.closures.get(command, &world.store, view) {
            return Ok(closure);
        }
        let mut attempt = 1;
        loop {
            match scan_anew(world, command, view) {
                Ok((assembled, said)) => {
                    let closure = Arc::clone(&assembled.closure);
                    memory.closures.insert(command, assembled, said);
                    return Ok(closure);
                }
                Err(fallback) if fallback.reason == Reason::Changing && attempt < MAX_SCAN_ATTEMPTS => {
                    attempt += 1;
                    view = world.store.view();
                }
                Err(fallback) => return Err(fallback),
            }
        }
    }

    /// Keeps what the next scanner can use, if a state directory was given. Blocks; reads the files that are new.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn keep(&self) -> io::Result<()> {
        self.memory().world.keep()
    }

    /// Forgets everything, what is kept for the next scanner too: something that was learned is wrong.
    pub fn forget(&self) {
        if let Some(state) = &self.state {
            World::remove_kept(state);
        }
        *self.memory.write() = Memory::new(self.state.as_deref(), &self.counters);
    }

    /// How much work all scans were.
    pub fn work(&self) -> Work {
        self.counters.work()
    }

    /// The memory; a fresh one where the last has grown too large.
    fn memory(&self) -> Arc<Memory> {
        let memory = Arc::clone(&self.memory.read());
        if !memory.world.is_full() {
            return memory;
        }
        let mut current = self.memory.write();
        if current.world.is_full() {
            *current = Memory::new(self.state.as_deref(), &self.counters);
        }
        Arc::clone(&current)
    }
}

fn scan_anew(world: &World, command: &CompileCommand, view: View) -> Result<(Assembled, Said), Fallback> {
    heap::cover();
    world.make_room_for_effects();
    let store = &world.store;
    let (command, known, driver) = as_driven(world, command, view)?;
    let setting = &known.setting;
    let command = command.as_ref();
    let mut trail = Trail::default();
    let spelled = command.source.as_os_str().as_bytes();
    let file = match store.resolve(&setting.start, spelled, view, &mut trail)? {
        Resolution::File(file) => file,
        Resolution::Absent => return Err(Fallback::at(Reason::Unreadable, "is not there", &command.source, 0)),
        _ => return Err(Fallback::at(Reason::Unreadable, "not a regular file", &command.source, 0)),
    };
    let source = setting.header(spelled, Sighting::PRIMARY, &file, &world.symbols);
    let searcher = Searcher { store, view, symbols: &world.symbols };
    let mut table = world.take_table();
    let replay = Replay::new(world, &known, searcher, command, &mut table);
    let record = match command.language {
        Language::Assembler => replay.run_assembler(&source),
        Language::CppOutput | Language::CxxCppOutput => replay.run_preprocessed(&source),
        _ => replay.run(&source),
    };
    world.return_table(table);
    let mut record = record?;
    world.counters.count_replay(record.replays);
    record.trail.absorb(trail);
    if let Some(driver) = &driver {
        driver.add_to(&mut record.inputs, &mut record.absent, &mut record.trail);
    }
    let assembled = assemble(record, &source, setting, command, store, view)?;
    if driver.as_ref().is_some_and(|driver| !driver.is_current(store.view(), store)) {
        return Err(Fallback::new(Reason::Changing, "files of options changed during the scan"));
    }
    Ok((assembled, Said { compiler: Arc::clone(&setting.probe), driver }))
}

/// `command` as the compiler proper sees it, its setting, and the answer of the driver where that had to be asked.
type AsDriven<'a> = (Cow<'a, CompileCommand>, Arc<KnownSetting>, Option<Arc<DriverAnswer>>);

fn as_driven<'a>(world: &World, command: &'a CompileCommand, view: View) -> Result<AsDriven<'a>, Fallback> {
    let seen = |answer: &Option<Arc<DriverAnswer>>| match answer {
        Some(answer) => Cow::Owned(answer.command(command)),
        None => Cow::Borrowed(command),
    };
    let mut driver = world.probes.driver(command, None, &world.store, view)?;
    let mut command_seen = seen(&driver);
    let mut setting = world.setting(&command_seen, driver.as_deref(), view)?;
    if driver.is_none() {
        driver = world.probes.driver(command, Some(&setting.setting.probe), &world.store, view)?;
        if driver.is_some() {
            command_seen = seen(&driver);
            setting = world.setting(&command_seen, driver.as_deref(), view)?;
        }
    }
    Ok((command_seen, setting, driver))
}
