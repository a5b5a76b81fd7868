//! Properties of heads, whatever bytes come: no panic, and a verdict that later bytes do not change.

use holdfast_protocol::http::{HeadLimits, Refusal, RequestHead};
use holdfast_protocol::websocket::handshake_client::check_response;
use holdfast_protocol::websocket::handshake_server::upgrade;
use proptest::collection::vec;
use proptest::prelude::*;

const LIMITS: HeadLimits = HeadLimits { bytes_max: 200, headers_max: 6 };

/// Bytes that look like the beginning of a request, more or less.
fn request_like() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        6 => Just(b"GET /a?b HTTP/1.1\r\n".to_vec()),
        1 => Just(b"POST http://h/ HTTP/1.0\r\n".to_vec()),
        1 => vec(any::<u8>(), 0..30),
    ];
    let header = prop_oneof![
        Just(b"Host: a\r\n".to_vec()),
        Just(b"Upgrade: websocket\r\n".to_vec()),
        Just(b"Connection: keep-alive, Upgrade\r\n".to_vec()),
        Just(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n".to_vec()),
        Just(b"Sec-WebSocket-Version: 13\r\n".to_vec()),
        Just(b"Content-Length: 1\r\n".to_vec()),
        "[A-Za-z-]{1,8}: \\PC{0,12}\r\n".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..12),
    ];
    let end = prop_oneof![4 => Just(b"\r\n".to_vec()), 1 => Just(b"".to_vec())];
    let rest = vec(any::<u8>(), 0..20);
    (line, vec(header, 0..9), end, rest)
        .prop_map(|(line, headers, end, rest)| [line, headers.concat(), end, rest].concat())
}

/// What is known of a request for good.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Head { bytes: usize, refusal: Option<Refusal> },
    Refused(Refusal),
}

fn verdict(bytes: &[u8]) -> Option<Verdict> {
    match RequestHead::parse(bytes, &LIMITS) {
        Ok(None) => None,
        Ok(Some((head, bytes))) => Some(Verdict::Head { bytes, refusal: upgrade(&head, &["a"]).err() }),
        Err(refusal) => Some(Verdict::Refused(refusal)),
    }
}

proptest! {
    #[test]
    fn the_first_verdict_on_a_request_is_the_last(bytes in request_like()) {
        let mut first = None;
        for len in 0..=bytes.len() {
            let now = verdict(&bytes[..len]);
            if first.is_some() {
                prop_assert_eq!(&now, &first, "at {}", len);
            }
            first = now;
        }
    }

    #[test]
    fn no_bytes_make_the_client_panic(bytes in vec(any::<u8>(), 0..60)) {
        let answer = [b"HTTP/1.1 101 Yes\r\nUpgrade: ", &bytes[..]].concat();
        for bytes in [&bytes, &answer] {
            drop(check_response(bytes, &[0; 16], &["a"]));
        }
    }
}
