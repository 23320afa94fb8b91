//! What replaying a header did, remembered by the macros that it read.
//!
//! A replay is deterministic: its first read is of the same macro each time, that macro's state decides which one is
//! read next, and so on. So the effects of a header form a tree of reads, and finding the one that fits is one walk,
//! a comparison for each read.
//!
//! **Source:** the idea of constructive traces, from "Build systems à la carte" (Mokhov, Mitchell, Peyton Jones).

use crate::files::file::SourceFile;
use crate::files::generation::Generation;
use crate::files::{Checked, FileStore, View};
use crate::scan::lex::lexer::time::TimeClues;
use crate::scan::limits::{MAX_EFFECT_ENTRIES, MAX_EFFECTS_OF_A_HEADER};
use crate::scan::preprocess::append::AppendList;
use crate::scan::preprocess::definitions::DefinitionId;
use crate::scan::preprocess::macros::{MacroTable, States};
use crate::scan::preprocess::symbols::Symbol;
use crate::scan::search::header::HeaderId;
use crate::scan::search::lookup::Lookup;
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The effect of a header under some states of the macros that it reads.
#[derive(Debug)]
pub(crate) struct Effect {
    /// The states that it leaves behind.
    pub(crate) writes: Box<[(Symbol, DefinitionId)]>,
    /// Every search that it did.
    pub(crate) lookups: Box<[Arc<Lookup>]>,
    /// Those of them that only asked.
    pub(crate) probed: Box<[Arc<Lookup>]>,
    /// Every file whose content it is made of, with the generation that was read.
    pub(crate) files: Box<[(Arc<SourceFile>, Generation)]>,
    /// What tells of the time.
    pub(crate) time: TimeClues,
    /// How many directives a replay takes.
    pub(crate) steps: u64,
    checked: Checked,
}

impl Effect {
    pub(crate) fn new(
        writes: States,
        lookups: Vec<Arc<Lookup>>,
        probed: Vec<Arc<Lookup>>,
        files: Vec<(Arc<SourceFile>, Generation)>,
        time: TimeClues,
        steps: u64,
        view: View,
    ) -> Self {
        Self {
            writes: writes.into_boxed_slice(),
            lookups: lookups.into_boxed_slice(),
            probed: probed.into_boxed_slice(),
            files: files.into_boxed_slice(),
            time,
            steps,
            checked: Checked::in_view(view),
        }
    }

    /// Whether a replay would find the same files with the same content.
    pub(crate) fn is_current(&self, view: View, store: &FileStore) -> bool {
        // Names first: where others write as well, a file is looked for anew only once its directory was.
        self.checked.or_check(view, || {
            self.lookups.iter().all(|lookup| lookup.is_current(view, store))
                && self.files.iter().all(|(file, generation)| file.generation(view).ok() == Some(*generation))
        })
    }

    fn entries(&self) -> usize {
        self.writes.len() + self.lookups.len() + self.files.len()
    }
}

/// What all effects of a scanner may hold, and do.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    entries: AtomicUsize,
    was_exceeded: AtomicBool,
}

impl Budget {
    /// Whether `entries` more may be held. They are held from now on.
    fn take(&self, entries: usize) -> bool {
        if self.entries.fetch_add(entries, Ordering::Relaxed) + entries <= MAX_EFFECT_ENTRIES {
            return true;
        }
        self.give_back(entries);
        self.was_exceeded.store(true, Ordering::Relaxed);
        false
    }

    fn give_back(&self, entries: usize) {
        // What was held by headers that are gone was never given back, so a new beginning may count too little.
        let less = |held: usize| Some(held.saturating_sub(entries));
        let _ = self.entries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Begins anew, if an effect could not be held since the last time: true once, and then all of them are to be
    /// forgotten.
    pub(crate) fn begins_anew(&self) -> bool {
        let begins = self.was_exceeded.load(Ordering::Relaxed) && self.was_exceeded.swap(false, Ordering::Relaxed);
        if begins {
            self.entries.store(0, Ordering::Relaxed);
        }
        begins
    }
}

/// All effects of one header.
#[derive(Debug, Default)]
pub(crate) struct Effects(RwLock<Tree>);

/// The effects of all headers of a setting.
#[derive(Debug, Default)]
pub(crate) struct EffectsOfHeaders(AppendList<Box<Effects>>);

impl EffectsOfHeaders {
    /// The effects of `header`.
    pub(crate) fn of(&self, header: HeaderId) -> &Effects {
        self.0.get_or_grow(header.index(), Box::default)
    }

    /// Forgets all of them. Their budget is the caller's business.
    pub(crate) fn clear(&self) {
        for effects in self.0.iter() {
            *effects.0.write() = Tree::default();
        }
    }
}

/// Reads in order, then a branch or an effect. Segments stand in a list; the first one is the root.
#[derive(Debug, Default)]
struct Tree {
    segments: Vec<Segment>,
    effects: usize,
    entries: usize,
}

#[derive(Debug)]
struct Segment {
    reads: Vec<(Symbol, DefinitionId)>,
    then: Then,
}

#[derive(Debug)]
enum Then {
    Effect(Arc<Effect>),
    Branch(Symbol, Vec<(DefinitionId, usize)>),
}

impl Effects {
    /// The effect under the states of `table`, which records the reads.
    pub(crate) fn find(&self, table: &mut MacroTable) -> Option<Arc<Effect>> {
        let tree = self.0.read();
        let mut at = 0;
        let mut path = Vec::new();
        let effect = loop {
            let segment = tree.segments.get(at)?;
            if segment.reads.iter().any(|(symbol, state)| table.peek(*symbol) != *state) {
                return None;
            }
            path.push(at);
            match &segment.then {
                Then::Effect(effect) => break Arc::clone(effect),
                Then::Branch(symbol, ways) => {
                    let state = table.peek(*symbol);
                    at = ways.iter().find(|(way, _)| *way == state)?.1;
                }
            }
        };
        if table.is_recording() {
            for at in path {
                let segment = &tree.segments[at];
                for (symbol, _) in &segment.reads {
                    table.read(*symbol);
                }
                if let Then::Branch(symbol, _) = &segment.then {
                    table.read(*symbol);
                }
            }
        }
        Some(effect)
    }

    /// Remembers `effect` for `reads`, where `budget` allows it.
    pub(crate) fn insert(&self, reads: &[(Symbol, DefinitionId)], effect: Arc<Effect>, budget: &Budget) {
        let mut tree = self.0.write();
        if tree.effects >= MAX_EFFECTS_OF_A_HEADER {
            budget.give_back(tree.entries);
            *tree = Tree::default();
        }
        let cost = reads.len() + effect.entries();
        if !budget.take(cost) {
            return;
        }
        let expected = tree.entries + cost;
        tree.insert(reads, effect);
        // Reads that were known already, and an effect that took the place of an outdated one.
        budget.give_back(expected.saturating_sub(tree.entries));
    }
}

impl Tree {
    fn insert(&mut self, reads: &[(Symbol, DefinitionId)], effect: Arc<Effect>) {
        if self.segments.is_empty() {
            self.push(reads, effect);
            return;
        }
        let mut at = 0;
        let mut rest = reads;
        loop {
            let common = self.segments[at].reads.iter().zip(rest).take_while(|(known, new)| known == new).count();
            let known = self.segments[at].reads.get(common).map(|(symbol, _)| *symbol);
            rest = &rest[common..];
            if let Some(known) = known {
                return match rest.first() {
                    Some((symbol, _)) if *symbol == known => self.split(at, common, rest, effect),
                    _ => self.begin_anew(reads, effect),
                };
            }
            let next = match (&self.segments[at].then, rest.first()) {
                (Then::Branch(symbol, ways), Some((read, state))) if symbol == read => {
                    ways.iter().find(|(way, _)| way == state).map(|(_, segment)| *segment)
                }
                (Then::Effect(_), None) => return self.replace(at, effect),
                _ => return self.begin_anew(reads, effect),
            };
            let (_, state) = rest[0];
            match next {
                Some(segment) => {
                    at = segment;
                    rest = &rest[1..];
                }
                None => {
                    let fresh = self.push(&rest[1..], effect);
                    if let Then::Branch(_, ways) = &mut self.segments[at].then {
                        ways.push((state, fresh));
                    }
                    return;
                }
            }
        }
    }

    fn push(&mut self, reads: &[(Symbol, DefinitionId)], effect: Arc<Effect>) -> usize {
        self.effects += 1;
        self.entries += reads.len() + effect.entries();
        self.segments.push(Segment { reads: reads.to_vec(), then: Then::Effect(effect) });
        self.segments.len() - 1
    }

    /// The reads of segment `at` and `rest` differ in the state of one macro, after `common` reads of the segment.
    fn split(&mut self, at: usize, common: usize, rest: &[(Symbol, DefinitionId)], effect: Arc<Effect>) {
        let (symbol, old_state) = self.segments[at].reads[common];
        let tail = self.segments[at].reads.split_off(common + 1);
        self.segments[at].reads.truncate(common);
        let fresh = self.push(&rest[1..], effect);
        let old = self.segments.len();
        let placeholder = Then::Branch(symbol, vec![(old_state, old), (rest[0].1, fresh)]);
        let then = std::mem::replace(&mut self.segments[at].then, placeholder);
        self.segments.push(Segment { reads: tail, then });
    }

    /// A file changed, and what it reads did not: the effect is another one.
    fn replace(&mut self, at: usize, effect: Arc<Effect>) {
        self.entries += effect.entries();
        if let Then::Effect(outdated) = std::mem::replace(&mut self.segments[at].then, Then::Effect(effect)) {
            self.entries -= outdated.entries();
        }
    }

    /// A file changed so that it reads other macros: the tree is of no use any more.
    fn begin_anew(&mut self, reads: &[(Symbol, DefinitionId)], effect: Arc<Effect>) {
        *self = Self::default();
        self.push(reads, effect);
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Effect, Effects};
    use crate::files::FileStore;
    use crate::scan::lex::lexer::time::TimeClues;
    use crate::scan::limits::MAX_EFFECT_ENTRIES;
    use crate::scan::preprocess::definitions::DefinitionId;
    use crate::scan::preprocess::macros::{MacroTable, States};
    use crate::scan::preprocess::symbols::Symbol;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    #[test]
    fn finds_the_effect_whose_reads_fit() {
        let (effects, budget, view) = (Effects::default(), Budget::default(), FileStore::new().view());
        let state = |number| DefinitionId(number);
        let sequences: &[&[(u32, u32)]] = &[
            &[(1, 0), (2, 1), (3, 1)],
            &[(1, 5)],
            &[(1, 0), (2, 2), (4, 1)],
            &[(1, 0), (2, 1), (3, 2), (5, 0)],
            &[(1, 6), (7, 7)],
        ];
        for (steps, reads) in sequences.iter().enumerate() {
            let reads: States = reads.iter().map(|(symbol, value)| (Symbol(*symbol), state(*value))).collect();
            let effect =
                Effect::new(Vec::new(), Vec::new(), Vec::new(), Vec::new(), TimeClues::default(), steps as u64, view);
            effects.insert(&reads, Arc::new(effect), &budget);
        }
        for (steps, reads) in sequences.iter().enumerate() {
            let mut table = MacroTable::default();
            table.reset();
            for (symbol, value) in *reads {
                table.write(Symbol(*symbol), state(*value));
            }
            assert_eq!(effects.find(&mut table).map(|effect| effect.steps), Some(steps as u64));
            table.write(Symbol(1), state(9));
            assert!(effects.find(&mut table).is_none());
        }
    }

    #[test]
    fn what_is_outdated_gives_its_room_back() {
        let (effects, budget, view) = (Effects::default(), Budget::default(), FileStore::new().view());
        let held = |budget: &Budget| budget.entries.load(Ordering::Relaxed);
        let effect = |writes: usize| {
            let writes = (0..writes).map(|number| (Symbol(number as u32), DefinitionId(1))).collect();
            Arc::new(Effect::new(writes, Vec::new(), Vec::new(), Vec::new(), TimeClues::default(), 1, view))
        };
        let read = |symbol, state| (Symbol(symbol), DefinitionId(state));
        for writes in 1..=10 {
            effects.insert(&[read(1, 0), read(2, 1)], effect(writes), &budget);
            assert_eq!(held(&budget), 2 + writes);
        }
        effects.insert(&[read(1, 0), read(2, 2), read(3, 1)], effect(1), &budget);
        assert_eq!(held(&budget), 2 + 10 + 1 + 1, "the first two reads are known");
        effects.insert(&[read(9, 0)], effect(1), &budget);
        assert_eq!(held(&budget), 2, "other reads: all before is outdated");
        assert!(!budget.begins_anew());
        effects.insert(&[read(9, 1)], effect(MAX_EFFECT_ENTRIES), &budget);
        assert_eq!(held(&budget), 2, "no room");
        assert!(budget.begins_anew() && !budget.begins_anew());
        assert_eq!(held(&budget), 0);
    }
}
