//! The request head and the server's side of the handshake.
//!
//! In:  the first bytes of a connection.
//! Out: a panic where a shorter piece of them was judged otherwise, or an answer is not one whole head.

use bytes::BytesMut;
use holdfast_protocol::{
    http::{HeadLimits, RequestHead},
    websocket::{deflate::Preferences, handshake_server},
};

/// Pieces of requests.
pub const WORDS: &[&[u8]] = &[
    b"GET /echo HTTP/1.1\r\n",
    b"Host: a\r\n",
    b"Upgrade: websocket\r\n",
    b"Connection: Upgrade\r\n",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
    b"Sec-WebSocket-Protocol: centrifuge-json\r\n",
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"\r\n\r\n",
    b"HTTP/1.0",
    b"http://a/",
    b"OPTIONS * ",
    b"CONNECT a:80 ",
    b"Content-Length: 0, 0\r\n",
    b"\n",
    b"\r",
    b"#",
];

/// Reads one head.
pub fn run(data: &[u8]) {
    let limits = HeadLimits { bytes_max: 512, headers_max: 16 };
    let whole = RequestHead::parse(data, &limits);
    for len in 0..data.len().min(600) {
        let part = RequestHead::parse(&data[..len], &limits);
        match (&part, &whole) {
            // What was judged once is judged so for good.
            (Ok(Some((_, used))), Ok(Some((_, all)))) => assert_eq!(used, all),
            (Err(refusal), Err(at_last)) => assert_eq!(refusal, at_last),
            (Err(refusal), other) => panic!("{len} bytes are refused ({refusal}), and all are {other:?}"),
            (Ok(Some(_)), other) => panic!("{len} bytes are a head, and all are {other:?}"),
            (Ok(None), _) => {}
        }
    }
    let Ok(Some((head, used))) = whole else { return };
    assert!(used <= data.len() && used <= limits.bytes_max);
    assert!(head.all_headers().count() <= limits.headers_max);
    // Whoever ends lines at line feeds alone finds the same ones.
    let is_ended = |pair: &[u8]| pair[1] != b'\n' || pair[0] == b'\r';
    assert!(data[0] != b'\n' && data[..used].windows(2).all(is_ended));
    let mut answer = BytesMut::new();
    match handshake_server::upgrade(&head, &["centrifuge-protobuf", "centrifuge-json"]) {
        Ok(mut upgrade) => {
            upgrade.agree_to_deflate(&Preferences::default());
            upgrade.write(&mut answer);
        }
        Err(refusal) => refusal.write(&mut answer),
    }
    assert!(answer.starts_with(b"HTTP/1.1 ") && answer.windows(4).any(|end| end == b"\r\n\r\n"));
}
