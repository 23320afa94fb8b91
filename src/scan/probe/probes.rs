//! All that compilers said so far, and the ways to have one say more.
//!
//! An answer counts while all that its compiler looked for is as it was ([`Validity`](crate::compiler::trace::sights)); one
//! that is new to this daemon may be known to the state directory.

use crate::command::CompileCommand;
use crate::compiler::process::Request;
use crate::compiler::trace::Looks;
use crate::compiler::trace::sights::{Role, Sights};
use crate::fallback::{Fallback, Reason};
use crate::files::resolve::Trail;
use crate::files::stamp::Moment;
use crate::files::{FileStore, View, as_path};
use crate::scan::limits::{MAX_DRIVER_ANSWERS, MAX_KNOWN_LOOKS, MAX_PROBES, MAX_SCAN_ATTEMPTS};
use crate::scan::probe::answer::{Answer, Feature, KeptSight, Places, Transcript};
use crate::scan::probe::build::{Context, build};
use crate::scan::probe::driver::{DriverAnswer, Question};
use crate::scan::probe::key::ProbeKey;
use crate::scan::probe::places::{installation_places, place_of_program};
use crate::scan::probe::{Asked, Probe, question, run};
use dashmap::mapref::multiple::RefMulti;
use parking_lot::Mutex;
use pumphouse_proto::digest::Digest;
use quick_cache::sync::Cache;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// An answer, and what it depends on.
type Asking = (Answer, Sights);

/// What a traced compiler looked for, and what it said of where.
#[derive(Debug)]
struct KnownLooks {
    looks: Looks,
    places: Places,
    /// The digest of what stood there: while it does, a compiler that is asked the like looks nowhere else.
    seen: Digest,
}

/// All probes of a scanner.
#[derive(Debug)]
pub(crate) struct Probes {
    known: Cache<ProbeKey, Arc<Probe>>,
    drivers: Cache<Question, Arc<DriverAnswer>>,
    /// By questions without the flags that have compilers look for nothing else.
    looks: Cache<ProbeKey, Arc<KnownLooks>>,
    /// Keys of answers that hang on the working directory, which they don't name.
    directory_bound: Cache<ProbeKey, ()>,
    directory: Option<PathBuf>,
    next: AtomicU32,
    asking: Mutex<()>,
    asked: Arc<Asked>,
}

/// The directory of the answers that are kept.
const KEPT: &str = "probes";

impl Probes {
    /// Answers are kept in `directory` across daemons, if one is given.
    pub(crate) fn new(directory: Option<&Path>) -> Self {
        Self {
            known: Cache::new(MAX_PROBES),
            drivers: Cache::new(MAX_DRIVER_ANSWERS),
            looks: Cache::new(MAX_KNOWN_LOOKS),
            directory_bound: Cache::new(MAX_PROBES),
            directory: directory.map(|directory| directory.join(KEPT)),
            next: AtomicU32::new(0),
            asking: Mutex::new(()),
            asked: Arc::default(),
        }
    }

    /// Removes the answers that are kept in `directory`.
    pub(crate) fn remove_kept(directory: &Path) {
        let _ = std::fs::remove_dir_all(directory.join(KEPT));
    }

    /// What the driver of `command` would run, where the command line alone doesn't tell; `None` where it does.
    ///
    /// Costs a few runs of the driver where that is new.
    ///
    /// # Errors
    /// A [`Fallback`] where that isn't followed.
    pub(crate) fn driver(
        &self,
        command: &CompileCommand,
        known: Option<&Probe>,
        store: &FileStore,
        view: View,
    ) -> Result<Option<Arc<DriverAnswer>>, Fallback> {
        if !command.is_led() && !known.is_some_and(|probe| probe.is_configured) {
            return Ok(None);
        }
        let question = Question::of(command)?;
        if let Some(answer) = self.drivers.get(&question).filter(|answer| answer.is_current(view, store)) {
            return Ok(Some(answer));
        }
        let start = store.working_directory(&command.working_directory, view, &mut Trail::default())?;
        let answer = Arc::new(DriverAnswer::ask(command, &start, store, view)?);
        if answer.is_common {
            self.drivers.insert(question, Arc::clone(&answer));
        }
        Ok(Some(answer))
    }

    /// What the compiler of `command` says under its flags; where `driver` tells, the compiler proper as the driver runs
    /// it. Costs a run of the compiler where that is new.
    ///
    /// # Errors
    /// [`Reason::Compiler`](crate::fallback::Reason::Compiler) where the compiler gives no understandable answer.
    pub(crate) fn get(
        &self,
        command: &CompileCommand,
        driver: Option<&DriverAnswer>,
        context: Context<'_>,
    ) -> Result<Arc<Probe>, Fallback> {
        let proper = driver.and_then(|answer| Some((answer, answer.handed_on.proper.as_ref()?)));
        let (request, key) = match proper {
            Some((answer, proper)) => {
                let request = run::for_proper(proper, command);
                let key = ProbeKey::of_proper(&request, proper.asked_from, command, answer);
                (request, key)
            }
            None => {
                let request = run::for_driver(command);
                let key = ProbeKey::of(&request, command, context.store, context.view)?;
                (request, key)
            }
        };
        let refusal = run::refuse(&request, "gave an answer that is not understood");
        self.answer(request, key, command, context)?.ok_or(refusal)
    }

    /// What the compiler that gave the answers of `probe` says under further `flags`; `None` where it takes no such flag.
    /// Costs a run of it where that is new.
    ///
    /// # Errors
    /// [`Reason::Compiler`](crate::fallback::Reason::Compiler) where it can't be run.
    pub(crate) fn get_under(
        &self,
        probe: &Probe,
        flags: Vec<OsString>,
        command: &CompileCommand,
        context: Context<'_>,
    ) -> Result<Option<Arc<Probe>>, Fallback> {
        let mut request = run::also_under(&probe.request, flags);
        // The first one to ask may have stood in a directory that is gone.
        request.directory.clone_from(&command.working_directory);
        let key = probe.key.for_request(&request);
        self.answer(request, key, command, context)
    }

    /// The probe for `key`; `None` where the compiler gives no understandable answer to `request`.
    fn answer(
        &self,
        request: Request,
        key: ProbeKey,
        command: &CompileCommand,
        context: Context<'_>,
    ) -> Result<Option<Arc<Probe>>, Fallback> {
        let mut key = key;
        if self.directory_bound.contains_key(&key) {
            key = key.bound_to(&request.directory);
        }
        let current = |key: &ProbeKey| {
            let probe = self.known.get(key);
            probe.filter(|probe| {
                probe.trail.is_current(context.view, context.store)
                    && probe.is_same_compiler(context.store.asked(context.view))
            })
        };
        if let Some(probe) = current(&key) {
            return Ok(Some(probe));
        }
        let _one_at_a_time = self.asking.lock();
        if let Some(probe) = current(&key) {
            return Ok(Some(probe));
        }
        let known = match self.recall(&key, command) {
            None => self.ask(&request, &mut key, command)?,
            recalled => recalled,
        };
        let Some((answer, mut sights)) = known else { return Ok(None) };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut probe = build(answer, key.clone(), request, command, context, id)?;
        probe.linked = sights.take_over(probe.key.files());
        probe.validity = sights.finish();
        probe.asked = Arc::clone(&self.asked);
        let probe = Arc::new(probe);
        self.known.insert(key, Arc::clone(&probe));
        Ok(Some(probe))
    }

    /// Asks the compiler until nothing changes meanwhile. An answer that hangs on the directory is one for `key` bound to it.
    fn ask(&self, request: &Request, key: &mut ProbeKey, command: &CompileCommand) -> Result<Option<Asking>, Fallback> {
        let mut attempt = 1;
        loop {
            match self.ask_once(request, key, command) {
                Err(fallback) if fallback.reason == Reason::Changing && attempt < MAX_SCAN_ATTEMPTS => attempt += 1,
                answer => return answer,
            }
        }
    }

    fn ask_once(
        &self,
        request: &Request,
        key: &mut ProbeKey,
        command: &CompileCommand,
    ) -> Result<Option<Asking>, Fallback> {
        // What is looked at before the question is asked can't change unseen while it is answered; what is looked at after it
        // must have stood since before.
        let began = Moment::now();
        let mut listed = Sights::default();
        for place in installation_places(&request.arguments, command) {
            listed.watch(&place);
        }
        let alike = key.alike();
        let (mut text, answer, sights) = match self.ask_alike(&alike, request, command)? {
            Some(answered) => answered,
            None => {
                let (output, looks) = run::traced(request, &question::first())?;
                let text = Transcript::of(output);
                let Some(answer) = Answer::parse(&text, command.family) else { return Ok(None) };
                let sights = match looks {
                    Some(looks) => {
                        let mut sights = Sights::default();
                        sights
                            .add(&looks)
                            .and_then(|()| sights.stood_at(began))
                            .map_err(|changed| Fallback::new(Reason::Changing, changed.to_string()))?;
                        if !looks.depend_on_directory(request) {
                            let (places, seen) = (answer.places(), sights.outline().1);
                            self.looks.insert(alike, Arc::new(KnownLooks { looks, places, seen }));
                        } else if !key.is_bound_to(&request.directory) {
                            self.bind(key, &request.directory);
                        }
                        sights
                    }
                    None => {
                        if let Some(program) = &answer.front_end {
                            listed.watch(&place_of_program(program, command));
                        }
                        listed
                    }
                };
                (text, answer, sights)
            }
        };
        let (outline, seen) = sights.outline();
        let kept = |(role, path): &(Role, PathBuf)| KeptSight {
            path: path.as_os_str().as_bytes().to_vec(),
            role: *role as u32,
        };
        text.sights = outline.iter().map(kept).collect();
        text.seen = seen.to_string();
        if let Some(directory) = &self.directory
            && key.is_lasting()
            && sights.is_lasting()
            && let Err(error) = key.save(directory, &text)
        {
            tracing::debug!(%error, directory = %directory.display(), "a compiler's answers were not kept");
        }
        Ok(Some((answer, sights)))
    }

    /// Asks the compiler without looking over its shoulder, where that was done when it was asked the like: under flags that
    /// have it look for nothing else, as its words on where it looks confirm, and while all stands that it found there.
    fn ask_alike(
        &self,
        alike: &ProbeKey,
        request: &Request,
        command: &CompileCommand,
    ) -> Result<Option<(Transcript, Answer, Sights)>, Fallback> {
        let Some(known) = self.looks.get(alike) else { return Ok(None) };
        // Before the question, so that nothing changes unseen while it is answered.
        let mut sights = Sights::default();
        if sights.add(&known.looks).is_err() || sights.outline().1 != known.seen {
            self.looks.remove(alike);
            return Ok(None);
        }
        let directory = if alike.is_from_anywhere() { PathBuf::new() } else { request.directory.clone() };
        let text = Transcript::of(run::preprocess(&Request { directory, ..request.clone() }, &question::first())?);
        let answer = Answer::parse(&text, command.family).filter(|answer| answer.places() == known.places);
        Ok(answer.map(|answer| (text, answer, sights)))
    }

    /// Notes that the answer for `key` hangs on `directory`, and makes it the key for that.
    fn bind(&self, key: &mut ProbeKey, directory: &Path) {
        self.directory_bound.insert(key.clone(), ());
        *key = key.bound_to(directory);
    }

    /// The answer that another daemon got, if all that it depends on is the same.
    fn recall(&self, key: &ProbeKey, command: &CompileCommand) -> Option<Asking> {
        let text = key.load(self.directory.as_deref()?)?;
        let answer = Answer::parse(&text, command.family)?;
        let known = |kept: &KeptSight| Some((Role::numbered(kept.role)?, as_path(&kept.path).to_path_buf()));
        let sights = Sights::again(text.sights.iter().map(known).collect::<Option<Vec<_>>>()?);
        let stands =
            sights.outline().1.to_string() == text.seen && answer.directories_stand(&command.working_directory);
        stands.then_some((answer, sights))
    }

    /// How many answers there are, and how many times a compiler was traced for them.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.known.len(), self.looks.len())
    }

    /// Keeps what compilers said since they were asked first.
    ///
    /// # Errors
    /// Where it can't be written.
    pub(crate) fn keep(&self) -> io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        for (_, probe) in self.known.iter().filter(|(_, probe)| probe.later_features.swap(false, Ordering::Relaxed)) {
            if let Some(mut text) = probe.key.load(directory) {
                let feature = |entry: RefMulti<'_, Vec<u8>, Option<u64>>| Feature {
                    question: entry.key().clone(),
                    value: *entry.value(),
                };
                text.features = probe.features.iter().map(feature).collect();
                probe.key.save(directory, &text)?;
            }
        }
        Ok(())
    }
}
