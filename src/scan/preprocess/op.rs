//! The steps of a [`Program`](crate::scan::preprocess::program::Program), and what they say.

use crate::scan::lex::lexer::time::TimeClues;
use crate::scan::preprocess::definitions::DefinitionId;
use crate::scan::preprocess::symbols::Symbol;

/// The number of an operand in its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OperandId(pub(super) u32);

impl OperandId {
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One step of a replay. `next` is the step of the next branch of the group, `end` that of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    If {
        operand: OperandId,
        next: u32,
    },
    Ifdef {
        symbol: Symbol,
        next: u32,
    },
    Ifndef {
        symbol: Symbol,
        next: u32,
    },
    Elif {
        operand: OperandId,
        next: u32,
    },
    Elifdef {
        symbol: Symbol,
        next: u32,
    },
    Elifndef {
        symbol: Symbol,
        next: u32,
    },
    Else {
        next: u32,
    },
    Endif,
    Include {
        operand: OperandId,
        how: Inclusion,
    },
    Embed {
        operand: OperandId,
    },
    Define {
        symbol: Symbol,
        definition: DefinitionId,
    },
    Undef {
        symbol: Symbol,
    },
    Pragma(Pragma),
    /// `_Pragma` in text, which gcc does not look at in a file of `-imacros`.
    TextPragma(Pragma),
    /// Something that is a pragma where the macro `by` makes one of it; always where `by` is empty.
    MayBePragma {
        by: Symbol,
        site: PragmaSite,
    },
    /// A pragma that may not be one, or be so twice, where `of` is a macro.
    PragmaArgument {
        of: Symbol,
    },
    Line {
        operand: OperandId,
        form: LineForm,
    },
    Error {
        operand: OperandId,
    },
    TextCounter,
    TextTime(TimeClues),
    TextTimestamp,
    TextInput {
        operand: OperandId,
    },
    /// The names around the next step: if one is a macro, an input is assembly, and a call is part of another.
    EnclosingNames {
        operand: OperandId,
    },
    DefinedInput {
        operand: OperandId,
        /// The macro.
        symbol: Symbol,
    },
    TextUse {
        operand: OperandId,
    },
    TextCall {
        operand: OperandId,
    },
    TextModule,
    TextLineComment,
}

impl Op {
    /// The next branch of the group, or its end; `None` for what is no branch.
    pub(crate) fn next_branch(mut self) -> Option<usize> {
        self.next_branch_mut().map(|next| *next as usize)
    }

    pub(super) const fn next_branch_mut(&mut self) -> Option<&mut u32> {
        match self {
            Self::If { next, .. }
            | Self::Ifdef { next, .. }
            | Self::Ifndef { next, .. }
            | Self::Elif { next, .. }
            | Self::Elifdef { next, .. }
            | Self::Elifndef { next, .. }
            | Self::Else { next } => Some(next),
            _ => None,
        }
    }
}

/// How a file says which line follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineForm {
    /// `#line 1 "file"`
    Directive,
    /// `# 1 "file" 3`, as compilers spell it in their output
    Marker,
}

/// Where something stands that may be a pragma.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PragmaSite {
    Text,
    /// A macro's body: what makes a pragma of it may be defined later.
    Body,
}

/// A pragma that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pragma {
    /// `once`
    Once,
    /// `push_macro`
    Push(Symbol),
    /// `pop_macro`
    Pop(Symbol),
    /// `GCC system_header`
    SystemHeader,
    /// `GCC dependency`
    Dependency,
    /// `GCC target` and `GCC optimize`: gcc's own macros are others from then on. The operand starts with the second word.
    Target(OperandId),
}

/// How a file is included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Inclusion {
    /// `#include`
    Plain,
    /// `#include_next`
    Next,
    /// `#import`
    Import,
}
