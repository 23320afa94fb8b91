//! Spellings as numbers: identifiers, punctuators, numbers and strings alike.

use crate::scan::preprocess::append::AppendList;
use dashmap::DashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A spelling. Equal symbols of one table are equal spellings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Symbol(pub(crate) u32);

macro_rules! known {
    ($($name:ident = $text:literal,)*) => {
        known!(@number 0u32; $($name = $text,)*);
        const KNOWN: &[&[u8]] = &[$($text),*];
    };
    (@number $next:expr; $name:ident = $text:literal, $($rest:tt)*) => {
        pub(crate) const $name: Symbol = Symbol($next);
        known!(@number $next + 1u32; $($rest)*);
    };
    (@number $next:expr;) => {};
}

/// The spellings that the scanner itself knows, at fixed numbers.
pub(crate) mod known {
    use super::Symbol;

    known! {
        EMPTY = b"",
        OPEN = b"(",
        CLOSE = b")",
        COMMA = b",",
        HASH = b"#",
        PASTE = b"##",
        LESS = b"<",
        GREATER = b">",
        LESS_EQUAL = b"<=",
        GREATER_EQUAL = b">=",
        EQUAL = b"==",
        NOT_EQUAL = b"!=",
        AND_AND = b"&&",
        OR_OR = b"||",
        AND = b"&",
        OR = b"|",
        XOR = b"^",
        NOT = b"!",
        TILDE = b"~",
        PLUS = b"+",
        MINUS = b"-",
        STAR = b"*",
        SLASH = b"/",
        PERCENT = b"%",
        SHIFT_LEFT = b"<<",
        SHIFT_RIGHT = b">>",
        QUESTION = b"?",
        COLON = b":",
        DEFINED = b"defined",
        TRUE = b"true",
        HAS_INCLUDE = b"__has_include",
        HAS_INCLUDE_NEXT = b"__has_include_next",
        HAS_EMBED = b"__has_embed",
        VA_OPT = b"__VA_OPT__",
        FILE = b"__FILE__",
        FILE_NAME = b"__FILE_NAME__",
        BASE_FILE = b"__BASE_FILE__",
        LINE = b"__LINE__",
        COUNTER = b"__COUNTER__",
        INCLUDE_LEVEL = b"__INCLUDE_LEVEL__",
        DATE = b"__DATE__",
        TIME = b"__TIME__",
        TIMESTAMP = b"__TIMESTAMP__",
        NAMED_AND = b"and",
        NAMED_OR = b"or",
        NAMED_NOT = b"not",
        NAMED_BITAND = b"bitand",
        NAMED_BITOR = b"bitor",
        NAMED_XOR = b"xor",
        NAMED_COMPL = b"compl",
        NAMED_NOT_EQ = b"not_eq",
        ONCE = b"once",
        GCC = b"GCC",
        CLANG = b"clang",
        TARGET = b"target",
        OPTIMIZE = b"optimize",
        PRAGMA_OPERATOR = b"_Pragma",
        PRAGMA_KEYWORD = b"__pragma",
        DEPENDENCY = b"dependency",
        SYSTEM_HEADER = b"system_header",
        PUSH_MACRO = b"push_macro",
        POP_MACRO = b"pop_macro",
    }

    pub(super) const ALL: &[&[u8]] = KNOWN;
}

/// All spellings of a scanner.
#[derive(Debug)]
pub(crate) struct Symbols {
    numbers: DashMap<Arc<[u8]>, Symbol, foldhash::fast::RandomState>,
    spellings: AppendList<Arc<[u8]>>,
    bytes: AtomicUsize,
}

impl Default for Symbols {
    fn default() -> Self {
        let symbols =
            Self { numbers: DashMap::default(), spellings: AppendList::default(), bytes: AtomicUsize::new(0) };
        for (number, text) in known::ALL.iter().enumerate() {
            let symbol = symbols.intern(text);
            debug_assert_eq!(symbol.0 as usize, number);
        }
        symbols
    }
}

impl Symbols {
    /// The symbol of `text`. Costs a hash of it.
    pub(crate) fn intern(&self, text: &[u8]) -> Symbol {
        if let Some(symbol) = self.numbers.get(text) {
            return *symbol;
        }
        let text: Arc<[u8]> = Arc::from(text);
        let entry = self.numbers.entry(Arc::clone(&text)).or_insert_with(|| {
            self.bytes.fetch_add(text.len() + 80, Ordering::Relaxed);
            Symbol(self.spellings.push_with(|_| text))
        });
        *entry
    }

    /// The spelling of `symbol`.
    pub(crate) fn text(&self, symbol: Symbol) -> &[u8] {
        self.spellings.get(symbol.0)
    }

    /// About how much memory the spellings take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spelling_has_one_symbol_and_a_symbol_one_spelling() {
        let symbols = Symbols::default();
        let check = |text: &str| {
            let symbol = symbols.intern(text.as_bytes());
            assert_eq!(symbols.text(symbol), text.as_bytes());
            assert_eq!(symbols.intern(text.as_bytes()), symbol, "{text}");
        };
        for text in ["", "a", "a ", "A", "once", "\u{e9}"] {
            check(text);
        }
        assert_eq!(symbols.intern(b"__VA_OPT__"), known::VA_OPT);
        assert_ne!(symbols.intern(b"a"), symbols.intern(b"A"));
    }
}
