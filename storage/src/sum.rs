//! The sum by which a file is told from one that has rotted: XXH3 with 64 bits.
//!
//! It costs a tenth of what SHA-256 does, so every read can afford it. It says nothing against somebody who means harm: what
//! comes from outside is compared with its digest before it gets a sum.

use std::fmt;
use std::hash::Hasher as _;
use twox_hash::XxHash3_64;

/// The sum of bytes that come in pieces.
#[derive(Default)]
pub(crate) struct Sum(XxHash3_64);

impl Sum {
    /// The sum of `bytes`, which are all.
    pub(crate) fn of(bytes: &[u8]) -> u64 {
        XxHash3_64::oneshot(bytes)
    }

    pub(crate) fn add(&mut self, piece: &[u8]) {
        self.0.write(piece);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.finish()
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sum({:016x})", self.value())
    }
}
