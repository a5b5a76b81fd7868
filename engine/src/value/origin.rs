//! Origin: which web pages may connect.
//!
//! In:  patterns of the configuration; the `Origin` header of a request.
//! Out: yes or no; and of a pattern whether a page can have such an origin, and whether anybody can get one.
//!
//! A browser tells the origin of the page that connects (RFC 6454 §7), and no page can make it lie. What is no browser
//! tells none, and is not checked: for it the token decides.

use super::wildcard::{self, Wildcard};
use std::{fmt, net::Ipv6Addr, str::FromStr};

/// One of `client.allowed_origins`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct OriginPattern {
    text: String,
    pattern: Wildcard,
}

impl OriginPattern {
    /// As the operator wrote it.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for OriginPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = as_read(text);
        for (alone, outline) in wildcard::alternatives(&read)? {
            let is_origin = || alone.matches_some(Place::Begin, Place::step, Place::is_end);
            let is_well = alone.matches("null") || names_scheme(&outline) && is_origin();
            if !is_well {
                return Err(why_none(&outline));
            }
        }
        Ok(Self { text: text.to_owned(), pattern: Wildcard::new(&read)? })
    }
}

impl fmt::Debug for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

/// The patterns of `client.allowed_origins`.
#[derive(Debug)]
pub(crate) struct Origins {
    patterns: Vec<OriginPattern>,
}

impl Origins {
    pub(crate) fn new(patterns: &[OriginPattern]) -> Self {
        Self { patterns: patterns.to_vec() }
    }

    /// True exactly when a request with this `Origin` header, or without one, may connect.
    pub(crate) fn admit(&self, origin: Option<&[u8]>) -> bool {
        let Some(origin) = origin else { return true };
        let origin = String::from_utf8_lossy(origin).to_ascii_lowercase();
        self.patterns.iter().any(|allowed| allowed.pattern.matches(&origin))
    }
}

/// Where in an origin a character stands (RFC 6454 §6.2, RFC 3986). Origins that do not begin with `http` are those of
/// apps and extensions, which write what they like after the scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Begin,
    /// With how much of `https` it is, 0 for anything else.
    Scheme(usize),
    Colon {
        is_web: bool,
    },
    Slash {
        is_web: bool,
    },
    Slashes,
    Host,
    Address,
    AddressEnd,
    PortBegin,
    Port,
    AnyText,
}

impl Place {
    fn step(self, char: char) -> Option<Self> {
        const HTTPS: &str = "https";
        match (self, char) {
            (Self::Begin, 'a'..='z') => Some(Self::Scheme(usize::from(char == 'h'))),
            (Self::Scheme(len), ':') => Some(Self::Colon { is_web: len >= "http".len() }),
            (Self::Scheme(len), 'a'..='z' | '0'..='9' | '+' | '.' | '-') => {
                let goes_on = len > 0 && HTTPS[len..].starts_with(char);
                Some(Self::Scheme(if goes_on { len + 1 } else { 0 }))
            }
            (Self::Colon { is_web }, '/') => Some(Self::Slash { is_web }),
            (Self::Slash { is_web: true }, '/') => Some(Self::Slashes),
            (Self::Slash { is_web: false }, '/') => Some(Self::AnyText),
            (Self::AnyText, '!'..='~') => Some(Self::AnyText),
            (Self::Slashes, '[') => Some(Self::Address),
            (Self::Slashes | Self::Host, 'a'..='z' | '0'..='9' | '.' | '-' | '_') => Some(Self::Host),
            (Self::Address, '0'..='9' | 'a'..='f' | ':' | '.') => Some(Self::Address),
            (Self::Address, ']') => Some(Self::AddressEnd),
            (Self::Host | Self::AddressEnd, ':') => Some(Self::PortBegin),
            (Self::PortBegin | Self::Port, '0'..='9') => Some(Self::Port),
            _ => None,
        }
    }

    const fn is_end(self) -> bool {
        matches!(self, Self::Host | Self::AddressEnd | Self::Port | Self::AnyText)
    }
}

/// In lower case, as scheme and host of an origin are; and the brackets of an IPv6 address are brackets.
fn as_read(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let address = lower.split_once("://[").and_then(|(scheme, rest)| Some((scheme, rest.split_once(']')?)));
    match address {
        Some((scheme, (address, port))) if address.parse::<Ipv6Addr>().is_ok() => {
            format!("{scheme}://\\[{address}\\]{port}")
        }
        _ => lower,
    }
}

/// False where a scheme is missing: whoever writes `localhost:*` does not mean `localhost://`.
fn names_scheme(outline: &str) -> bool {
    let begin = outline.split('*').next().unwrap_or_default();
    outline.contains("://") || "http://".starts_with(begin) || "https://".starts_with(begin)
}

/// Why no page has an origin that this alternative matches.
fn why_none(text: &str) -> String {
    let why = match text.split_once("://") {
        _ if text.contains([' ', '\t', ',']) => {
            "several origins are items of a list, and in a variable of the \
                                              environment a comma stands between them"
                .into()
        }
        _ if !text.is_ascii() => {
            "browsers send host names in ASCII, as in https://xn--bcher-kva.example".into()
        }
        Some((scheme, rest)) => match rest.split_once('/') {
            Some((host, _)) if !host.is_empty() => {
                format!("an origin has no path; did you mean \"{scheme}://{host}\"?")
            }
            _ => "an origin is a scheme, a host and an optional port, as in https://example.com:8443".into(),
        },
        None if text.contains('/') || text.is_empty() => {
            "an origin is a scheme, a host and an optional port, as in https://example.com:8443".into()
        }
        None => {
            format!("an origin begins with its scheme; did you mean \"https://{text}\" or \"http://{text}\"?")
        }
    };
    format!("no web page has such an origin: {why}")
}

/// What a browser does that an operator may not have thought of, so that this pattern matches no page.
pub(crate) fn mistake(pattern: &OriginPattern) -> Option<&'static str> {
    let text = pattern.text.to_ascii_lowercase();
    let (scheme, rest) = text.split_once("://")?;
    match scheme {
        "ws" | "wss" => {
            Some("write http:// or https://: browsers send the address of the page, not of the socket")
        }
        "https" if rest.ends_with(":443") => {
            Some("leave out the port: browsers do not send 443 with https://")
        }
        "http" if rest.ends_with(":80") => Some("leave out the port: browsers do not send 80 with http://"),
        _ => None,
    }
}

/// The top of names that nobody can register (RFC 6761; ICANN has kept `internal` for private use).
const PRIVATE_SUFFIXES: [&str; 4] = ["internal", "local", "localhost", "test"];

/// True exactly when a pattern has a wildcard that reaches the part of a host that anybody can register for a name of
/// their own: where the host does not end with a name of two parts. `*` alone says that it means all. Suffixes such as
/// `co.uk` are taken for a name of somebody's.
pub(crate) fn is_open_ended(pattern: &OriginPattern) -> bool {
    let all = wildcard::alternatives(&as_read(&pattern.text)).unwrap_or_default();
    pattern.text != "*" && all.iter().any(|(_, outline)| ends_openly(outline))
}

fn ends_openly(outline: &str) -> bool {
    let host_and_port = outline.split_once("://").map_or(outline, |(_, rest)| rest);
    let host = host_and_port.split([':', '/']).next().unwrap_or_default();
    let Some((_, fixed)) = host.rsplit_once('*') else { return false };
    match fixed.split_once('.') {
        Some((_, suffix)) => {
            let is_private = PRIVATE_SUFFIXES.contains(&suffix);
            !is_private && !suffix.trim_end_matches('.').contains('.')
        }
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> OriginPattern {
        text.parse().unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    fn admits(patterns: &[&str], origin: Option<&str>) -> bool {
        let patterns: Vec<_> = patterns.iter().copied().map(read).collect();
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
    fn patterns_are_those_of_centrifugo() {
        for (pattern, origin, expected) in [
            ("https://{app,admin}.example.com", "https://admin.example.com", true),
            ("https://{app,admin}.example.com", "https://a.example.com", false),
            ("{http,https}://localhost:300?", "http://localhost:3001", true),
            ("{http,https}://localhost:300?", "http://localhost:300", false),
            ("https://[cd].example.com", "https://d.example.com", true),
            ("https://[cd].example.com", "https://e.example.com", false),
            ("https://[!a-c].example.com", "https://D.example.com", true),
            ("https://[!a-c].example.com", "https://b.example.com", false),
            ("HTTPS://App-[A-C].example.com", "https://app-b.example.com", true),
            ("*.example.com", "https://a.example.com", true),
            ("https://[::1]:3000", "https://[::1]:3000", true),
            ("https://[::1]:3000", "https://1:3000", false),
            ("https://\\[2001:db8::*\\]", "https://[2001:db8::7]", true),
            ("{null,file://}", "file://", true),
            ("null", "null", true),
            ("http*://localhost:*", "https://localhost:3000", true),
            ("*", "weapp://wechat-game-runtime", true),
            ("weapp://*", "weapp://wechat-game-runtime", true),
            ("weapp://wechat-game-runtime", "weapp://wechat-game-runtime", true),
            ("weapp://*", "https://weapp.example", false),
            ("capacitor://localhost", "capacitor://localhost", true),
            ("chrome-extension://abcdef", "chrome-extension://abcdef", true),
            ("wss://a.example:443", "wss://a.example:443", true),
        ] {
            assert_eq!(admits(&[pattern], Some(origin)), expected, "{pattern} {origin}");
        }
    }

    #[test]
    fn a_pattern_that_no_page_can_match_is_refused_with_what_is_meant() {
        for (pattern, part) in [
            ("example.com", "did you mean \"https://example.com\" or \"http://example.com\"?"),
            ("localhost:3000", "or \"http://localhost:3000\"?"),
            ("{a,b}.example.com", "begins with its scheme"),
            ("www.example.*", "begins with its scheme"),
            ("localhost:*", "or \"http://localhost:*\"?"),
            ("{https://a.example,example.com}", "\"https://example.com\" or"),
            ("https://{a.example,b.example/}", "did you mean \"https://b.example\"?"),
            ("https://example.com/", "did you mean \"https://example.com\"?"),
            ("https://*.example.com/app/*", "did you mean \"https://*.example.com\"?"),
            ("https://example.com, https://b.example", "items of a list"),
            ("https://example.com,https://b.example", "items of a list"),
            ("https://example.com:", "a scheme, a host"),
            ("https://example.com:port", "a scheme, a host"),
            ("https:/example.com", "a scheme, a host"),
            ("https://", "a scheme, a host"),
            ("https://user@example.com", "a scheme, a host"),
            ("https://b\u{fc}cher.example", "xn--bcher-kva"),
            ("", "a scheme, a host"),
            ("https://{a,b", "without a }"),
            ("https://[a.example", "without a ]"),
        ] {
            let why = pattern.parse::<OriginPattern>().expect_err(pattern);
            assert!(why.contains(part), "{pattern}: {why}");
        }
    }

    #[test]
    fn what_browsers_write_otherwise_is_found() {
        for (pattern, part) in [
            ("wss://example.com", "http:// or https://"),
            ("https://example.com:443", "443"),
            ("HTTP://example.com:80", "80"),
        ] {
            assert!(mistake(&read(pattern)).is_some_and(|why| why.contains(part)), "{pattern}");
        }
        for pattern in ["https://example.com:80", "https://example.com", "*", "weapp://*", "null"] {
            assert_eq!(mistake(&read(pattern)), None, "{pattern}");
        }
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
            "https://app?.com",
            "https://[a-z].com",
            "https://{*.com,a.example.com}",
            "https://{app,*}",
            "https://192.168.*",
            "HTTPS://*.COM",
        ] {
            assert!(is_open_ended(&read(pattern)), "{pattern}");
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
            "https://*-app.example.com",
            "https://{a,b}.com",
            "https://[cd].com",
            "https://{*.a,b}.example.com:300?",
        ] {
            assert!(!is_open_ended(&read(pattern)), "{pattern}");
        }
        assert!(admits(&["https://app.*"], Some("https://app.evil.example")), "that is what it is about");
    }
}
