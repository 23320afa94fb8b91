//! What the assembler reads besides its source: the operands of `.incbin` and `.include`, in assembly and in the
//! strings of inline assembly.
//!
//! **Source:** the GNU assembler's manual, sections `.incbin`, `.include` and "Command-Line Options".

use crate::command::{CompileCommand, SearchChain};
use crate::scan::lex::assembler_directive::AssemblerDirective;
use crate::scan::lex::characters::continues_identifier;
use crate::scan::preprocess::symbols::Symbols;
use crate::scan::preprocess::tokens::{Kind, Token};
use std::os::unix::ffi::OsStrExt as _;

/// What kind of text assembly stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AssemblyIn {
    /// A source of assembly.
    Source,
    /// Strings of C.
    Strings,
}

/// A file that assembly reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AssemblerInput {
    pub(crate) directive: AssemblerDirective,
    pub(crate) name: Vec<u8>,
}

/// Whether `text`, which starts with the directive or with its first letters, may read a file. `.include` alone may be
/// something else, a member of a structure for instance.
pub(crate) fn may_take_operand(text: &[u8], assembly: AssemblyIn) -> bool {
    if directive(text) != AssemblerDirective::Include {
        return true;
    }
    let rest = after_directive(text);
    rest.starts_with(b"\"")
        || rest.starts_with(b"\\")
        || rest.starts_with(b"%")
        || assembly == AssemblyIn::Source && !rest.is_empty()
}

/// The directive at the start of `text`, or the one that its first letters may become.
fn directive(text: &[u8]) -> AssemblerDirective {
    AssemblerDirective::at_start_of(text).map_or(AssemblerDirective::Incbin, |(directive, _)| directive)
}

fn after_directive(text: &[u8]) -> &[u8] {
    let mut rest = &text[AssemblerDirective::at_start_of(text).map_or(0, |(_, length)| length)..];
    loop {
        let trimmed = rest.trim_ascii_start();
        let trimmed = trimmed.strip_prefix(b"\\t").unwrap_or(trimmed);
        if trimmed.len() == rest.len() {
            return rest;
        }
        rest = trimmed;
    }
}

/// The directive at the start of `text` with its operand, where that stands there in full: `"name"` or, in a C string,
/// `\"name\"`.
pub(crate) fn literal_input(text: &[u8]) -> Option<AssemblerInput> {
    let rest = after_directive(text);
    let (rest, close) = match rest.strip_prefix(b"\\\"") {
        Some(rest) => (rest, b"\\\"".as_slice()),
        None => (rest.strip_prefix(b"\"")?, b"\"".as_slice()),
    };
    let line = &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())];
    let end = memchr::memmem::find(line, close)?;
    let name = &line[..end];
    // A quote within ends the C string: the rest of the name comes from elsewhere.
    // An escape may be any character, and in the assembler's own macros an argument; a parenthesis may end a raw string.
    let is_whole = !name.is_empty() && !name.iter().any(|byte| matches!(byte, b'"' | b'%' | b'\\' | b')'));
    let is_plain_quote = close == b"\"" && line.get(end + 1).is_none_or(|next| !continues_identifier(*next));
    (is_whole && (close != b"\"" || is_plain_quote && looks_like_name(name)))
        .then(|| AssemblerInput { directive: directive(text), name: name.to_vec() })
}

/// Between the end of one C string and the start of the next stands no name: `" MACRO "`.
fn looks_like_name(name: &[u8]) -> bool {
    !name.starts_with(b" ") && !name.ends_with(b" ")
}

/// The asm statement from the directive on, its first string opened anew; in assembly the rest of the line.
pub(crate) fn statement(text: &[u8], assembly: AssemblyIn) -> Vec<u8> {
    if assembly == AssemblyIn::Source {
        return text[..memchr::memchr2(b';', b'\n', text).unwrap_or(text.len())].to_vec();
    }
    let opened = [b"\"", text].concat();
    c_statement(&opened)
}

/// The statement of C that `text` starts with, in one line: up to the semicolon that stands in no string.
pub(crate) fn c_statement(text: &[u8]) -> Vec<u8> {
    let mut is_string = false;
    let mut statement = Vec::new();
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b';' if !is_string => break,
            b'\\' if is_string => {
                statement.push(byte);
                statement.extend(bytes.next());
                continue;
            }
            b'"' => is_string = !is_string,
            _ => {}
        }
        statement.push(if byte == b'\n' { b' ' } else { byte });
    }
    statement
}

/// The arguments of a macro's use: `( … )` at the start of `text`, which has no comments, on one line.
pub(crate) fn arguments(text: &[u8]) -> Vec<u8> {
    let mut arguments = Vec::new();
    if text.trim_ascii_start().first() != Some(&b'(') {
        return arguments;
    }
    let mut depth = 0_u32;
    let mut quote = None;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        arguments.push(if byte == b'\n' { b' ' } else { byte });
        match (quote, byte) {
            (Some(_), b'\\') => arguments.extend(bytes.next()),
            (Some(open), byte) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'(') => depth += 1,
            (None, b')') if depth == 1 => return arguments,
            (None, b')') => depth -= 1,
            (None, _) => {}
        }
    }
    Vec::new()
}

/// What a string literal stands for.
pub(crate) fn unescape(literal: &[u8]) -> Vec<u8> {
    let start = memchr::memchr(b'"', literal).map_or(0, |at| at + 1);
    let body = &literal[start..];
    if literal[..start].ends_with(b"R\"")
        && let Some(open) = memchr::memchr(b'(', body)
        && let Some(close) = memchr::memrchr(b')', body)
        && open < close
    {
        return body[open + 1..close].to_vec();
    }
    unescape_body(body.strip_suffix(b"\"").unwrap_or(body))
}

fn unescape_body(body: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((byte, after)) = rest.split_first() {
        let (unescaped, length) = if *byte == b'\\' { escape(after) } else { (Some(*byte), 0) };
        text.extend(unescaped);
        rest = &after[length..];
    }
    text
}

/// What an escape stands for that goes on with `text` after its backslash, and how long it is there.
fn escape(text: &[u8]) -> (Option<u8>, usize) {
    let digits = |from: usize, longest: usize, radix: u32| {
        let rest = text.get(from..).unwrap_or_default();
        rest.iter().take(longest).take_while(|byte| (**byte as char).is_digit(radix)).count()
    };
    let number = |from: usize, length: usize, radix: u32| {
        let digits = std::str::from_utf8(&text[from..from + length]).ok();
        digits.and_then(|digits| u32::from_str_radix(digits, radix).ok()).map(|number| number as u8)
    };
    match text.first() {
        Some(b'n') => (Some(b'\n'), 1),
        Some(b't') => (Some(b'\t'), 1),
        Some(b'0'..=b'7') => {
            let length = digits(0, 3, 8);
            (number(0, length, 8), length)
        }
        Some(b'x') if digits(1, 8, 16) > 0 => {
            let length = digits(1, 8, 16);
            (number(1, length, 16), 1 + length)
        }
        Some(other) => (Some(*other), 1),
        None => (None, 0),
    }
}

/// The files that assembly reads. `None` where one of them has no plain name: it stands in a macro of the assembler, say.
pub(crate) fn inputs(assembly: &[u8]) -> Option<Vec<AssemblerInput>> {
    let mut inputs = Vec::new();
    for dot in memchr::memchr_iter(b'.', assembly) {
        let rest = &assembly[dot..];
        let before = dot.checked_sub(1).map_or(b' ', |at| assembly[at]);
        if continues_identifier(before) || rest.len() < 5 || !rest[..4].eq_ignore_ascii_case(b".inc") {
            continue;
        }
        if rest[4] == b'\\' {
            return None;
        }
        let Some((directive, length)) = AssemblerDirective::at_start_of(rest) else { continue };
        if rest.get(length).is_some_and(|byte| continues_identifier(*byte)) {
            continue;
        }
        let quoted = after_directive(rest).strip_prefix(b"\"")?;
        let end = memchr::memchr2(b'"', b'\n', quoted).filter(|end| quoted[*end] == b'"')?;
        if quoted[..end].contains(&b'\\') {
            return None;
        }
        inputs.push(AssemblerInput { directive, name: quoted[..end].to_vec() });
    }
    Some(inputs)
}

/// The files that the assembly reads which the expanded `tokens` make: their strings, joined, or in a source of assembly all
/// of them. `None` where that is not clear.
pub(crate) fn inputs_of_tokens(
    tokens: &[Token],
    assembly: AssemblyIn,
    symbols: &Symbols,
) -> Option<Vec<AssemblerInput>> {
    let is_source = assembly == AssemblyIn::Source;
    let mut text = Vec::new();
    for token in tokens {
        let spelled = symbols.text(token.symbol);
        match token.kind {
            Kind::Unknown => return None,
            // There a string keeps its quotes, and what stands together stays so.
            _ if is_source => {
                if token.has_blank_before() {
                    text.push(b' ');
                }
                text.extend_from_slice(spelled);
            }
            // Numbers of characters beyond those of bytes.
            Kind::StringLiteral if spelled.windows(2).any(|pair| matches!(pair, b"\\u" | b"\\U")) => return None,
            Kind::StringLiteral => text.extend(unescape(spelled)),
            _ => {}
        }
    }
    // In extended assembly, `%` begins an operand.
    let is_plain = |input: &AssemblerInput| is_source || !input.name.contains(&b'%');
    inputs(&text).filter(|inputs| inputs.iter().all(is_plain))
}

/// The directories that the assembler searches after the working directory: `-I` and `-Wa,-I`.
pub(crate) fn search_directories(command: &CompileCommand) -> Vec<Vec<u8>> {
    if let Some(path) = &command.preprocessor.assembler_path {
        return path.iter().map(|directory| directory.as_os_str().as_bytes().to_vec()).collect();
    }
    let mut directories: Vec<Vec<u8>> = command
        .preprocessor
        .directories
        .iter()
        .filter(|directory| directory.chain == SearchChain::Bracket)
        .map(|directory| directory.path.as_os_str().as_bytes().to_vec())
        .collect();
    let assembler = &command.preprocessor.assembler_directories;
    directories.extend(assembler.iter().map(|directory| directory.as_os_str().as_bytes().to_vec()));
    directories
}

#[cfg(test)]
mod tests {
    use super::{AssemblerDirective, arguments, inputs, literal_input, unescape};

    #[test]
    fn arguments_of_uses() {
        for (text, expect) in [
            ("(a, \")\", ')',\n \"\\\")\") b)", "(a, \")\", ')',  \"\\\")\")"),
            (" (a (b)) (c)", " (a (b))"),
            ("a(b)", ""),
            ("(a", ""),
        ] {
            assert_eq!(arguments(text.as_bytes()), expect.as_bytes(), "{text}");
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape(b"R\"x(a\\n\"b)x\""), b"a\\n\"b");
        assert_eq!(unescape(b"\"\\056\\x2E\\141\\t\\\"\\0\\q\""), b"..a\t\"\0q");
    }

    #[test]
    fn literal_operands() {
        let check = |text: &str, expect: Option<&str>| {
            let name = literal_input(text.as_bytes()).map(|input| input.name);
            assert_eq!(name.as_deref(), expect.map(str::as_bytes), "of {text:?}");
        };
        check(".incbin \"a b.bin\", 4", Some("a b.bin"));
        check(".incbin \\\"a.bin\\\"\\n\");", Some("a.bin"));
        check(".incbin \\\"\" NAME \"\\\"\");", None);
        check(".incbin \" STRING(x) \"\\n\");", None);
        check(".include\\t\\\"a.s\\\"\"", Some("a.s"));
        check(".incbin NAME", None);
    }

    #[test]
    fn inputs_of_assembly() {
        let found = inputs(b"\t.include \"a.s\"\n .INCBIN \"b c\" .incbinx \"d\"\n");
        let found: Vec<_> =
            found.expect("plain names").into_iter().map(|input| (input.directive, input.name)).collect();
        let expect = [(AssemblerDirective::Include, b"a.s".to_vec()), (AssemblerDirective::Incbin, b"b c".to_vec())];
        assert_eq!(found, expect);
        for unclear in [".incbin \"e\n", ".incbin \"\\f\"", ".incbin name", ".inc\\x \"a\"", ".include /* */ \"a\""] {
            assert_eq!(inputs(unclear.as_bytes()), None, "{unclear}");
        }
    }
}
