//! Properties of headers, whatever bytes come: no panic, and a verdict that later bytes do not change.

use std::net::SocketAddr;

use holdfast_protocol::proxy::{HEADER_BYTES_MAX, Source, parse_header};
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes that look like the beginning of a header, more or less.
fn header_like() -> impl Strategy<Value = Vec<u8>> {
    let text = "(PROXY )?(TCP4|TCP6|UNKNOWN|)[ ]?[0-9a-f.: ]{0,120}(\r\n)?".prop_map(String::into_bytes);
    let binary = (0u8..=0x3f, any::<u8>(), 0u16..600, vec(any::<u8>(), 0..600)).prop_map(
        |(version_command, family, length, rest)| {
            [b"\r\n\r\n\0\r\nQUIT\n", &[version_command, family][..], &length.to_be_bytes(), &rest].concat()
        },
    );
    prop_oneof![text, binary, vec(any::<u8>(), 0..40)]
}

fn line(client: SocketAddr, here: SocketAddr) -> String {
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {} {} {} {}\r\n", client.ip(), here.ip(), client.port(), here.port())
}

proptest! {
    #[test]
    fn the_first_verdict_on_a_header_is_the_last(bytes in header_like()) {
        let mut first = None;
        for length in 0..=bytes.len() {
            let now = parse_header(&bytes[..length]).transpose();
            if first.is_some() {
                prop_assert_eq!(&now, &first, "at {}", length);
            }
            prop_assert!(now.is_some() || length < HEADER_BYTES_MAX, "no verdict after {} bytes", length);
            first = now;
        }
    }

    #[test]
    fn every_address_is_read_as_it_was_written(
        client in any::<SocketAddr>(), here in any::<SocketAddr>(), rest in vec(any::<u8>(), 0..50)
    ) {
        // Scopes and flow labels are not part of a header.
        let client = SocketAddr::new(client.ip(), client.port());
        prop_assume!(client.is_ipv4() == here.is_ipv4());
        let line = line(client, here);
        let bytes = [line.as_bytes(), &rest].concat();
        prop_assert_eq!(parse_header(&bytes), Ok(Some((Source::Client(client), line.len()))));
    }
}
