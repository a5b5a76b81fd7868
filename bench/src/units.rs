//! Units: counts, sizes, durations and rates as people write and read them.
//!
//! In:  `"100k"`, `"4KiB"`, `"1m30s"`, `"10k/s"`; or plain numbers to be shown.
//! Out: numbers in base units, or the sentence that says what the text should look like; and text for reports.
//!
//! A bare number is never a duration: nobody can tell whether 5 means seconds or milliseconds.

use std::time::Duration;

const COUNT_UNITS: [(&str, f64); 4] = [("", 1.0), ("k", 1e3), ("K", 1e3), ("M", 1e6)];
const SIZE_UNITS: [(&str, f64); 5] =
    [("", 1.0), ("B", 1.0), ("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0)];
const DURATION_UNITS: [(&str, f64); 5] = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
const RATE_UNITS: [(&str, f64); 3] = [("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// Reads a count such as `"5000"`, `"100k"` or `"1.5M"`.
///
/// # Errors
/// A sentence that says what a count looks like.
pub fn parse_count(text: &str) -> Result<u32, String> {
    let wrong = || "a count is a whole number, or written like \"100k\" or \"1M\"".to_owned();
    let value = scaled(text.trim(), &COUNT_UNITS).ok_or_else(wrong)?;
    if value.fract() != 0.0 || value > f64::from(u32::MAX) {
        return Err(wrong());
    }
    u32::try_from(whole(value)).map_err(|_| wrong())
}

/// Reads a size such as `"64"` (bytes), `"4KiB"` or `"1MiB"`; returns bytes.
///
/// # Errors
/// A sentence that says what a size looks like.
pub fn parse_size_bytes(text: &str) -> Result<usize, String> {
    let wrong =
        || "a size is a number of bytes, or written like \"4KiB\" (units: B, KiB, MiB, GiB)".to_owned();
    let value = scaled(text.trim(), &SIZE_UNITS).ok_or_else(wrong)?;
    usize::try_from(whole(value)).map_err(|_| wrong())
}

/// Reads a duration such as `"10s"`, `"500ms"` or `"1m30s"`.
///
/// # Errors
/// A sentence that says what a duration looks like.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || "a duration is written like \"10s\", \"500ms\" or \"1m30s\" (units: us, ms, s, m, h)".to_owned();
    let (mut rest, mut seconds) = (text.trim(), 0.0);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
        let unit = rest[number..].find(|c: char| !c.is_ascii_alphabetic()).map_or(rest.len(), |n| number + n);
        seconds += scaled(&rest[..unit], &DURATION_UNITS).ok_or_else(wrong)?;
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

/// Reads a rate such as `"10k/s"`, `"30/m"` or `"500"` (a second); returns events a second, above zero.
///
/// # Errors
/// A sentence that says what a rate looks like.
pub fn parse_rate_per_s(text: &str) -> Result<f64, String> {
    let wrong = || "a rate is written like \"10k/s\", \"500/s\" or \"30/m\", and is above zero".to_owned();
    let text = text.trim();
    let (count, per) = text.split_once('/').unwrap_or((text, "s"));
    let count = scaled(count.trim(), &COUNT_UNITS).ok_or_else(wrong)?;
    let (_, per_s) = RATE_UNITS.iter().find(|(unit, _)| *unit == per.trim()).ok_or_else(wrong)?;
    if count > 0.0 { Ok(count / per_s) } else { Err(wrong()) }
}

/// Reads a share such as `"1%"` or `"0.5%"`; returns it as a part of 1.
///
/// # Errors
/// A sentence that says what a share looks like.
pub fn parse_share(text: &str) -> Result<f64, String> {
    let number = text.trim().strip_suffix('%').and_then(|number| scaled(number.trim(), &[("", 0.01)]));
    number
        .filter(|&share| share < 1.0)
        .ok_or_else(|| "a share is written like \"1%\", and is below 100%".to_owned())
}

/// A number with its unit, scaled to the base unit. Never negative.
fn scaled(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.replace('_', "").parse::<f64>().ok().map(|n| n * factor)
}

/// The whole part of a number that is known not to be negative; saturates.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturating is what is wanted here"
)]
pub fn whole(value: f64) -> u64 {
    value as u64
}

/// Nanoseconds in a duration; saturates after 584 years.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A count or an amount as a ratio's part. Exact up to 2^53.
pub fn real(value: u64) -> f64 {
    value as f64
}

/// `1234567` as `1,234,567`.
pub fn show_count(value: u64) -> String {
    let digits = value.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Microseconds in the unit that reads best: `4.2 µs`, `3.17 ms`, `12.0 s`.
pub fn show_us(us: f64) -> String {
    match us {
        us if us < 99.95 => format!("{us:.1} µs"),
        us if us < 999.5 => format!("{us:.0} µs"),
        us if us < 9_995.0 => format!("{:.2} ms", us / 1e3),
        us if us < 99_950.0 => format!("{:.1} ms", us / 1e3),
        us if us < 999_500.0 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

/// Bytes in the unit that reads best: `270 B`, `26.4 MiB`. Keeps the sign.
pub fn show_bytes(bytes: f64) -> String {
    match bytes.abs() {
        size if size < 1024.0 => format!("{bytes:.0} B"),
        size if size < 1_048_576.0 => format!("{:.1} KiB", bytes / 1024.0),
        size if size < 1_073_741_824.0 => format!("{:.1} MiB", bytes / 1_048_576.0),
        _ => format!("{:.2} GiB", bytes / 1_073_741_824.0),
    }
}

/// A number of events a second: `9,870/s`, `0.5/s`.
pub fn show_rate(per_s: f64) -> String {
    if per_s < 10.0 { format!("{per_s:.1}/s") } else { format!("{}/s", show_count(whole(per_s.round()))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_take_thousands_and_millions() {
        assert_eq!(parse_count("100k"), Ok(100_000));
        assert_eq!(parse_count("1.5M"), Ok(1_500_000));
        assert_eq!(parse_count("100_000"), Ok(100_000));
        for wrong in ["", "k", "-1", "1.5", "1e9", "10 cats", "9999M"] {
            assert!(parse_count(wrong).is_err(), "{wrong:?} is no count");
        }
    }

    #[test]
    fn sizes_are_bytes_unless_a_unit_says_otherwise() {
        assert_eq!(parse_size_bytes("64"), Ok(64));
        assert_eq!(parse_size_bytes("4KiB"), Ok(4096));
        assert!(parse_size_bytes("4kB").is_err());
    }

    #[test]
    fn a_duration_without_a_unit_is_refused() {
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2.5s"), Ok(Duration::from_millis(2500)));
        for wrong in ["5", "", "s", "1m30", "10parsecs"] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?} is no duration");
        }
    }

    #[test]
    fn rates_are_a_second_unless_said_otherwise_and_never_zero() {
        assert_eq!(parse_rate_per_s("10k/s"), Ok(10_000.0));
        assert_eq!(parse_rate_per_s("30/m"), Ok(0.5));
        assert_eq!(parse_rate_per_s("500"), Ok(500.0));
        for wrong in ["0/s", "", "/s", "10/fortnight"] {
            assert!(parse_rate_per_s(wrong).is_err(), "{wrong:?} is no rate");
        }
    }

    #[test]
    fn shares_are_read_in_percent() {
        assert_eq!(parse_share("1%"), Ok(0.01));
        assert_eq!(parse_share(" 0.5 %"), Ok(0.005));
        for text in ["1", "100%", "-1%", "%"] {
            assert!(parse_share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_shown_in_the_unit_that_reads_best() {
        assert_eq!(show_count(1_234_567), "1,234,567");
        assert_eq!(show_count(12), "12");
        assert_eq!(show_us(4.21), "4.2 µs");
        assert_eq!(show_us(3_170.0), "3.17 ms");
        assert_eq!(show_bytes(27_682_000.0), "26.4 MiB");
        assert_eq!(show_bytes(-2048.0), "-2.0 KiB");
        assert_eq!(show_rate(9_870.4), "9,870/s");
    }
}
