//! Masked: texts as they may be shown.
//!
//! In:  an address, or what should be one; any text of the configuration.
//! Out: the same without what may be a secret in it.

use std::borrow::Cow;

/// What takes the place of what is left out.
const LEFT_OUT: &str = "***";

/// An address without its credentials, its query and its fragment. What is no address is treated alike: it may have been
/// meant as one.
pub(crate) fn address(text: &str) -> String {
    let (rest, has_more) = match text.find(['?', '#']) {
        Some(end) => (&text[..end], true),
        None => (text, false),
    };
    let begin = rest.find("://").map_or(0, |at| at + "://".len());
    // A password may hold what would end it in a right address.
    let (credentials, host) = match rest[begin..].rfind('@') {
        Some(at) => (LEFT_OUT, &rest[begin + at..]),
        None => ("", &rest[begin..]),
    };
    let more = if has_more { "?" } else { "" };
    let left_out = if has_more { LEFT_OUT } else { "" };
    format!("{}{credentials}{host}{more}{left_out}", &rest[..begin])
}

/// Any text, unless it holds a private key.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    if text.contains("PRIVATE KEY") { "(a private key)".into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_credentials_query_and_fragment() {
        for (written, shown) in [
            ("https://app.test/events", "https://app.test/events"),
            ("https://app.test/events?key=hunter2&a=b", "https://app.test/events?***"),
            ("https://app.test#hunter2", "https://app.test?***"),
            ("https://user:hunter2@app.test/", "https://***@app.test/"),
            ("https://user:hun/ter@2@app.test/x", "https://***@app.test/x"),
            ("user:hunter2@app.test", "***@app.test"),
            ("http://[::1]:80/?hunter2?", "http://[::1]:80/?***"),
            ("hunter2", "hunter2"),
            ("", ""),
        ] {
            assert_eq!(address(written), shown);
        }
    }

    #[test]
    fn a_private_key_is_not_shown() {
        assert_eq!(text("-----BEGIN EC PRIVATE KEY-----\nhunter2"), "(a private key)");
        assert_eq!(text("a text"), "a text");
    }
}
