//! Forwarded: whom the proxies on the way say they speak for (`X-Forwarded-For`, and RFC 7239).
//!
//! In:  a request head, the address that it came from, and which addresses are trusted to tell the truth.
//! Out: the address of the client.
//!
//! Each proxy appends the address that it was connected from, so only what the trusted ones wrote is true: the list is
//! read from its right end, up to the first address that is not a trusted proxy's. What stands to the left of that
//! one, anybody may have written.

use std::net::{IpAddr, Ipv6Addr};

use super::{RequestHead, is_token_byte};

/// The field in which the proxies write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedField {
    /// `X-Forwarded-For: 192.0.2.1, 198.51.100.7`; no standard, and in general use.
    XForwardedFor,
    /// `Forwarded: for=192.0.2.1;proto=https, for="[2001:db8::1]:4711"`, RFC 7239.
    Forwarded,
}

impl ForwardedField {
    const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "X-Forwarded-For",
            Self::Forwarded => "Forwarded",
        }
    }

    fn address(self, member: &str) -> Option<IpAddr> {
        match self {
            Self::XForwardedFor => node(member),
            Self::Forwarded => forwarded_for(member),
        }
    }
}

/// The address of the client behind `peer`: the rightmost one in `field` that is not trusted. Where a trusted proxy
/// wrote something that is no address, or nothing, the client is not known, and that proxy's own address is returned.
/// IPv4-mapped addresses are IPv4 ones, here and in what `is_trusted` is asked.
pub fn client_address(
    head: &RequestHead<'_>,
    field: ForwardedField,
    peer: IpAddr,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    let lines: Vec<&[u8]> = head.headers(field.name()).collect();
    // A comma in a quoted string splits it into parts that are no addresses; addresses have none.
    let members = lines.into_iter().rev().flat_map(|line| line.rsplit(|&byte| byte == b','));
    for member in members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()) {
        let Some(address) = str::from_utf8(member).ok().and_then(|member| field.address(member)) else {
            break;
        };
        client = address.to_canonical();
        if !is_trusted(client) {
            break;
        }
    }
    client
}

/// The `for` of one proxy's pairs (RFC 7239 §4). All pairs must be well formed: a client may have had a say in others,
/// such as `host`, and what begins in the middle of its text must not be taken for a proxy's.
fn forwarded_for(member: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in member.split(';') {
        let (name, value) = pair.trim_ascii().split_once('=')?;
        let value = match value.strip_prefix('"') {
            Some(quoted) => quoted.strip_suffix('"').filter(|text| !text.contains(['"', '\\']))?,
            None => Some(value).filter(|value| !value.is_empty() && value.bytes().all(is_token_byte))?,
        };
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return None;
        }
        // §4: each parameter at most once.
        if name.eq_ignore_ascii_case("for") && found.replace(node(value)?).is_some() {
            return None;
        }
    }
    found
}

/// An address as proxies write it, with or without a port (RFC 7239 §6).
fn node(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (address, rest): (IpAddr, _) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, rest) = bracketed.split_once(']')?;
            (address.parse::<Ipv6Addr>().ok()?.into(), rest)
        }
        None => {
            let colon = text.find(':')?;
            (text[..colon].parse().ok()?, &text[colon..])
        }
    };
    let has_port = rest.strip_prefix(':').is_some_and(is_port);
    (rest.is_empty() || has_port).then_some(address)
}

/// RFC 7239 §6.2 and §6.3: up to five digits, or a name that stands for them.
fn is_port(text: &str) -> bool {
    let is_obfuscated = text
        .strip_prefix('_')
        .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
    is_obfuscated || text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HeadLimits;

    const PROXY: &str = "10.0.0.1";

    fn client(field: ForwardedField, lines: &[&str]) -> String {
        client_of(PROXY, field, lines)
    }

    fn client_of(peer: &str, field: ForwardedField, lines: &[&str]) -> String {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let bytes = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        let (head, _) = RequestHead::parse(bytes.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
        let is_trusted = |address: IpAddr| address.to_string().starts_with("10.0.0.");
        client_address(&head, field, peer.parse().unwrap(), is_trusted).to_string()
    }

    #[test]
    fn the_rightmost_address_that_no_trusted_proxy_has_is_the_clients() {
        use ForwardedField::{Forwarded, XForwardedFor};
        for (line, expected) in [
            ("X-Forwarded-For: 192.0.2.1", "192.0.2.1"),
            ("X-Forwarded-For: 6.6.6.6, 192.0.2.1", "192.0.2.1"),
            ("X-Forwarded-For: 6.6.6.6, 192.0.2.1 ,10.0.0.7", "192.0.2.1"),
            ("X-Forwarded-For: 192.0.2.1:4711", "192.0.2.1"),
            ("X-Forwarded-For: 2001:db8::1", "2001:db8::1"),
            ("X-Forwarded-For: [2001:db8::1]:4711", "2001:db8::1"),
            ("X-Forwarded-For: ::ffff:192.0.2.1", "192.0.2.1"),
            ("X-Forwarded-For: 10.0.0.9, 10.0.0.8", "10.0.0.9"),
        ] {
            assert_eq!(client(XForwardedFor, &[line]), expected, "{line}");
        }
        for (line, expected) in [
            ("Forwarded: for=192.0.2.1", "192.0.2.1"),
            ("Forwarded: For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("Forwarded: for=192.0.2.1;proto=https;by=10.0.0.1", "192.0.2.1"),
            ("Forwarded: proto=https; for=\"192.0.2.1:_a-b\"", "192.0.2.1"),
            ("Forwarded: for=6.6.6.6, for=192.0.2.1, for=10.0.0.2", "192.0.2.1"),
            ("Forwarded: for=\"6.6.6.6, for=192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(client(Forwarded, &[line]), expected, "{line}");
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines =
            ["X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 192.0.2.1, 10.0.0.2", "x-forwarded-for: ,"];
        assert_eq!(client(ForwardedField::XForwardedFor, &lines), "192.0.2.1");
    }

    #[test]
    fn what_is_no_address_is_not_looked_behind() {
        for line in [
            "A: b",
            "X-Forwarded-For: 192.0.2.1, unknown",
            "X-Forwarded-For: 192.0.2.1, 10.0.0.2:x",
            "X-Forwarded-For: 192.0.2.1, [10.0.0.2]",
            "Forwarded: for=192.0.2.1",
        ] {
            assert_eq!(client(ForwardedField::XForwardedFor, &[line]), PROXY, "{line}");
        }
        for line in [
            "Forwarded: for=192.0.2.1, for=unknown",
            "Forwarded: for=192.0.2.1, for=_hidden",
            "Forwarded: for=192.0.2.1, proto=https",
            "Forwarded: for=192.0.2.1;for=192.0.2.2",
            "Forwarded: host=\"x,for=192.0.2.1\"",
            "Forwarded: host=\"x,for=192.0.2.1;a=\\\"\"",
            "Forwarded: for=192.0.2.1;host=\"a\\",
            "X-Forwarded-For: 192.0.2.1",
        ] {
            assert_eq!(client(ForwardedField::Forwarded, &[line]), PROXY, "{line}");
        }
    }

    #[test]
    fn nobody_else_is_believed() {
        let lines = ["X-Forwarded-For: 192.0.2.1"];
        assert_eq!(client_of("6.6.6.6", ForwardedField::XForwardedFor, &lines), "6.6.6.6");
        assert_eq!(client_of("::ffff:6.6.6.6", ForwardedField::XForwardedFor, &lines), "6.6.6.6");
    }
}
