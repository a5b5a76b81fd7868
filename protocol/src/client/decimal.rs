//! Decimal numbers, compared exactly.
//!
//! In:  text such as `-10.50`.
//! Out: which of two is the larger.
//!
//! No floating point, hence no surprise with prices and with ids of 64 bits; no allocation.

use std::cmp::Ordering;

/// The longest number that is read, in bytes.
const BYTES_MAX: usize = 200;
/// The most digits after the point.
const FRACTION_DIGITS_MAX: usize = 19;

/// A number; zeros that say nothing are left out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decimal<'a> {
    negative: bool,
    integer: &'a str,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    /// How `left` stands to `right`; `None` where there is no left or one of them is not a number.
    pub(super) fn compare(left: Option<&str>, right: &str) -> Option<Ordering> {
        Some(Decimal::parse(left?)?.cmp(Decimal::parse(right)?))
    }

    fn parse(text: &'a str) -> Option<Self> {
        if text.len() > BYTES_MAX {
            return None;
        }
        let magnitude = text.strip_prefix(['+', '-']).unwrap_or(text);
        let (integer, fraction) = match magnitude.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (magnitude, ""),
        };
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if integer.is_empty() || !digits(integer) || !digits(fraction) || fraction.len() > FRACTION_DIGITS_MAX
        {
            return None;
        }
        let (integer, fraction) = (integer.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let is_zero = integer.is_empty() && fraction.is_empty();
        Some(Self { negative: text.starts_with('-') && !is_zero, integer, fraction })
    }

    fn cmp(self, other: Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.cmp_magnitude(other),
            (true, true) => other.cmp_magnitude(self),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }

    fn cmp_magnitude(self, other: Self) -> Ordering {
        // Without leading zeros the longer integer is the larger; without trailing ones fractions sort as text.
        let by_len = self.integer.len().cmp(&other.integer.len());
        by_len.then(self.integer.cmp(other.integer)).then(self.fraction.cmp(other.fraction))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_value() {
        let rising =
            ["-100", "-10.5", "-10.45", "0", "0.001", "0.01", "9", "10", "10.5", "18446744073709551616"];
        for (i, left) in rising.iter().enumerate() {
            for (j, right) in rising.iter().enumerate() {
                assert_eq!(Decimal::compare(Some(left), right), Some(i.cmp(&j)), "{left} {right}");
            }
        }
    }

    #[test]
    fn one_value_may_be_written_in_several_ways() {
        for (left, right) in [("1", "+1"), ("01", "1.0"), ("-0", "0.00"), ("1.50", "1.5")] {
            assert_eq!(Decimal::compare(Some(left), right), Some(Ordering::Equal), "{left} {right}");
        }
    }

    #[test]
    fn what_is_not_a_decimal_number_is_not_compared() {
        let long = "1".repeat(BYTES_MAX + 1);
        for text in
            ["", "-", "1.", ".5", "1e3", "0x1", " 1", "1,0", "--1", "1.2.3", "1.00000000000000000001", &long]
        {
            assert_eq!(Decimal::compare(Some(text), "1"), None, "{text}");
        }
        assert_eq!(Decimal::compare(None, "1"), None);
    }
}
