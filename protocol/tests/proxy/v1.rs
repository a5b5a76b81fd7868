//! Version 1, §2.1.

use holdfast_protocol::proxy::{ProxyError, Source, parse_header};

use super::{client, fault, source};

#[test]
fn a_line_names_the_client() {
    assert_eq!(source(b"PROXY TCP4 192.0.2.1 198.51.100.1 65535 80\r\n"), client("192.0.2.1:65535"));
    assert_eq!(source(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 443\r\n"), client("[2001:db8::1]:1"));
}

#[test]
fn an_unknown_client_may_be_followed_by_anything() {
    assert_eq!(source(b"PROXY UNKNOWN\r\n"), Source::Proxy);
    assert_eq!(source(b"PROXY UNKNOWN ffff::f:f ffff::f:f 65535 65535\r\n"), Source::Proxy);
}

#[test]
fn the_longest_line_is_read_and_one_byte_more_is_not() {
    let long = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY UNKNOWN {long} {long} 65535 65535\r\n");
    assert_eq!(longest.len(), 107);
    assert_eq!(source(longest.as_bytes()), Source::Proxy);
    let longer = longest.replacen("65535", "655350", 1);
    assert_eq!(fault(longer.as_bytes()), ProxyError::TooLong { max: 107 });
    assert_eq!(parse_header(&longest.as_bytes()[..106]), Ok(None));
}

#[test]
fn what_is_nearly_a_line_is_refused() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 \r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 65536 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 01 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 \r\n",
        "PROXY TCP4 192.0.2.1 x 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
    ] {
        assert_eq!(fault(line.as_bytes()), ProxyError::Malformed, "{line:?}");
    }
    assert_eq!(fault(b"PROXY TCP4 \xff 198.51.100.1 1 2\r\n"), ProxyError::Malformed);
}

#[test]
fn what_is_no_header_is_refused_at_its_first_wrong_byte() {
    for bytes in [&b"G"[..], b"PROXZ", b"proxy ", b"\x16\x03\x01", b"PROXY\r\n"] {
        assert_eq!(fault(bytes), ProxyError::Missing, "{bytes:?}");
    }
    assert_eq!(parse_header(b""), Ok(None));
    assert_eq!(parse_header(b"PROX"), Ok(None));
}
