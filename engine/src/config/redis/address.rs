//! Address: where a Redis is, as an operator writes it.
//!
//! In:  `host:port`, or an address that begins with `redis://` or one of its relatives; a list of them, or one text.
//! Out: servers, who we are there, the database; or the fault in it, without repeating a password.
//!
//! The forms are those of Centrifugo v6. Sockets of a file system are not supported.

use std::net::Ipv6Addr;

use holdfast_redis::receive::connection::Address;
use serde_json::{Value, json};

use crate::config::{
    Secret,
    definition::{Shape, Spec, show},
};

/// The port of a Redis whose address has none.
const PORT: u16 = 6379;

/// The port of a sentinel whose address has none.
const SENTINEL_PORT: u16 = 26_379;

/// One Redis, those behind Sentinel, or one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RedisAddress {
    /// What answers at `servers`.
    pub kind: RedisKind,
    /// At least one; exactly one where `kind` is `Single`.
    pub servers: Vec<Address>,
    /// True exactly when the address itself asks for TLS.
    pub is_encrypted: bool,
    /// The user and the password in the address; no user means the default one.
    pub login: Option<(Option<String>, Secret)>,
    /// The database in the address.
    pub database: Option<u8>,
}

/// What answers at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RedisKind {
    /// One server.
    Single,
    /// Sentinels, which know the primary.
    Sentinel {
        /// How they call it, if the address says so.
        primary: Option<String>,
    },
    /// Nodes of a Redis Cluster.
    Cluster,
}

/// How the addresses of an option are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Each is one Redis, in any form. A text separates them by commas or spaces; by spaces only where one of them has
    /// several servers, which commas separate.
    Any,
    /// Each has the sentinels of one primary, separated by commas. A text separates the groups by spaces.
    Sentinels,
    /// Each has nodes of one cluster, separated by commas. A text separates the groups by spaces.
    Cluster,
}

/// An option with addresses, in the order in which they are written. Empty by default.
pub(super) fn addresses(reading: Reading, allowed: &'static str) -> Spec<Vec<RedisAddress>> {
    let mut spec = Spec::leaf("addresses", allowed.into(), json!([]), Shape::Text, move |value| {
        let texts = texts(value, reading).ok_or_else(|| format!("found {}", show(value)))?;
        // A part of a text that was divided wrongly may be a password: do not show it.
        let read = texts.iter().zip(1..).map(|(text, number)| {
            reading.read(text).map_err(|why| format!("found a wrong address, number {number}: {why}"))
        });
        read.collect()
    });
    spec.about.is_address = true;
    spec
}

/// The texts in the value of such an option: those of a list, or of a list in JSON, or the parts of a text.
fn texts(value: &Value, reading: Reading) -> Option<Vec<String>> {
    match value {
        Value::Array(list) => list.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        Value::String(text) => Some(serde_json::from_str(text).unwrap_or_else(|_| {
            let has_groups = ["+sentinel://", "+cluster://"].iter().any(|form| text.contains(form));
            let has_commas = reading == Reading::Any && !has_groups;
            let separates = |char: char| char.is_whitespace() || (char == ',' && has_commas);
            text.split(separates).filter(|part| !part.is_empty()).map(str::to_owned).collect()
        })),
        _ => None,
    }
}

impl Reading {
    fn read(self, text: &str) -> Result<RedisAddress, String> {
        if self != Self::Any && text.contains("://") {
            return Err("each server is a host and a port; other forms belong in engine.redis.address".into());
        }
        match self {
            Self::Any => RedisAddress::parse(text),
            Self::Sentinels => RedisAddress::plain(RedisKind::Sentinel { primary: None }, text),
            Self::Cluster => RedisAddress::plain(RedisKind::Cluster, text),
        }
    }
}

impl RedisAddress {
    /// The Redis of an operator who names none: on this machine, as Centrifugo's default.
    pub(super) fn of_this_machine() -> Self {
        let address = Address { host: "127.0.0.1".into(), port: PORT };
        Self {
            kind: RedisKind::Single,
            servers: vec![address],
            is_encrypted: false,
            login: None,
            database: None,
        }
    }

    /// Servers of that kind, each `host:port`.
    fn plain(kind: RedisKind, text: &str) -> Result<Self, String> {
        let servers = servers(text, &kind)?;
        Ok(Self { kind, servers, is_encrypted: false, login: None, database: None })
    }

    /// Reads an address in any form.
    fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self::plain(RedisKind::Single, text);
        };
        let (is_encrypted, kind) = match scheme {
            "redis" | "tcp" => (false, RedisKind::Single),
            "rediss" => (true, RedisKind::Single),
            "redis+sentinel" => (false, RedisKind::Sentinel { primary: None }),
            "rediss+sentinel" => (true, RedisKind::Sentinel { primary: None }),
            "redis+cluster" => (false, RedisKind::Cluster),
            "rediss+cluster" => (true, RedisKind::Cluster),
            "unix" => return Err("Unix sockets are not supported; give a host and a port".into()),
            _ => {
                return Err(
                    "it must begin with redis:// or rediss://, followed by +sentinel or +cluster before the \
                     colon where it is not a single server"
                        .into(),
                );
            }
        };
        if rest.contains('#') {
            return Err("write # as %23".into());
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A password may hold what would end it in a right address.
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(read_login(login)?), rest),
            None => (None, rest),
        };
        let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
        let database = match database {
            "" => None,
            number => Some(number.parse().map_err(|_| "a database is a number from 0 to 255")?),
        };
        let servers = servers(place, &kind)?;
        let mut address = Self { kind, servers, is_encrypted, login, database };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            address.add(&key, &value)?;
        }
        Ok(address)
    }

    /// Reads an option behind the question mark.
    fn add(&mut self, key: &str, value: &str) -> Result<(), String> {
        match (key, &mut self.kind) {
            ("addr", kind @ (RedisKind::Sentinel { .. } | RedisKind::Cluster)) => {
                self.servers.extend(servers(value, kind)?);
            }
            ("sentinel_master_name", RedisKind::Sentinel { primary }) if !value.is_empty() => {
                *primary = Some(value.to_owned());
            }
            // The key may be a misplaced secret.
            _ => {
                return Err(
                    "behind the question mark there may be `addr` of further sentinels or nodes, and \
                     `sentinel_master_name`; other options have their own keys in engine.redis"
                        .into(),
                );
            }
        }
        Ok(())
    }
}

/// Reads `user:password`; the user may be empty.
fn read_login(text: &str) -> Result<(Option<String>, Secret), String> {
    let wrong = || "a percent sign in a user or a password is written %25".to_owned();
    let (user, password) = text.split_once(':').ok_or_else(|| {
        "a user needs a password; a password without a user is written redis://:password@host".to_owned()
    })?;
    let user = percent_decoded(user).ok_or_else(wrong)?;
    let password = percent_decoded(password).ok_or_else(wrong)?;
    if password.is_empty() {
        return Err("the password is empty".into());
    }
    let Ok(password) = password.parse();
    Ok((Some(user).filter(|user| !user.is_empty()), password))
}

/// A text without its percent encoding (RFC 3986 §2.1); `None` if that is wrong, or not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).filter(|(digits, _)| is_hex(digits))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Reads the servers of one address, separated by commas: `host:port`, `[IPv6]:port`, or either without its port.
fn servers(text: &str, kind: &RedisKind) -> Result<Vec<Address>, String> {
    let port = if matches!(kind, RedisKind::Sentinel { .. }) { SENTINEL_PORT } else { PORT };
    let servers = text.split(',').map(|text| server(text.trim(), port)).collect::<Result<Vec<_>, _>>()?;
    if *kind == RedisKind::Single && servers.len() > 1 {
        return Err("it has several servers; each is an address of its own, unless it is a cluster".into());
    }
    Ok(servers)
}

fn server(text: &str, default_port: u16) -> Result<Address, String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => {
            host.parse::<Ipv6Addr>().map_err(|_| "no IPv6 address between the brackets")?;
            (host, (!rest.is_empty()).then(|| rest.strip_prefix(':').unwrap_or_default()))
        }
        None => {
            let (host, port) = text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            if text.starts_with('[') || host.contains(':') {
                return Err("an IPv6 address stands in brackets, as in [::1]:6379".into());
            }
            let is_host_char = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            if host.is_empty() || !host.bytes().all(is_host_char) {
                return Err("it must be a host and a port, as in redis.example.com:6379".into());
            }
            (host, port)
        }
    };
    let port = match port {
        None => default_port,
        Some(digits) => match digits.parse() {
            Ok(port) if port != 0 => port,
            _ => return Err("a port is a number from 1 to 65535".into()),
        },
    };
    Ok(Address { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(address: &RedisAddress) -> Vec<String> {
        address.servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_address_says_where_and_who_and_which_database() {
        for (text, server, is_encrypted, login, database) in [
            ("redis.test:7000", "redis.test:7000", false, None, None),
            ("127.0.0.1", "127.0.0.1:6379", false, None, None),
            ("[::1]:7000", "[::1]:7000", false, None, None),
            ("[2001:db8::1]", "[2001:db8::1]:6379", false, None, None),
            ("tcp://h:1", "h:1", false, None, None),
            ("redis://h:1/", "h:1", false, None, None),
            ("redis://h:1/3", "h:1", false, None, Some(3)),
            ("rediss://h", "h:6379", true, None, None),
            ("redis://:hunter2@h:1", "h:1", false, Some((None, "hunter2")), None),
            ("rediss://app:hunter2@[::1]:1/15", "[::1]:1", true, Some((Some("app"), "hunter2")), Some(15)),
            ("redis://a%3Ab:p%40s%2Fs%25%C3%BC+@h", "h:6379", false, Some((Some("a:b"), "p@s/s%ü+")), None),
            ("redis://:p/a@b@h:1", "h:1", false, Some((None, "p/a@b")), None),
        ] {
            let address = RedisAddress::parse(text).expect(text);
            assert_eq!(shown(&address), [server], "{text}");
            assert_eq!((address.is_encrypted, address.database), (is_encrypted, database), "{text}");
            let is_login =
                address.login.as_ref().map(|(user, password)| (user.as_deref(), password.expose()));
            assert_eq!(is_login, login, "{text}");
            assert_eq!(address.kind, RedisKind::Single, "{text}");
            assert!(!format!("{address:?}").contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn sentinels_and_clusters_have_addresses_of_their_own() {
        let text = "redis+sentinel://:hunter2@a,b:2/4?addr=[::1]:3&sentinel_master_name=main";
        let sentinel = RedisAddress::parse(text).unwrap();
        assert_eq!(shown(&sentinel), ["a:26379", "b:2", "[::1]:3"]);
        assert_eq!(sentinel.kind, RedisKind::Sentinel { primary: Some("main".into()) });
        assert_eq!(sentinel.database, Some(4));
        let cluster = RedisAddress::parse("rediss+cluster://a:1?addr=b:2&addr=c").unwrap();
        assert_eq!(shown(&cluster), ["a:1", "b:2", "c:6379"]);
        assert_eq!((cluster.kind, cluster.is_encrypted), (RedisKind::Cluster, true));
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_a_password() {
        for (text, why) in [
            ("", "a host and a port"),
            (":6379", "a host and a port"),
            ("h:0", "a port is"),
            ("h:65536", "a port is"),
            ("h:", "a port is"),
            ("::1", "brackets"),
            ("[::1", "brackets"),
            ("[::g]:1", "no IPv6 address"),
            ("[::1]1", "a port is"),
            ("a b:1", "a host and a port"),
            ("hunter2@h:1", "a host and a port"),
            ("http://h:1", "it must begin with redis://"),
            ("unix:///run/redis.sock", "Unix sockets"),
            ("redis://hunter2@h:1", "a user needs a password"),
            ("redis://user:@h:1", "the password is empty"),
            ("redis://:hunter2%@h:1", "%25"),
            ("redis://:hunter2%f@h:1", "%25"),
            ("redis://:%FFhunter2@h:1", "%25"),
            ("redis://:hunter2#@h:1", "%23"),
            ("redis://h:1/256", "a database is"),
            ("redis://h:1/main", "a database is"),
            ("redis://h:1?hunter2", "behind the question mark"),
            ("redis://h:1?addr=b:1", "behind the question mark"),
            ("redis+cluster://h:1?sentinel_master_name=main", "behind the question mark"),
            ("redis://a:1,b:1", "several servers"),
        ] {
            let found = RedisAddress::parse(text).expect_err(text);
            assert!(found.contains(why) && !found.contains("hunter2"), "{text}: {found}");
        }
    }

    #[test]
    fn a_text_and_a_list_say_the_same_and_keep_their_order() {
        let read = |reading: Reading, value: Value| {
            let texts = texts(&value, reading).unwrap();
            texts.iter().map(|text| shown(&reading.read(text).unwrap()).join(" ")).collect::<Vec<_>>()
        };
        for value in [json!("b:1,a:1"), json!("b:1 a:1"), json!(["b:1", "a:1"]), json!("[\"b:1\", \"a:1\"]")]
        {
            assert_eq!(read(Reading::Any, value), ["b:1", "a:1"]);
        }
        for value in [json!("b:1,a:1 c:1"), json!(["b:1, a:1", "c:1"])] {
            assert_eq!(read(Reading::Cluster, value.clone()), ["b:1 a:1", "c:1"]);
            assert_eq!(read(Reading::Sentinels, value), ["b:1 a:1", "c:1"]);
        }
        assert_eq!(read(Reading::Any, json!("[::1]:1")), ["[::1]:1"]);
        assert_eq!(read(Reading::Any, json!("redis+cluster://b:1,a:1 c:1")), ["b:1 a:1", "c:1"]);
        assert_eq!(texts(&json!(["a", 1]), Reading::Any), None);
        assert_eq!(texts(&json!(6379), Reading::Any), None);
    }
}
