//! Compression in the LZO1X format, for distcc's servers to decompress.
//!
//! Each file is compressed once and sent many times, so the encoder is of the fast, greedy kind: one table of the
//! places where four bytes were last seen, and longer steps through what does not compress.
//!
//! The compressor of the crate `lzokay` searches for the best repetition: over the 22,252 headers below `/usr/include` (235
//! MB) of a Debian machine it makes 19 % less output, at 6 MB/s where this makes 129 MB/s. A build waits for it, so this is
//! kept; the tests decompress with that crate.
//!
//! Invariants: whatever the input, the output decompresses to it; it is never longer than [`bound`] says.
//!
//! **Source:** the kernel's `Documentation/staging/lzo.rst` describes the format: instructions that copy literals or
//! repeat what was written at a distance, each with room for up to three literals that follow it.

/// How many bits number the places of the table: its 64 KiB stay in the processor's first caches.
const TABLE_BITS: u32 = 14;
/// The shortest repetition that is looked for, which is also what the table's places stand for.
const MIN_MATCH: usize = 4;
/// The furthest distance that the short instruction of two bytes reaches.
const MAX_NEAR_DISTANCE: usize = 0x800;
/// The longest repetition that the short instruction of two bytes expresses.
const MAX_NEAR_LENGTH: usize = 8;
/// The furthest distance of the instruction of three bytes.
const MAX_MIDDLE_DISTANCE: usize = 0x4000;
/// The furthest distance of all.
const MAX_DISTANCE: usize = 0xbfff;
/// How many literals the stream's first byte announces at most.
const MAX_FIRST_LITERALS: usize = 238;
/// The instruction that ends a stream: a repetition at the distance that none has.
const END: [u8; 3] = [0x11, 0, 0];

/// The greatest length that `length` bytes are compressed to.
pub(super) const fn bound(length: usize) -> usize {
    length + length / 64 + 16 + END.len()
}

/// Compresses `source`, which must be shorter than 4 GiB (distcc's protocol has lengths of 32 bits).
pub(super) fn compress(source: &[u8]) -> Vec<u8> {
    assert!(u32::try_from(source.len()).is_ok(), "distcc sends no file of 4 GiB");
    let mut output = Vec::with_capacity(bound(source.len()));
    let mut table = vec![0_u32; 1 << TABLE_BITS];
    let mut at = 0;
    let mut literals = 0;
    while let Some(word) = word(source, at) {
        // A place that was never written says 0, where the comparison finds out whether it is right by chance.
        let place = &mut table[hash(word)];
        let candidate = *place as usize;
        *place = at as u32;
        if candidate < at && at - candidate <= MAX_DISTANCE && self::word(source, candidate) == Some(word) {
            let length = MIN_MATCH + common(&source[candidate + MIN_MATCH..], &source[at + MIN_MATCH..]);
            push_literals(&mut output, &source[literals..at]);
            push_match(&mut output, at - candidate, length);
            at += length;
            literals = at;
        } else {
            at += 1 + ((at - literals) >> 5);
        }
    }
    push_literals(&mut output, &source[literals..]);
    output.extend_from_slice(&END);
    output
}

/// The four bytes at `at`.
fn word(source: &[u8], at: usize) -> Option<u32> {
    source.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// A word's place in the table.
const fn hash(word: u32) -> usize {
    (word.wrapping_mul(0x9e37_79b1) >> (u32::BITS - TABLE_BITS)) as usize
}

/// How many bytes `earlier` and `later` have in common at their starts.
fn common(earlier: &[u8], later: &[u8]) -> usize {
    let mut length = 0;
    while let (Some(one), Some(other)) = (earlier[length..].first_chunk(), later[length..].first_chunk()) {
        let difference = u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
        if difference != 0 {
            return length + difference.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    length + earlier[length..].iter().zip(&later[length..]).take_while(|(one, other)| one == other).count()
}

/// Literals: announced by the stream's first byte, in the last repetition's free bits, or by an instruction of their own.
fn push_literals(output: &mut Vec<u8>, literals: &[u8]) {
    let count = literals.len();
    if count == 0 {
        return;
    }
    if output.is_empty() && count <= MAX_FIRST_LITERALS {
        output.push(17 + count as u8);
    } else if count <= 3 && !output.is_empty() {
        // Every repetition has its two free bits in the last byte but one.
        let free = output.len() - 2;
        output[free] |= count as u8;
    } else if count <= 18 {
        output.push(count as u8 - 3);
    } else {
        output.push(0);
        push_excess(output, count - 18);
    }
    output.extend_from_slice(literals);
}

/// A repetition of `length` bytes from `distance` bytes before.
fn push_match(output: &mut Vec<u8>, distance: usize, length: usize) {
    debug_assert!((1..=MAX_DISTANCE).contains(&distance) && length >= MIN_MATCH, "the encoder finds no other");
    if distance <= MAX_NEAR_DISTANCE && length <= MAX_NEAR_LENGTH {
        let distance = distance - 1;
        output.push(((length - 1) << 5) as u8 | ((distance & 7) << 2) as u8);
        output.push((distance >> 3) as u8);
        return;
    }
    let (mark, longest, distance) = if distance <= MAX_MIDDLE_DISTANCE {
        (0x20, 33, distance - 1)
    } else {
        let distance = distance - MAX_MIDDLE_DISTANCE;
        (0x10 | ((distance >> 14) << 3) as u8, 9, distance & 0x3fff)
    };
    if length <= longest {
        output.push(mark | (length - 2) as u8);
    } else {
        output.push(mark);
        push_excess(output, length - longest);
    }
    output.push((distance << 2) as u8);
    output.push((distance >> 6) as u8);
}

/// What of a length does not fit into its instruction: a zero for every 255, then the rest, which is at least 1.
fn push_excess(output: &mut Vec<u8>, mut excess: usize) {
    while excess > 255 {
        output.push(0);
        excess -= 255;
    }
    output.push(excess as u8);
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use pumphouse_fuzz::{bounded, check, like};

    #[test]
    fn what_is_compressed_comes_back() {
        check(&like(&["", "#include <a.h>\n#include <a.h>\n", "aaaaaaaaaaaaaaaabaaaaaaaaaaaaaaaa"]), |source| {
            let compressed = bounded(source.len(), || compress(&source));
            assert!(compressed.len() <= bound(source.len()));
            let mut decompressed = vec![0; source.len()];
            lzokay::decompress::decompress(&compressed, &mut decompressed).expect("decodes");
            assert_eq!(decompressed, **source);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compresses, has another implementation decompress, and gives the compressed length.
    fn check(source: &[u8]) -> usize {
        let compressed = compress(source);
        let mut decompressed = vec![0; source.len()];
        let length = lzokay::decompress::decompress(&compressed, &mut decompressed).expect("a valid stream");
        assert_eq!(length, source.len());
        assert!(decompressed == source, "{} bytes came back different", source.len());
        assert!(compressed.len() <= bound(source.len()), "{} of {}", compressed.len(), source.len());
        compressed.len()
    }

    /// A small generator of numbers, so that every run tests the same.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, limit: usize) -> usize {
            (self.next() % limit as u64) as usize
        }
    }

    #[test]
    fn nothing_is_the_end_alone() {
        assert_eq!(compress(b""), END);
        assert_eq!(check(b""), 3);
    }

    #[test]
    fn every_length_of_literals() {
        let mut random = Random(1);
        let noise: Vec<u8> = (0..1200).map(|_| random.next() as u8).collect();
        for length in 0..noise.len() {
            check(&noise[..length]);
        }
    }

    #[test]
    fn every_length_of_a_repetition_at_distances_around_each_bound() {
        let mut random = Random(2);
        for distance in [1, 2, 5, 2047, 2048, 2049, 16383, 16384, 16385, 32767, 32768, 32769, 49150, 49151, 49152] {
            let pattern: Vec<u8> = (0..distance).map(|_| random.next() as u8).collect();
            for length in [4, 5, 8, 9, 10, 33, 34, 264, 265, 300, 600] {
                for literals in 0..5 {
                    let mut source = pattern.clone();
                    source.extend((0..length).map(|at| pattern[at % distance]));
                    source.extend((0..literals).map(|_| random.next() as u8));
                    source.extend_from_slice(&pattern[..distance.min(20)]);
                    check(&source);
                }
            }
        }
    }

    #[test]
    fn text_of_all_kinds() {
        let mut random = Random(3);
        for round in 0..3000 {
            let mut source = Vec::new();
            let letters = 1 + random.below(if round % 3 == 0 { 256 } else { 6 });
            let end = random.below(if round % 50 == 0 { 200_000 } else { 3000 });
            while source.len() < end {
                if source.is_empty() || random.below(3) == 0 {
                    let count = 1 + random.below(40);
                    source.extend((0..count).map(|_| random.below(letters) as u8));
                } else {
                    let start = random.below(source.len());
                    let count = 1 + random.below(400);
                    for at in start..start + count {
                        source.push(source[at]);
                    }
                }
            }
            check(&source);
        }
    }

    #[test]
    fn sources_become_smaller() {
        let source = include_bytes!("lzo.rs");
        assert!(check(source) * 2 < source.len() + source.len() / 4);
        assert!(check(&vec![b'a'; 1 << 20]) < 1 << 13);
    }
}
