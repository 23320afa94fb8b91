//! A file's directives as bytes, kept for the next scanner.

use crate::scan::lex::directives::{Directive, DirectiveKind, Directives, LineBreak};
use bytes::Bytes;
use prost::Message;

/// How many bytes one compressed byte stands for at most: what claims more would only take memory.
///
/// **Source:** LZ4's block format, the bytes that lengthen a match.
const MOST_COMPRESSED: usize = 256;

/// Columns of the directives, each in the order of the file.
#[derive(Clone, PartialEq, Message)]
struct Columns {
    /// What each one is.
    #[prost(bytes = "vec", tag = "1")]
    kinds: Vec<u8>,
    /// How many lines each one stands behind the one before.
    #[prost(sint32, repeated, tag = "2")]
    line_steps: Vec<i32>,
    /// How long each operand is.
    #[prost(uint32, repeated, tag = "3")]
    lengths: Vec<u32>,
    /// All operands, one behind the other.
    #[prost(bytes = "vec", tag = "4")]
    text: Vec<u8>,
    /// Where operands go on in another line.
    #[prost(message, repeated, tag = "5")]
    line_breaks: Vec<KeptLineBreak>,
}

/// A [`LineBreak`] as it is kept.
#[derive(Clone, PartialEq, Message)]
struct KeptLineBreak {
    #[prost(uint32, tag = "1")]
    directive: u32,
    #[prost(uint32, tag = "2")]
    at: u32,
    #[prost(uint32, tag = "3")]
    lines: u32,
}

/// `directives` as compressed bytes.
pub(super) fn encode(directives: &Directives) -> Bytes {
    let mut columns = Columns::default();
    let mut line = 0;
    for directive in &directives.list {
        let operand = directives.operand(directive);
        columns.kinds.push(directive.kind as u8);
        columns.line_steps.push(directive.line as i32 - line);
        columns.lengths.push(operand.len() as u32);
        columns.text.extend_from_slice(operand);
        line = directive.line as i32;
    }
    let kept = |&LineBreak { directive, at, lines }: &LineBreak| KeptLineBreak { directive, at, lines };
    columns.line_breaks = directives.line_breaks.iter().map(kept).collect();
    Bytes::from(lz4_flex::compress_prepend_size(&columns.encode_to_vec()))
}

/// What [`encode`] made the bytes of; `None` where it can't have been that.
pub(super) fn decode(bytes: &[u8]) -> Option<Directives> {
    let (size_bytes, block) = lz4_flex::block::uncompressed_size(bytes).ok()?;
    if size_bytes / MOST_COMPRESSED > block.len() {
        return None;
    }
    let bytes = lz4_flex::block::decompress(block, size_bytes).ok()?;
    let Columns { kinds, line_steps, lengths, text, line_breaks } = Columns::decode(bytes.as_slice()).ok()?;
    if line_steps.len() != kinds.len() || lengths.len() != kinds.len() {
        return None;
    }
    let mut list = Vec::with_capacity(kinds.len());
    let (mut line, mut start) = (0_i32, 0_u32);
    for ((kind, step), length) in kinds.iter().zip(line_steps).zip(lengths) {
        let kind = *DirectiveKind::ALL.get(usize::from(*kind))?;
        line = line.checked_add(step)?;
        let end = start.checked_add(length)?;
        list.push(Directive { kind, line: line as u32, start, end });
        start = end;
    }
    let line_break = |KeptLineBreak { directive, at, lines }| LineBreak { directive, at, lines };
    let line_breaks: Vec<_> = line_breaks.into_iter().map(line_break).collect();
    let have_directives = line_breaks.iter().all(|line_break| (line_break.directive as usize) < list.len());
    (start as usize == text.len() && have_directives).then_some(Directives { text, list, line_breaks })
}

#[cfg(test)]
mod fuzz {
    use super::{Columns, decode, encode};
    use crate::scan::lex::directives::{Directives, LexModes};
    use crate::scan::lex::lexer::lex;
    use prost::Message as _;
    use pumphouse_fuzz::{any, bounded, check, like};

    const SOURCE: &str = "#ifndef A /* b */\n#define A(x) \\\n x##x\n#include <b.h>\ntext _Pragma(\"once\") __COUNTER__\n\
        #define I asm(\".incbin \\\"x\\\"\") // c\n#endif\n#pragma once\n# 12 \"f.c\"\nR\"x(\n#)x\" '1'2 ??=if\n\
        #if /* 1\n2 */ \\\n __LINE__ && __has_include(<x>)\n#elifdef B\n#endif\nimport <a>;\n%:define $ 1'000\n";

    /// How long all operands are together.
    fn operands(directives: &Directives) -> usize {
        directives.list.iter().map(|directive| directives.operand(directive).len()).sum()
    }

    /// Whatever the source, its directives come back as they were.
    #[test]
    fn sources_of_any_bytes() {
        check(&(like(&[SOURCE]), any::<u32>()), |(source, key)| {
            let directives = bounded(source.len(), || lex(&source, LexModes::of_key(key)));
            assert_eq!(operands(&directives), directives.text.len());
            assert_eq!(decode(&encode(&directives)), Some(directives));
        });
    }

    #[test]
    fn kept_bytes_of_any_kind() {
        let kept = encode(&lex(SOURCE.as_bytes(), LexModes::default()));
        check(&like(&[&kept[..], b"\xff\xff\xff\xffnonsense"]), |bytes| {
            if let Some(directives) = bounded(bytes.len(), || decode(&bytes)) {
                assert_eq!(operands(&directives), directives.text.len());
            }
        });
        let plain = lz4_flex::decompress_size_prepended(&kept).expect("what we wrote");
        assert!(Columns::decode(plain.as_slice()).is_ok());
        check(&like(&[plain]), |plain| {
            let bytes = lz4_flex::compress_prepend_size(&plain);
            if let Some(directives) = bounded(plain.len(), || decode(&bytes)) {
                assert_eq!(operands(&directives), directives.text.len());
                assert!(directives.line_breaks.iter().all(|at| (at.directive as usize) < directives.list.len()));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use crate::scan::lex::directives::LexModes;
    use crate::scan::lex::lexer::lex;

    #[test]
    fn directives_come_back() {
        let source = "#ifndef A /* b */\n#define A(x) \\\n x##x\n#include <b.h>\ntext _Pragma(\"once\") __COUNTER__\n\
                      #define I asm(\".incbin \\\"x\\\"\") // c\n#endif\n#pragma once\n# 12 \"f.c\"\n\
                      #if /* 1\n2 */ \\\n __LINE__\n#endif\n";
        let directives = lex(source.as_bytes(), LexModes::default());
        let decoded = decode(&encode(&directives)).expect("decoded");
        assert_eq!(decoded, directives);
        assert!(decode(&[]).is_none() && decode(b"\x10\0\0\0nonsense").is_none());
        assert!(decode(b"\xff\xff\xff\xffnonsense").is_none(), "no 4 GiB are taken for it");
    }

    #[test]
    fn a_key_stands_for_its_modes() {
        for modes in [
            LexModes::default(),
            LexModes { raw_strings: true, ..LexModes::default() },
            LexModes { trigraphs: true, no_elifdef: true, assembler: true, ..LexModes::default() },
        ] {
            assert_eq!(LexModes::of_key(modes.key()), modes);
        }
    }
}
