//! Units: parses and formats durations and sizes.
//!
//! In:  `"1m30s"`, `"64KiB"`, or a number of bytes.
//! Out: milliseconds or bytes, or a sentence that explains the error.
//!
//! A bare number is not a duration, because 5 could mean seconds or milliseconds. Only 0 needs no unit.

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZE_UNITS: [(&str, u64); 5] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// Reads a duration such as `"25s"`, `"500ms"`, `"1m30s"`; returns milliseconds.
///
/// # Errors
/// A sentence that explains the format of a duration.
pub(crate) fn parse_duration_ms(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && text != "0" {
        return Err(format!("a duration needs a unit: \"{text}s\" or \"{text}ms\"?"));
    }
    if text == "0" {
        return Ok(0);
    }
    let wrong =
        || "a duration is written like \"25s\", \"500ms\" or \"1m30s\" (units: ms, s, m, h, d)".to_owned();
    let (mut rest, mut total_ms) = (text, 0u64);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, next) = tail.split_at(letters);
        let factor = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1;
        let part_ms = number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(wrong)?;
        total_ms = total_ms.checked_add(part_ms).ok_or_else(wrong)?;
        rest = next;
    }
    Ok(total_ms)
}

/// Reads a size such as `"64KiB"`, `"1 MiB"` or `"4096"` (bytes); returns bytes.
///
/// # Errors
/// A sentence that explains the format of a size.
pub(crate) fn parse_size_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let factor = match SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => *factor,
        None if unit.is_empty() => 1,
        None => {
            return Err(
                "a size is a number of bytes, or written like \"64KiB\" (units: B, KiB, MiB, GiB, TiB)"
                    .into(),
            );
        }
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .ok_or_else(|| "a size is a whole number with an optional unit, like 65536 or \"64KiB\"".into())
}

/// The shortest exact way to write a number of bytes: `65536` is `64KiB`.
pub(crate) fn show_size(bytes: u64) -> String {
    let (unit, factor) = SIZE_UNITS
        .iter()
        .rev()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .unwrap_or(&SIZE_UNITS[0]);
    format!("{}{unit}", bytes / factor)
}

/// A number of bytes for people, rounded to one decimal: `4.7 GiB`.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub(crate) fn about_size(bytes: u64) -> String {
    let (unit, factor) =
        SIZE_UNITS.iter().rev().find(|(_, factor)| bytes >= *factor).unwrap_or(&SIZE_UNITS[0]);
    if *factor == 1 {
        return format!("{bytes} B");
    }
    format!("{:.1} {unit}", bytes as f64 / *factor as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_numbers_with_units() {
        assert_eq!(parse_duration_ms("25s"), Ok(25_000));
        assert_eq!(parse_duration_ms("500ms"), Ok(500));
        assert_eq!(parse_duration_ms("1m30s"), Ok(90_000));
        assert_eq!(parse_duration_ms("1h"), Ok(3_600_000));
        assert_eq!(parse_duration_ms("0"), Ok(0));
    }

    #[test]
    fn a_bare_number_is_not_a_duration_and_the_refusal_shows_how_to_write_it() {
        assert!(parse_duration_ms("25").unwrap_err().contains("\"25s\""));
    }

    #[test]
    fn nonsense_is_refused_without_overflow() {
        for text in ["", "s", "5x", "-5s", "1.5s", "99999999999999999999s", "18446744073709551615h", "5s5"] {
            assert!(parse_duration_ms(text).is_err(), "{text}");
        }
        for text in ["", "KiB", "5KB", "-1", "1.5MiB", "18446744073709551615KiB"] {
            assert!(parse_size_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_read_back_as_they_are_shown() {
        for bytes in [1, 1023, 1024, 4096, 65_536, 65_537, 1 << 20, 3 << 30] {
            assert_eq!(parse_size_bytes(&show_size(bytes)), Ok(bytes));
        }
        assert_eq!(about_size(4_900_000_000), "4.6 GiB");
    }
}
