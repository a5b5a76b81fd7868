//! The PROXY protocol: every case of its specification, and whatever else may come.
//!
//! In:  headers as proxies write them, and bytes that are none.
//! Out: whom they speak for; the refusal that each fault gets.
#![forbid(unsafe_code)]

mod properties;
mod v1;
mod v2;

use holdfast_protocol::proxy::{ProxyError, Source, parse_header};

/// The source of a header that is to be read whole.
fn source(header: &[u8]) -> Source {
    let bytes = [header, b"GET / HTTP/1.1\r\n"].concat();
    let (source, length) = parse_header(&bytes).expect("it is a header").expect("it is complete");
    assert_eq!(length, header.len(), "what follows is left");
    source
}

fn fault(bytes: &[u8]) -> ProxyError {
    parse_header(bytes).expect_err("it is no header")
}

fn client(address: &str) -> Source {
    Source::Client(address.parse().expect("it is an address"))
}
