//! Compression: permessage-deflate (RFC 7692) from a client's side.
//!
//! In:  offers of every kind, compressed messages right and wrong.
//! Out: the answer that each offer deserves; messages compressed where that was agreed to and is worth it.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use holdfast_testkit::{
    Daemon,
    client::{SECRET, token},
    peer::{BINARY, CONTINUATION, FIN, Peer, TEXT, frame, request, text},
};

const RSV1: u8 = 0x40;

const ON: &str = "[client]\nping_interval = '1h'\n[websocket]\ncompression = true\n";

const NO_TAKEOVER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Shakes hands with an offer; the answer to it, if there is one.
fn open(daemon: &Daemon, path: &str, offer: &str) -> (Peer, Option<String>) {
    let mut peer = Peer::connect(daemon);
    let request = request(path);
    let head = request.strip_suffix("\r\n").expect("a request ends with an empty line");
    peer.send(format!("{head}Sec-WebSocket-Extensions: {offer}\r\n\r\n").as_bytes());
    let (head, _) = peer.response();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let answer = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
    peer.allow_compression();
    (peer, answer.map(str::to_owned))
}

/// A client's end of one direction, by flate2 itself rather than by the code under test.
struct Codec {
    compress: Compress,
    decompress: Decompress,
}

impl Codec {
    fn new() -> Self {
        Self { compress: Compress::new(Compression::new(6), false), decompress: Decompress::new(false) }
    }

    fn deflate(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(payload.len() + payload.len() / 4 + 100);
        self.compress.compress_vec(payload, &mut out, FlushCompress::Sync).unwrap();
        out.strip_suffix(&[0, 0, 0xff, 0xff]).expect("a flush ends with its tail").to_vec()
    }

    fn inflate(&mut self, deflated: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 << 20);
        let whole = [deflated, &[0, 0, 0xff, 0xff]].concat();
        self.decompress.decompress_vec(&whole, &mut out, FlushDecompress::Sync).unwrap();
        out
    }
}

pub(crate) fn deflate(payload: &[u8]) -> Vec<u8> {
    Codec::new().deflate(payload)
}

fn inflate(deflated: &[u8]) -> Vec<u8> {
    Codec::new().inflate(deflated)
}

#[test]
fn no_offer_is_answered_while_compression_is_off() {
    let daemon = Daemon::start("");
    for path in ["/echo", "/broadcast", "/connection/websocket"] {
        assert_eq!(open(&daemon, path, "permessage-deflate").1, None);
    }
    let (mut peer, _) = open(&daemon, "/echo", "permessage-deflate");
    peer.send(&frame(FIN | RSV1 | TEXT, &deflate(b"Hello")));
    peer.expect_close(1002);
}

#[test]
fn every_offer_gets_the_answer_that_it_deserves() {
    let daemon = Daemon::start(ON);
    let table = [
        ("permessage-deflate", Some(NO_TAKEOVER.to_owned())),
        ("permessage-deflate; client_max_window_bits", Some(NO_TAKEOVER.to_owned())),
        (
            "permessage-deflate; server_max_window_bits=8",
            Some(format!("{NO_TAKEOVER}; server_max_window_bits=8")),
        ),
        ("permessage-deflate; unknown, permessage-deflate", Some(NO_TAKEOVER.to_owned())),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("x-webkit-deflate-frame", None),
    ];
    for path in ["/echo", "/broadcast", "/connection/websocket"] {
        for (offer, expected) in &table {
            assert_eq!(&open(&daemon, path, offer).1, expected, "{path}: {offer}");
        }
    }
}

#[test]
fn a_malformed_offer_is_answered_400_whether_or_not_compression_is_on() {
    for config in [ON, ""] {
        let daemon = Daemon::start(config);
        for path in ["/echo", "/broadcast", "/connection/websocket"] {
            let mut peer = Peer::connect(&daemon);
            let request = request(path);
            let head = request.strip_suffix("\r\n").unwrap();
            peer.send(format!("{head}Sec-WebSocket-Extensions: permessage-deflate; =\r\n\r\n").as_bytes());
            assert!(peer.response().0.starts_with("HTTP/1.1 400 "), "{path}, {config:?}");
        }
    }
}

#[test]
fn compressed_messages_come_back_compressed_whatever_the_window() {
    let daemon = Daemon::start(ON);
    let long = "all work and no play ".repeat(3000);
    for bits in 8..=15 {
        let offer = format!("permessage-deflate; server_max_window_bits={bits}");
        let (mut peer, answer) = open(&daemon, "/echo", &offer);
        assert!(answer.unwrap().ends_with(&format!("={bits}")));
        for said in ["Hello, Hello, Hello", &long, "κόσμε κόσμε κόσμε"] {
            peer.send(&frame(FIN | RSV1 | TEXT, &deflate(said.as_bytes())));
            let echoed = peer.compressed_frame();
            assert!(echoed.payload.len() < said.len());
            assert_eq!(inflate(&echoed.payload), said.as_bytes());
        }
        peer.send(&frame(FIN | RSV1 | BINARY, &deflate(b"")));
        assert_eq!(peer.frame().payload, b"", "what is not made shorter goes out plain");
        peer.expect_echo("short");
    }
}

#[test]
fn a_compressed_message_in_fragments_is_one_message() {
    let daemon = Daemon::start(ON);
    let (mut peer, _) = open(&daemon, "/echo", "permessage-deflate");
    let said = b"Hello, hello, hello, hello";
    let deflated = deflate(said);
    let (first, rest) = deflated.split_at(3);
    let (second, third) = rest.split_at(2);
    peer.send(&frame(RSV1 | TEXT, first));
    peer.send(&frame(FIN | 0x9, b"between"));
    peer.send(&frame(CONTINUATION, second));
    peer.send(&frame(FIN | CONTINUATION, third));
    assert_eq!(peer.frame().payload, b"between");
    assert_eq!(inflate(&peer.compressed_frame().payload), said);
}

#[test]
fn wrong_text_in_the_first_fragment_is_refused_before_the_last_one_comes() {
    let daemon = Daemon::start(ON);
    for offer in ["permessage-deflate", NO_TAKEOVER] {
        let (mut peer, _) = open(&daemon, "/echo", offer);
        peer.send(&frame(RSV1 | TEXT, &deflate(b"so far so good, but \xff")));
        assert_eq!(peer.frame().close_code(), 1007, "{offer}");
    }
}

#[test]
fn messages_below_the_minimum_go_out_plain() {
    let daemon = Daemon::start(&format!("{ON}compression_min_size = 50\n"));
    let (mut peer, _) = open(&daemon, "/echo", "permessage-deflate");
    peer.expect_echo(&"a".repeat(49));
    peer.send(&text(&"a".repeat(50)));
    assert_eq!(inflate(&peer.compressed_frame().payload), [b'a'; 50]);
}

#[test]
fn what_is_wrong_with_a_compressed_message_closes_with_its_code() {
    let daemon = Daemon::start(&format!("{ON}decompressed_message_size_limit = '100KiB'\n"));
    let bomb = deflate(&vec![0; 10_000_000]);
    assert!(bomb.len() < 20_000);
    let at_limit = deflate(&vec![0; 100 * 1024]);
    let faults = [
        (frame(FIN | RSV1 | BINARY, &bomb), 1009),
        (frame(FIN | RSV1 | BINARY, &deflate(&vec![0; 100 * 1024 + 1])), 1009),
        (frame(FIN | RSV1 | TEXT, &deflate(b"\xff")), 1007),
        (frame(FIN | RSV1 | BINARY, &[0x07]), 1007),
        (frame(FIN | RSV1 | 0x9, b""), 1002),
        (frame(FIN | RSV1 | CONTINUATION, b""), 1002),
        (frame(FIN | 0x20 | TEXT, b""), 1002),
    ];
    for (bytes, code) in faults {
        let (mut peer, _) = open(&daemon, "/echo", "permessage-deflate");
        peer.send(&frame(FIN | RSV1 | BINARY, &at_limit));
        assert_eq!(inflate(&peer.compressed_frame().payload).len(), 100 * 1024);
        peer.send(&bytes);
        peer.expect_close(code);
    }
}

#[test]
fn under_context_takeover_messages_refer_to_those_before() {
    let daemon = Daemon::start(&format!(
        "{ON}compression_server_context_takeover = true\ncompression_client_context_takeover = true\n"
    ));
    let (mut peer, answer) = open(&daemon, "/echo", "permessage-deflate; client_max_window_bits");
    assert_eq!(answer.as_deref(), Some("permessage-deflate"));
    let mut codec = Codec::new();
    let said = "one two three four five six seven eight nine ten";
    let mut lengths = Vec::new();
    for _ in 0..3 {
        let deflated = codec.deflate(said.as_bytes());
        peer.send(&frame(FIN | RSV1 | TEXT, &deflated));
        let echoed = peer.compressed_frame();
        lengths.push(echoed.payload.len());
        assert_eq!(codec.inflate(&echoed.payload), said.as_bytes());
    }
    assert!(lengths[1] < 12 && lengths[2] < 12, "{lengths:?}");
    // Another one in between, with a context of its own.
    let (mut other, _) = open(&daemon, "/echo", "permessage-deflate");
    other.send(&frame(FIN | RSV1 | TEXT, &deflate(said.as_bytes())));
    assert_eq!(inflate(&other.compressed_frame().payload), said.as_bytes());
    peer.send(&frame(FIN | RSV1 | TEXT, &codec.deflate(said.as_bytes())));
    assert_eq!(codec.inflate(&peer.compressed_frame().payload), said.as_bytes());
}

#[test]
fn a_broadcast_reaches_members_of_every_kind_as_each_agreed() {
    let daemon = Daemon::start(&format!("{ON}compression_server_context_takeover = true\n"));
    let mut plain: Vec<_> = (0..4).map(|_| Peer::open(&daemon, "/broadcast")).collect();
    let mut shared: Vec<_> = ["15", "9", "15", "8", "9", "12"]
        .iter()
        .map(|bits| {
            let offer =
                format!("permessage-deflate; server_no_context_takeover; server_max_window_bits={bits}");
            open(&daemon, "/broadcast", &offer).0
        })
        .collect();
    let mut own: Vec<_> =
        (0..3).map(|_| (open(&daemon, "/broadcast", "permessage-deflate").0, Codec::new())).collect();
    for round in 0..3 {
        let said = format!("round {round}: {}", "all work and no play ".repeat(20));
        plain[0].send(&text(&said));
        plain.iter_mut().for_each(|peer| assert_eq!(peer.frame().payload, said.as_bytes()));
        for peer in &mut shared {
            assert_eq!(inflate(&peer.compressed_frame().payload), said.as_bytes());
        }
        for (peer, codec) in &mut own {
            assert_eq!(codec.inflate(&peer.compressed_frame().payload), said.as_bytes());
        }
    }
}

#[test]
fn a_publication_is_compressed_once_for_all_who_share_a_window() {
    const SUBSCRIBERS: usize = 20;
    let daemon = Daemon::start_on_one_core(&format!(
        "{ON}[client.token]\nhmac_secret_key = '{SECRET}'\n[channel.without_namespace]\n\
         allow_subscribe_for_client = true\nallow_publish_for_client = true\n"
    ));
    let mut subscribers: Vec<_> = (0..SUBSCRIBERS)
        .map(|number| {
            let (mut peer, answer) = open(&daemon, "/connection/websocket", "permessage-deflate");
            assert!(answer.is_some());
            let token = token(&serde_json::json!({ "sub": format!("user{number}") }));
            peer.send(&text(&format!("{{\"id\":1,\"connect\":{{\"token\":\"{token}\"}}}}")));
            assert!(read(&mut peer).contains("\"connect\":"));
            peer.send(&text("{\"id\":2,\"subscribe\":{\"channel\":\"news\"}}"));
            assert!(read(&mut peer).contains("\"subscribe\":"));
            peer
        })
        .collect();
    let before = daemon.metric("holdfast_deflate_bytes_total", &[("form", "plain")]);
    let data = "all work and no play ".repeat(20);
    subscribers[0]
        .send(&text(&format!("{{\"id\":3,\"publish\":{{\"channel\":\"news\",\"data\":\"{data}\"}}}}")));
    let mut pushes = Vec::new();
    for peer in &mut subscribers {
        let mut message = read(peer);
        if message.contains("\"publish\":") {
            message = read(peer);
        }
        assert!(message.contains(&data), "{message}");
        pushes.push(message);
    }
    let compressed = daemon.metric("holdfast_deflate_bytes_total", &[("form", "plain")]) - before;
    let once = pushes[0].len() as u64;
    assert!(
        (once..2 * once).contains(&compressed),
        "{compressed} bytes were compressed, the push has {once}"
    );
}

fn read(peer: &mut Peer) -> String {
    let (frame, is_compressed) = peer.any_frame();
    let bytes = if is_compressed { inflate(&frame.payload) } else { frame.payload };
    String::from_utf8(bytes).expect("JSON is text")
}
