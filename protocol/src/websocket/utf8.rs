//! UTF-8 of text that arrives in pieces (RFC 6455 §8.1, RFC 3629).
//!
//! In:  the text so far, and how much of it has been checked.
//! Out: how much is checked now; or the fault, at the first byte that no continuation can mend.
//!
//! At most the last three bytes, an unfinished character, are ever looked at twice.

/// True exactly when `bytes` are UTF-8 from beginning to end.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    simdutf8::basic::from_utf8(bytes).is_ok()
}

/// Checks `bytes` from `checked_bytes` on, and returns the new `checked_bytes`: all, but for an unfinished
/// character at the end. `None` means that what has come can never become UTF-8.
pub(super) fn check_further(bytes: &[u8], checked_bytes: usize) -> Option<usize> {
    match simdutf8::compat::from_utf8(&bytes[checked_bytes..]) {
        Ok(_) => Some(bytes.len()),
        // No length: the end came before the character did, and nothing is wrong with it so far.
        Err(error) if error.error_len().is_none() => Some(checked_bytes + error.valid_up_to()),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of bytes after which `bytes`, coming one at a time, are found to be wrong.
    fn fails_at(bytes: &[u8]) -> Option<usize> {
        let mut checked = 0;
        for len in 1..=bytes.len() {
            match check_further(&bytes[..len], checked) {
                Some(now) => checked = now,
                None => return Some(len),
            }
        }
        None
    }

    #[test]
    fn text_of_every_character_length_passes_byte_by_byte() {
        assert_eq!(fails_at("aé漢\u{10ffff}z".as_bytes()), None);
    }

    #[test]
    fn each_kind_of_fault_is_found_at_its_first_byte() {
        assert_eq!(fails_at(b"a\x80"), Some(2), "continuation without a start");
        assert_eq!(fails_at(b"\xc0\x80"), Some(1), "overlong two bytes");
        assert_eq!(fails_at(b"\xe0\x80\x80"), Some(2), "overlong three bytes");
        assert_eq!(fails_at(b"\xf0\x80\x80\x80"), Some(2), "overlong four bytes");
        assert_eq!(fails_at(b"\xed\xa0\x80"), Some(2), "surrogate");
        assert_eq!(fails_at(b"\xf4\x90\x80\x80"), Some(2), "beyond U+10FFFF");
        assert_eq!(fails_at(b"\xf5"), Some(1), "never a start");
        assert_eq!(fails_at(b"\xe6\xbcA"), Some(3), "cut character");
    }

    #[test]
    fn an_unfinished_character_stays_unchecked() {
        assert_eq!(check_further(b"ab\xe6\xbc", 0), Some(2));
        assert!(!is_whole(b"ab\xe6\xbc"));
    }

    #[test]
    fn a_long_text_is_checked_up_to_its_unfinished_character() {
        let mut text = "漢".repeat(100).into_bytes();
        text.pop();
        assert_eq!(check_further(&text, 0), Some(297));
    }
}
