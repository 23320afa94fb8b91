//! A compile's directives, replayed: which files it reads, under which macros.
//!
//! Conditions are true, false or unknown. An unknown one takes every branch, each from the same macros, and leaves
//! the macros that differ with several definitions. So the result may hold too much, and never too little.
//!
//! What it does not know: how a file gets its directives ([`program`](crate::scan::preprocess::program)), where a header's name
//! leads ([`search`](crate::scan::search)), what becomes of the result ([`closure`](crate::scan::closure)).

mod branches;
mod conditions;
mod include;
mod oracle;
mod pragma;
mod prefix_map;
mod text_input;
mod text_macros;
mod text_uses;

use crate::command::{CompileCommand, Family, MacroOption};
use crate::fallback::{Fallback, Reason};
use crate::files::file::Want;
use crate::files::generation::Generation;
use crate::scan::closure::record::Record;
use crate::scan::lex::directives::LexModes;
use crate::scan::lex::lexer::time::TimeClues;
use crate::scan::limits::{MAX_COMPILE_TOKENS, MAX_REPLAYED_DIRECTIVES};
use crate::scan::memory::effects::EffectsOfHeaders;
use crate::scan::memory::world::{KnownSetting, World};
use crate::scan::preprocess::definitions::DefinitionId;
use crate::scan::preprocess::expand::{Buffers, ExpansionSite, Observations, Position, Surroundings};
use crate::scan::preprocess::macros::{FrameClock, MacroTable};
use crate::scan::preprocess::program::{LineForm, Op, OperandId, Program};
use crate::scan::preprocess::symbols::Symbol;
use crate::scan::preprocess::tokens::Kind;
use crate::scan::replay::prefix_map::PrefixMap;
use crate::scan::search::header::{Header, Includer};
use crate::scan::search::setting::{Searcher, Setting};
use crate::scan::text::assembler;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use text_macros::TextMacros;

/// A replay under way.
pub(crate) struct Replay<'a> {
    world: &'a World,
    setting: &'a Setting,
    effects: &'a EffectsOfHeaders,
    searcher: Searcher<'a>,
    command: &'a CompileCommand,
    table: &'a mut MacroTable,
    record: Record,
    observations: Observations,
    buffers: Buffers,
    base_file: Symbol,
    prefix_map: PrefixMap,
    depth: u32,
    includes: u32,
    steps: u64,
    unknown_depth: u32,
    branches: u32,
    has_imports: bool,
    /// Whether macros in text are not expanded: so gcc reads a file of `-imacros`.
    ignores_text: bool,
    text_macros: TextMacros,
}

/// Where in a file a replay stands.
pub(super) struct Cursor<'h> {
    header: &'h Arc<Header>,
    program: &'h Program,
    line_shift: i64,
    presumed: Option<Vec<u8>>,
    /// Whether gcc takes the rest of the file for a system header.
    is_system: bool,
}

impl<'h> Cursor<'h> {
    /// The start of `header`.
    fn new(header: &'h Arc<Header>, program: &'h Program) -> Self {
        Self { header, program, line_shift: 0, presumed: None, is_system: header.is_system }
    }

    fn includer(&self) -> Includer<'h> {
        Includer { header: self.header, is_system: self.is_system }
    }
}

impl<'a> Replay<'a> {
    pub(crate) fn new(
        world: &'a World,
        known: &'a KnownSetting,
        searcher: Searcher<'a>,
        command: &'a CompileCommand,
        table: &'a mut MacroTable,
    ) -> Self {
        table.reset();
        let prefix_map = PrefixMap::of(command);
        let source = command.source.as_os_str().as_bytes();
        Self {
            world,
            setting: &known.setting,
            effects: &known.effects,
            searcher,
            command,
            table,
            record: Record::default(),
            observations: Observations { counter: Some(0), ..Observations::default() },
            buffers: Buffers::default(),
            base_file: world.symbols.intern(prefix_map.map(source).as_deref().unwrap_or(source)),
            prefix_map,
            depth: 0,
            includes: 0,
            steps: 0,
            unknown_depth: 0,
            branches: 0,
            has_imports: false,
            ignores_text: false,
            text_macros: TextMacros::default(),
        }
    }

    /// Replays the whole compile: the command line's macros and headers, then the source.
    ///
    /// # Errors
    /// A [`Fallback`] where the answer can't be known.
    pub(crate) fn run(mut self, source: &Arc<Header>) -> Result<Record, Fallback> {
        if self.command.preprocessor.preprocessed {
            return Err(Fallback::new(Reason::UnsupportedFlag, "the source is preprocessed already"));
        }
        let mut outcome = self.replay_compile(source);
        while self.must_seek_text_macros()? {
            self.begin_again();
            outcome = self.replay_compile(source);
        }
        outcome?;
        if self.observations.saw_time {
            self.record.time |= TimeClues::DAY;
        }
        if self.record.time.use_stamp() {
            return Err(Fallback::new(Reason::TimeDependent, "__TIMESTAMP__"));
        }
        Ok(self.record)
    }

    fn replay_compile(&mut self, source: &Arc<Header>) -> Result<(), Fallback> {
        self.define_macros()?;
        self.include_forced()?;
        self.enter(source)
    }

    /// Forgets what the compile did so far; its work still counts.
    fn begin_again(&mut self) {
        self.table.reset();
        let replays = std::mem::take(&mut self.record).replays;
        self.record.replays = replays;
        self.observations =
            Observations { counter: Some(0), tokens: self.observations.tokens, ..Observations::default() };
        (self.depth, self.includes, self.unknown_depth) = (0, 0, 0);
        self.has_imports = false;
    }

    fn define_macros(&mut self) -> Result<(), Fallback> {
        for (symbol, definition) in &self.setting.probe.predefined {
            self.table.write(*symbol, *definition);
        }
        for option in &self.command.preprocessor.macros {
            match option {
                MacroOption::Define(operand) => {
                    let (symbol, definition) = self.world.define_option(operand.as_bytes(), self.setting)?;
                    self.table.write(symbol, definition);
                    self.note_option(option, symbol, definition);
                }
                MacroOption::Undefine(name) => {
                    let symbol = self.world.symbols.intern(name.as_bytes());
                    self.table.write(symbol, DefinitionId::NONE);
                }
            }
        }
        Ok(())
    }

    /// gcc reads every `-imacros` first, then the header that it includes by itself, then every `-include`.
    fn include_forced(&mut self) -> Result<(), Fallback> {
        let forced = &self.command.preprocessor.forced_includes;
        // What the command line includes is one level deep.
        self.depth += 1;
        self.ignores_text = self.setting.family == Family::Gcc;
        for include in forced.iter().filter(|include| include.macros_only) {
            self.include_option(include.path.as_os_str().as_bytes())?;
        }
        self.ignores_text = false;
        if let Some(name) = self.setting.probe.preinclude {
            self.include_implicit(name)?;
        }
        for include in forced.iter().filter(|include| !include.macros_only) {
            self.include_option(include.path.as_os_str().as_bytes())?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Replays the directives of `header`, every one of them.
    fn replay_all(&mut self, header: &Arc<Header>, program: &Program) -> Result<(), Fallback> {
        self.record.replays += 1;
        let mut cursor = Cursor::new(header, program);
        self.run_ops(&mut cursor, 0, program.ops.len())
    }

    /// Replays the steps from `at` up to `end`, which do not leave a group.
    fn run_ops(&mut self, cursor: &mut Cursor<'_>, mut at: usize, end: usize) -> Result<(), Fallback> {
        let program = cursor.program;
        while at < end {
            self.steps += 1;
            if self.steps > MAX_REPLAYED_DIRECTIVES {
                return Err(self.refuse_at(cursor, at, Reason::ScanLimit, "too many directives"));
            }
            match program.ops[at] {
                Op::Define { symbol, definition } => {
                    self.table.write(symbol, definition);
                    self.note_definition(symbol, definition);
                    at += 1;
                }
                Op::If { .. } | Op::Ifdef { .. } | Op::Ifndef { .. } => at = self.group(cursor, at)?,
                // The branch that was taken ends here.
                Op::Elif { .. } | Op::Elifdef { .. } | Op::Elifndef { .. } | Op::Else { .. } => {
                    at = end_of_group(program, at);
                }
                op => {
                    self.plain(cursor, at, op)?;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    fn plain(&mut self, cursor: &mut Cursor<'_>, at: usize, op: Op) -> Result<(), Fallback> {
        match op {
            Op::Undef { symbol } => self.table.write(symbol, DefinitionId::NONE),
            Op::Include { operand, how } => self.include(cursor, at, operand, how)?,
            Op::Embed { operand } => self.embed(cursor, at, operand)?,
            Op::Pragma(pragma) => self.pragma(cursor, at, pragma)?,
            Op::TextPragma(_) | Op::TextCounter if self.ignores_text => {}
            Op::TextPragma(pragma) => self.pragma(cursor, at, pragma)?,
            Op::PragmaArgument { of } => self.pragma_argument(of),
            Op::MayBePragma { by, site } => self.may_be_pragma(by, site),
            Op::Line { operand, form } => self.set_line(cursor, at, operand, form)?,
            Op::Error { operand } => {
                if self.unknown_depth == 0 {
                    let text = String::from_utf8_lossy(cursor.program.operand(operand)).into_owned();
                    return Err(self.refuse_at(cursor, at, Reason::Unscannable, &format!("#error {text}")));
                }
                self.record.spoil();
            }
            Op::TextCounter => {
                self.observations.counter = None;
                self.record.spoil();
            }
            Op::TextTime(clues) => self.record.time |= clues,
            Op::TextTimestamp => return Err(self.refuse_at(cursor, at, Reason::TimeDependent, "__TIMESTAMP__")),
            Op::TextInput { operand } => self.text_input(cursor, at, operand)?,
            Op::DefinedInput { operand, symbol } => self.defined_input(cursor, at, operand, symbol)?,
            Op::TextUse { operand } => self.text_use(cursor, at, operand)?,
            Op::TextCall { operand } => self.text_call(cursor, at, operand)?,
            Op::TextModule => return Err(self.refuse_at(cursor, at, Reason::Modules, "import or module declaration")),
            Op::TextLineComment => {
                return Err(self.refuse_at(cursor, at, Reason::Unscannable, "a line comment in the C of 1990"));
            }
            _ => {}
        }
        Ok(())
    }

    const fn clock(&self) -> FrameClock {
        self.table.frame_clock()
    }

    fn position<'p>(&self, cursor: &'p Cursor<'_>, at: usize, spelled: &'p [u8]) -> Position<'p>
    where
        'a: 'p,
    {
        let line = i64::from(cursor.program.line(at)) + cursor.line_shift;
        let symbols = &self.world.symbols;
        let file = cursor.presumed.as_deref().unwrap_or(spelled);
        let mapped = self.prefix_map.map(file).map(|mapped| symbols.text(symbols.intern(&mapped)));
        Position {
            line: line as u32,
            file: mapped.unwrap_or(file),
            base_file: symbols.text(self.base_file),
            is_mapped: mapped.is_some(),
            include_level: self.depth.saturating_sub(1),
        }
    }

    /// Draws the consequences of what an expansion saw.
    fn settle(&mut self, cursor: &Cursor<'_>, at: usize) -> Result<(), Fallback> {
        if self.observations.saw_place {
            self.observations.saw_place = false;
            self.record.spoil();
        }
        if self.observations.saw_time {
            self.observations.saw_time = false;
            self.record.time |= TimeClues::DAY;
        }
        if self.observations.tokens > MAX_COMPILE_TOKENS {
            return Err(self.refuse_at(cursor, at, Reason::ScanLimit, "macros expand to too much"));
        }
        Ok(())
    }

    /// `#line`, and `# 1 "file"`: what `__LINE__` and `__FILE__` say from here on.
    pub(super) fn set_line(
        &mut self,
        cursor: &mut Cursor<'_>,
        at: usize,
        operand: OperandId,
        form: LineForm,
    ) -> Result<(), Fallback> {
        let tokens = cursor.program.tokens(operand, &self.world.symbols);
        let first = tokens.first();
        let Ok((tokens, _)) = self.expand_operand(cursor, at, ExpansionSite::Directive, tokens)? else { return Ok(()) };
        let number = tokens.first().filter(|token| token.kind == Kind::Number);
        let text = |symbol| self.world.symbols.text(symbol);
        let Some(line) = number.and_then(|token| std::str::from_utf8(text(token.symbol)).ok()?.parse::<i64>().ok())
        else {
            return Ok(());
        };
        // gcc counts from the directive's end, clang from the number.
        let lines_before = match self.setting.family {
            Family::Gcc => cursor.program.lines_in(operand),
            Family::Clang => first.map_or(0, |first| u32::from(first.lines)),
        };
        cursor.line_shift = line - i64::from(cursor.program.line(at) + lines_before) - 1;
        if let Some(name) = tokens.get(1).filter(|token| token.kind == Kind::StringLiteral) {
            cursor.presumed = Some(assembler::unescape(text(name.symbol)));
            if form == LineForm::Marker {
                if tokens[2..].iter().take(2).any(|flag| text(flag.symbol) == b"3") {
                    self.begin_system_header(cursor, at)?;
                } else {
                    self.end_system_header(cursor, at)?;
                }
            }
            if let Some(name) = &cursor.presumed
                && self.setting.family == Family::Gcc
            {
                self.quote_lines_of(name)?;
            }
        }
        Ok(())
    }

    /// The content of `header` as a program.
    fn program(&mut self, header: &Header) -> Result<(Arc<Program>, Generation), Fallback> {
        let content = header.file.content(self.searcher.view, Want::Bytes)?;
        if self.text_macros.are_sought()
            && let Some(program) = self.program_with_uses(header, &content)?
        {
            return Ok((program, content.generation));
        }
        let (lex_modes, token_modes) = (self.lex_modes_of(header), self.setting.probe.token_modes);
        let program = self.world.program(&content, header.file.path(), lex_modes, token_modes)?;
        Ok((program, content.generation))
    }

    fn lex_modes_of(&self, header: &Header) -> LexModes {
        let mut lex_modes = self.setting.probe.lex_modes;
        // System headers have line comments in every mode.
        lex_modes.no_line_comments &= !header.is_system;
        lex_modes
    }

    fn location(&self, cursor: &Cursor<'_>, at: usize) -> (std::path::PathBuf, u32) {
        let spelled = self.world.symbols.text(cursor.header.spelled);
        (crate::files::as_path(spelled).to_path_buf(), cursor.program.line(at))
    }

    fn refuse_at(&self, cursor: &Cursor<'_>, at: usize, reason: Reason, detail: &str) -> Fallback {
        let (path, line) = self.location(cursor, at);
        Fallback::at(reason, detail, path, line)
    }
}

/// What an expansion at `position` takes from a replay, and leaves in its `state`.
pub(super) fn surroundings<'s>(
    world: &'s World,
    setting: &'s Setting,
    (site, position): (ExpansionSite, Position<'s>),
    state: (&'s mut MacroTable, &'s mut Observations, &'s mut Buffers),
) -> Surroundings<'s> {
    let (table, observations, buffers) = state;
    Surroundings {
        table,
        symbols: &world.symbols,
        definitions: &world.definitions,
        modes: setting.probe.token_modes,
        position,
        observations,
        has_va_opt: setting.probe.has_va_opt,
        has_foreign_characters: setting.probe.has_foreign_characters,
        keeps_lone_comma: setting.probe.keeps_lone_comma,
        family: setting.family,
        site,
        buffers,
    }
}

/// The step of the end of the group that the branch at `at` belongs to.
fn end_of_group(program: &Program, mut at: usize) -> usize {
    while let Some(next) = program.ops[at].next_branch() {
        at = next;
    }
    at
}
