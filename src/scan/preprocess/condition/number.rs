//! Numbers, character constants and the arithmetic on them.

use crate::command::Family;
use crate::scan::preprocess::condition::{Evaluation, Sign, Value};
use crate::scan::preprocess::symbols::{Symbol, known};

/// The value of an integer constant; unknown for what is none.
pub(super) fn parse(text: &[u8]) -> Value {
    let (radix, digits) = match text {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', b'b' | b'B', rest @ ..] => (2, rest),
        [b'0', ..] => (8, text),
        _ => (10, text),
    };
    let is_digit = |byte: &u8| (*byte as char).is_digit(radix);
    let length = digits.iter().position(|byte| *byte != b'\'' && !is_digit(byte)).unwrap_or(digits.len());
    let (digits, suffix) = digits.split_at(length);
    let Some(sign_of_suffix) = suffix_sign(suffix) else { return Value::Unknown };
    if !digits.iter().any(is_digit) {
        return Value::Unknown;
    }
    let mut bits: u64 = 0;
    for digit in digits.iter().filter_map(|byte| (*byte as char).to_digit(radix)) {
        let Some(more) = bits.checked_mul(u64::from(radix)).and_then(|bits| bits.checked_add(u64::from(digit))) else {
            return Value::Unknown;
        };
        bits = more;
    }
    // A constant that no signed type holds is unsigned, with a warning where it is decimal.
    Value::Known { bits, sign: if bits > i64::MAX as u64 { Sign::Unsigned } else { sign_of_suffix } }
}

fn suffix_sign(suffix: &[u8]) -> Option<Sign> {
    const SIGNED: &[&[u8]] = &[b"", b"l", b"ll", b"z"];
    const UNSIGNED: &[&[u8]] = &[b"u", b"ul", b"ull", b"lu", b"llu", b"uz", b"zu"];
    let is_one_of = |known: &[&[u8]]| known.iter().any(|known| known.eq_ignore_ascii_case(suffix));
    if is_one_of(SIGNED) { Some(Sign::Signed) } else { is_one_of(UNSIGNED).then_some(Sign::Unsigned) }
}

/// The value of a character constant; unknown for what depends on the execution character set, and on whether characters
/// and wide ones are signed, which macros don't tell for sure.
pub(super) fn character(text: &[u8]) -> Value {
    let (text, sign) = match text {
        [b'u' | b'U', rest @ ..] if rest.starts_with(b"'") => (rest, Sign::Unsigned),
        text => (text, Sign::Signed),
    };
    let body = text.strip_prefix(b"'").and_then(|rest| rest.strip_suffix(b"'"));
    let Some(units) = body.and_then(units) else { return Value::Unknown };
    let longest = if sign == Sign::Unsigned { 1 } else { 4 };
    if units.len() > longest || units.iter().any(|unit| *unit >= 0x80) {
        return Value::Unknown;
    }
    let bits = units.iter().fold(0_u64, |all, unit| all << 8 | u64::from(*unit));
    Value::Known { bits, sign }
}

fn units(body: &[u8]) -> Option<Vec<u32>> {
    let mut units = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let byte = body[at];
        at += 1;
        if byte >= 0x80 {
            return None;
        }
        if byte != b'\\' {
            units.push(u32::from(byte));
            continue;
        }
        let escape = *body.get(at)?;
        at += 1;
        units.push(match escape {
            b'n' => 10,
            b't' => 9,
            b'r' => 13,
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'v' => 11,
            b'e' | b'E' => 27,
            b'\\' | b'\'' | b'"' | b'?' => u32::from(escape),
            b'x' => {
                let length = body[at..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
                let value = u32::from_str_radix(std::str::from_utf8(&body[at..at + length]).ok()?, 16).ok()?;
                at += length;
                value
            }
            b'0'..=b'7' => {
                let length = body[at..].iter().take(2).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
                let digits = std::str::from_utf8(&body[at - 1..at + length]).ok()?;
                at += length;
                u32::from_str_radix(digits, 8).ok()?
            }
            _ => return None,
        });
    }
    (!units.is_empty()).then_some(units)
}

/// `left operator right`. What is not evaluated has no effect, and no errors either.
pub(super) fn binary(operator: Symbol, left: Value, right: Value, evaluation: Evaluation, family: Family) -> Value {
    if matches!(operator, known::AND_AND | known::OR_OR) {
        return logical(operator, left, right);
    }
    let (Value::Known { bits: a, sign: sign_of_a }, Value::Known { bits: b, sign: sign_of_b }) = (left, right) else {
        return Value::Unknown;
    };
    let is_unsigned = sign_of_a == Sign::Unsigned || sign_of_b == Sign::Unsigned;
    let sign = if is_unsigned { Sign::Unsigned } else { Sign::Signed };
    let (signed_a, signed_b) = (a as i64, b as i64);
    let number = |bits| Value::Known { bits, sign };
    let truth = |value| if value { Value::TRUE } else { Value::FALSE };
    let ordered = |signed: bool, unsigned: bool| truth(if is_unsigned { unsigned } else { signed });
    match operator {
        known::OR => number(a | b),
        known::XOR => number(a ^ b),
        known::AND => number(a & b),
        known::EQUAL => truth(a == b),
        known::NOT_EQUAL => truth(a != b),
        known::LESS => ordered(signed_a < signed_b, a < b),
        known::GREATER => ordered(signed_a > signed_b, a > b),
        known::LESS_EQUAL => ordered(signed_a <= signed_b, a <= b),
        known::GREATER_EQUAL => ordered(signed_a >= signed_b, a >= b),
        known::SHIFT_LEFT | known::SHIFT_RIGHT => {
            // The type is that of the left operand.
            let direction = if operator == known::SHIFT_RIGHT { Direction::Right } else { Direction::Left };
            let bits = match family {
                Family::Gcc => shift_either_way((a, sign_of_a), (b, sign_of_b), direction),
                // A count that is too large, a negative one for instance, is the largest; of a right shift half of it counts.
                Family::Clang if direction == Direction::Right => {
                    shift((a, sign_of_a), b & u64::from(u32::MAX), direction)
                }
                Family::Clang => shift((a, sign_of_a), b, direction),
            };
            Value::Known { bits, sign: sign_of_a }
        }
        known::PLUS => number(a.wrapping_add(b)),
        known::MINUS => number(a.wrapping_sub(b)),
        known::STAR => number(a.wrapping_mul(b)),
        known::SLASH | known::PERCENT if b == 0 => {
            if evaluation == Evaluation::Evaluated {
                Value::Unknown
            } else {
                number(0)
            }
        }
        known::SLASH if is_unsigned => number(a / b),
        known::SLASH => number(signed_a.wrapping_div(signed_b) as u64),
        known::PERCENT if is_unsigned => number(a % b),
        known::PERCENT => number(signed_a.wrapping_rem(signed_b) as u64),
        _ => Value::Unknown,
    }
}

fn logical(operator: Symbol, left: Value, right: Value) -> Value {
    // What one operand alone decides.
    let (decisive, decided) = if operator == known::OR_OR { (true, Value::TRUE) } else { (false, Value::FALSE) };
    match (left.is_true(), right.is_true()) {
        (Some(value), _) | (_, Some(value)) if value == decisive => decided,
        (Some(_), Some(_)) if decisive => Value::FALSE,
        (Some(_), Some(_)) => Value::TRUE,
        _ => Value::Unknown,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Left,
    Right,
}

/// A negative count shifts the other way.
const fn shift_either_way(operand: (u64, Sign), (count, sign_of_count): (u64, Sign), direction: Direction) -> u64 {
    let is_negative = matches!(sign_of_count, Sign::Signed) && (count as i64) < 0;
    if !is_negative {
        return shift(operand, count, direction);
    }
    let other = match direction {
        Direction::Left => Direction::Right,
        Direction::Right => Direction::Left,
    };
    shift(operand, count.wrapping_neg(), other)
}

/// A count of at least 64 shifts everything out.
const fn shift((bits, sign): (u64, Sign), count: u64, direction: Direction) -> u64 {
    match (direction, sign) {
        (Direction::Left, _) if count < 64 => bits << count,
        (Direction::Right, Sign::Unsigned) if count < 64 => bits >> count,
        (Direction::Left, _) | (Direction::Right, Sign::Unsigned) => 0,
        (Direction::Right, Sign::Signed) => ((bits as i64) >> if count < 64 { count } else { 63 }) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_characters_have_the_compilers_values() {
        let signed = |bits| Value::Known { bits, sign: Sign::Signed };
        let unsigned = |bits| Value::Known { bits, sign: Sign::Unsigned };
        let check = |text: &str, expect: Value| assert_eq!(parse(text.as_bytes()), expect, "{text}");
        check("0", signed(0));
        check("017", signed(15));
        check("0x1F", signed(31));
        check("0b101", signed(5));
        check("1'000", signed(1000));
        check("3uLL", unsigned(3));
        check("9223372036854775807", signed(i64::MAX as u64));
        check("9223372036854775808", unsigned(1 << 63));
        for none in ["08", "1.0", "1e3", "0x", "18446744073709551616", "1q", "5lul"] {
            check(none, Value::Unknown);
        }
        let check = |text: &str, expect: Value| assert_eq!(character(text.as_bytes()), expect, "{text}");
        check("'a'", signed(97));
        check("'ab'", signed(0x6162));
        check("'\\0'", signed(0));
        check("'\\x41'", signed(65));
        check("'\\''", signed(39));
        check("u'a'", unsigned(97));
        for none in ["'\\xff'", "L'a'", "'\u{e9}'", "''"] {
            check(none, Value::Unknown);
        }
    }
}
