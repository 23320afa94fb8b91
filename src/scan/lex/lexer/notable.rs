//! Words in text that a replay must know of: `_Pragma`, `__COUNTER__`, `__DATE__`, `.incbin`, ….
//!
//! A few searches over the whole file find them; most files have none.

use crate::scan::lex::assembler_directive::AssemblerDirective;
use crate::scan::lex::characters::{continues_identifier, is_blank};
use crate::scan::lex::directives::{DirectiveKind, LexModes};
use crate::scan::lex::lexer::parentheses::Parentheses;
use crate::scan::lex::lexer::pragma_text::pragma_operand;
use crate::scan::lex::lexer::time::{self, TimeClues};
use crate::scan::lex::lexer::{Lexer, Names, calls};
use memchr::memmem::Finder;
use std::ops::Range;
use std::sync::LazyLock;

/// How much of what follows `.incbin` is kept.
const MAX_INPUT_OPERAND_BYTES: usize = 8192;

/// How much of what follows all of a file's `.incbin` and uses is kept together.
const MAX_INPUT_OPERANDS_BYTES: usize = 16 << 20;

/// An occurrence of a word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notable {
    start: usize,
    end: usize,
    word: Word,
}

impl Notable {
    /// Whether it matters in which parentheses of `source` it stands.
    pub(super) fn needs_parentheses(&self, source: &[u8], modes: LexModes) -> bool {
        match self.word {
            Word::Call => true,
            Word::Input => !modes.assembler,
            // Most are those of directives.
            Word::PragmaText => !is_near_directive(source, self.start),
            _ => false,
        }
    }
}

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Pragma,
    Counter,
    Time,
    Timestamp,
    TimePart,
    TimestampPart,
    Input,
    /// The first word of a pragma that matters.
    PragmaText,
    /// A macro whose uses are asked for, with their statements.
    Use,
    /// A macro whose uses are asked for, with their arguments.
    Call,
    Nothing,
}

const WORDS: [(&str, Word); 2] = [("_Pragma", Word::Pragma), ("__COUNTER__", Word::Counter)];

impl Word {
    const fn of_time(clues: TimeClues) -> Self {
        match clues {
            TimeClues::DAY => Self::Time,
            TimeClues::STAMP => Self::Timestamp,
            TimeClues::PART_OF_STAMP => Self::TimestampPart,
            _ => Self::TimePart,
        }
    }
}

/// What the words have in common, each searched by itself: that is faster than one search for all, whose first bytes stand
/// everywhere in C.
const PARTS: [&str; 10] =
    ["_Pragma", "__COUNTER__", ".inc", ".Inc", ".INC", "_macro", "once", "target", "optimize", "dependency"];

static SEARCHES: LazyLock<[Finder<'static>; PARTS.len()]> = LazyLock::new(|| PARTS.map(Finder::new));

/// All occurrences of words and of the macros `names`, in order.
pub(super) fn find(source: &[u8], names: &Names<'_>) -> Vec<Notable> {
    // Macros that make pragmas are looked for where nothing less will do; then `_Pragma` is one of them.
    let are_pragmas_calls = !names.calls.is_empty();
    let is_sought = |word: Word| !are_pragmas_calls || !matches!(word, Word::Pragma | Word::PragmaText);
    let mut found: Vec<_> = SEARCHES
        .iter()
        .flat_map(|search| search.find_iter(source))
        .filter_map(|start| notable_at(source, start))
        .filter(|notable| is_sought(notable.word))
        .collect();
    found.extend(time::find(source).map(|(start, end, clues)| Notable { start, end, word: Word::of_time(clues) }));
    for (start, end, text) in time::spliced_words(source) {
        let listed = WORDS.iter().find(|(word, _)| *word.as_bytes() == *text).map(|(_, word)| *word);
        let word = listed.or_else(|| time::of_word(&text).map(Word::of_time)).filter(|word| is_sought(*word));
        found.extend(word.map(|word| Notable { start, end, word }));
    }
    if are_pragmas_calls || !names.statements.is_empty() {
        find_names(source, names, &mut found);
    }
    found.sort_unstable_by_key(|notable| notable.start);
    // A name of the time's may be found by both of its ends.
    found.dedup_by_key(|notable| (notable.start, notable.end));
    found
}

/// Adds the uses of `names` to `found`.
fn find_names(source: &[u8], names: &Names<'_>, found: &mut Vec<Notable>) {
    let mut at = 0;
    while let Some(start) = source[at..].iter().position(|byte| continues_identifier(*byte)) {
        let start = at + start;
        let length = source[start..].iter().take_while(|byte| continues_identifier(**byte)).count();
        let (name, end) = (&source[start..start + length], start + length);
        found.extend(names.statements.contains(name).then_some(Notable { start, end, word: Word::Use }));
        found.extend(names.calls.contains(name).then_some(Notable { start, end, word: Word::Call }));
        at = end;
    }
}

/// The word that stands at `start` by itself.
fn notable_at(source: &[u8], start: usize) -> Option<Notable> {
    let start = match &source[..start] {
        [.., b'p', b'u', b's', b'h'] if source[start] == b'_' => start - 4,
        [.., b'p', b'o', b'p'] if source[start] == b'_' => start - 3,
        _ => start,
    };
    let (length, word) = word_at(&source[..start], &source[start..])?;
    whole_word(source, start, start + length, word)
}

/// `word` from `start` to `end`, if it stands there by itself.
fn whole_word(source: &[u8], start: usize, end: usize, word: Word) -> Option<Notable> {
    // In a string, `\n.incbin` begins a line of the assembler's: the letter is half an escape.
    let before = match &source[..start] {
        [.., b'\\', b'n' | b't' | b'r' | b'v' | b'f'] if word == Word::Input => b' ',
        [.., before] => *before,
        [] => b' ',
    };
    let after = source.get(end).copied().unwrap_or(b' ');
    (!continues_identifier(before) && !continues_identifier(after)).then_some(Notable { start, end, word })
}

/// The word that `text` starts with, which follows `before`, and its length. A directive of the assembler may be in
/// letters of either case, and be joined of strings, or of an argument of the assembler's own macros.
fn word_at(before: &[u8], text: &[u8]) -> Option<(usize, Word)> {
    if let Some((_, length)) = AssemblerDirective::at_start_of(text) {
        return Some((length, Word::Input));
    }
    if text.len() > 4 && text[..4].eq_ignore_ascii_case(b".inc") && matches!(text[4], b'"' | b'\\') {
        return Some((4, Word::Input));
    }
    if let Some(length) = pragma_word(before, text) {
        return Some((length, Word::PragmaText));
    }
    WORDS.iter().find(|(word, _)| text.starts_with(word.as_bytes())).map(|(text, word)| (text.len(), *word))
}

/// The length of the word at the start of `text` that may say what a pragma is that matters.
fn pragma_word(before: &[u8], text: &[u8]) -> Option<usize> {
    const WORDS: [&str; 6] = ["push_macro", "pop_macro", "once", "target", "optimize", "dependency"];
    let word = WORDS.into_iter().find(|word| text.starts_with(word.as_bytes()))?;
    let after = text[word.len()..].trim_ascii_start().first();
    let before = before.trim_ascii_end();
    let matters = match word {
        // It is the whole text of its pragma.
        "once" => matches!(after, None | Some(b')' | b'"')),
        "dependency" => {
            [&b"GCC"[..], b"clang"].iter().any(|namespace| before.ends_with(namespace))
                || before.ends_with(b"(") && matches!(after, Some(b'"' | b'<'))
        }
        "target" | "optimize" => before.ends_with(b"GCC") || before.ends_with(b"(") && after == Some(&b'('),
        _ => true,
    };
    matters.then_some(word.len())
}

/// The parameters of the macro that `definition` defines: `NAME(parameters) body`.
fn parameters(definition: &[u8]) -> impl Iterator<Item = &[u8]> {
    let length = definition.iter().take_while(|byte| continues_identifier(**byte)).count();
    let list = definition[length..].strip_prefix(b"(").unwrap_or_default();
    let end = memchr::memchr(b')', list).unwrap_or(0);
    list[..end].split(|byte| *byte == b',').map(|parameter| {
        let parameter = parameter.trim_ascii();
        parameter.strip_suffix(b"...").unwrap_or(parameter).trim_ascii_end()
    })
}

/// Whether the line of `at` starts a directive, of which not much stands before.
fn is_near_directive(source: &[u8], at: usize) -> bool {
    const NEAR: usize = 256;
    let before = &source[at.saturating_sub(NEAR)..at];
    let line_start = memchr::memrchr(b'\n', before).map(|newline| newline + 1);
    line_start.or((at < NEAR).then_some(0)).is_some_and(|start| before[start..].trim_ascii_start().starts_with(b"#"))
}

impl Lexer<'_> {
    /// Tells of the occurrences before the comment from `start` to `end`, and forgets those in it.
    pub(super) fn drop_notables(&mut self, start: usize, end: usize) {
        while let Some(notable) = self.notable.get(self.next_notable).copied().filter(|notable| notable.start < end) {
            if notable.start < start {
                if self.in_directive {
                    return;
                }
                self.emit_notable(notable);
            }
            self.next_notable += 1;
        }
    }

    /// Forgets the words in the string from `start` to `end`; what the assembler reads stands in strings.
    pub(super) fn drop_words(&mut self, start: usize, end: usize) {
        let rest = &mut self.notable[self.next_notable..];
        let inside = rest.partition_point(|notable| notable.start <= start);
        for notable in rest[inside..].iter_mut().take_while(|notable| notable.start < end) {
            if !matches!(notable.word, Word::Input | Word::PragmaText) {
                notable.word = Word::Nothing;
            }
        }
    }

    /// Tells of the occurrences before `end`, which stand in text.
    pub(super) fn emit_notables(&mut self, end: usize) {
        while let Some(notable) = self.notable.get(self.next_notable).copied().filter(|notable| notable.start < end) {
            self.next_notable += 1;
            self.emit_notable(notable);
        }
    }

    /// Tells of the occurrences within the directive from `start` on, which was just read, if it is a definition: there they
    /// wait for the macro's use. In other directives the replay sees them itself.
    pub(super) fn emit_definition_notables(&mut self, kind: DirectiveKind, start: usize) {
        if kind == DirectiveKind::Define
            && let Some(last) = self.directives.list.last()
            && time::joins_underscores(self.directives.operand(last))
        {
            self.push(DirectiveKind::DefinedJoin, start, b"");
        }
        if self.notable.get(self.next_notable).is_none_or(|notable| notable.start >= self.at) {
            return;
        }
        let text = std::mem::replace(&mut self.parentheses, Parentheses::none_at(start));
        let definition = self.directives.list.last().map_or(0..0, |last| last.start as usize..last.end as usize);
        while let Some(notable) = self.notable.get(self.next_notable).copied().filter(|notable| notable.start < self.at)
        {
            self.next_notable += 1;
            if kind == DirectiveKind::Define && !self.is_parameter(notable, &definition) {
                let kept = self.directives.list.len();
                self.in_definition = true;
                self.emit_notable(notable);
                self.in_definition = false;
                for directive in &mut self.directives.list[kept..] {
                    directive.kind = match directive.kind {
                        DirectiveKind::TextPragma => DirectiveKind::DefinedPragma,
                        DirectiveKind::TextInput => DirectiveKind::DefinedInput,
                        DirectiveKind::MacroPragma => DirectiveKind::DefinedMacroPragma,
                        kind => kind,
                    };
                }
            }
        }
        self.parentheses = text;
    }

    /// Whether it stands for an argument of the macro defined by that part of all directives' text: no pragma by itself.
    fn is_parameter(&mut self, notable: Notable, definition: &Range<usize>) -> bool {
        if notable.word != Word::PragmaText {
            return false;
        }
        self.follow_parentheses(notable.start);
        self.parentheses.at == notable.start
            && parameters(&self.directives.text[definition.clone()])
                .any(|parameter| parameter == &self.source[notable.start..notable.end])
    }

    fn emit_notable(&mut self, notable: Notable) {
        match notable.word {
            Word::Nothing => {}
            Word::Use | Word::Call if self.in_definition => {}
            Word::Call => self.push_call(notable),
            Word::Use => self.push_with_rest(DirectiveKind::TextUse, notable),
            Word::Counter => self.push(DirectiveKind::TextCounter, notable.start, b""),
            Word::Time => self.push(DirectiveKind::TextTime, notable.start, b""),
            Word::Timestamp => self.push(DirectiveKind::TextTimestamp, notable.start, b""),
            // The macro's own name is no part of another.
            Word::TimePart | Word::TimestampPart
                if self.in_definition && self.source[..notable.start].trim_ascii_end().ends_with(b"define") => {}
            Word::TimePart => self.push(DirectiveKind::TextTimePart, notable.start, b""),
            Word::TimestampPart => self.push(DirectiveKind::TextTimestampPart, notable.start, b""),
            Word::Pragma => {
                if let Some(pragma) = pragma_operand(&self.source[notable.end..]) {
                    self.push(DirectiveKind::TextPragma, notable.start, &pragma);
                }
            }
            Word::PragmaText => self.push_pragma_text(notable),
            Word::Input if self.in_definition || self.modes.assembler => {
                self.push_with_rest(DirectiveKind::TextInput, notable);
            }
            Word::Input => match self.names_around_string(notable.start) {
                Some(names) if names.is_empty() => {}
                Some(names) => {
                    self.kept_rest += names.len();
                    self.push(DirectiveKind::EnclosingNames, notable.start, &names);
                    self.push_with_rest(DirectiveKind::TextInput, notable);
                }
                None => self.push_with_rest(DirectiveKind::TextInput, notable),
            },
        }
    }

    /// Tells of what is a pragma if a macro in whose parentheses it stands makes one of it.
    fn push_pragma_text(&mut self, notable: Notable) {
        if !self.in_definition && !self.follows_parentheses {
            return self.tell_name(DirectiveKind::MacroPragma, notable.start, Vec::new());
        }
        self.follow_parentheses(notable.start);
        if self.parentheses.are_lost {
            return self.tell_name(DirectiveKind::MacroPragma, notable.start, Vec::new());
        }
        let open = &self.parentheses.open;
        let mut names: Vec<Range<usize>> = open.iter().rev().filter(|name| !name.is_empty()).cloned().collect();
        // What is a pragma for every compiler was told of already.
        let is_pragma = |name: &Range<usize>| {
            self.spelled(name) == b"_Pragma" && pragma_operand(&self.source[name.end..]).is_some()
        };
        let mut kind = DirectiveKind::MacroPragma;
        if names.first().is_some_and(is_pragma) {
            kind = DirectiveKind::PragmaArgument;
            names.remove(0);
        } else if names.is_empty() && self.in_definition {
            self.tell_name(kind, notable.start, Vec::new());
        }
        for name in names {
            let name = self.spelled(&name);
            self.tell_name(kind, notable.start, name);
        }
    }

    /// Tells of a name around a pragma's text, once between two directives.
    fn tell_name(&mut self, kind: DirectiveKind, position: usize, name: Vec<u8>) {
        let told = (kind, name);
        if !self.names_told.contains(&told) {
            self.push(kind, position, &told.1);
            self.names_told.insert(told);
        }
    }

    /// Tells of a macro's use; with nothing where its end is not known.
    fn push_call(&mut self, notable: Notable) {
        if notable.start < self.calls_end {
            return;
        }
        let has_room = self.kept_rest + calls::MAX_CALL_BYTES <= MAX_INPUT_OPERANDS_BYTES;
        let Some(call) = has_room.then(|| self.call(notable.start..notable.end)).flatten() else {
            self.kept_rest += calls::MAX_CALL_BYTES;
            return self.push(DirectiveKind::TextCall, notable.start, b"");
        };
        self.kept_rest += call.cost + call.within.len();
        self.calls_end = call.whole.end;
        if !call.within.is_empty() {
            self.push(DirectiveKind::EnclosingNames, notable.start, &call.within);
        }
        let operand = self.plain_text(call.whole);
        self.push(DirectiveKind::TextCall, notable.start, &operand);
    }

    /// Tells of an occurrence with what follows it; with nothing where that was too much already.
    fn push_with_rest(&mut self, kind: DirectiveKind, notable: Notable) {
        let end = self.source.len().min(notable.end + MAX_INPUT_OPERAND_BYTES);
        let operand = match kind {
            DirectiveKind::TextUse => self.plain_text(notable.start..end),
            _ => self.source[notable.start..end].to_vec(),
        };
        let has_room = self.kept_rest + operand.len() <= MAX_INPUT_OPERANDS_BYTES;
        if has_room {
            self.kept_rest += operand.len();
        }
        self.push(kind, notable.start, if has_room { &operand } else { b"" });
    }

    /// Tells of `import`, `module` and `export` of either at the start of a line.
    pub(super) fn note_module(&mut self) {
        let mut at = self.at;
        let mut words = Vec::new();
        for _ in 0..2 {
            let start = at;
            while continues_identifier(self.byte(at)) {
                at += 1;
            }
            words.push(&self.source[start..at]);
            while is_blank(self.byte(at)) && at < self.source.len() && self.source[at] != b'\n' {
                at += 1;
            }
        }
        let next = self.byte(at);
        let is_declared = |word: &[u8], follows: u8| match word {
            b"import" => continues_identifier(follows) || matches!(follows, b'<' | b'"' | b':'),
            b"module" => continues_identifier(follows) || matches!(follows, b';' | b':'),
            _ => false,
        };
        let second_start = words[1].first().copied().unwrap_or(next);
        if is_declared(words[0], second_start) || (words[0] == b"export" && is_declared(words[1], next)) {
            let position = self.at;
            let word = words[0].to_vec();
            self.push(DirectiveKind::TextModule, position, &word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_alone_but_after_an_escape() {
        let check = |source: &str, expect: usize| {
            let names = Names { statements: [b"USED".as_slice()].into_iter().collect(), ..Names::default() };
            assert_eq!(find(source.as_bytes(), &names).len(), expect, "{source}");
        };
        check("asm(\".incbin \\\"a\\\"\")", 1);
        check("asm(\".data\\n.incbin \\\"a\\\"\\n\\t.include \\\"b\\\"\")", 2);
        check("x.include = 1; n.include = 2;", 0);
        check("\"\\n__DATE__\" my__DATE__", 0);
        check("P(push_macro(\"X\")) P(once) P(\"pop_macro(\\\"X\\\")\") my_push_macro atonce GCC diagnostic", 3);
        check("P(GCC  target(\"x\")) P(target (\"x\")) f(x, target(x)) target", 2);
        check("USED (x) UNUSED", 1);
    }
}
