//! `X-Forwarded-For` and `Forwarded`.
//!
//! In:  what a client wrote into the field before its proxy did; the first byte chooses which.
//! Out: a panic where a client has a say in what its proxy says of it.

use std::net::IpAddr;

use holdfast_protocol::http::{ForwardedField, HeadLimits, RequestHead, client_address};

/// Pieces of both fields.
pub const WORDS: &[&[u8]] = &[
    b"192.0.2.1",
    b"10.0.0.1:80",
    b"[2001:db8::1]:4711",
    b"for=",
    b"for=\"",
    b"\"",
    b"\\\"",
    b";proto=https",
    b", ",
    b"unknown",
];

/// Who has connected; a proxy.
const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
/// Whom it speaks for.
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 77));

/// Reads one field as it comes, and with what a proxy adds.
pub fn run(data: &[u8]) {
    let (kind, written) = super::choice(data);
    if written.iter().any(|byte| b"\r\n".contains(byte)) {
        return;
    }
    let (name, field, added) = match kind % 2 {
        0 => ("X-Forwarded-For", ForwardedField::XForwardedFor, format!(", {CLIENT}")),
        _ => ("Forwarded", ForwardedField::Forwarded, format!(", for=\"{CLIENT}:1\";proto=https")),
    };
    let head = |value: &[u8]| {
        [b"GET / HTTP/1.1\r\nHost: a\r\n", name.as_bytes(), b": ", value, b"\r\n\r\n"].concat()
    };
    let address = |bytes: &[u8], is_trusted: fn(IpAddr) -> bool| {
        let head = RequestHead::parse(bytes, &HeadLimits::default());
        head.ok().flatten().map(|(head, _)| client_address(&head, field, PROXY, is_trusted))
    };
    let alone = head(written);
    let Some(found) = address(&alone, |_| true) else { return };
    assert_eq!(found, found.to_canonical());
    assert_eq!(address(&alone, |_| false), Some(PROXY), "who is not trusted speaks for nobody");
    let passed_on = head(&[written, added.as_bytes()].concat());
    if let Some(found) = address(&passed_on, |ip| ip == PROXY) {
        assert_eq!(found, CLIENT, "the nearest proxy has the last word");
    }
}
