//! Origin: which web pages may connect.
//!
//! In:  patterns of the configuration; the `Origin` header of a request.
//! Out: yes or no.
//!
//! A browser tells the origin of the page that connects (RFC 6454 §7), and no page can make it lie. What is no browser
//! tells none, and is not checked: for it the token decides.

/// The patterns of `client.allowed_origins`.
#[derive(Debug)]
pub(crate) struct Origins {
    /// In lower case: scheme and host of an origin are.
    patterns: Vec<String>,
}

impl Origins {
    pub(crate) fn new(patterns: &[String]) -> Self {
        Self { patterns: patterns.iter().map(|pattern| pattern.to_ascii_lowercase()).collect() }
    }

    /// True exactly when a request with this `Origin` header, or without one, may connect.
    pub(crate) fn admit(&self, origin: Option<&[u8]>) -> bool {
        let Some(origin) = origin else { return true };
        let origin = origin.to_ascii_lowercase();
        self.patterns.iter().any(|pattern| matches(pattern.as_bytes(), &origin))
    }
}

/// The top of names that nobody can register (RFC 6761; ICANN has kept `internal` for private use).
const PRIVATE_SUFFIXES: [&str; 4] = ["internal", "local", "localhost", "test"];

/// True exactly when a pattern has a star that reaches the part of a host that anybody can register for a name of their own:
/// where the host does not end with `.` and two names. `*` alone says that it means all. Suffixes such as `co.uk` are
/// taken for a name of somebody's.
pub(crate) fn is_open_ended(pattern: &str) -> bool {
    let host_and_port = pattern.split_once("://").map_or(pattern, |(_, rest)| rest);
    let host = host_and_port.split([':', '/']).next().unwrap_or_default();
    let Some((_, fixed)) = host.rsplit_once('*').filter(|_| pattern != "*") else { return false };
    match fixed.strip_prefix('.') {
        Some(suffix) => {
            let is_private = PRIVATE_SUFFIXES.iter().any(|private| suffix.eq_ignore_ascii_case(private));
            !is_private && !suffix.trim_end_matches('.').contains('.')
        }
        None => true,
    }
}

/// `*` in a pattern stands for any characters. Linear in the text for each `*`: after the last one seen, its match only
/// ever grows.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut in_text) = (0, 0);
    let mut last_star = None;
    while in_text < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                last_star = Some((at, in_text));
                at += 1;
            }
            Some(byte) if *byte == text[in_text] => {
                at += 1;
                in_text += 1;
            }
            _ => {
                let Some((star, from)) = last_star else { return false };
                last_star = Some((star, from + 1));
                at = star + 1;
                in_text = from + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(patterns: &[&str], origin: Option<&str>) -> bool {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Origins::new(&patterns).admit(origin.map(str::as_bytes))
    }

    #[test]
    fn without_patterns_only_those_connect_that_are_no_web_page() {
        assert!(admits(&[], None));
        assert!(!admits(&[], Some("https://example.com")));
        assert!(!admits(&[], Some("")));
    }

    #[test]
    fn a_star_stands_for_any_characters_and_case_does_not_matter() {
        assert!(admits(&["*"], Some("null")));
        assert!(admits(&["https://*.example.com"], Some("https://A.b.Example.com")));
        assert!(admits(&["https://a.com", "https://*.b.com:*"], Some("https://x.b.com:8443")));
        assert!(!admits(&["https://*.example.com"], Some("https://example.com")));
        assert!(!admits(&["https://*.example.com"], Some("https://a.example.com.evil.org")));
        assert!(!admits(&["https://example.com"], Some("https://example.comx")));
    }

    #[test]
    fn a_pattern_whose_star_reaches_a_host_that_anybody_can_register_is_found() {
        for pattern in [
            "https://app.*",
            "https://app.*:8443",
            "https://*",
            "*://*",
            "https://*.com",
            "https://*.com.",
            "https://*example.com",
            "*example.com",
            "https://example*.com",
            "https://example.com*",
            "https://*.app.*",
            "https://192.168.*",
            "HTTPS://*.COM",
        ] {
            assert!(is_open_ended(pattern), "{pattern}");
        }
        for pattern in [
            "*",
            "null",
            "https://example.com",
            "https://example.com:*",
            "*://example.com",
            "*.example.com",
            "https://*.example.com",
            "https://*.example.com:*",
            "https://*.app-*.example.com",
            "http://*.localhost:3000",
            "https://*.Internal",
        ] {
            assert!(!is_open_ended(pattern), "{pattern}");
        }
        assert!(admits(&["https://app.*"], Some("https://app.evil.example")), "that is what it is about");
    }
}
