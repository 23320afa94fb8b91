//! Inputs that are nearly good: examples, changed in a few places.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::prop_oneof;
use proptest::sample::{Index, select};
use proptest::strategy::BoxedStrategy;
use std::fmt;
use std::ops::Deref;

/// How many changes an input has at most.
const EDITS: usize = 5;

/// How long what is inserted, removed or repeated may be.
const SPAN_BYTES: usize = 40;

/// How often something may be repeated: enough to exhaust a stack that grows with it.
const REPEATS: usize = 20_000;

/// The longest input.
const INPUT_BYTES: usize = 128 * 1024;

/// Numbers at which arithmetic goes wrong.
const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
];

/// Bytes of an input; shown as text where they are text.
#[derive(Clone, PartialEq, Eq)]
pub struct Input(Vec<u8>);

impl Deref for Input {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "b\"{}\"", self.0.escape_ascii())
    }
}

/// An input that is text.
pub type Text = String;

/// One change. Places are relative to the length of what is changed.
#[derive(Debug, Clone)]
enum Edit {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize, usize),
    Cut(Index),
    /// A number in binary, in little endian.
    Number(Index, u64, usize),
    /// A number in decimal or hexadecimal digits, in the place of a digit.
    Digits(Index, u64),
    /// A piece of one example.
    Graft(Index, Vec<u8>, Index),
}

/// Inputs like `examples`, of which there must be one: themselves, changed ones, and now and then something else altogether.
pub fn like(examples: &[impl AsRef<[u8]>]) -> BoxedStrategy<Input> {
    let examples: Vec<Vec<u8>> = examples.iter().map(|example| example.as_ref().to_vec()).collect();
    let edits = vec(edit(&examples), 0..=EDITS);
    let changed = (select(examples), edits).prop_map(|(mut bytes, edits)| {
        for edit in &edits {
            edit.apply(&mut bytes);
        }
        Input(bytes)
    });
    let arbitrary = vec(any::<u8>(), 0..200).prop_map(Input);
    prop_oneof![9 => changed, 1 => arbitrary].boxed()
}

/// As [`like`], for what is text by the time that it is read.
pub fn text_like(examples: &[impl AsRef<str>]) -> BoxedStrategy<Text> {
    let examples: Vec<&[u8]> = examples.iter().map(|example| example.as_ref().as_bytes()).collect();
    let text = like(&examples).prop_map(|input| String::from_utf8_lossy(&input).into_owned());
    // Characters of several bytes between others.
    prop_oneof![9 => text, 1 => ".{0,40}"].boxed()
}

fn edit(examples: &[Vec<u8>]) -> impl Strategy<Value = Edit> + use<> {
    let place = || any::<Index>();
    let byte = prop_oneof![any::<u8>(), select(&b"\0\n\r\t \"'\\/#$%&()*+,-.:;<=>?@[]{}~0a\xff"[..])];
    let span = 1..=SPAN_BYTES;
    prop_oneof![
        (place(), byte.clone()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (place(), vec(byte, 1..8)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (place(), span.clone()).prop_map(|(at, length)| Edit::Remove(at, length)),
        (place(), span, prop_oneof![4 => 2..4_usize, 1 => 100..REPEATS])
            .prop_map(|(at, length, times)| Edit::Repeat(at, length, times)),
        place().prop_map(Edit::Cut),
        (place(), select(&NUMBERS[..]), select(&[1_usize, 2, 4, 8][..]))
            .prop_map(|(at, number, width)| Edit::Number(at, number, width)),
        (place(), select(&NUMBERS[..])).prop_map(|(at, number)| Edit::Digits(at, number)),
        (place(), select(examples.to_vec()), place()).prop_map(|(at, example, from)| Edit::Graft(at, example, from)),
    ]
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        // One past the end is a place too.
        let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        match self {
            Self::Set(at, byte) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Self::Set(..) => {}
            Self::Insert(at, inserted) => replace(bytes, place(at, bytes), 0, inserted),
            Self::Remove(at, length) => replace(bytes, place(at, bytes), *length, &[]),
            Self::Repeat(at, length, times) => {
                let start = place(at, bytes);
                let end = (start + length).min(bytes.len());
                let times = (*times).min(INPUT_BYTES / (end - start).max(1));
                let repeated = bytes[start..end].repeat(times);
                replace(bytes, start, 0, &repeated);
            }
            Self::Cut(at) => bytes.truncate(place(at, bytes)),
            Self::Number(at, number, width) => {
                replace(bytes, place(at, bytes), *width, &number.to_le_bytes()[..*width]);
            }
            Self::Digits(at, number) => {
                let digits: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at].is_ascii_digit()).collect();
                if !digits.is_empty() {
                    replace(bytes, *at.get(&digits), 1, number.to_string().as_bytes());
                }
            }
            Self::Graft(at, example, from) => replace(bytes, place(at, bytes), 0, &example[place(from, example)..]),
        }
        bytes.truncate(INPUT_BYTES);
    }
}

/// Puts `by` in the place of `length` bytes, or as many as there are.
fn replace(bytes: &mut Vec<u8>, at: usize, length: usize, by: &[u8]) {
    let end = (at + length).min(bytes.len());
    bytes.splice(at..end, by.iter().copied());
}
