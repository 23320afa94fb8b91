//! Blobs that come in pieces, compared with their digests.

use super::corrupt;
use crate::digest::Digest;
use sha2::{Digest as _, Sha256};
use tonic::Status;

/// Checks a blob piece by piece against its digest.
#[derive(Debug)]
pub struct Verifier {
    expected: Digest,
    hasher: Sha256,
    size_bytes: u64,
}

impl Verifier {
    /// Nothing has arrived yet.
    pub fn new(expected: Digest) -> Self {
        Self { expected, hasher: Sha256::new(), size_bytes: 0 }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` as soon as there is more than the digest says.
    pub fn add(&mut self, piece: &[u8]) -> Result<(), Status> {
        self.size_bytes += piece.len() as u64;
        if self.size_bytes > self.expected.size_bytes() {
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
        let digest = Digest::new(self.hasher.finalize().into(), self.size_bytes);
        if digest == self.expected { Ok(()) } else { Err(corrupt(self.expected)) }
    }
}
