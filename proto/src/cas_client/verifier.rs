//! Blobs that come in pieces, compared with their digests.

use super::corrupt;
use crate::digest::{Digest, Hasher};
use tonic::Status;

/// Checks a blob piece by piece against its digest.
#[derive(Debug)]
pub struct Verifier {
    expected: Digest,
    hasher: Hasher,
}

impl Verifier {
    /// Nothing has arrived yet.
    pub fn new(expected: Digest) -> Self {
        Self { expected, hasher: expected.function().hasher() }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` as soon as there is more than the digest says.
    pub fn add(&mut self, piece: &[u8]) -> Result<(), Status> {
        if self.hasher.size_bytes() + piece.len() as u64 > self.expected.size_bytes() {
            return Err(corrupt(self.expected));
        }
        self.hasher.update(piece);
        Ok(())
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` where the pieces are not what the digest names.
    pub fn finish(self) -> Result<(), Status> {
        if self.hasher.finish() == self.expected { Ok(()) } else { Err(corrupt(self.expected)) }
    }
}
