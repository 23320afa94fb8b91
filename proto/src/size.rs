//! Sizes as people write them.

/// Reads a number of bytes with an optional unit: `k`, `M`, `G`, `T` (of 1024 each, as `KiB` and the like), in either case.
///
/// # Errors
/// A message that quotes `text`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let refused = || format!("{text:?} is not a size, such as 500M or 10G");
    let trimmed = text.trim();
    let digits = trimmed.find(|character: char| !character.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(refused()),
    };
    let number: u64 = number.parse().map_err(|_| refused())?;
    number.checked_mul(1 << shift).ok_or_else(refused)
}

/// Writes a number of bytes as [`parse_size`] reads it, with the largest unit that leaves no rest.
pub fn format_size(bytes: u64) -> String {
    let units = [("T", 40), ("G", 30), ("M", 20), ("k", 10)];
    let fits = |shift: u32| bytes > 0 && bytes.trailing_zeros() >= shift;
    match units.into_iter().find(|(_, shift)| fits(*shift)) {
        Some((unit, shift)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        let check = |text: &str, expect: Option<u64>| assert_eq!(parse_size(text).ok(), expect, "{text:?}");
        check("0", Some(0));
        check("512", Some(512));
        check("1k", Some(1024));
        check("10G", Some(10 << 30));
        check("3 MiB", Some(3 << 20));
        check("2TB", Some(2 << 40));
        check("", None);
        check("G", None);
        check("-1", None);
        check("1.5G", None);
        check("99999999999T", None);
        for (bytes, expect) in [(0, "0"), (1, "1"), (1024, "1k"), (10 << 30, "10G"), ((1 << 30) + 1024, "1048577k")] {
            assert_eq!(format_size(bytes), expect);
            assert_eq!(parse_size(expect), Ok(bytes));
        }
    }
}
