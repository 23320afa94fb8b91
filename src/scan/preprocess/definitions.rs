//! Macro definitions as numbers: equal definitions are one, whichever file they stand in.
//!
//! So the state of a macro is a number, and two states compare by it. A body becomes tokens when it is first expanded;
//! most never are.

use crate::scan::preprocess::append::AppendList;
use crate::scan::preprocess::symbols::{Symbol, Symbols, known};
use crate::scan::preprocess::tokens::{Flags, Kind, Token, TokenModes, identifier, name_length, tokenize};
use dashmap::DashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// The state of a macro: a definition, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct DefinitionId(pub(crate) u32);

impl DefinitionId {
    /// Not defined.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) const fn is_some(self) -> bool {
        self.0 != 0
    }
}

/// A macro that the compiler computes at each use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Builtin {
    File,
    FileName,
    BaseFile,
    Line,
    Counter,
    IncludeLevel,
    /// `__DATE__`, `__TIME__`, `__TIMESTAMP__`
    Time,
    /// An operator of conditions: `__has_include`, `__has_builtin`, …
    Operator,
}

/// What a macro's name stands for.
#[derive(Debug)]
pub(crate) enum Definition {
    /// The state of an undefined macro; never looked into.
    None,
    /// `#define`.
    Text { text: Arc<[u8]>, modes: TokenModes, body: OnceLock<Body> },
    /// Computed by the compiler.
    Builtin(Builtin),
    /// One of these, the compiler alone knows which; sorted.
    Alternatives(Box<[DefinitionId]>),
}

/// A definition's parameters and replacement list.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// How many parameters a function-like macro has; `None` for an object-like one.
    pub(crate) parameters: Option<usize>,
    /// Whether the last parameter takes all further arguments.
    pub(crate) is_variadic: bool,
    pub(crate) tokens: Box<[Token]>,
    /// Whether `#`, `##` or `__VA_OPT__` occurs.
    pub(crate) has_operators: bool,
    /// Which parameters stand for their arguments expanded, somewhere in the list.
    pub(crate) expands: Box<[bool]>,
}

/// All definitions of a scanner.
#[derive(Debug)]
pub(crate) struct Definitions {
    numbers: DashMap<Key, DefinitionId, foldhash::fast::RandomState>,
    list: AppendList<Definition>,
    bytes: AtomicUsize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Text(Arc<[u8]>, TokenModes),
    Builtin(Builtin),
    Alternatives(Box<[DefinitionId]>),
}

impl Default for Definitions {
    fn default() -> Self {
        let definitions = Self { numbers: DashMap::default(), list: AppendList::default(), bytes: AtomicUsize::new(0) };
        definitions.list.push_with(|_| Definition::None);
        definitions
    }
}

impl Definitions {
    /// The definition that `#define` makes of `text`: `NAME`, `NAME body`, `NAME(parameters) body`.
    pub(crate) fn text(&self, text: &[u8], modes: TokenModes) -> DefinitionId {
        let text: Arc<[u8]> = Arc::from(text);
        let key = Key::Text(Arc::clone(&text), modes);
        let size = text.len();
        self.intern(key, size, || Definition::Text { text, modes, body: OnceLock::new() })
    }

    pub(crate) fn builtin(&self, builtin: Builtin) -> DefinitionId {
        self.intern(Key::Builtin(builtin), 0, || Definition::Builtin(builtin))
    }

    /// The state of a macro that has one of `states`, those that are several themselves taken apart.
    pub(crate) fn alternatives(&self, states: impl IntoIterator<Item = DefinitionId>) -> DefinitionId {
        let mut all = Vec::new();
        for state in states {
            match self.get(state) {
                Definition::Alternatives(states) => all.extend_from_slice(states),
                _ => all.push(state),
            }
        }
        all.sort_unstable();
        all.dedup();
        if let [only] = all[..] {
            return only;
        }
        let states = all.into_boxed_slice();
        self.intern(Key::Alternatives(states.clone()), states.len() * 4, || Definition::Alternatives(states))
    }

    fn intern(&self, key: Key, size: usize, make: impl FnOnce() -> Definition) -> DefinitionId {
        if let Some(known) = self.numbers.get(&key) {
            return *known;
        }
        let entry = self.numbers.entry(key).or_insert_with(|| {
            self.bytes.fetch_add(size + 160, Ordering::Relaxed);
            DefinitionId(self.list.push_with(|_| make()))
        });
        *entry
    }

    pub(crate) fn get(&self, id: DefinitionId) -> &Definition {
        self.list.get(id.0)
    }

    /// The body of a `#define`.
    pub(crate) fn body(&self, id: DefinitionId, symbols: &Symbols) -> Option<&Body> {
        match self.get(id) {
            Definition::Text { text, modes, body } => Some(body.get_or_init(|| parse(text, *modes, symbols))),
            _ => None,
        }
    }

    /// About how much memory the definitions take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

fn parse(text: &[u8], modes: TokenModes, symbols: &Symbols) -> Body {
    let rest = &text[name_length(text, modes)..];
    let is_function = rest.starts_with(b"(");
    let (parameters, body) = if let Some(after) = rest.strip_prefix(b"(") {
        let Some(close) = memchr::memchr(b')', after) else { return malformed() };
        let Some(parameters) = parameters(&after[..close], modes, symbols) else { return malformed() };
        (parameters, &after[close + 1..])
    } else {
        (Parameters::default(), rest)
    };
    let mut tokens = Vec::new();
    tokenize(body, modes, symbols, &mut tokens);
    if let Some(first) = tokens.first_mut() {
        first.flags = first.flags.without(Flags::BLANK);
    }
    let names = &parameters.names;
    for token in &mut tokens {
        if token.kind == Kind::Identifier
            && let Some(index) = names.iter().position(|name| *name == token.symbol)
        {
            *token = Token { kind: Kind::Parameter, symbol: Symbol(index as u32), ..*token };
        }
    }
    let is_operator = |token: &Token| {
        token.is(known::PASTE)
            || (is_function && (token.is(known::HASH) || (parameters.is_variadic && token.is_name(known::VA_OPT))))
    };
    Body {
        has_operators: tokens.iter().any(is_operator),
        expands: expanded_parameters(&tokens, &parameters),
        parameters: is_function.then_some(names.len()),
        is_variadic: parameters.is_variadic,
        tokens: tokens.into_boxed_slice(),
    }
}

/// The parameters that stand anywhere but beside `##` and after `#`; `__VA_OPT__` expands the last one to see whether
/// anything is left of it.
fn expanded_parameters(tokens: &[Token], parameters: &Parameters) -> Box<[bool]> {
    let mut expands = vec![false; parameters.names.len()].into_boxed_slice();
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| tokens[before]);
        let after = tokens.get(at + 1);
        let is_operand = before.is_some_and(|before| before.is(known::PASTE) || before.is(known::HASH))
            || after.is_some_and(|after| after.is(known::PASTE));
        if token.kind == Kind::Parameter && !is_operand {
            expands[token.symbol.0 as usize] = true;
        } else if parameters.is_variadic && token.is_name(known::VA_OPT) {
            expands[parameters.names.len() - 1] = true;
        }
    }
    expands
}

/// A definition that the compiler will not take: whoever uses it gets no answer.
fn malformed() -> Body {
    Body { tokens: Box::new([Token::new(Kind::Unknown, known::EMPTY)]), ..Body::default() }
}

/// The parameters of a function-like macro.
#[derive(Debug, Default)]
struct Parameters {
    names: Vec<Symbol>,
    /// Whether the last one takes all further arguments.
    is_variadic: bool,
}

/// The parameters between the parentheses of a definition; `None` where they are malformed.
fn parameters(text: &[u8], modes: TokenModes, symbols: &Symbols) -> Option<Parameters> {
    let text = text.trim_ascii();
    if text.is_empty() {
        return Some(Parameters::default());
    }
    let mut names = Vec::new();
    let mut is_variadic = false;
    for parameter in text.split(|byte| *byte == b',') {
        if is_variadic {
            return None;
        }
        let parameter = parameter.trim_ascii();
        let name = match parameter.strip_suffix(b"...") {
            Some(name) => {
                is_variadic = true;
                let name = name.trim_ascii();
                if name.is_empty() { b"__VA_ARGS__" } else { name }
            }
            None => parameter,
        };
        if name.is_empty() || name_length(name, modes) != name.len() {
            return None;
        }
        names.push(identifier(name, symbols));
    }
    Some(Parameters { names, is_variadic })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::preprocess::trial::spell;

    #[test]
    fn a_definition_is_parameters_and_a_replacement_list() {
        let check = |text: &str, parameters: Option<usize>, is_variadic: bool, list: &str| {
            let (symbols, definitions) = (Symbols::default(), Definitions::default());
            let id = definitions.text(text.as_bytes(), TokenModes::default());
            let body = definitions.body(id, &symbols).expect("a #define has a body");
            let shown = (body.parameters, body.is_variadic, spell(&body.tokens, &symbols));
            assert_eq!(shown, (parameters, is_variadic, list.to_owned()), "of {text:?}");
        };
        check("A", None, false, "");
        check("A  b  c", None, false, "b c");
        check("A (b)", None, false, "(b)");
        check("A()b", Some(0), false, "b");
        check("A(x, y) y+x z", Some(2), false, "$1+$0 z");
        check("A(x, ...) x __VA_ARGS__", Some(2), true, "$0 $1");
        check("A(x...) x", Some(1), true, "$0");
        check("A(x, +) x", None, false, "?");
        check("A(x", None, false, "?");
    }

    #[test]
    fn equal_definitions_are_one_and_several_are_a_set() {
        let definitions = Definitions::default();
        let text = |text: &str| definitions.text(text.as_bytes(), TokenModes::default());
        let (one, two, three) = (text("A 1"), text("A 2"), text("A 3"));
        assert_eq!(text("A 1"), one);
        assert_ne!(one, two);
        assert_eq!(definitions.alternatives([one, one]), one);
        assert_eq!(definitions.alternatives([two, one]), definitions.alternatives([one, two]));
        assert_eq!(
            definitions.alternatives([definitions.alternatives([one, two]), three]),
            definitions.alternatives([three, two, one])
        );
    }
}
