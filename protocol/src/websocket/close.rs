//! Closing (RFC 6455 §5.5.1, §7): codes, the body of a close frame, the answer to one.
//!
//! In:  the body of a close frame, or a code and a reason of our own.
//! Out: a checked frame, or a body to send.
//!
//! Who closes first and who waits is the connection's matter, not this file's.

use super::FrameError;

pub use tungstenite::protocol::CloseFrame;
pub use tungstenite::protocol::frame::Utf8Bytes;
pub use tungstenite::protocol::frame::coding::CloseCode;

/// The longest reason, in bytes: a control frame's 125 less the code's two.
pub const REASON_BYTES_MAX: usize = 123;

/// True exactly when a close frame may carry `code` (RFC 6455 §7.4 and the IANA registry it founded).
pub const fn is_legal(code: u16) -> bool {
    match code {
        // §7.4.2: not used.
        0..=999 => false,
        // §7.4.1: normal, going away, protocol error, unsupported data.
        1000..=1003 => true,
        // §7.4.1: reserved; 1005 (none came) and 1006 (no close frame came) are never sent.
        1004..=1006 => false,
        // §7.4.1: invalid data, policy, too big, extension missing, internal error;
        // IANA: service restart, try again later, bad gateway.
        1007..=1014 => true,
        // §7.4.1: 1015 (TLS failed) is never sent; §7.4.2: the rest is unassigned or for later versions.
        1015..=2999 => false,
        // §7.4.2: registered by libraries and frameworks, and private use.
        3000..=4999 => true,
        // §7.4: no meaning.
        5000.. => false,
    }
}

/// What to answer to a close frame that came: its code without the reason, or nothing where nothing came
/// (RFC 6455 §5.5.1). Goes to [`encode_close`](super::encoder::encode_close).
pub fn answer(received: Option<&CloseFrame>) -> Option<(CloseCode, &'static str)> {
    received.map(|close| (close.code, ""))
}

/// `reason`, cut at the end of a character so that it fits a close frame.
pub fn cut_reason(reason: &str) -> &str {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

/// Reads the body of a close frame.
pub(super) fn parse(body: &[u8]) -> Result<Option<CloseFrame>, FrameError> {
    if body.is_empty() {
        return Ok(None);
    }
    let (code, reason) = body.split_first_chunk::<2>().ok_or(FrameError::CloseTruncated)?;
    let code = u16::from_be_bytes(*code);
    if !is_legal(code) {
        return Err(FrameError::CloseCodeIllegal { code });
    }
    let reason = simdutf8::basic::from_utf8(reason).map_err(|_| FrameError::CloseReasonNotUtf8)?;
    Ok(Some(CloseFrame { code: CloseCode::from(code), reason: reason.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(code: u16, reason: &[u8]) -> Vec<u8> {
        [&code.to_be_bytes(), reason].concat()
    }

    #[test]
    fn exactly_the_codes_of_the_rfc_and_the_registry_are_legal() {
        let legal = |code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        for code in 0..=u16::MAX {
            assert_eq!(is_legal(code), legal(code), "{code}");
            let parsed = parse(&body(code, b""));
            assert_eq!(parsed.is_ok(), legal(code), "{code}");
            if let Ok(Some(close)) = parsed {
                assert_eq!(u16::from(close.code), code);
            }
        }
    }

    #[test]
    fn an_empty_body_is_a_close_without_a_code() {
        assert_eq!(parse(b""), Ok(None));
        assert_eq!(answer(None), None);
    }

    #[test]
    fn a_body_of_one_byte_is_refused() {
        assert_eq!(parse(b"\x03"), Err(FrameError::CloseTruncated));
    }

    #[test]
    fn a_reason_that_is_not_utf8_is_refused() {
        assert_eq!(parse(&body(1000, b"\xff")), Err(FrameError::CloseReasonNotUtf8));
        assert_eq!(parse(&body(1000, b"\xe6\xbc")), Err(FrameError::CloseReasonNotUtf8));
    }

    #[test]
    fn the_answer_is_the_code_without_the_reason() {
        let close = parse(&body(4001, b"bye")).unwrap().unwrap();
        assert_eq!(close.reason.as_str(), "bye");
        assert_eq!(answer(Some(&close)), Some((CloseCode::from(4001), "")));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let long = "é".repeat(100);
        assert_eq!(cut_reason(&long).len(), 122);
        assert_eq!(cut_reason("short"), "short");
    }
}
