//! Inclusion: from an operand to names, from a name to a file, from a file to its effect.

use crate::command::Family;
use crate::fallback::{Fallback, Reason};
use crate::files::file::Want;
use crate::files::generation::Generation;
use crate::scan::limits::{MAX_COMPUTED_NAMES, MAX_INCLUDE_DEPTH, MAX_INCLUDES};
use crate::scan::memory::effects::Effect;
use crate::scan::preprocess::definitions::{Definition, DefinitionId};
use crate::scan::preprocess::expand::{Expander, ExpansionSite, Trouble};
use crate::scan::preprocess::program::{HeaderName, Inclusion, Op, OperandId, Program, Quoting, header_name};
use crate::scan::preprocess::symbols::{Symbol, known};
use crate::scan::preprocess::tokens::{Kind, Token};
use crate::scan::replay::branches::Outcomes;
use crate::scan::replay::{Cursor, Replay, surroundings};
use crate::scan::search::header::{FoundBy, Header};
use crate::scan::search::lookup::{Found, Lookup};
use pumphouse_proto::digest::Digest;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

/// A header of fewer steps than this is replayed each time: remembering it costs as much.
const MIN_REMEMBERED_STEPS: u64 = 24;

type Expansion = Result<(Vec<Token>, Option<Symbol>), Trouble>;

impl Replay<'_> {
    /// `#include`, `#include_next`, `#import`.
    pub(super) fn include(
        &mut self,
        cursor: &mut Cursor<'_>,
        at: usize,
        operand: OperandId,
        how: Inclusion,
    ) -> Result<(), Fallback> {
        if let Some(name) = cursor.program.header(operand) {
            return self.include_name(cursor, at, name, how);
        }
        let names = self.computed_names(cursor, at, operand)?;
        match names[..] {
            [name] => self.include_name(cursor, at, name, how),
            [] if self.unknown_depth > 0 => {
                self.record.spoil();
                Ok(())
            }
            [] => Err(self.refuse_at(cursor, at, Reason::Unscannable, "the operand is no header's name")),
            _ => {
                let mut outcomes = Outcomes::new();
                for name in names {
                    let branch = self.begin_unknown(cursor, at)?;
                    self.include_name(cursor, at, name, how)?;
                    outcomes.push(self.end_unknown(cursor, at, branch)?);
                }
                self.merge(cursor, at, outcomes)
            }
        }
    }

    fn include_name(
        &mut self,
        cursor: &Cursor<'_>,
        at: usize,
        name: HeaderName,
        how: Inclusion,
    ) -> Result<(), Fallback> {
        let lookup = self.setting.look_up(name, how, cursor.includer(), &self.searcher);
        let clock = self.clock();
        self.record.add_lookup(&lookup, clock);
        if let Some(directory) = lookup.doubtful {
            self.record.spoil();
            if self.setting.is_beside_both(directory) {
                return Err(self.refuse_at(cursor, at, Reason::Unscannable, "a link beside system headers and others"));
            }
        }
        self.refuse_other_name(&lookup)?;
        match &lookup.found {
            Found::Header(header) => {
                if header.found_by == FoundBy::Absolute {
                    self.record.add_absolute(&header.file);
                }
                let included = if how == Inclusion::Import { self.import(&lookup, header) } else { self.enter(header) };
                included.map_err(|mut fallback| {
                    if fallback.location.is_none() {
                        fallback.location = Some(self.location(cursor, at));
                    }
                    fallback
                })
            }
            Found::NullDevice => Ok(()),
            Found::Nothing if self.unknown_depth > 0 => {
                self.record.spoil();
                Ok(())
            }
            Found::Nothing => {
                let name = String::from_utf8_lossy(self.world.symbols.text(name.name)).into_owned();
                Err(self.refuse_at(cursor, at, Reason::Unscannable, &format!("header not found: {name}")))
            }
            Found::Refused(fallback) => Err(fallback.clone()),
        }
    }

    /// `-include` and `-imacros`.
    pub(super) fn include_option(&mut self, name: &[u8]) -> Result<(), Fallback> {
        if self.setting.family == Family::Clang {
            self.refuse_precompiled(name)?;
        }
        let symbol = self.world.symbols.intern(name);
        let lookup = self.setting.look_up_forced(symbol, &self.searcher);
        let clock = self.clock();
        self.record.add_lookup(&lookup, clock);
        match &lookup.found {
            Found::Header(header) => self.enter(header),
            Found::NullDevice => Ok(()),
            Found::Nothing => {
                let name = String::from_utf8_lossy(name);
                Err(Fallback::new(Reason::Unscannable, format!("header not found: {name}")))
            }
            Found::Refused(fallback) => Err(fallback.clone()),
        }
    }

    /// The header that the compiler includes by itself, where there is one.
    pub(super) fn include_implicit(&mut self, name: &[u8]) -> Result<(), Fallback> {
        let lookup = self.setting.look_up_implicit(self.world.symbols.intern(name), &self.searcher);
        let clock = self.clock();
        self.record.add_lookup(&lookup, clock);
        match &lookup.found {
            Found::Refused(fallback) => Err(fallback.clone()),
            found => found.header().map_or(Ok(()), |header| self.enter(header)),
        }
    }

    /// clang takes `header.h.pch` or `header.h.gch` for `-include header.h` where it stands.
    fn refuse_precompiled(&mut self, name: &[u8]) -> Result<(), Fallback> {
        for suffix in [b".pch".as_slice(), b".gch"] {
            if self.setting.exists(&[name, suffix].concat(), &self.searcher, &mut self.record.trail)? {
                return Err(Fallback::at(
                    Reason::PrecompiledHeader,
                    "stands beside the header",
                    crate::files::as_path(name),
                    0,
                ));
            }
        }
        Ok(())
    }

    /// `#import`: nothing where the file was included before.
    fn import(&mut self, lookup: &Lookup, header: &Arc<Header>) -> Result<(), Fallback> {
        self.has_imports = true;
        self.record.spoil();
        if !self.record.has_file(&header.file) {
            if self.setting.family == Family::Gcc {
                self.refuse_found_before(lookup, header)?;
            }
            self.enter(header)?;
        }
        self.mark_once(header)
    }

    /// gcc imports nothing where it merely found the same content before, by another search.
    fn refuse_found_before(&self, lookup: &Lookup, header: &Header) -> Result<(), Fallback> {
        let own = self.digest(header)?;
        for earlier in self.record.lookups.iter().filter(|earlier| earlier.number != lookup.number) {
            if let Some(found) = earlier.found.header()
                && self.digest(found)? == own
            {
                let path = header.file.path().as_ref();
                return Err(Fallback::at(Reason::Unscannable, "imported after it was found otherwise", path, 0));
            }
        }
        Ok(())
    }

    /// The digest of `header`: gcc takes two files for one where their contents are the same, and their times, which they
    /// are on another machine, be they here or not.
    fn digest(&self, header: &Header) -> Result<Digest, Fallback> {
        Ok(header.file.content(self.searcher.view, Want::Bytes)?.input.digest)
    }

    /// Replays `header`, or does what its replay did before.
    pub(super) fn enter(&mut self, header: &Arc<Header>) -> Result<(), Fallback> {
        self.includes += 1;
        if self.includes > MAX_INCLUDES || self.depth >= MAX_INCLUDE_DEPTH {
            let path = crate::files::as_path(self.world.symbols.text(header.spelled));
            return Err(Fallback::at(Reason::ScanLimit, "too many includes", path, 0));
        }
        let (program, generation) = self.program(header)?;
        let clock = self.clock();
        self.record.add_file(&header.file, generation, clock);
        if let Some(guard) = program.guard
            && self.is_defined(guard) == crate::scan::preprocess::condition::Truth::True
        {
            return Ok(());
        }
        let may_be_marked = program.has_once || self.has_imports || self.text_macros.pragmas.is_active();
        if may_be_marked && self.is_marked_once(header)? {
            return Ok(());
        }
        self.depth += 1;
        let done = self.replay_or_recall(header, &program, generation);
        self.depth -= 1;
        done
    }

    fn replay_or_recall(
        &mut self,
        header: &Arc<Header>,
        program: &Program,
        generation: Generation,
    ) -> Result<(), Fallback> {
        let can_grow = program.ops.iter().any(|op| matches!(op, Op::Include { .. }));
        let is_small = (program.ops.len() as u64) < MIN_REMEMBERED_STEPS && !can_grow;
        if self.depth <= 1 || is_small || self.has_imports || self.ignores_text {
            return self.replay_all(header, program);
        }
        let looks_at_text = self.text_macros.are_sought();
        if let Some(effect) = self.effects.of(header.id).find(self.table)
            && effect.is_current(self.searcher.view, self.searcher.store)
            && (!looks_at_text || self.are_without_uses(&effect.files)?)
        {
            return self.apply(&effect);
        }
        // What has uses in text is not remembered.
        if looks_at_text {
            return self.replay_all(header, program);
        }
        let frame = self.table.begin_frame();
        let mark = self.record.begin();
        let steps = self.steps;
        let clock = self.clock();
        self.record.add_file(&header.file, generation, clock);
        let replayed = self.replay_all(header, program);
        let steps = self.steps - steps;
        let wanted =
            replayed.is_ok() && steps >= MIN_REMEMBERED_STEPS && self.table.is_balanced(&frame) && !self.has_imports;
        if !wanted {
            self.record.end_unremembered(&mark);
        } else if let Some(part) = self.record.end(&mark) {
            let reads = self.table.frame_reads(&frame);
            let writes = self.table.frame_writes(&frame);
            let effect =
                Effect::new(writes, part.lookups, part.probed, part.files, part.time, steps, self.searcher.view);
            self.effects.of(header.id).insert(&reads, Arc::new(effect), &self.world.effect_budget);
        }
        self.table.end_frame(&frame);
        replayed
    }

    fn apply(&mut self, effect: &Effect) -> Result<(), Fallback> {
        for (symbol, state) in &effect.writes {
            self.table.write(*symbol, *state);
        }
        let clock = self.clock();
        for lookup in &effect.lookups {
            self.record.add_lookup(lookup, clock);
            self.refuse_other_name(lookup)?;
        }
        for lookup in &effect.probed {
            self.record.add_probed(lookup);
        }
        for (file, generation) in &effect.files {
            self.record.add_file(file, *generation, clock);
        }
        self.record.time |= effect.time;
        self.steps += 1 + effect.steps / 64;
        Ok(())
    }

    /// clang looks beside the first name by which it found a file, though it includes it by another one.
    fn refuse_other_name(&self, lookup: &Lookup) -> Result<(), Fallback> {
        let Some(header) = lookup.found.header() else { return Ok(()) };
        if self.setting.family != Family::Clang || !header.file.is_linked() {
            return Ok(());
        }
        let mut named = self.record.lookups.iter().filter_map(|lookup| lookup.found.header());
        let is_other =
            |other: &&Arc<Header>| other.file.id() == header.file.id() && other.stands_in != header.stands_in;
        match named.find(is_other) {
            Some(other) => {
                let path = self.world.symbols.text(other.spelled);
                let path = crate::files::as_path(path);
                Err(Fallback::at(
                    Reason::Unscannable,
                    "another name of a file with links in other directories",
                    path,
                    0,
                ))
            }
            None => Ok(()),
        }
    }

    /// The symbol that stands for "this file was included once and never again".
    fn once_symbol(&self, header: &Header) -> Symbol {
        *header.once.get_or_init(|| {
            self.world.symbols.intern(&[b"\0once ", header.file.path().as_os_str().as_bytes()].concat())
        })
    }

    /// The symbol that all files have in common that the compiler may take for this one, and its state after this file.
    /// gcc takes files of the same content and time for one file, clang those of the same inode; elsewhere times are equal.
    fn alias(&self, header: &Header) -> Result<(Symbol, DefinitionId), Fallback> {
        let name = match self.setting.family {
            Family::Gcc => [b"\0alias ", self.digest(header)?.hash().as_slice()].concat(),
            Family::Clang => {
                let content = header.file.content(self.searcher.view, Want::Bytes)?;
                format!("\0alias {:?}", content.stamp.identity()).into_bytes()
            }
        };
        let path = [b"\0", header.file.path().as_os_str().as_bytes()].concat();
        let state = self.world.definitions.text(&path, self.setting.probe.token_modes);
        Ok((self.world.symbols.intern(&name), state))
    }

    /// `#pragma once`.
    pub(super) fn mark_once(&mut self, header: &Arc<Header>) -> Result<(), Fallback> {
        let (alias, state) = self.alias(header)?;
        let once = self.once_symbol(header);
        self.table.write(once, state);
        self.table.write(alias, state);
        Ok(())
    }

    /// Whether the compiler will not include `header` again. Where it may have been included, what it does can be done
    /// again: nothing is lost by that.
    fn is_marked_once(&mut self, header: &Arc<Header>) -> Result<bool, Fallback> {
        let once = self.once_symbol(header);
        let state = self.table.read(once);
        if state.is_some() {
            return Ok(!matches!(self.world.definitions.get(state), Definition::Alternatives(_)));
        }
        let (alias, _) = self.alias(header)?;
        if !self.table.read(alias).is_some() {
            return Ok(false);
        }
        // Where the compile runs elsewhere, links and times don't make these files one.
        let path = header.file.path().as_ref();
        Err(Fallback::at(Reason::Unscannable, "another name of a file with #pragma once", path, 0))
    }

    /// The names that the operand of a computed include may have.
    fn computed_names(
        &mut self,
        cursor: &mut Cursor<'_>,
        at: usize,
        operand: OperandId,
    ) -> Result<Vec<HeaderName>, Fallback> {
        let tokens = cursor.program.tokens(operand, &self.world.symbols);
        let mut names = Vec::new();
        self.collect_names(cursor, at, tokens, &mut names)?;
        Ok(names)
    }

    fn collect_names(
        &mut self,
        cursor: &mut Cursor<'_>,
        at: usize,
        tokens: &[Token],
        names: &mut Vec<HeaderName>,
    ) -> Result<(), Fallback> {
        let counter = self.observations.counter;
        let (expanded, undecided) = match self.expand_operand(cursor, at, ExpansionSite::Include, tokens)? {
            Ok(expansion) => expansion,
            Err(trouble) => return Err(self.refuse_at(cursor, at, trouble.reason(), "the operand can't be expanded")),
        };
        if let Some(symbol) = undecided {
            self.observations.counter = counter;
            return self.under_each_definition(cursor, at, symbol, |replay, cursor| {
                replay.collect_names(cursor, at, tokens, names)
            });
        }
        if expanded.iter().any(|token| token.kind == Kind::Unknown) {
            return Err(self.refuse_at(cursor, at, Reason::Unscannable, "the operand is known to the compiler alone"));
        }
        if let Some(name) = self.name_of(&expanded) {
            if !names.contains(&name) {
                names.push(name);
            }
            if names.len() > MAX_COMPUTED_NAMES {
                return Err(self.refuse_at(cursor, at, Reason::ScanLimit, "the operand has too many possible values"));
            }
        }
        Ok(())
    }

    /// The header's name that expanded tokens spell.
    fn name_of(&self, tokens: &[Token]) -> Option<HeaderName> {
        let symbols = &self.world.symbols;
        let first = tokens.first()?;
        if first.kind == Kind::StringLiteral {
            let text = symbols.text(first.symbol);
            let content = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
            return Some(HeaderName { name: symbols.intern(content), quoting: Quoting::Quotes });
        }
        if !first.is(known::LESS) {
            return None;
        }
        let mut spelled = vec![b'<'];
        for token in &tokens[1..] {
            let blank = match self.setting.family {
                Family::Gcc => token.flags.has(crate::scan::preprocess::tokens::Flags::BLANK),
                Family::Clang => token.has_blank_before(),
            };
            if token.is(known::GREATER) {
                if blank && self.setting.family == Family::Clang {
                    spelled.push(b' ');
                }
                spelled.push(b'>');
                return header_name(&spelled, symbols);
            }
            if blank {
                spelled.push(b' ');
            }
            spelled.extend_from_slice(symbols.text(token.symbol));
        }
        None
    }

    /// `tokens`, which stand at `at`, expanded as at `site`, and a macro with several definitions that was met.
    pub(super) fn expand_operand(
        &mut self,
        cursor: &Cursor<'_>,
        at: usize,
        site: ExpansionSite,
        tokens: &[Token],
    ) -> Result<Expansion, Fallback> {
        let file = self.world.symbols.text(cursor.header.spelled);
        let position = self.position(cursor, at, file);
        let state = (&mut *self.table, &mut self.observations, &mut self.buffers);
        let surroundings = surroundings(self.world, self.setting, (site, position), state);
        let mut expander = Expander::new(surroundings, tokens);
        let outcome = expander.expand_all();
        let undecided = expander.undecided;
        drop(expander);
        self.settle(cursor, at)?;
        Ok(outcome.map(|tokens| (tokens, undecided)))
    }
}
