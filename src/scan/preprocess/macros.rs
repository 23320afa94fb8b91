//! The state of every macro during one replay, and a record of what was read and written.
//!
//! A *frame* is the replay of one header that may be remembered. What a frame read before writing it, and what it
//! left behind, is all that its effect depends on and all that it is. Reading a macro and testing whether it is
//! defined are the same: both depend on its state alone.
//!
//! Invariants: within a frame the first read of a macro that the frame has not written stands in the log; a branch
//! that is undone leaves its reads, and of its writes the states before it.

use crate::scan::preprocess::definitions::DefinitionId;
use crate::scan::preprocess::symbols::Symbol;
use std::collections::HashMap;

/// States by symbol. One table serves one replay at a time, and many one after the other.
#[derive(Debug, Default)]
pub(crate) struct MacroTable {
    entries: Vec<Entry>,
    epoch: u32,
    clock: FrameClock,
    frames: u32,
    undoable: u32,
    reads: Vec<Read>,
    writes: Vec<Write>,
    marks: u32,
    pushed: Vec<(Symbol, DefinitionId)>,
    /// How many of the pushed macros were left alone by all that was popped; 0 where a pop looked through them all.
    lowest_pop: usize,
}

/// A position in the log of a replay, as the number of frames that were begun before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Tick(u32);

impl Tick {
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The beginning of the innermost frame, and the present.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FrameClock {
    pub(crate) start: Tick,
    pub(crate) now: Tick,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    epoch: u32,
    value: u32,
    written: Tick,
    read: Tick,
    busy: u32,
    mark: u32,
}

#[derive(Debug, Clone, Copy)]
struct Read {
    symbol: Symbol,
    value: DefinitionId,
    written: Tick,
}

#[derive(Debug, Clone, Copy)]
struct Write {
    symbol: Symbol,
    previous: DefinitionId,
}

/// Where a frame began.
#[derive(Debug)]
pub(crate) struct Frame {
    start: Tick,
    outer_start: Tick,
    reads: usize,
    writes: usize,
    pushed: usize,
    outer_lowest_pop: usize,
}

/// Where a branch that can be undone began.
#[derive(Debug)]
pub(crate) struct Branch {
    writes: usize,
    pushed: Vec<(Symbol, DefinitionId)>,
}

/// What a branch or a frame wrote: the last states, in the order of first writing.
pub(crate) type States = Vec<(Symbol, DefinitionId)>;

impl MacroTable {
    /// Forgets everything: all macros are undefined.
    pub(crate) fn reset(&mut self) {
        if self.epoch == u32::MAX {
            self.entries.clear();
            self.epoch = 0;
        }
        self.epoch += 1;
        self.clock = FrameClock::default();
        self.frames = 0;
        self.undoable = 0;
        self.marks = 0;
        self.reads.clear();
        self.writes.clear();
        self.pushed.clear();
        self.lowest_pop = usize::MAX;
    }

    fn entry(&mut self, symbol: Symbol) -> &mut Entry {
        let index = symbol.0 as usize;
        if index >= self.entries.len() {
            self.entries.resize(index + index / 2 + 1024, Entry::default());
        }
        let entry = &mut self.entries[index];
        if entry.epoch != self.epoch {
            *entry = Entry { epoch: self.epoch, ..Entry::default() };
        }
        entry
    }

    /// Whether reads are recorded.
    pub(crate) const fn is_recording(&self) -> bool {
        self.frames > 0
    }

    /// The moment at which something is logged now, and where the innermost frame began: what was logged since is in its
    /// record.
    pub(crate) const fn frame_clock(&self) -> FrameClock {
        self.clock
    }

    /// The state of `symbol`, without a record: for comparisons that record what they find.
    pub(crate) fn peek(&self, symbol: Symbol) -> DefinitionId {
        match self.entries.get(symbol.0 as usize) {
            Some(entry) if entry.epoch == self.epoch => DefinitionId(entry.value),
            _ => DefinitionId::NONE,
        }
    }

    /// The state of `symbol`.
    pub(crate) fn read(&mut self, symbol: Symbol) -> DefinitionId {
        if self.frames == 0 {
            return self.peek(symbol);
        }
        let FrameClock { start: frame_start, now } = self.clock;
        let entry = self.entry(symbol);
        let value = DefinitionId(entry.value);
        if entry.read < frame_start && entry.written < frame_start {
            let written = entry.written;
            entry.read = now;
            self.reads.push(Read { symbol, value, written });
        }
        value
    }

    /// Changes the state of `symbol`.
    pub(crate) fn write(&mut self, symbol: Symbol, value: DefinitionId) {
        if self.undoable > 0 {
            self.read(symbol);
        }
        let logs = self.frames > 0 || self.undoable > 0;
        let now = self.clock.now;
        let entry = self.entry(symbol);
        let previous = DefinitionId(entry.value);
        entry.value = value.0;
        entry.written = now;
        if logs {
            self.writes.push(Write { symbol, previous });
        }
    }

    /// Whether `symbol` is being expanded.
    pub(crate) fn is_busy(&self, symbol: Symbol) -> bool {
        self.entries.get(symbol.0 as usize).is_some_and(|entry| entry.epoch == self.epoch && entry.busy > 0)
    }

    pub(crate) fn enter(&mut self, symbol: Symbol) {
        self.entry(symbol).busy += 1;
    }

    pub(crate) fn leave(&mut self, symbol: Symbol) {
        self.entry(symbol).busy -= 1;
    }

    /// `#pragma push_macro`.
    pub(crate) fn push(&mut self, symbol: Symbol) {
        let state = self.read(symbol);
        self.pushed.push((symbol, state));
    }

    /// `#pragma pop_macro`: nothing where nothing was pushed.
    pub(crate) fn pop(&mut self, symbol: Symbol) {
        if let Some(at) = self.pushed.iter().rposition(|(pushed, _)| *pushed == symbol) {
            let (_, state) = self.pushed.remove(at);
            self.lowest_pop = self.lowest_pop.min(at + 1);
            self.write(symbol, state);
        } else {
            self.lowest_pop = 0;
        }
    }

    /// Whether `frame` left the pushed macros as it found them, and without a look at those before it.
    pub(crate) fn is_balanced(&self, frame: &Frame) -> bool {
        self.pushed.len() == frame.pushed && self.lowest_pop > frame.pushed
    }

    pub(crate) fn begin_frame(&mut self) -> Frame {
        self.clock.now = self.clock.now.next();
        self.frames += 1;
        let frame = Frame {
            start: self.clock.now,
            outer_start: self.clock.start,
            reads: self.reads.len(),
            writes: self.writes.len(),
            pushed: self.pushed.len(),
            outer_lowest_pop: self.lowest_pop,
        };
        self.lowest_pop = usize::MAX;
        self.clock.start = self.clock.now;
        frame
    }

    /// Ends `frame`, the innermost one, without a look at its record.
    pub(crate) fn end_frame(&mut self, frame: &Frame) {
        self.clock.start = frame.outer_start;
        self.lowest_pop = self.lowest_pop.min(frame.outer_lowest_pop);
        self.frames -= 1;
        if self.frames == 0 {
            self.reads.clear();
            if self.undoable == 0 {
                self.writes.clear();
            }
        }
    }

    /// What `frame` read before writing it, with the states found, in the order of first reading.
    pub(crate) fn frame_reads(&mut self, frame: &Frame) -> States {
        self.marks += 1;
        let mark = self.marks;
        let mut reads = States::new();
        for at in frame.reads..self.reads.len() {
            let read = self.reads[at];
            if read.written >= frame.start {
                continue;
            }
            let entry = self.entry(read.symbol);
            if entry.mark != mark {
                entry.mark = mark;
                reads.push((read.symbol, read.value));
            }
        }
        reads
    }

    /// What `frame` left behind.
    pub(crate) fn frame_writes(&mut self, frame: &Frame) -> States {
        self.written_since(frame.writes)
    }

    fn written_since(&mut self, start: usize) -> States {
        self.marks += 1;
        let mark = self.marks;
        let mut states = States::new();
        for at in start..self.writes.len() {
            let symbol = self.writes[at].symbol;
            let entry = self.entry(symbol);
            if entry.mark != mark {
                entry.mark = mark;
                let value = DefinitionId(entry.value);
                states.push((symbol, value));
            }
        }
        states
    }

    pub(crate) fn begin_branch(&mut self) -> Branch {
        self.undoable += 1;
        Branch { writes: self.writes.len(), pushed: self.pushed.clone() }
    }

    /// Undoes `branch`, the innermost one, and gives what it had left behind; `None` where it left macros pushed or
    /// popped that it did not push.
    pub(crate) fn undo_branch(&mut self, branch: &Branch) -> Option<States> {
        if self.pushed != branch.pushed {
            return None;
        }
        let states = self.written_since(branch.writes);
        let mut first: HashMap<Symbol, DefinitionId, foldhash::fast::RandomState> = HashMap::default();
        for write in &self.writes[branch.writes..] {
            first.entry(write.symbol).or_insert(write.previous);
        }
        for (symbol, _) in &states {
            self.write(*symbol, first[symbol]);
        }
        self.undoable -= 1;
        if self.undoable == 0 && self.frames == 0 {
            self.writes.clear();
        }
        Some(states)
    }
}

#[cfg(test)]
mod tests {
    use super::{MacroTable, States};
    use crate::scan::preprocess::definitions::DefinitionId;
    use crate::scan::preprocess::symbols::Symbol;

    const A: Symbol = Symbol(1);
    const B: Symbol = Symbol(2);
    const ONE: DefinitionId = DefinitionId(1);
    const TWO: DefinitionId = DefinitionId(2);

    #[test]
    fn a_frame_records_what_it_read_first_and_left_behind() {
        let mut table = MacroTable::default();
        table.reset();
        table.write(A, ONE);
        let outer = table.begin_frame();
        table.write(B, ONE);
        let inner = table.begin_frame();
        assert_eq!(table.read(A), ONE);
        assert_eq!(table.read(B), ONE);
        table.write(A, TWO);
        assert_eq!(table.read(A), TWO);
        assert_eq!(table.frame_reads(&inner), [(A, ONE), (B, ONE)]);
        assert_eq!(table.frame_writes(&inner), [(A, TWO)]);
        table.end_frame(&inner);
        assert_eq!(table.frame_reads(&outer), [(A, ONE)]);
        assert_eq!(table.frame_writes(&outer), [(B, ONE), (A, TWO)]);
        table.end_frame(&outer);
        assert_eq!(table.read(A), TWO);
    }

    #[test]
    fn an_undone_branch_leaves_its_reads() {
        let mut table = MacroTable::default();
        table.reset();
        table.write(A, ONE);
        let frame = table.begin_frame();
        let branch = table.begin_branch();
        table.write(A, TWO);
        table.write(B, TWO);
        assert_eq!(table.undo_branch(&branch), Some(vec![(A, TWO), (B, TWO)]));
        assert_eq!(table.read(A), ONE);
        assert_eq!(table.read(B), DefinitionId::NONE);
        assert_eq!(table.frame_reads(&frame), [(A, ONE), (B, DefinitionId::NONE)]);
        table.end_frame(&frame);
    }

    /// Runs `script` and compares what is told on the way with `expect`. `A=1` writes, `A?` tells a state, `[` and `]` are a
    /// frame, `]` tells its reads and writes, `{` and `}` a branch that is undone, `}` tells what it wrote; `+A` pushes and
    /// `-A` pops.
    fn check(script: &str, expect: &str) {
        let mut table = MacroTable::default();
        table.reset();
        let (mut frames, mut branches, mut told) = (Vec::new(), Vec::new(), Vec::new());
        let symbol = |name: u8| Symbol(u32::from(name - b'A') + 1);
        let name = |symbol: Symbol| char::from(b'A' + symbol.0 as u8 - 1);
        let list = |states: &States| -> String {
            states.iter().map(|(symbol, state)| format!("{}{}", name(*symbol), state.0)).collect::<Vec<_>>().join(",")
        };
        for word in script.split(' ') {
            match word.as_bytes() {
                [macro_name, b'=', number] => table.write(symbol(*macro_name), DefinitionId(u32::from(number - b'0'))),
                [macro_name, b'?'] => {
                    let state = table.read(symbol(*macro_name));
                    told.push(format!("{}{}", char::from(*macro_name), state.0));
                }
                b"[" => frames.push(table.begin_frame()),
                b"]" => {
                    let frame = frames.pop().expect("a frame began");
                    let (reads, writes) = (table.frame_reads(&frame), table.frame_writes(&frame));
                    let balance = if table.is_balanced(&frame) { "" } else { "!" };
                    told.push(format!("[{}>{}]{balance}", list(&reads), list(&writes)));
                    table.end_frame(&frame);
                }
                b"{" => branches.push(table.begin_branch()),
                b"}" => {
                    let written = table.undo_branch(&branches.pop().expect("a branch began"));
                    told.push(written.map_or("{!}".to_owned(), |written| format!("{{{}}}", list(&written))));
                }
                [b'+', macro_name] => table.push(symbol(*macro_name)),
                [b'-', macro_name] => table.pop(symbol(*macro_name)),
                _ => unreachable!("no such step: {word}"),
            }
        }
        assert_eq!(told.join(" "), expect, "{script}");
    }

    #[test]
    fn states_frames_and_branches_go_together() {
        check("A? A=1 A? A=2 A?", "A0 A1 A2");
        check("[ A? A=1 A? ]", "A0 A1 [A0>A1]");
        check("[ A=1 A? ] A?", "A1 [>A1] A1");
        check("A=1 [ A? A? B=2 B=3 ]", "A1 A1 [A1>B3]");
        check("[ A? [ A? B=1 ] C=1 ]", "A0 A0 [A0>B1] [A0>B1,C1]");
        check("[ B=1 [ B? ] ]", "B1 [B1>] [>B1]");
        check("A=1 { A=2 B=1 A? } A? B?", "A2 {A2,B1} A1 B0");
        check("[ { A=1 } A? ]", "{A1} A0 [A0>A0]");
        check("{ A=1 { A=2 } A? } A?", "{A2} A1 {A1} A0");
        check("A=1 +A A=2 -A A?", "A1");
        check("A=1 -A A?", "A1");
        check("[ +A A=1 -A ]", "[A0>A0]");
        check("[ +A ]", "[A0>]!");
        check("+A [ -A ]", "[>A0]!");
        // Nothing was pushed, and next time something may be.
        check("[ -A ]", "[>]!");
        check("[ [ -A ] ]", "[>]! [>]!");
        check("{ +A }", "{!}");
        check("{ +A -A }", "{A0}");
    }
}
