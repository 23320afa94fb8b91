//! White space between tokens that expansion moves: what `#` makes a blank of, and what a computed header's name has.
//!
//! Both compilers lose and gain blanks where a macro or an argument is empty, each in its own way. Knows nothing of how
//! expansion goes; only what becomes of what it leaves.

/// What expansions leave between two tokens. For clang it is a blank or nothing. For gcc it is a sequence of padding tokens
/// with a source each, or without one: the first source says whether a blank stands there, unless it has none and a padding
/// without a source follows, after which the next one says it; the last word has the token's own white space.
///
/// A sequence is kept as what it makes of the two states that may precede it: that nothing is decided, and that there is no
/// blank so far. (A blank once decided stays.)
///
/// **Source:** `stringify_arg` in gcc's libcpp/macro.cc; `TokenLexer::Lex` in clang.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Padding(u8);

impl Padding {
    /// Nothing.
    pub(crate) const NONE: Self = Self(0);
    /// A blank, whatever stands around it.
    pub(crate) const SPACE: Self = Self::new(Self::BLANK, Self::BLANK);
    /// gcc's padding without a source: the end of an expansion.
    pub(crate) const SOURCELESS: Self = Self::new(Self::UNDECIDED, Self::UNDECIDED);

    /// gcc's padding whose source stands behind white space.
    pub(crate) const BEHIND_BLANK: Self = Self::new(Self::BLANK, Self::NO_BLANK);
    /// gcc's padding whose source stands behind none.
    pub(crate) const BEHIND_NOTHING: Self = Self::new(Self::NO_BLANK, Self::NO_BLANK);

    const UNDECIDED: u8 = 0;
    const BLANK: u8 = 1;
    const NO_BLANK: u8 = 2;

    /// What makes `fresh` of an undecided state, and `settled` of one without a blank. The latter is kept the other way
    /// round, for nothing to be zero.
    const fn new(fresh: u8, settled: u8) -> Self {
        Self(fresh | (Self::NO_BLANK - settled) << 2)
    }

    /// The padding that [`Self::bits`] gave.
    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// This as four bits.
    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// Whether a blank stands there; `None` where the token's own white space says it.
    pub(crate) const fn decision(self) -> Option<bool> {
        match self.fresh() {
            Self::UNDECIDED => None,
            fresh => Some(fresh == Self::BLANK),
        }
    }

    const fn fresh(self) -> u8 {
        self.0 & 3
    }

    const fn settled(self) -> u8 {
        Self::NO_BLANK - (self.0 >> 2 & 3)
    }

    /// This, and `next` behind it.
    pub(crate) const fn then(self, next: Self) -> Self {
        const fn go_on(state: u8, next: Padding) -> u8 {
            match state {
                Padding::UNDECIDED => next.fresh(),
                Padding::NO_BLANK => next.settled(),
                _ => state,
            }
        }
        Self::new(go_on(self.fresh(), next), go_on(self.settled(), next))
    }
}

#[cfg(test)]
mod tests {
    use super::Padding;
    use crate::scan::preprocess::symbols::Symbol;
    use crate::scan::preprocess::tokens::{Flags, Kind, Token};

    /// What `stringify_arg` says of `paddings`: of a blank for `b`, of none for `n`, without a source for `-`.
    fn as_gcc_says(paddings: &str) -> Option<bool> {
        let mut source = None;
        for padding in paddings.chars() {
            if source.is_none() || (source == Some(false) && padding == '-') {
                source = if padding == '-' { None } else { Some(padding == 'b') };
            }
        }
        source
    }

    #[test]
    fn a_sequence_decides_as_its_parts_one_after_another() {
        let plain = Token::new(Kind::Identifier, Symbol(1));
        let one = |padding| match padding {
            'b' => Token { flags: Flags::BLANK, ..plain }.as_source(),
            'n' => plain.as_source(),
            _ => Padding::SOURCELESS,
        };
        let whole = |paddings: &str| paddings.chars().map(one).fold(Padding::NONE, Padding::then);
        for number in 0..3_usize.pow(6) {
            let all: String = (0..6).map(|at| ['b', 'n', '-'][number / 3_usize.pow(at) % 3]).collect();
            for start in 0..6 {
                for middle in start..6 {
                    let (left, right) = (&all[start..middle], &all[middle..]);
                    let joined = whole(left).then(whole(right));
                    assert_eq!(joined.decision(), as_gcc_says(&all[start..]), "{left} and {right}");
                    assert_eq!(plain.with_padding(joined).padding(), joined, "a token keeps it");
                }
            }
        }
        assert_eq!(Padding::SPACE.decision(), Some(true));
        assert_eq!(Padding::NONE.decision(), None);
    }
}
