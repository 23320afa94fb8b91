//! A compile's directives, replayed: which files it reads, under which macros.
//!
//! Conditions are true, false or unknown. An unknown one takes every branch, each from the same macros, and leaves
//! the macros that differ with several definitions. So the result may hold too much, and never too little.
//!
//! What it does not know: how a file gets its directives ([`program`](crate::scan::program)), where a header's name
//! leads ([`lookup`](crate::scan::lookup)), what becomes of the result ([`closure`](crate::scan::closure)).

mod branches;
mod include;
mod oracle;
mod record;
mod text_input;

use crate::command::{Command, Family, MacroOption};
use crate::fallback::{Fallback, Reason};
use crate::files::file::Want;
use crate::scan::assembler;
use crate::scan::condition::{Problem, Truth, evaluate};
use crate::scan::definitions::{Definition, DefinitionId};
use crate::scan::expand::{Buffers, Expander, Observations, Position, Surroundings};
use crate::scan::limits::{MAX_COMPILE_TOKENS, MAX_REPLAYED_DIRECTIVES};
use crate::scan::lookup::Position as HeaderPosition;
use crate::scan::lookup::{Found, Header, Includer, Searcher, Setting};
use crate::scan::macros::MacroTable;
use crate::scan::program::{Op, Pragma, Program};
use crate::scan::symbols::Symbol;
use crate::scan::tokens::Kind;
use crate::scan::world::World;
pub(crate) use record::Record;
use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

/// A replay under way.
pub(crate) struct Replay<'a> {
    world: &'a World,
    setting: &'a Setting,
    searcher: Searcher<'a>,
    command: &'a Command,
    table: &'a mut MacroTable,
    record: Record,
    observations: Observations,
    buffers: Buffers,
    base_file: Symbol,
    depth: u32,
    includes: u32,
    steps: u64,
    unknown_depth: u32,
    branches: u32,
    has_imports: bool,
    /// Whether macros in text are not expanded: so gcc reads a file of `-imacros`.
    ignores_text: bool,
    volatile: HashSet<Symbol>,
    /// Macros whose bodies read files by `.incbin`.
    input_macros: Vec<(Symbol, Arc<Header>, u32)>,
}

/// Where in a file a replay stands.
pub(super) struct Place<'h> {
    header: &'h Arc<Header>,
    program: &'h Program,
    line_shift: i64,
    presumed: Option<Vec<u8>>,
    /// Whether gcc takes the rest of the file for a system header.
    is_system: bool,
}

impl<'h> Place<'h> {
    fn includer(&self) -> Includer<'h> {
        Includer { header: self.header, is_system: self.is_system }
    }
}

impl<'a> Replay<'a> {
    pub(crate) fn new(
        world: &'a World,
        setting: &'a Setting,
        searcher: Searcher<'a>,
        command: &'a Command,
        table: &'a mut MacroTable,
    ) -> Self {
        table.reset();
        Self {
            world,
            setting,
            searcher,
            command,
            table,
            record: Record::default(),
            observations: Observations { counter: Some(0), ..Observations::default() },
            buffers: Buffers::default(),
            base_file: world.symbols.intern(command.source.as_os_str().as_bytes()),
            depth: 0,
            includes: 0,
            steps: 0,
            unknown_depth: 0,
            branches: 0,
            has_imports: false,
            ignores_text: false,
            volatile: HashSet::new(),
            input_macros: Vec::new(),
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
        self.define_macros()?;
        self.include_forced()?;
        self.enter(source)?;
        self.resolve_input_macros()?;
        self.record.uses_time |= self.observations.saw_time;
        Ok(self.record)
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
        let mut place = Place { header, program, line_shift: 0, presumed: None, is_system: header.is_system };
        self.run_ops(&mut place, 0, program.ops.len())
    }

    /// Replays the steps from `at` up to `end`, which do not leave a group.
    fn run_ops(&mut self, place: &mut Place<'_>, mut at: usize, end: usize) -> Result<(), Fallback> {
        let program = place.program;
        while at < end {
            self.steps += 1;
            if self.steps > MAX_REPLAYED_DIRECTIVES {
                return Err(self.refuse_at(place, at, Reason::ScanLimit, "too many directives"));
            }
            match program.ops[at] {
                Op::Define { symbol, definition } => {
                    self.assign(symbol, definition);
                    at += 1;
                }
                Op::If { .. } | Op::Ifdef { .. } | Op::Ifndef { .. } => at = self.group(place, at)?,
                // The branch that was taken ends here.
                Op::Elif { .. } | Op::Elifdef { .. } | Op::Elifndef { .. } | Op::Else { .. } => {
                    at = end_of_group(program, at);
                }
                op => {
                    self.plain(place, at, op)?;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    fn plain(&mut self, place: &mut Place<'_>, at: usize, op: Op) -> Result<(), Fallback> {
        match op {
            Op::Undef { symbol } => self.assign(symbol, DefinitionId::NONE),
            Op::Include { operand, how } => self.include(place, at, operand, how)?,
            Op::Embed { operand } => self.embed(place, at, operand)?,
            Op::Pragma(pragma) => self.pragma(place, at, pragma)?,
            Op::TextPragma(_) | Op::TextCounter if self.ignores_text => {}
            Op::TextPragma(pragma) => self.pragma(place, at, pragma)?,
            Op::Volatile { symbol } => {
                self.record.spoil();
                self.volatile.insert(symbol);
            }
            Op::Line { operand, is_marker } => self.set_line(place, at, operand, is_marker)?,
            Op::Error { operand } => {
                if self.unknown_depth == 0 {
                    let text = String::from_utf8_lossy(place.program.operand(operand)).into_owned();
                    return Err(self.refuse_at(place, at, Reason::Unscannable, &format!("#error {text}")));
                }
                self.record.spoil();
            }
            Op::TextCounter => {
                self.observations.counter = None;
                self.record.spoil();
            }
            Op::TextTime => self.record.uses_time = true,
            Op::TextTimestamp => return Err(self.refuse_at(place, at, Reason::TimeDependent, "__TIMESTAMP__")),
            Op::TextInput { operand } => self.text_input(place, at, operand)?,
            Op::DefinedInput { operand } => self.defined_input(place, at, operand)?,
            Op::TextModule => return Err(self.refuse_at(place, at, Reason::Modules, "import or module declaration")),
            Op::TextLineComment => {
                return Err(self.refuse_at(place, at, Reason::Unscannable, "a line comment in the C of 1990"));
            }
            _ => {}
        }
        Ok(())
    }

    fn pragma(&mut self, place: &mut Place<'_>, at: usize, pragma: Pragma) -> Result<(), Fallback> {
        match pragma {
            // clang only warns of it in the source itself.
            Pragma::Once
                if place.header.position == HeaderPosition::Primary && self.setting.family == Family::Clang => {}
            Pragma::Once => self.mark_once(place.header)?,
            // The compiler's own headers leave things as they found them, and include nothing in between.
            Pragma::Target if self.setting.family == Family::Clang || place.is_system => {}
            Pragma::Target => {
                let detail = "#pragma GCC target or optimize changes the compiler's own macros";
                return Err(self.refuse_at(place, at, Reason::Unscannable, detail));
            }
            Pragma::Push(symbol) => self.table.push(symbol),
            Pragma::Pop(symbol) => self.table.pop(symbol),
            // In the source itself it has no effect.
            Pragma::SystemHeader if place.header.position == HeaderPosition::Primary => {}
            Pragma::SystemHeader => self.begin_system_header(place, at, true)?,
            Pragma::Dependency(operand) => self.dependency(place, at, operand)?,
        }
        Ok(())
    }

    /// What follows in this file is a system header for gcc, or is none.
    fn begin_system_header(&self, place: &mut Place<'_>, at: usize, is_system: bool) -> Result<(), Fallback> {
        let is_other = place.is_system != is_system && self.setting.probe.lex_modes.no_line_comments;
        if is_other && self.has_line_comments(place.header)? {
            let detail = "line comments where a system header begins or ends, in the C of 1990";
            return Err(self.refuse_at(place, at, Reason::Unscannable, detail));
        }
        place.is_system = is_system;
        Ok(())
    }

    /// Whether `//` may stand in `header`.
    fn has_line_comments(&self, header: &Header) -> Result<bool, Fallback> {
        let content = header.file.content(self.searcher.view, Want::Bytes)?;
        let bytes = content.bytes_again(header.file.path())?;
        Ok(bytes.windows(2).any(|pair| matches!(pair, b"//" | b"/\\")))
    }

    /// Defines or undefines a macro.
    fn assign(&mut self, symbol: Symbol, definition: DefinitionId) {
        if self.volatile.contains(&symbol) {
            let state = self.table.read(symbol);
            let either = self.world.definitions.several([state, definition]);
            self.table.write(symbol, either);
        } else {
            self.table.write(symbol, definition);
        }
    }

    /// What is known of the condition at `at`.
    fn truth(&mut self, place: &Place<'_>, at: usize) -> Result<Truth, Fallback> {
        match place.program.ops[at] {
            Op::Ifdef { symbol, .. } | Op::Elifdef { symbol, .. } => Ok(self.is_defined(symbol)),
            Op::Ifndef { symbol, .. } | Op::Elifndef { symbol, .. } => Ok(match self.is_defined(symbol) {
                Truth::True => Truth::False,
                Truth::False => Truth::True,
                Truth::Unknown => Truth::Unknown,
            }),
            Op::If { operand, .. } | Op::Elif { operand, .. } => self.evaluate(place, at, operand),
            _ => Ok(Truth::True),
        }
    }

    fn is_defined(&mut self, symbol: Symbol) -> Truth {
        let state = self.table.read(symbol);
        if !state.is_some() {
            return Truth::False;
        }
        match self.world.definitions.get(state) {
            Definition::Several(states) if states.iter().any(|state| !state.is_some()) => Truth::Unknown,
            _ => Truth::True,
        }
    }

    fn evaluate(&mut self, place: &Place<'_>, at: usize, operand: u32) -> Result<Truth, Fallback> {
        let tokens = place.program.condition(operand, &self.world.symbols);
        let clock = self.clock();
        let file = self.world.symbols.text(place.header.spelled);
        let position = self.position(place, at, file);
        let state = (&mut *self.table, &mut self.observations, &mut self.buffers);
        let surroundings = surroundings(self.world, self.setting, position, state);
        let expander = Expander::new(surroundings, tokens);
        let mut oracle = oracle::HeaderOracle {
            setting: self.setting,
            searcher: self.searcher,
            includer: place.includer(),
            record: &mut self.record,
            clock,
        };
        let truth = evaluate(expander, &mut oracle);
        self.settle(place, at)?;
        match truth {
            Ok(truth) => Ok(truth),
            Err(Problem::Unknown) => Ok(Truth::Unknown),
            Err(Problem::Limit) => Err(self.refuse_at(place, at, Reason::ScanLimit, "a condition is too large")),
            Err(Problem::Fallback(mut fallback)) => {
                if fallback.location.is_none() {
                    fallback.location = Some(self.location(place, at));
                }
                Err(fallback)
            }
        }
    }

    /// The innermost frame's beginning, and the present.
    const fn clock(&self) -> (u32, u32) {
        (self.table.frame_start(), self.table.clock())
    }

    fn position<'p>(&self, place: &'p Place<'_>, at: usize, spelled: &'p [u8]) -> Position<'p>
    where
        'a: 'p,
    {
        let line = i64::from(place.program.line(at)) + place.line_shift;
        Position {
            line: line as u32,
            file: place.presumed.as_deref().unwrap_or(spelled),
            base_file: self.world.symbols.text(self.base_file),
            include_level: self.depth.saturating_sub(1),
        }
    }

    /// Draws the consequences of what an expansion saw.
    fn settle(&mut self, place: &Place<'_>, at: usize) -> Result<(), Fallback> {
        if self.observations.saw_place {
            self.observations.saw_place = false;
            self.record.spoil();
        }
        if self.observations.saw_time {
            self.observations.saw_time = false;
            self.record.uses_time = true;
        }
        if self.observations.tokens > MAX_COMPILE_TOKENS {
            return Err(self.refuse_at(place, at, Reason::ScanLimit, "macros expand to too much"));
        }
        Ok(())
    }

    /// `#line`, and `# 1 "file"`: what `__LINE__` and `__FILE__` say from here on.
    pub(super) fn set_line(
        &mut self,
        place: &mut Place<'_>,
        at: usize,
        operand: u32,
        is_marker: bool,
    ) -> Result<(), Fallback> {
        let tokens = place.program.tokens(operand, &self.world.symbols);
        let Ok((tokens, _)) = self.expand_operand(place, at, tokens)? else { return Ok(()) };
        let number = tokens.first().filter(|token| token.kind == Kind::Number);
        let text = |symbol| self.world.symbols.text(symbol);
        let Some(line) = number.and_then(|token| std::str::from_utf8(text(token.symbol)).ok()?.parse::<i64>().ok())
        else {
            return Ok(());
        };
        place.line_shift = line - i64::from(place.program.line(at)) - 1;
        if let Some(name) = tokens.get(1).filter(|token| token.kind == Kind::Text) {
            place.presumed = Some(assembler::unescape(text(name.symbol)));
            if is_marker {
                let is_system = tokens[2..].iter().take(2).any(|flag| text(flag.symbol) == b"3");
                self.begin_system_header(place, at, is_system)?;
            }
            if let Some(name) = &place.presumed
                && self.setting.family == Family::Gcc
            {
                self.quote_lines_of(name)?;
            }
        }
        Ok(())
    }

    /// The content of `header` as a program.
    fn program(&self, header: &Header) -> Result<(Arc<Program>, u32), Fallback> {
        let content = header.file.content(self.searcher.view, Want::Bytes)?;
        let probe = &self.setting.probe;
        let mut lex_modes = probe.lex_modes;
        // System headers have line comments in every mode.
        lex_modes.no_line_comments &= !header.is_system;
        let program = self.world.program(&content, header.file.path(), lex_modes, probe.token_modes)?;
        Ok((program, content.generation))
    }

    fn location(&self, place: &Place<'_>, at: usize) -> (std::path::PathBuf, u32) {
        let spelled = self.world.symbols.text(place.header.spelled);
        (crate::files::as_path(spelled).to_path_buf(), place.program.line(at))
    }

    fn refuse_at(&self, place: &Place<'_>, at: usize, reason: Reason, detail: &str) -> Fallback {
        let (path, line) = self.location(place, at);
        Fallback::at(reason, detail, path, line)
    }
}

/// What an expansion at `position` takes from a replay, and leaves in its `state`.
pub(super) fn surroundings<'s>(
    world: &'s World,
    setting: &'s Setting,
    position: Position<'s>,
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
        family: setting.family,
        buffers,
    }
}

/// The step of the end of the group that the branch at `at` belongs to.
fn end_of_group(program: &Program, mut at: usize) -> usize {
    while let Some(next) = next_branch(program.ops[at]) {
        at = next as usize;
    }
    at
}

/// The next branch of a group, or its end; `None` for what is no branch.
const fn next_branch(op: Op) -> Option<u32> {
    match op {
        Op::If { next, .. }
        | Op::Ifdef { next, .. }
        | Op::Ifndef { next, .. }
        | Op::Elif { next, .. }
        | Op::Elifdef { next, .. }
        | Op::Elifndef { next, .. }
        | Op::Else { next } => Some(next),
        _ => None,
    }
}

/// Whether a search found a file that can be replayed.
pub(super) fn found_header(found: &Found) -> Option<&Arc<Header>> {
    match found {
        Found::Header(header) => Some(header),
        _ => None,
    }
}
