//! Headers of the PROXY protocol.
//!
//! In:  what a connection sends first.
//! Out: a panic where more bytes change what was decided, a header is longer than allowed, or an address that was read
//!      and written again reads otherwise.

use std::net::{IpAddr, SocketAddr};

use holdfast_protocol::proxy::{HEADER_BYTES_MAX, Source, V1_BYTES_MAX, parse_header};

/// Pieces of headers.
pub const WORDS: &[&[u8]] = &[
    b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\n",
    b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n",
    b"PROXY UNKNOWN",
    b"\r\n",
    SIGNATURE,
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\x9c\x40\x01\xbb",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
];

/// Of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Reads every beginning of the input.
pub fn run(data: &[u8]) {
    let whole = parse_header(data);
    let mut decided = None;
    for end in 0..=data.len().min(HEADER_BYTES_MAX + 1) {
        let now = parse_header(&data[..end]);
        match (&decided, &now) {
            (None, Ok(None)) => assert!(end < HEADER_BYTES_MAX, "it waits for more than it reads"),
            (None, Ok(Some((_, length)))) => {
                assert_eq!(*length, end, "a header is complete with its last byte");
                decided = Some(now);
            }
            (None, Err(_)) => decided = Some(now),
            (Some(Ok(before)), now) => assert_eq!(Ok(before), now.as_ref()),
            (Some(Err(_)), now) => assert!(now.is_err(), "what is no header becomes none"),
        }
    }
    match decided {
        None => assert_eq!(whole, Ok(None)),
        Some(decided) => assert_eq!(decided.is_err(), whole.is_err()),
    }
    if let Ok(Some((Source::Client(address), _))) = whole {
        for header in [version_1(address), version_2(address)] {
            assert_eq!(parse_header(&header), Ok(Some((Source::Client(address), header.len()))));
        }
    }
}

fn version_1(client: SocketAddr) -> Vec<u8> {
    let (ip, port) = (client.ip(), client.port());
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    let header = format!("PROXY {family} {ip} {ip} {port} 65535\r\n").into_bytes();
    assert!(header.len() <= V1_BYTES_MAX);
    header
}

fn version_2(client: SocketAddr) -> Vec<u8> {
    let (family, address) = match client.ip() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let length = u16::try_from(2 * address.len() + 4).expect("it is at most 36");
    let port = client.port().to_be_bytes();
    [SIGNATURE, &[0x21, family], &length.to_be_bytes(), &address, &address, &port, &[0xff; 2]].concat()
}
