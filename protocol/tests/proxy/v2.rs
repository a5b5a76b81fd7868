//! Version 2, §2.2.

use holdfast_protocol::proxy::{ProxyError, Source, parse_header};

use super::{client, fault, source};

const SIGNATURE: &[u8] = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a";
const IPV4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x34, 0, 80];

fn header(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("it is short");
    [SIGNATURE, &[version_command, family], &length.to_be_bytes(), rest].concat()
}

fn ipv6() -> Vec<u8> {
    let address = |last: u16| [0x2001u16, 0xdb8, 0, 0, 0, 0, 0, last].map(u16::to_be_bytes).concat();
    [address(1), address(2), vec![0xff, 0xff, 1, 0xbb]].concat()
}

#[test]
fn a_header_names_the_client() {
    assert_eq!(source(&header(0x21, 0x11, IPV4)), client("192.0.2.1:4660"));
    assert_eq!(source(&header(0x21, 0x21, &ipv6())), client("[2001:db8::1]:65535"));
}

#[test]
fn extensions_are_skipped() {
    let authority = [IPV4, &[0x02, 0x00, 0x03], b"a.b", &[0xff; 9]].concat();
    assert_eq!(source(&header(0x21, 0x11, &authority)), client("192.0.2.1:4660"));
}

#[test]
fn a_local_connection_and_one_without_an_address_are_the_proxys_own() {
    for rest in [&b""[..], IPV4, &[0xff; 5]] {
        assert_eq!(source(&header(0x20, 0x11, rest)), Source::Proxy, "{rest:?}");
        assert_eq!(source(&header(0x20, 0xff, rest)), Source::Proxy, "{rest:?}");
        assert_eq!(source(&header(0x21, 0x00, rest)), Source::Proxy, "{rest:?}");
    }
    assert_eq!(source(&header(0x21, 0x31, &[0; 216])), Source::Proxy);
}

#[test]
fn addresses_that_are_cut_short_are_refused() {
    for length in 0..IPV4.len() {
        assert_eq!(fault(&header(0x21, 0x11, &IPV4[..length])), ProxyError::TooShort, "{length}");
    }
    for length in 0..36 {
        assert_eq!(fault(&header(0x21, 0x21, &ipv6()[..length])), ProxyError::TooShort, "{length}");
    }
}

#[test]
fn what_is_not_known_is_refused() {
    assert_eq!(fault(&header(0x11, 0x11, IPV4)), ProxyError::UnknownVersion(1));
    assert_eq!(fault(&header(0x22, 0x11, IPV4)), ProxyError::UnknownCommand(2));
    for family in [0x01, 0x10, 0x12, 0x22, 0x32, 0x41, 0xff] {
        assert_eq!(fault(&header(0x21, family, IPV4)), ProxyError::UnknownFamily(family));
    }
}

#[test]
fn the_length_is_bounded_before_the_rest_has_come() {
    let longest = header(0x21, 0x11, &[IPV4, &[0; 508][..]].concat());
    assert_eq!(longest.len(), 536);
    assert_eq!(source(&longest), client("192.0.2.1:4660"));
    assert_eq!(parse_header(&longest[..535]), Ok(None));
    let longer = header(0x21, 0x11, &[0; 521]);
    assert_eq!(fault(&longer[..16]), ProxyError::TooLong { max: 536 });
}
