//! Pragmas: `once`, `push_macro` and `pop_macro`, and those of gcc that change what a file reads.
//!
//! Where a macro makes a pragma of its argument, when that is done is not known: a macro that is pushed or popped so has
//! from then on every definition that it ever had, and a file that may be included once only is, and is not, included
//! again.

use crate::command::Family;
use crate::fallback::{Fallback, Reason};
use crate::files::file::{SourceFile, Want};
use crate::scan::definitions::{Definition, DefinitionId};
use crate::scan::lookup::{Header, Position};
use crate::scan::probe::Probe;
use crate::scan::program::{Inclusion, Pragma};
use crate::scan::replay::{Place, Replay, found_header};
use crate::scan::symbols::{Symbol, known};
use crate::scan::tokens::Kind;
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

impl Replay<'_> {
    /// A pragma at its own place.
    pub(super) fn pragma(&mut self, place: &mut Place<'_>, at: usize, pragma: Pragma) -> Result<(), Fallback> {
        match pragma {
            // clang only warns of it in the source itself.
            Pragma::Once if place.header.position == Position::Primary && self.setting.family == Family::Clang => {}
            Pragma::Once => self.mark_once(place.header)?,
            Pragma::Target(operand) => self.retarget(place, at, operand)?,
            Pragma::Push(symbol) | Pragma::Pop(symbol) if self.volatile.contains(&symbol) => {}
            Pragma::Push(symbol) => self.table.push(symbol),
            Pragma::Pop(symbol) => self.table.pop(symbol),
            // In the source itself it has no effect.
            Pragma::SystemHeader if place.header.position == Position::Primary => {}
            Pragma::SystemHeader => self.begin_system_header(place, at, true)?,
            Pragma::Dependency(operand) => self.dependency(place, at, operand)?,
        }
        Ok(())
    }

    /// `symbol` may be pushed or popped at any time, if `by` makes pragmas.
    pub(super) fn begin_volatile(&mut self, symbol: Symbol, by: Symbol) {
        self.record.spoil();
        if self.makes_pragmas(by) {
            let states: Vec<_> = self.table.pushed_states(symbol).chain([self.table.peek(symbol)]).collect();
            let state = self.world.definitions.several(states);
            self.table.write(symbol, state);
            self.volatile.insert(symbol);
        }
    }

    /// The file at hand may be included once only, if `by` makes pragmas; and so may others that use the same macro.
    pub(super) fn begin_may_be_once(&mut self, by: Symbol) {
        self.record.spoil();
        self.may_be_once |= self.makes_pragmas(by);
    }

    /// Whether the macro `name` makes pragmas of its arguments, or may do so. Without a name somebody will.
    pub(super) fn makes_pragmas(&self, name: Symbol) -> bool {
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
            if let Definition::Several(_) = self.world.definitions.get(state) {
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

    /// Defines or undefines a macro.
    pub(super) fn assign(&mut self, symbol: Symbol, definition: DefinitionId) {
        if self.volatile.contains(&symbol) {
            let state = self.table.read(symbol);
            let either = self.world.definitions.several([state, definition]);
            self.table.write(symbol, either);
        } else {
            self.table.write(symbol, definition);
        }
    }

    /// `#pragma GCC target` and `optimize`: gcc's own macros are from here on those of other flags, or again those of the
    /// command's, until they are told otherwise. g++ is late with it, and its preprocessor alone doesn't do it.
    pub(super) fn retarget(&mut self, place: &Place<'_>, at: usize, operand: u32) -> Result<(), Fallback> {
        // The compiler's own headers leave things as they found them, and include nothing in between.
        if self.setting.family == Family::Clang || place.is_system {
            return Ok(());
        }
        let detail = "#pragma GCC target or optimize with options that are not understood";
        let refuse = |replay: &Self| replay.refuse_at(place, at, Reason::Unscannable, detail);
        let flags = self.flags_of_pragma(place, at, operand)?;
        if flags.is_empty() {
            return Ok(());
        }
        let known = &self.setting.probe;
        let probe = self.world.probe_under(known, flags, self.command, self.searcher.view).map_err(|_| refuse(self))?;
        let (own, others) = (final_states(&self.setting.probe), final_states(&probe));
        for symbol in own.keys().chain(others.keys()) {
            let state =
                |states: &BTreeMap<Symbol, DefinitionId>| states.get(symbol).copied().unwrap_or(DefinitionId::NONE);
            if state(&own) != state(&others) {
                let present = self.table.read(*symbol);
                let either = self.world.definitions.several([present, state(&own), state(&others)]);
                self.table.write(*symbol, either);
            }
        }
        Ok(())
    }

    /// The flags that say on a command line what the pragma says from its second word on. What is no option is none to gcc,
    /// which only warns of it.
    fn flags_of_pragma(&mut self, place: &Place<'_>, at: usize, operand: u32) -> Result<Vec<OsString>, Fallback> {
        let Some((word, options)) = place.program.tokens(operand, &self.world.symbols).split_first() else {
            return Ok(Vec::new());
        };
        let is_optimize = word.symbol == known::OPTIMIZE;
        // No version expands macros here so far; one that did would be right as well.
        let options = self.expand_operand(place, at, options)?.map_or_else(|_| Vec::new(), |(options, _)| options);
        let mut flags = Vec::new();
        for token in options {
            let text = self.world.symbols.text(token.symbol);
            match token.kind {
                Kind::Number if is_optimize => flags.push([b"-O", text].concat()),
                Kind::Text => {
                    let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or_default();
                    let options = text.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                    let options = options.filter(|option| !option.is_empty());
                    flags.extend(
                        options.map(|option| flag_of_option(option, is_optimize, &self.command.probe_arguments)),
                    );
                }
                _ => {}
            }
        }
        Ok(flags.into_iter().map(OsString::from_vec).collect())
    }

    /// What follows in this file is a system header for gcc, or is none.
    pub(super) fn begin_system_header(
        &self,
        place: &mut Place<'_>,
        at: usize,
        is_system: bool,
    ) -> Result<(), Fallback> {
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

    /// `#pragma GCC dependency "file"`: the compiler compares times, which do not travel.
    pub(super) fn dependency(&mut self, place: &Place<'_>, at: usize, operand: u32) -> Result<(), Fallback> {
        let Some(name) = place.program.header(operand) else { return Ok(()) };
        self.record.spoil();
        let lookup = self.setting.look_up(name, Inclusion::Plain, place.includer(), &self.searcher);
        let clock = self.clock();
        self.record.add_lookup(&lookup, clock);
        self.record.add_probed(&lookup);
        if let Some(header) = found_header(&lookup.found) {
            let modified = |file: &SourceFile| {
                let content = file.content(self.searcher.view, Want::Bytes)?;
                Ok::<_, Fallback>(content.stamp.modified_ns())
            };
            if modified(&header.file)? > modified(&place.header.file)? {
                return Err(self.refuse_at(
                    place,
                    at,
                    Reason::TimeDependent,
                    "#pragma GCC dependency names a newer file",
                ));
            }
        }
        Ok(())
    }
}

/// The macros that a compiler defines itself, and their definitions.
fn final_states(probe: &Probe) -> BTreeMap<Symbol, DefinitionId> {
    probe.predefined.iter().copied().collect()
}

/// The flag of an option in a pragma: `avx2`, `no-avx2`, `arch=haswell`, or `+crc`, which adds to the machine that the
/// command's `arguments` name; with `is_optimize` `O3`, `3`, `fast-math`.
fn flag_of_option(option: &[u8], is_optimize: bool, arguments: &[OsString]) -> Vec<u8> {
    match option {
        [b'O', ..] if is_optimize => [b"-", option].concat(),
        [b'0'..=b'9', ..] if is_optimize => [b"-O", option].concat(),
        _ if is_optimize => [b"-f", option].concat(),
        [b'+', ..] => {
            let names_machine = |flag: &&[u8]| flag.starts_with(b"-march=") || flag.starts_with(b"-mcpu=");
            let machine = arguments.iter().rev().map(|argument| argument.as_bytes()).find(names_machine);
            [machine.unwrap_or(b"-march=armv8-a"), option].concat()
        }
        _ => [b"-m", option].concat(),
    }
}
