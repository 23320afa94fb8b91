//! Macros whose uses in text matter: those that make assembly which reads files, as `INCBIN(name, "file")`, and those
//! that make pragmas.
//!
//! Text is not expanded otherwise. Where such a macro is found, or what may be made a pragma, all definitions in the files
//! at hand are looked through for those whose bodies use it, directly or not, and the compile is replayed once more with an
//! eye on their uses in text, each expanded under the macros of its place; and again, while others are found in that.

use crate::command::{Family, MacroOption};
use crate::fallback::{Fallback, Reason};
use crate::files::file::{Content, FileId, SourceFile, Want};
use crate::files::generation::Generation;
use crate::scan::lex::lexer::time::TimeClues;
use crate::scan::lex::lexer::{Names, lex_with_uses};
use crate::scan::limits::MAX_TEXT_MACRO_REPLAYS;
use crate::scan::memory::world::ProgramKey;
use crate::scan::preprocess::definitions::{Definition, DefinitionId};
use crate::scan::preprocess::program::{Op, PragmaSite, Program};
use crate::scan::preprocess::symbols::{Symbol, known};
use crate::scan::preprocess::tokens::Kind;
use crate::scan::replay::Replay;
use crate::scan::search::header::Header;
use crate::scan::text::watched_macros::WatchedMacros;
use crate::scan::text::words::{NameParts, Words};
use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

/// The macros of a replay whose uses in text matter.
#[derive(Debug, Default)]
pub(super) struct TextMacros {
    /// Those that make assembly which reads files.
    pub(super) inputs: WatchedMacros,
    /// Those that make pragmas, and `_Pragma` itself.
    pub(super) pragmas: WatchedMacros,
    /// Names in whose parentheses macros' bodies have what may be a pragma: they may be defined later.
    pending: HashSet<Symbol>,
    /// The names of all of them that are looked for, those that make assembly before the others.
    names: Arc<[Symbol]>,
    /// The files that were read, by their numbers and generations: nothing where none of the names stands in it.
    programs: HashMap<(FileId, Generation), Option<Arc<Program>>, foldhash::fast::RandomState>,
    replays: u32,
}

/// A file that the replay read.
struct FileRead {
    file: Arc<SourceFile>,
    content: Arc<Content>,
    words: Arc<Words>,
}

impl TextMacros {
    /// Whether uses in text are looked for.
    pub(super) fn are_sought(&self) -> bool {
        self.inputs.is_active() || self.pragmas.is_active()
    }

    /// Whether one of those that are looked for, or a part of its name, may be one of `words`.
    fn may_stand_among(&self, words: &Words) -> bool {
        self.inputs.may_stand_among(words) || self.pragmas.may_stand_among(words)
    }
}

impl Replay<'_> {
    /// Whether the compile must be replayed once more, for the sake of macros that were found in it.
    ///
    /// # Errors
    /// [`Reason::ScanLimit`] where there is no end of them.
    pub(super) fn must_seek_text_macros(&mut self) -> Result<bool, Fallback> {
        if std::mem::take(&mut self.text_macros.pending).into_iter().any(|by| self.makes_pragmas(by)) {
            self.seek_pragmas();
        }
        let has_more = self.seek_users()?;
        let macros = &mut self.text_macros;
        macros.programs.clear();
        let (inputs, pragmas) = (macros.inputs.known.iter(), macros.pragmas.known.iter());
        macros.names = inputs.chain([&known::EMPTY]).chain(pragmas).copied().collect();
        macros.replays += 1;
        if has_more && macros.replays > MAX_TEXT_MACRO_REPLAYS {
            return Err(Fallback::new(Reason::ScanLimit, "macros in macros that make assembly or pragmas"));
        }
        Ok(has_more)
    }

    /// Goes on to look for the macros that were found, and for those in the files at hand whose definitions use them,
    /// directly or not. Whether there are any.
    fn seek_users(&mut self) -> Result<bool, Fallback> {
        let mut files = None;
        let mut has_more = false;
        loop {
            let macros = &mut self.text_macros;
            let found: Vec<Symbol> =
                macros.inputs.seek_found().into_iter().chain(macros.pragmas.seek_found()).collect();
            if found.is_empty() {
                return Ok(has_more);
            }
            has_more = true;
            let files = match &mut files {
                Some(files) => files,
                None => files.insert(self.files_read()?),
            };
            let mut parts = NameParts::default();
            for name in found {
                parts.add(self.world.symbols.text(name));
            }
            for file in files.iter().filter(|file| file.words.may_have(&parts)) {
                self.note_definitions(file)?;
            }
        }
    }

    /// The files that were read, each once.
    fn files_read(&self) -> Result<Vec<FileRead>, Fallback> {
        let mut seen = HashSet::new();
        let mut files = Vec::new();
        for (file, _) in self.record.files.iter().filter(|(file, _)| seen.insert(file.id())) {
            let content = file.content(self.searcher.view, Want::Bytes)?;
            let words = self.world.words(file, &content)?;
            files.push(FileRead { file: Arc::clone(file), content, words });
        }
        Ok(files)
    }

    /// Notes all macros that `read` may define by those that are looked for.
    fn note_definitions(&mut self, read: &FileRead) -> Result<(), Fallback> {
        let probe = &self.setting.probe;
        let program = self.world.program(&read.content, read.file.path(), probe.lex_modes, probe.token_modes)?;
        for op in &program.ops {
            if let Op::Define { symbol, definition } = op {
                self.note_definition(*symbol, *definition);
            }
        }
        Ok(())
    }

    /// Looks for what makes pragmas from the next replay on.
    fn seek_pragmas(&mut self) {
        self.text_macros.pragmas.note(known::PRAGMA_OPERATOR, &self.world.symbols);
        if self.setting.family == Family::Clang {
            self.text_macros.pragmas.note(known::PRAGMA_KEYWORD, &self.world.symbols);
        }
    }

    /// Something that is a pragma if the macro `by` makes pragmas.
    pub(super) fn may_be_pragma(&mut self, by: Symbol, site: PragmaSite) {
        if self.text_macros.pragmas.is_active() {
            return;
        }
        // Most names before parentheses are those of functions.
        if by != known::EMPTY
            && by != known::PRAGMA_OPERATOR
            && site == PragmaSite::Text
            && !self.table.read(by).is_some()
        {
            return;
        }
        self.record.spoil();
        if self.makes_pragmas(by) {
            self.seek_pragmas();
        } else if site == PragmaSite::Body {
            self.text_macros.pending.insert(by);
        }
    }

    /// A pragma in the argument of `name`, which may be a macro.
    pub(super) fn pragma_argument(&mut self, name: Symbol) {
        if self.table.read(name).is_some() {
            self.record.spoil();
            self.seek_pragmas();
        }
    }

    /// Whether the macro `name` makes pragmas of its arguments, or may do so. Without a name somebody will.
    fn makes_pragmas(&self, name: Symbol) -> bool {
        let mut seen = HashSet::new();
        let mut names = vec![name];
        while let Some(name) = names.pop() {
            match name {
                known::EMPTY | known::PRAGMA_OPERATOR => return true,
                known::PRAGMA_KEYWORD if self.setting.family == Family::Clang => return true,
                _ if !seen.insert(name) => continue,
                _ => {}
            }
            let state = self.table.peek(name);
            if let Definition::Alternatives(_) = self.world.definitions.get(state) {
                return true;
            }
            let Some(body) = self.world.definitions.body(state, &self.world.symbols) else { continue };
            // What is joined may be the operator.
            if body.tokens.iter().any(|token| token.is(known::PASTE)) {
                return true;
            }
            names.extend(body.tokens.iter().filter(|token| token.kind == Kind::Identifier).map(|token| token.symbol));
        }
        false
    }

    /// Notes the macros of the command line whose uses in text matter.
    pub(super) fn note_option(&mut self, option: &MacroOption, symbol: Symbol, definition: DefinitionId) {
        if let MacroOption::Define(operand) = option {
            self.record.time |= TimeClues::of_option(operand.as_bytes());
            let operand = operand.as_bytes().to_ascii_lowercase();
            let has = |word: &str| memchr::memmem::find(&operand, word.as_bytes()).is_some();
            if has(".inc") {
                self.text_macros.inputs.note(symbol, &self.world.symbols);
            }
            let is_pragma = has("pragma") && ["once", "target", "optimize", "dependency"].into_iter().any(has);
            if is_pragma || has("push_macro") || has("pop_macro") {
                self.seek_pragmas();
            }
        }
        self.note_definition(symbol, definition);
    }

    /// Notes `symbol` where its definition uses a macro that is looked for.
    pub(super) fn note_definition(&mut self, symbol: Symbol, definition: DefinitionId) {
        if self.text_macros.are_sought()
            && let Some(body) = self.world.definitions.body(definition, &self.world.symbols)
        {
            self.text_macros.inputs.note_user(symbol, body, &self.world.symbols);
            self.text_macros.pragmas.note_user(symbol, body, &self.world.symbols);
        }
    }

    /// The content of `header` as a program that tells of uses as well; `None` where there are none, nor definitions that
    /// use what is looked for.
    pub(super) fn program_with_uses(
        &mut self,
        header: &Header,
        content: &Content,
    ) -> Result<Option<Arc<Program>>, Fallback> {
        let key = (header.file.id(), content.generation);
        if let Some(program) = self.text_macros.programs.get(&key) {
            return Ok(program.clone());
        }
        let words = self.world.words(&header.file, content)?;
        let has_uses = self.text_macros.may_stand_among(&words);
        let program = if has_uses { Some(self.lex_with_uses(header, content)?) } else { None };
        self.text_macros.programs.insert(key, program.clone());
        Ok(program)
    }

    fn lex_with_uses(&self, header: &Header, content: &Content) -> Result<Arc<Program>, Fallback> {
        let macros = &self.text_macros;
        let (lex_modes, token_modes) = (self.lex_modes_of(header), self.setting.probe.token_modes);
        let key = ProgramKey {
            file: (header.file.id(), content.generation),
            lex_modes,
            token_modes,
            names: Arc::clone(&macros.names),
        };
        self.world.program_with_uses(key, || {
            let bytes = content.bytes_again(header.file.path())?;
            let symbols = &self.world.symbols;
            let names = Names { statements: macros.inputs.names(symbols), calls: macros.pragmas.names(symbols) };
            let directives = lex_with_uses(&bytes, lex_modes, &names);
            Ok(Program::new(directives, token_modes, symbols, &self.world.definitions))
        })
    }

    /// Whether none of the names that are looked for stands in one of `files`.
    pub(super) fn are_without_uses(&self, files: &[(Arc<SourceFile>, Generation)]) -> Result<bool, Fallback> {
        for (file, generation) in files {
            let has_uses = match self.text_macros.programs.get(&(file.id(), *generation)) {
                Some(program) => program.is_some(),
                None => {
                    let content = file.content(self.searcher.view, Want::Bytes)?;
                    let words = self.world.words(file, &content)?;
                    content.generation != *generation || self.text_macros.may_stand_among(&words)
                }
            };
            if has_uses {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
