//! Uses in text of macros that matter there: what their expansion does.

use crate::fallback::{Fallback, Reason};
use crate::scan::lex::lexer::lex;
use crate::scan::preprocess::expand::ExpansionSite;
use crate::scan::preprocess::program::{Op, OperandId, Program};
use crate::scan::preprocess::tokens::tokenize;
use crate::scan::replay::text_input::UNCLEAR;
use crate::scan::replay::{Cursor, Replay};
use crate::scan::text::assembler;
use crate::scan::text::pragmas::{has_unclear_pragma, pragmas_in};

impl Replay<'_> {
    /// A use of a macro that makes assembly which reads files.
    pub(super) fn text_use(&mut self, cursor: &Cursor<'_>, at: usize, operand: OperandId) -> Result<(), Fallback> {
        let text = cursor.program.operand(operand);
        if text.is_empty() {
            return Err(self.refuse_at(cursor, at, Reason::Unscannable, UNCLEAR));
        }
        let name_length = crate::scan::preprocess::tokens::name_length(text, self.setting.probe.token_modes);
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
            inputs = self.inputs_of(cursor, at, &[name, &arguments].concat())?;
            if inputs.is_none() {
                // The rest of the statement may have the name.
                inputs = self.inputs_of(cursor, at, &assembler::c_statement(text))?.filter(|inputs| !inputs.is_empty());
            }
        }
        self.observations.counter = counter;
        match inputs {
            Some(inputs) => self.read_assembler_inputs(cursor, at, &inputs),
            None => Err(self.refuse_at(cursor, at, Reason::Unscannable, UNCLEAR)),
        }
    }

    /// A use of a macro that makes pragmas, or of `_Pragma` itself: they stand where it does.
    pub(super) fn text_call(&mut self, cursor: &mut Cursor<'_>, at: usize, operand: OperandId) -> Result<(), Fallback> {
        if self.ignores_text {
            return Ok(());
        }
        let detail = "a macro in text that may make a pragma, and is not clear";
        if self.is_within_macro(cursor, at) == Some(true) {
            return Err(self.refuse_at(cursor, at, Reason::Unscannable, detail));
        }
        let mut tokens = Vec::new();
        tokenize(cursor.program.operand(operand), self.setting.probe.token_modes, &self.world.symbols, &mut tokens);
        let counter = self.observations.counter;
        let expansion = self.expand_operand(cursor, at, ExpansionSite::Text, &tokens)?;
        self.observations.counter = counter;
        match expansion {
            Ok((_, Some(symbol))) => {
                self.under_each_definition(cursor, at, symbol, |replay, cursor| replay.text_call(cursor, at, operand))
            }
            Ok((expanded, None))
                if !tokens.is_empty() && !has_unclear_pragma(&expanded, self.setting.family, &self.world.symbols) =>
            {
                let pragmas = pragmas_in(&expanded, &self.world.symbols);
                pragmas.iter().try_for_each(|pragma| self.run_pragma(cursor, at, pragma))
            }
            _ => Err(self.refuse_at(cursor, at, Reason::Unscannable, detail)),
        }
    }

    /// Does what `#pragma` with `text` does here.
    fn run_pragma(&mut self, cursor: &mut Cursor<'_>, at: usize, text: &[u8]) -> Result<(), Fallback> {
        let directives = lex(&[b"#pragma ", text, b"\n"].concat(), self.lex_modes_of(cursor.header));
        let symbols = &self.world.symbols;
        let program = Program::new(directives, self.setting.probe.token_modes, symbols, &self.world.definitions);
        let mut inner = Cursor::new(cursor.header, &program);
        (inner.line_shift, inner.is_system) = (cursor.line_shift, cursor.is_system);
        inner.presumed.clone_from(&cursor.presumed);
        for (step, op) in program.ops.iter().enumerate() {
            if let Op::Pragma(pragma) = op {
                self.pragma(&mut inner, step, *pragma).map_err(|fallback| match fallback.location {
                    Some(_) => self.refuse_at(cursor, at, fallback.reason, &fallback.detail),
                    None => fallback,
                })?;
            }
        }
        cursor.is_system = inner.is_system;
        Ok(())
    }
}

/// Whether a directive stands in `line`.
fn starts_directive(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    line.starts_with(b"#") || line.starts_with(b"%:")
}
