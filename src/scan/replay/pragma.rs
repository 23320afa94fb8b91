//! Pragmas: `once`, `push_macro` and `pop_macro`, and those of gcc that change what a file reads.

use crate::command::Family;
use crate::command::options::proper::{of_optimize_option, of_target_option};
use crate::fallback::{Fallback, Reason};
use crate::files::file::Want;
use crate::scan::preprocess::definitions::DefinitionId;
use crate::scan::preprocess::expand::ExpansionSite;
use crate::scan::preprocess::program::{OperandId, Pragma};
use crate::scan::preprocess::symbols::{Symbol, known};
use crate::scan::preprocess::tokens::Kind;
use crate::scan::probe::Probe;
use crate::scan::replay::{Cursor, Replay};
use crate::scan::search::header::{FoundBy, Header};
use crate::scan::text::assembler::unescape;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

impl Replay<'_> {
    /// A pragma at its own place.
    pub(super) fn pragma(&mut self, cursor: &mut Cursor<'_>, at: usize, pragma: Pragma) -> Result<(), Fallback> {
        match pragma {
            // clang only warns of it in the source itself.
            Pragma::Once if cursor.header.found_by == FoundBy::Primary && self.setting.family == Family::Clang => {}
            Pragma::Once => self.mark_once(cursor.header)?,
            Pragma::Target(operand) => self.retarget(cursor, at, operand)?,
            Pragma::Push(symbol) => self.table.push(symbol),
            Pragma::Pop(symbol) => self.table.pop(symbol),
            // In the source itself it has no effect.
            Pragma::SystemHeader if cursor.header.found_by == FoundBy::Primary => {}
            Pragma::SystemHeader => self.begin_system_header(cursor, at)?,
            // It compares the times of files, which neither travel nor are looked at again.
            Pragma::Dependency => {
                return Err(self.refuse_at(cursor, at, Reason::TimeDependent, "#pragma GCC dependency"));
            }
        }
        Ok(())
    }

    /// `#pragma GCC target` and `optimize`: gcc's own macros are from here on those of other flags, or again those of the
    /// command's, until they are told otherwise. g++ is late with it, and its preprocessor alone doesn't do it.
    pub(super) fn retarget(&mut self, cursor: &Cursor<'_>, at: usize, operand: OperandId) -> Result<(), Fallback> {
        // The compiler's own headers leave things as they found them, and include nothing in between.
        if self.setting.family == Family::Clang || cursor.is_system && is_gccs_own(cursor.header.file.path()) {
            return Ok(());
        }
        let (flags, is_optimize) = self.flags_of_pragma(cursor, at, operand)?;
        if flags.iter().any(|flag| flag.as_bytes().ends_with(b"=native")) {
            let detail = "#pragma GCC target asks for the machine that compiles";
            return Err(self.refuse_at(cursor, at, Reason::HostDependent, detail));
        }
        if flags.is_empty() {
            return Ok(());
        }
        if self.command.preprocessor.undef {
            // It defines macros all the same, and a probe under this flag has none.
            let detail = "#pragma GCC target beside -undef";
            return Err(self.refuse_at(cursor, at, Reason::Unscannable, detail));
        }
        let known = &self.setting.probe;
        let probe_under = |flags| self.world.probe_under(known, flags, self.command, self.searcher.view);
        let mut probe = probe_under(flags.clone())?;
        if is_optimize && probe.is_none() {
            // What gcc doesn't know it only warns of.
            let mut understood = Vec::new();
            for flag in flags {
                if probe_under(vec![flag.clone()])?.is_some() {
                    understood.push(flag);
                }
            }
            probe = probe_under(understood)?;
        }
        let Some(probe) = probe else {
            let detail = "#pragma GCC target with options that are not understood";
            return Err(self.refuse_at(cursor, at, Reason::Unscannable, detail));
        };
        let (own, others) = (final_states(&self.setting.probe), final_states(&probe));
        for symbol in own.keys().chain(others.keys()) {
            let state =
                |states: &BTreeMap<Symbol, DefinitionId>| states.get(symbol).copied().unwrap_or(DefinitionId::NONE);
            if state(&own) != state(&others) {
                let present = self.table.read(*symbol);
                let either = self.world.definitions.alternatives([present, state(&own), state(&others)]);
                self.table.write(*symbol, either);
            }
        }
        Ok(())
    }

    /// The flags that say on a command line what the pragma says from its second word on; and whether that is `optimize`.
    /// What is no option is none to gcc, which only warns of it.
    fn flags_of_pragma(
        &mut self,
        cursor: &Cursor<'_>,
        at: usize,
        operand: OperandId,
    ) -> Result<(Vec<OsString>, bool), Fallback> {
        let Some((word, options)) = cursor.program.tokens(operand, &self.world.symbols).split_first() else {
            return Ok((Vec::new(), false));
        };
        let is_optimize = word.symbol == known::OPTIMIZE;
        // No version expands macros here so far; one that did would be right as well.
        let options = self
            .expand_operand(cursor, at, ExpansionSite::Directive, options)?
            .map_or_else(|_| Vec::new(), |(options, _)| options);
        let mut flags = Vec::new();
        // Strings that follow each other are one.
        for string in
            options.chunk_by(|token, next| token.kind == Kind::StringLiteral && next.kind == Kind::StringLiteral)
        {
            let mut parts = string.iter().map(|token| self.world.symbols.text(token.symbol));
            match string[0].kind {
                Kind::Number if is_optimize => flags.extend(parts.next().map(of_optimize_option)),
                Kind::StringLiteral => {
                    let whole: Vec<u8> = parts.flat_map(unescape).collect();
                    let options = whole.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                    let options = options.filter(|option| !option.is_empty());
                    if is_optimize {
                        flags.extend(options.map(of_optimize_option));
                    } else {
                        let machine = self.command.machine();
                        flags.extend(options.map(|option| of_target_option(option, machine)));
                    }
                }
                _ => {}
            }
        }
        Ok((flags.into_iter().map(OsString::from_vec).collect(), is_optimize))
    }

    /// Takes what follows in this file for a system header, as gcc does.
    pub(super) fn begin_system_header(&self, cursor: &mut Cursor<'_>, at: usize) -> Result<(), Fallback> {
        if !std::mem::replace(&mut cursor.is_system, true) {
            self.refuse_line_comments(cursor, at)?;
        }
        Ok(())
    }

    /// Takes what follows in this file for no system header.
    pub(super) fn end_system_header(&self, cursor: &mut Cursor<'_>, at: usize) -> Result<(), Fallback> {
        if std::mem::replace(&mut cursor.is_system, false) {
            self.refuse_line_comments(cursor, at)?;
        }
        Ok(())
    }

    /// Refuses a file that has line comments, where that what they are changes in the midst of it.
    fn refuse_line_comments(&self, cursor: &Cursor<'_>, at: usize) -> Result<(), Fallback> {
        if self.setting.probe.lex_modes.no_line_comments && self.has_line_comments(cursor.header)? {
            let detail = "line comments where a system header begins or ends, in the C of 1990";
            return Err(self.refuse_at(cursor, at, Reason::Unscannable, detail));
        }
        Ok(())
    }

    /// Whether `//` may stand in `header`.
    fn has_line_comments(&self, header: &Header) -> Result<bool, Fallback> {
        let content = header.file.content(self.searcher.view, Want::Bytes)?;
        let bytes = content.bytes_again(header.file.path())?;
        Ok(bytes.windows(2).any(|pair| matches!(pair, b"//" | b"/\\")))
    }
}

/// The macros that a compiler defines itself, and their definitions.
fn final_states(probe: &Probe) -> BTreeMap<Symbol, DefinitionId> {
    probe.predefined.iter().copied().collect()
}

/// Whether `path` lies beside gcc's own headers: in `gcc/TARGET/VERSION/include`.
fn is_gccs_own(path: &Path) -> bool {
    let directory = path.parent().filter(|directory| directory.ends_with("include"));
    directory.and_then(|directory| directory.ancestors().nth(3)).is_some_and(|directory| directory.ends_with("gcc"))
}
