//! What of a blob is to be sent, if anything: entity tags and ranges.
//!
//! **Source:** RFC 9110, sections 13 and 14.

use axum::http::{HeaderMap, header};
use std::ops::Range;

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// One part.
    Part(Range<u64>),
    /// Nothing: the client has it.
    Nothing,
    /// A part that it doesn't have.
    Impossible,
}

impl Wanted {
    /// What the headers of a request want of something that has `size_bytes` and this entity tag.
    pub(super) fn by(headers: &HeaderMap, tag: &str, size_bytes: u64) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let names_it = |list: &str| list.split(',').map(str::trim).any(|one| one == "*" || weakly(one) == tag);
        if text(header::IF_NONE_MATCH).is_some_and(names_it) {
            return Self::Nothing;
        }
        // A part of what it was before would be of no use.
        if text(header::IF_RANGE).is_some_and(|wanted| wanted != tag) {
            return Self::Whole;
        }
        text(header::RANGE).and_then(|range| Self::of_range(range, size_bytes)).unwrap_or(Self::Whole)
    }

    /// `None` for what isn't understood, or is of more than one part: then all of it may be sent.
    fn of_range(range: &str, size_bytes: u64) -> Option<Self> {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let (first, last) = (first.trim(), last.trim());
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse().unwrap_or(u64::MAX))
        };
        let range = if first.is_empty() {
            let length = number(last)?;
            size_bytes.saturating_sub(length)..size_bytes
        } else {
            let first = number(first)?;
            let end = if last.is_empty() { size_bytes } else { number(last)?.saturating_add(1).min(size_bytes) };
            if number(last).is_some_and(|last| last < first) {
                return None;
            }
            first..end
        };
        Some(if range.is_empty() { Self::Impossible } else { Self::Part(range) })
    }
}

fn weakly(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    #[test]
    fn headers_say_what_is_wanted() {
        for (headers, expect) in [
            (&[][..], Wanted::Whole),
            (&[(header::RANGE, "bytes=0-0")], Wanted::Part(0..1)),
            (&[(header::RANGE, "bytes=2-")], Wanted::Part(2..10)),
            (&[(header::RANGE, "bytes=2-99999999999999999999999")], Wanted::Part(2..10)),
            (&[(header::RANGE, "bytes=-3")], Wanted::Part(7..10)),
            (&[(header::RANGE, "bytes=-30")], Wanted::Part(0..10)),
            (&[(header::RANGE, "bytes=-0")], Wanted::Impossible),
            (&[(header::RANGE, "bytes=10-")], Wanted::Impossible),
            (&[(header::RANGE, "bytes=5-4")], Wanted::Whole),
            (&[(header::RANGE, "bytes=0-1,3-4")], Wanted::Whole),
            (&[(header::RANGE, "lines=0-1")], Wanted::Whole),
            (&[(header::RANGE, "bytes=a-b")], Wanted::Whole),
            (&[(header::RANGE, "bytes=-")], Wanted::Whole),
            (&[(header::IF_NONE_MATCH, "\"a\", W/\"tag\"")], Wanted::Nothing),
            (&[(header::IF_NONE_MATCH, "*")], Wanted::Nothing),
            (&[(header::IF_NONE_MATCH, "\"other\""), (header::RANGE, "bytes=1-1")], Wanted::Part(1..2)),
            (&[(header::IF_RANGE, "\"tag\""), (header::RANGE, "bytes=1-1")], Wanted::Part(1..2)),
            (&[(header::IF_RANGE, "\"other\""), (header::RANGE, "bytes=1-1")], Wanted::Whole),
        ] {
            let map: HeaderMap = headers
                .iter()
                .map(|(name, value): &(HeaderName, &'static str)| (name.clone(), HeaderValue::from_static(value)))
                .collect();
            assert_eq!(Wanted::by(&map, "\"tag\"", 10), expect, "{headers:?}");
        }
    }
}
