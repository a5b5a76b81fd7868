//! Sec-WebSocket-Key (RFC 6455 §4.1 item 7, §4.2.1 item 5): sixteen bytes in base64.
//!
//! In:  the header of a request, or sixteen bytes that a client chose.
//! Out: whether it is well-formed; its text; the accept value that answers it.

use tungstenite::handshake::derive_accept_key;

const BYTES: usize = 16;
const TEXT_BYTES: usize = 24;

/// True exactly when `text` is base64 of sixteen bytes. The bits that base64 leaves over in the last letter
/// may be anything (RFC 4648 §3.5 leaves that to the reader): no one uses the decoded value.
pub(super) fn is_well_formed(text: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    text.len() == TEXT_BYTES && text.strip_suffix(b"==").is_some_and(|letters| letters.iter().all(is_letter))
}

/// The header value for the key that a client chose.
pub(super) fn to_text(key: &[u8; BYTES]) -> [u8; TEXT_BYTES] {
    let mut text = [0; TEXT_BYTES];
    data_encoding::BASE64.encode_mut(key, &mut text);
    text
}

/// The Sec-WebSocket-Accept value that proves the key was read (RFC 6455 §4.2.2 item 5.4).
pub(super) fn accept(text: &[u8]) -> String {
    derive_accept_key(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_gives_its_accept_value() {
        let text = to_text(b"the sample nonce");
        assert_eq!(&text, b"dGhlIHNhbXBsZSBub25jZQ==");
        assert!(is_well_formed(&text));
        assert_eq!(accept(&text), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn keys_of_another_length_or_alphabet_are_malformed() {
        for text in [
            "",
            "==",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQAA",
            "dGhlIHNhbXBsZSBub25j==",
            "dGhlIHNhbXBsZSBub25j-Q==",
        ] {
            assert!(!is_well_formed(text.as_bytes()), "{text}");
        }
    }
}
