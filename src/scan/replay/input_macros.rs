//! Macros that make assembly which reads files: `INCBIN(name, "file")`.
//!
//! Text is not expanded otherwise. Where such a macro is found, the compile is replayed once more with an eye on its
//! uses in text, each expanded under the macros of its place; and again, while macros are found whose bodies use those
//! that are known.

use crate::command::MacroOption;
use crate::fallback::{Fallback, Reason};
use crate::files::file::Want;
use crate::scan::assembler;
use crate::scan::definitions::DefinitionId;
use crate::scan::lexer::lex_with_uses;
use crate::scan::limits::MAX_INPUT_MACRO_REPLAYS;
use crate::scan::lookup::Header;
use crate::scan::program::Program;
use crate::scan::replay::text_input::UNCLEAR;
use crate::scan::replay::{Place, Replay};
use crate::scan::symbols::Symbol;
use crate::scan::tokens::Kind;
use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

/// The macros of a replay that make assembly which reads files.
#[derive(Debug, Default)]
pub(super) struct InputMacros {
    /// Those whose uses the present replay looks for.
    sought: HashSet<Symbol>,
    /// Those that it found.
    found: HashSet<Symbol>,
    /// The files in which it looks, by their numbers and generations.
    programs: HashMap<(u32, u32), Arc<Program>>,
    replays: u32,
}

impl InputMacros {
    /// Whether uses in text are looked for.
    pub(super) fn are_sought(&self) -> bool {
        !self.sought.is_empty()
    }

    /// `symbol` is one of them.
    pub(super) fn note(&mut self, symbol: Symbol) {
        self.found.insert(symbol);
    }

    /// Goes on to look for those that were found; whether there are any of which that was not done.
    fn seek_found(&mut self) -> bool {
        let known = self.sought.len();
        self.sought.extend(self.found.drain());
        self.programs.clear();
        self.replays += 1;
        self.sought.len() > known
    }
}

impl Replay<'_> {
    /// Whether the compile must be replayed once more, for the sake of macros that were found in it.
    ///
    /// # Errors
    /// [`Reason::ScanLimit`] where there is no end of them.
    pub(super) fn must_seek_input_macros(&mut self) -> Result<bool, Fallback> {
        if self.input_macros.replays > MAX_INPUT_MACRO_REPLAYS {
            return Err(Fallback::new(Reason::ScanLimit, "macros in macros that read files by .incbin"));
        }
        Ok(self.input_macros.seek_found())
    }

    /// Notes the macros of the command line that name files to the assembler.
    pub(super) fn note_input_option(&mut self, option: &MacroOption, symbol: Symbol, definition: DefinitionId) {
        if let MacroOption::Define(operand) = option
            && memchr::memmem::find(&operand.as_bytes().to_ascii_lowercase(), b".inc").is_some()
        {
            self.input_macros.note(symbol);
        }
        self.note_input_definition(symbol, definition);
    }

    /// Notes `symbol` where its definition uses a macro that is looked for.
    pub(super) fn note_input_definition(&mut self, symbol: Symbol, definition: DefinitionId) {
        if self.input_macros.are_sought()
            && let Some(body) = self.world.definitions.body(definition, &self.world.symbols)
        {
            let mut names = body.tokens.iter().filter(|token| token.kind == Kind::Identifier).map(|token| token.symbol);
            if names.any(|name| self.may_become_sought(name)) {
                self.input_macros.note(symbol);
            }
        }
    }

    /// Whether `name` is a macro that is looked for, or the start or the end of its name: `##` may make it the whole.
    fn may_become_sought(&self, name: Symbol) -> bool {
        const SHORTEST_PART: usize = 3;
        let part = self.world.symbols.text(name);
        let is_part = |whole: &Symbol| {
            let whole = self.world.symbols.text(*whole);
            part.len() >= SHORTEST_PART && (whole.starts_with(part) || whole.ends_with(part))
        };
        self.input_macros.sought.contains(&name) || self.input_macros.sought.iter().any(is_part)
    }

    /// The content of `header` as a program that tells of uses as well.
    pub(super) fn program_with_uses(&mut self, header: &Header) -> Result<(Arc<Program>, u32), Fallback> {
        let content = header.file.content(self.searcher.view, Want::Bytes)?;
        let key = (header.file.id(), content.generation);
        if let Some(program) = self.input_macros.programs.get(&key) {
            return Ok((Arc::clone(program), content.generation));
        }
        let bytes = content.bytes_again(header.file.path())?;
        let symbols = &self.world.symbols;
        let names: Vec<&[u8]> = self.input_macros.sought.iter().map(|name| symbols.text(*name)).collect();
        let directives = lex_with_uses(&bytes, self.lex_modes_of(header), &names);
        let token_modes = self.setting.probe.token_modes;
        let program = Arc::new(Program::new(directives, token_modes, symbols, &self.world.definitions));
        self.input_macros.programs.insert(key, Arc::clone(&program));
        Ok((program, content.generation))
    }

    /// A use of a macro that is looked for.
    pub(super) fn text_use(&mut self, place: &Place<'_>, at: usize, operand: u32) -> Result<(), Fallback> {
        let text = place.program.operand(operand);
        if text.is_empty() {
            return Err(self.refuse_at(place, at, Reason::Unscannable, UNCLEAR));
        }
        let text = &assembler::without_comments(text);
        let name_length = crate::scan::tokens::name_length(text, self.setting.probe.token_modes);
        let (name, rest) = text.split_at(name_length);
        let state = self.table.read(self.world.symbols.intern(name));
        if !state.is_some() {
            return Ok(());
        }
        let counter = self.observations.counter;
        let arguments = assembler::arguments(rest);
        // Directives within the arguments are not followed.
        let lines = rest[..arguments.len().min(rest.len())].split(|byte| *byte == b'\n');
        let is_split = lines.skip(1).any(starts_directive);
        let body = self.world.definitions.body(state, &self.world.symbols);
        // Where a macro with parameters stands without arguments, another one gives them to it.
        let is_used_here = body.is_none_or(|body| body.parameters.is_none() || !arguments.is_empty());
        let mut inputs = None;
        if is_used_here && !is_split {
            inputs = self.inputs_of(place, at, &[name, &arguments].concat())?;
            if inputs.is_none() {
                // The rest of the statement may have the name.
                inputs = self.inputs_of(place, at, &assembler::c_statement(text))?.filter(|inputs| !inputs.is_empty());
            }
        }
        self.observations.counter = counter;
        match inputs {
            Some(inputs) => self.read_assembler_inputs(place, at, &inputs),
            None => Err(self.refuse_at(place, at, Reason::Unscannable, UNCLEAR)),
        }
    }
}

/// Whether a directive stands in `line`.
fn starts_directive(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    line.starts_with(b"#") || line.starts_with(b"%:")
}
