//! Checksums as subresource integrity writes them: `sha256-BASE64`, several of them apart by blanks.
//!
//! **Source:** W3C, Subresource Integrity, 3.5: of several algorithms the strongest counts, and of its sums any.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// How a sum is computed; the order is of strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Algorithm {
    Sha256,
    Sha384,
    Sha512,
}

/// The sums of which content must have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checksum {
    algorithm: Algorithm,
    sums: Vec<Vec<u8>>,
}

impl Checksum {
    /// Reads a checksum.
    ///
    /// # Errors
    /// Nothing in it is a sum by an algorithm that is known.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let sums = text.split_ascii_whitespace().filter_map(|word| {
            let (algorithm, sum) = word.split_once('-')?;
            let (algorithm, length) = match algorithm {
                "sha256" => (Algorithm::Sha256, 32),
                "sha384" => (Algorithm::Sha384, 48),
                "sha512" => (Algorithm::Sha512, 64),
                _ => return None,
            };
            // What follows a question mark is for others.
            let sum = sum.split_once('?').map_or(sum, |(sum, _)| sum);
            let sum = STANDARD.decode(sum).ok().filter(|sum| sum.len() == length)?;
            Some((algorithm, sum))
        });
        let sums: Vec<_> = sums.collect();
        let algorithm = sums.iter().map(|(algorithm, _)| *algorithm).max();
        let algorithm = algorithm.ok_or_else(|| format!("{text:?} holds no sha256-, sha384- or sha512- sum"))?;
        let sums = sums.into_iter().filter(|(other, _)| *other == algorithm).map(|(_, sum)| sum).collect();
        Ok(Self { algorithm, sums })
    }

    /// The SHA-256 that content must have, if it is one.
    pub(super) fn sha256(&self) -> Option<[u8; 32]> {
        match (self.algorithm, self.sums.as_slice()) {
            (Algorithm::Sha256, [sum]) => sum.as_slice().try_into().ok(),
            _ => None,
        }
    }

    /// Begins to sum up content.
    pub(super) fn begin(&self) -> Summing {
        match self.algorithm {
            Algorithm::Sha256 => Summing::Sha256(Sha256::new()),
            Algorithm::Sha384 => Summing::Sha384(Sha384::new()),
            Algorithm::Sha512 => Summing::Sha512(Sha512::new()),
        }
    }

    /// Whether the content that was summed up is such a one.
    pub(super) fn is_met_by(&self, summed: Summing) -> bool {
        let sum = match summed {
            Summing::Sha256(hasher) => hasher.finalize().to_vec(),
            Summing::Sha384(hasher) => hasher.finalize().to_vec(),
            Summing::Sha512(hasher) => hasher.finalize().to_vec(),
        };
        self.sums.contains(&sum)
    }
}

/// A sum that grows.
pub(super) enum Summing {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Summing {
    pub(super) fn add(&mut self, piece: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(piece),
            Self::Sha384(hasher) => hasher.update(piece),
            Self::Sha512(hasher) => hasher.update(piece),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_sum_counts() {
        let sri = |name: &str, sum: &[u8]| format!("{name}-{}", STANDARD.encode(sum));
        let (weak, other) = (sri("sha256", &Sha256::digest("x")), sri("sha256", &Sha256::digest("y")));
        let strong = sri("sha512", &Sha512::digest("x"));
        let meets = |text: &str, content: &str| {
            let checksum = Checksum::parse(text).expect("is one");
            let mut summing = checksum.begin();
            content.bytes().for_each(|byte| summing.add(&[byte]));
            checksum.is_met_by(summing)
        };
        assert!(meets(&weak, "x") && !meets(&weak, "y"));
        assert!(meets(&format!(" {other}  {weak}?options "), "x"));
        assert!(meets(&format!("{other} {strong}"), "x"), "the weaker one doesn't count");
        assert!(!meets(&format!("{other} {strong}"), "y"));
        assert!(meets(&format!("md5-AAAA {}", sri("sha384", &Sha384::digest("x"))), "x"));
        assert_eq!(Checksum::parse(&weak).expect("is one").sha256(), Some(Sha256::digest("x").into()));
        assert_eq!(Checksum::parse(&strong).expect("is one").sha256(), None);
        for wrong in ["", "sha256-", "sha256-AAAA", "md5-AAAA", "x"] {
            Checksum::parse(wrong).expect_err("is none");
        }
    }
}
