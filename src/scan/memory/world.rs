//! All that a scanner remembers. What is learned of one compile serves every other.

use crate::command::CompileCommand;
use crate::fallback::{Fallback, Reason};
use crate::files::file::{Content, Deriver, Encoded, FileId, SourceFile};
use crate::files::generation::Generation;
use crate::files::kept::Encoder;
use crate::files::{FileStore, View};
use crate::scan::lex::directives::{Directives, LexModes};
use crate::scan::lex::lexer::lex;
use crate::scan::limits::{MAX_PROGRAM_WITH_USES_BYTES, MAX_REMEMBERED_BYTES, MAX_SETTINGS, MAX_WORDS_FILES};
use crate::scan::memory::effects::{Budget, EffectsOfHeaders};
use crate::scan::memory::kept_directives;
use crate::scan::preprocess::definitions::{DefinitionId, Definitions};
use crate::scan::preprocess::macros::MacroTable;
use crate::scan::preprocess::program::Program;
use crate::scan::preprocess::symbols::{Symbol, Symbols};
use crate::scan::preprocess::tokens::{TokenModes, identifier, name_length};
use crate::scan::probe::{Context, DriverAnswer, Probe, Probes};
use crate::scan::search::search_path::SearchPath;
use crate::scan::search::setting::Setting;
use crate::scan::text::words::Words;
use crate::scan::work::Counters;
use bytes::Bytes;
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What is known of files, in the state directory; its number changes with its form.
const KEPT_FILES: &str = "scanned-files-3";

/// How many bits of a program's key say how its tokens are read.
const TOKEN_KEY_BITS: u32 = 4;

/// A file's content, and how and for which macros' uses it is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ProgramKey {
    /// The file's number, and the generation of its content.
    pub(crate) file: (FileId, Generation),
    pub(crate) lex_modes: LexModes,
    pub(crate) token_modes: TokenModes,
    /// The macros, in an order of their own.
    pub(crate) names: Arc<[Symbol]>,
}

/// About how large a program is: what a cache's own table is sized by.
const USUAL_PROGRAM_BYTES: usize = 16 << 10;

/// Weighs programs by what they take.
#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<ProgramKey, Arc<Program>> for ByBytes {
    fn weight(&self, key: &ProgramKey, program: &Arc<Program>) -> u64 {
        (program.bytes() + size_of_val(&*key.names)) as u64
    }
}

/// A setting, and what replays of headers under it did.
#[derive(Debug)]
pub(crate) struct KnownSetting {
    pub(crate) setting: Setting,
    pub(crate) effects: EffectsOfHeaders,
}

/// A scanner's memory. It is thrown away as a whole when it has grown too large.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) symbols: Symbols,
    pub(crate) definitions: Definitions,
    pub(crate) store: FileStore,
    pub(crate) probes: Probes,
    /// How much all effects may hold.
    pub(crate) effect_budget: Budget,
    /// How many bytes the directives of all files took, those included that changed since.
    pub(crate) program_bytes: AtomicUsize,
    settings: Cache<Vec<u8>, Arc<KnownSetting>>,
    tables: Mutex<Vec<MacroTable>>,
    /// The words of files that were asked for them, by their numbers and generations.
    words: Cache<(FileId, Generation), Arc<Words>>,
    programs_with_uses: Cache<ProgramKey, Arc<Program>, ByBytes>,
    pub(crate) counters: Arc<Counters>,
    /// How many files had been lexed when what is known of files was kept last.
    kept_lexed: AtomicU64,
}

impl World {
    pub(crate) fn new(state: Option<&Path>, counters: Arc<Counters>) -> Self {
        Self {
            symbols: Symbols::default(),
            definitions: Definitions::default(),
            store: state.map_or_else(FileStore::new, |state| FileStore::recalling(state.join(KEPT_FILES))),
            probes: Probes::new(state),
            effect_budget: Budget::default(),
            program_bytes: AtomicUsize::new(0),
            settings: Cache::new(MAX_SETTINGS),
            tables: Mutex::default(),
            words: Cache::new(MAX_WORDS_FILES),
            programs_with_uses: Cache::with_weighter(
                MAX_PROGRAM_WITH_USES_BYTES / USUAL_PROGRAM_BYTES,
                MAX_PROGRAM_WITH_USES_BYTES as u64,
                ByBytes,
            ),
            kept_lexed: AtomicU64::new(counters.work().lexed_files),
            counters,
        }
    }

    /// Whether it should be thrown away.
    pub(crate) fn is_full(&self) -> bool {
        let programs = self.program_bytes.load(Ordering::Relaxed);
        self.symbols.bytes() + self.definitions.bytes() + programs > MAX_REMEMBERED_BYTES
    }

    /// Forgets all effects where there is no room for more: what is in use now is soon known again, and the outdated rest
    /// would keep its place for ever.
    pub(crate) fn make_room_for_effects(&self) {
        if self.effect_budget.begins_anew() {
            for (_, setting) in self.settings.iter() {
                setting.effects.clear();
            }
        }
    }

    /// A table for one replay; give it back with [`World::return_table`].
    pub(crate) fn take_table(&self) -> MacroTable {
        self.tables.lock().pop().unwrap_or_default()
    }

    pub(crate) fn return_table(&self, table: MacroTable) {
        self.tables.lock().push(table);
    }

    /// The directives of `content`, read as the modes say.
    ///
    /// # Errors
    /// [`Reason::Changing`] where the bytes are gone.
    pub(crate) fn program(
        &self,
        content: &Content,
        path: &Path,
        lex_modes: LexModes,
        token_modes: TokenModes,
    ) -> Result<Arc<Program>, Fallback> {
        content.derive(path, &ProgramMaker { world: self, lex_modes, token_modes })
    }

    /// The program for `key`, as it was made before or as `make` makes it.
    pub(crate) fn program_with_uses(
        &self,
        key: ProgramKey,
        make: impl FnOnce() -> Result<Program, Fallback>,
    ) -> Result<Arc<Program>, Fallback> {
        if let Some(program) = self.programs_with_uses.get(&key) {
            return Ok(program);
        }
        let program = Arc::new(make()?);
        self.programs_with_uses.insert(key, Arc::clone(&program));
        Ok(program)
    }

    /// The words of `file`, whose content is `content`.
    ///
    /// # Errors
    /// [`Reason::Changing`] where the bytes are gone.
    pub(crate) fn words(&self, file: &SourceFile, content: &Content) -> Result<Arc<Words>, Fallback> {
        let key = (file.id(), content.generation);
        if let Some(words) = self.words.get(&key) {
            return Ok(words);
        }
        let words = Arc::new(Words::of(&content.bytes_again(file.path())?));
        self.words.insert(key, Arc::clone(&words));
        Ok(words)
    }

    /// Removes what was kept in `state`. What can't be removed is replaced at the next chance.
    pub(crate) fn remove_kept(state: &Path) {
        let _ = std::fs::remove_file(state.join(KEPT_FILES));
        Probes::remove_kept(state);
    }

    /// Keeps what the next scanner can use, where a state directory was given.
    ///
    /// # Errors
    /// Where it can't be written.
    pub(crate) fn keep(&self) -> io::Result<()> {
        self.probes.keep()?;
        let lexed = self.counters.work().lexed_files;
        if self.kept_lexed.load(Ordering::Relaxed) != lexed {
            self.store.keep(&LexedFiles)?;
            self.kept_lexed.store(lexed, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What the compiler that gave the answers of `probe` says under further `flags`; `None` where it takes no such flag.
    ///
    /// # Errors
    /// A [`Fallback`] where it can't be run.
    pub(crate) fn probe_under(
        &self,
        probe: &Probe,
        flags: Vec<OsString>,
        command: &CompileCommand,
        view: View,
    ) -> Result<Option<Arc<Probe>>, Fallback> {
        self.probes.get_under(probe, flags, command, self.probe_context(view))
    }

    const fn probe_context(&self, view: View) -> Context<'_> {
        Context { store: &self.store, view, symbols: &self.symbols, definitions: &self.definitions }
    }

    /// The setting of `command`, as its `driver` has it where that was asked: kept while the search path stands.
    ///
    /// # Errors
    /// A [`Fallback`] where the compiler or a directory gives one.
    pub(crate) fn setting(
        &self,
        command: &CompileCommand,
        driver: Option<&DriverAnswer>,
        view: View,
    ) -> Result<Arc<KnownSetting>, Fallback> {
        let probe = self.probes.get(command, driver, self.probe_context(view))?;
        let key = setting_key(command, &probe);
        if let Some(setting) = self.settings.get(&key)
            && setting.setting.is_current(view, &self.store)
        {
            return Ok(setting);
        }
        let mut trail = crate::files::resolve::Trail::default();
        let start = self.store.working_directory(&command.working_directory, view, &mut trail)?;
        let mut path = SearchPath::new(command, &probe, &start, &self.store, view)?;
        path.trail.absorb(trail);
        let setting = Setting::new(command, probe, path, start);
        let setting = Arc::new(KnownSetting { setting, effects: EffectsOfHeaders::default() });
        self.settings.insert(key, Arc::clone(&setting));
        Ok(setting)
    }

    /// The macro of `-D operand`.
    ///
    /// # Errors
    /// [`Reason::MalformedFlag`] where there is no name.
    pub(crate) fn define_option(&self, operand: &[u8], setting: &Setting) -> Result<(Symbol, DefinitionId), Fallback> {
        let mut line = b"#define ".to_vec();
        match memchr::memchr(b'=', operand) {
            Some(equals) => {
                line.extend_from_slice(&operand[..equals]);
                line.push(b' ');
                line.extend_from_slice(&operand[equals + 1..]);
            }
            None => {
                line.extend_from_slice(operand);
                line.extend_from_slice(b" 1");
            }
        }
        line.push(b'\n');
        let directives = lex(&line, setting.probe.lex_modes);
        let text = directives.list.first().map(|directive| directives.operand(directive)).unwrap_or_default();
        let length = name_length(text, setting.probe.token_modes);
        if length == 0 || text[0].is_ascii_digit() {
            let operand = String::from_utf8_lossy(operand);
            return Err(Fallback::new(Reason::MalformedFlag, format!("-D{operand}")));
        }
        let definition = self.definitions.text(text, setting.probe.token_modes);
        Ok((identifier(&text[..length], &self.symbols), definition))
    }
}

/// Makes programs. Where the modes make no difference to a file, they have the same program.
struct ProgramMaker<'a> {
    world: &'a World,
    lex_modes: LexModes,
    token_modes: TokenModes,
}

impl ProgramMaker<'_> {
    fn bind(&self, directives: Directives, key: u32) -> Arc<Program> {
        let program = Program::new(directives, token_modes(key), &self.world.symbols, &self.world.definitions);
        self.world.program_bytes.fetch_add(program.bytes(), Ordering::Relaxed);
        Arc::new(program)
    }
}

impl Deriver for ProgramMaker<'_> {
    type Derived = Program;

    fn hints(&self, bytes: &[u8]) -> u32 {
        LexModes::that_matter_to(bytes).key()
    }

    fn key(&self, hints: u32) -> u32 {
        let matter = LexModes::of_key(hints);
        let TokenModes { digit_separators, cplusplus, raw_strings, no_dollars } = self.token_modes;
        let token_key = u32::from(no_dollars && matter.no_dollars) << 3
            | u32::from(cplusplus) << 2
            | u32::from(digit_separators && matter.digit_separators) << 1
            | u32::from(raw_strings && matter.raw_strings);
        (self.lex_modes.key() & hints) << TOKEN_KEY_BITS | token_key
    }

    fn recall(&self, key: u32, kept: &[Encoded]) -> Option<Arc<Program>> {
        let kept_key = LexedFiles.kept_key(key);
        let kept = kept.iter().find(|kept| kept.key == kept_key)?;
        kept_directives::decode(&kept.data).map(|directives| self.bind(directives, key))
    }

    fn derive(&self, key: u32, bytes: &[u8]) -> Arc<Program> {
        self.world.counters.count_lexed_file();
        self.bind(lex(bytes, LexModes::of_key(LexedFiles.kept_key(key))), key)
    }
}

/// The modes that the last bits of a program's key say.
const fn token_modes(key: u32) -> TokenModes {
    TokenModes {
        no_dollars: key & 8 != 0,
        cplusplus: key & 4 != 0,
        digit_separators: key & 2 != 0,
        raw_strings: key & 1 != 0,
    }
}

/// Directives are what is kept of files.
struct LexedFiles;

impl Encoder for LexedFiles {
    fn kept_key(&self, key: u32) -> u32 {
        key >> TOKEN_KEY_BITS
    }

    fn encode(&self, kept_key: u32, content: &[u8]) -> Bytes {
        kept_directives::encode(&lex(content, LexModes::of_key(kept_key)))
    }
}

/// Everything that the search path and the replay's look-ups depend on, as bytes.
fn setting_key(command: &CompileCommand, probe: &Probe) -> Vec<u8> {
    let options = &command.preprocessor;
    let mut key = probe.id.to_le_bytes().to_vec();
    let mut add = |part: &[u8]| {
        key.extend_from_slice(&(part.len() as u32).to_le_bytes());
        key.extend_from_slice(part);
    };
    add(command.working_directory.as_os_str().as_bytes());
    add(command.language.name().as_bytes());
    for directory in &options.directories {
        add(&[directory.chain as u8]);
        add(directory.path.as_os_str().as_bytes());
    }
    add(options.sysroot.as_ref().map(|path| path.as_os_str().as_bytes()).unwrap_or_default());
    for (name, value) in &command.environment {
        if name.as_bytes().ends_with(b"PATH") {
            add(name.as_bytes());
            add(value.as_bytes());
        }
    }
    key
}
