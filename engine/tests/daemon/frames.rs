//! Frames: what each side may say after the handshake (RFC 6455 §5–§8).
//!
//! In:  frames, right and wrong, whole and in pieces.
//! Out: the same messages; pongs; close frames with the code that the RFC asks for, and then the end of the stream.

use std::time::{Duration, Instant};

use holdfast_testkit::{
    Daemon,
    peer::{
        BINARY, CLOSE, CONTINUATION, FIN, Frame, PING, PONG, Peer, TEXT, binary, close, frame, request, text,
    },
};

const PROTOCOL: u16 = 1002;
const NOT_UTF8: u16 = 1007;
const TOO_BIG: u16 = 1009;

/// A header that announces `length` in eight bytes, with a mask of zeros, and no payload.
fn long_header(first: u8, length: u64) -> Vec<u8> {
    [&[first, 0x80 | 127][..], &length.to_be_bytes(), &[0; 4]].concat()
}

fn all_wrong() -> Vec<(&'static str, Vec<u8>, u16)> {
    let mut wrong = vec![
        ("unmasked", vec![FIN | TEXT, 2, b'h', b'i'], PROTOCOL),
        ("RSV1", frame(FIN | 0x40 | TEXT, b"hi"), PROTOCOL),
        ("RSV2", frame(FIN | 0x20 | TEXT, b"hi"), PROTOCOL),
        ("RSV3", frame(FIN | 0x10 | TEXT, b"hi"), PROTOCOL),
        ("RSV1 on a ping", frame(FIN | 0x40 | PING, b""), PROTOCOL),
        ("two bytes for a length of 5", vec![FIN | BINARY, 0x80 | 126, 0, 5], PROTOCOL),
        ("eight bytes for a length of 300", long_header(FIN | BINARY, 300), PROTOCOL),
        ("a length with its top bit set", long_header(FIN | BINARY, 1 << 63), PROTOCOL),
        ("a ping of 126 bytes", frame(FIN | PING, &[0; 126]), PROTOCOL),
        ("a close of 126 bytes", frame(FIN | CLOSE, &[b'a'; 126]), PROTOCOL),
        ("a fragmented ping", frame(PING, b""), PROTOCOL),
        ("a fragmented close", frame(CLOSE, b""), PROTOCOL),
        ("a continuation of nothing", frame(FIN | CONTINUATION, b"hi"), PROTOCOL),
        ("a message inside a message", [frame(TEXT, b"a"), text("b")].concat(), PROTOCOL),
        ("a close frame of one byte", frame(FIN | CLOSE, b"\x03"), PROTOCOL),
        ("a close reason that is not UTF-8", frame(FIN | CLOSE, b"\x03\xe8\xff"), NOT_UTF8),
        ("text that is not UTF-8", frame(FIN | TEXT, b"\xc0\xaf"), NOT_UTF8),
        ("a surrogate", frame(FIN | TEXT, b"\xed\xa0\x80"), NOT_UTF8),
        ("text that ends inside a character", frame(FIN | TEXT, b"\xe2\x82"), NOT_UTF8),
        (
            "a bad byte in a second fragment",
            [frame(TEXT, b"ok"), frame(CONTINUATION, b"\xff")].concat(),
            NOT_UTF8,
        ),
        // The frame's end never comes: the bad byte alone must do.
        (
            "a bad byte early in a long frame",
            frame(FIN | TEXT, &[b'a', 0xff, b'a', b'a'])[..8].to_vec(),
            NOT_UTF8,
        ),
        ("a frame over the limit", long_header(FIN | BINARY, 65_537), TOO_BIG),
        ("a frame of 2^62 bytes", long_header(FIN | BINARY, 1 << 62), TOO_BIG),
        (
            "fragments over the limit together",
            [frame(BINARY, &[0; 60_000]), frame(CONTINUATION, &[0; 6_000])[..8].to_vec()].concat(),
            TOO_BIG,
        ),
    ];
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        wrong.push(("a reserved opcode", frame(FIN | opcode, b""), PROTOCOL));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65_535] {
        wrong.push(("an illegal close code", close(code), PROTOCOL));
    }
    wrong
}

#[test]
fn every_wrong_frame_gets_the_close_code_of_the_rfc_and_its_neighbor_notices_nothing() {
    let daemon = Daemon::start("");
    let mut neighbor = Peer::open(&daemon, "/echo");
    let mut cases = Vec::new();
    for path in ["/echo", "/broadcast"] {
        for (what, bytes, code) in all_wrong() {
            let mut peer = Peer::open(&daemon, path);
            peer.send(&bytes);
            cases.push((what, peer, code));
        }
    }
    let too_big = cases.iter().filter(|(_, _, code)| *code == TOO_BIG).count() as u64;
    let wrong = cases.len() as u64 - too_big;
    for (what, mut peer, code) in cases {
        let answer = peer.frame();
        assert_eq!(answer.close_code(), code, "for {what}");
        assert!(answer.payload.len() > 2, "for {what}: no reason is given");
        peer.send_if_heard(&close(code));
        peer.expect_end();
        neighbor.expect_echo(what);
    }
    daemon.await_closes("message_too_big", too_big);
    daemon.await_closes("protocol_error", wrong);
    daemon.stop();
}

#[test]
fn a_message_before_the_wrong_frame_is_still_answered_and_one_after_it_is_not() {
    let daemon = Daemon::start("");
    let mut peer = Peer::open(&daemon, "/echo");
    peer.send(&[text("before"), frame(FIN | 0x3, b""), text("after")].concat());
    assert_eq!(peer.frame(), Frame::text("before"));
    peer.expect_close(PROTOCOL);
    daemon.stop();
}

#[test]
fn who_answers_our_close_frame_is_not_kept_waiting() {
    let daemon = Daemon::start("");
    for wrong in [frame(FIN | 0x3, b""), frame(FIN | TEXT, b"\xff"), long_header(FIN | BINARY, 1 << 62)] {
        let mut peer = Peer::open(&daemon, "/echo");
        peer.send(&wrong);
        let code = peer.frame().close_code();
        let answered = Instant::now();
        peer.send(&close(code));
        peer.expect_end();
        // Without an answer it would take a second.
        assert!(answered.elapsed() < Duration::from_millis(700), "{:?}", answered.elapsed());
    }
    daemon.stop();
}

#[test]
fn a_close_frame_is_answered_with_its_code() {
    let daemon = Daemon::start("");
    let codes: [u16; 16] =
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
    for code in codes {
        let mut peer = Peer::open(&daemon, "/echo");
        peer.send(&frame(FIN | CLOSE, &[&code.to_be_bytes()[..], b"because"].concat()));
        peer.expect_close(code);
    }
    daemon.await_closes("by_peer", codes.len() as u64);
    daemon.stop();
}

#[test]
fn a_close_frame_without_a_code_is_answered_without_one() {
    let daemon = Daemon::start("");
    let mut peer = Peer::open(&daemon, "/broadcast");
    peer.send(&frame(FIN | CLOSE, b""));
    assert_eq!(peer.frame(), Frame { opcode: CLOSE, payload: Vec::new() });
    peer.expect_end();
    daemon.stop();
}

#[test]
fn what_follows_a_close_frame_is_not_answered() {
    let daemon = Daemon::start("");
    let mut peer = Peer::open(&daemon, "/echo");
    peer.send(&[text("before"), close(1000), text("after"), frame(FIN | PING, b"after")].concat());
    assert_eq!(peer.frame(), Frame::text("before"));
    peer.expect_close(1000);
    daemon.stop();
}

#[test]
fn a_ping_gets_a_pong_with_its_payload_even_inside_a_message() {
    let daemon = Daemon::start("");
    let mut peer = Peer::open(&daemon, "/echo");
    let longest = [b'p'; 125];
    peer.send(&[frame(FIN | PING, b""), frame(FIN | PING, &longest)].concat());
    assert_eq!(peer.frame(), Frame { opcode: PONG, payload: Vec::new() });
    assert_eq!(peer.frame(), Frame { opcode: PONG, payload: longest.to_vec() });

    peer.send(&[frame(TEXT, b"a mes"), frame(FIN | PING, b"1")].concat());
    assert_eq!(peer.frame(), Frame { opcode: PONG, payload: b"1".to_vec() });
    peer.send(
        &[frame(CONTINUATION, b"sa"), frame(FIN | PONG, b"unasked"), frame(FIN | CONTINUATION, b"ge")]
            .concat(),
    );
    assert_eq!(peer.frame(), Frame::text("a message"));
    daemon.stop();
}

#[test]
fn messages_of_every_length_class_come_back_as_they_went() {
    let daemon = Daemon::start("");
    let mut peer = Peer::open(&daemon, "/echo");
    for length in [0, 1, 125, 126, 127, 2_047, 2_048, 4_095, 4_096, 4_097, 60_000, 65_535, 65_536] {
        let letters: String = ('a'..='z').cycle().take(length).collect();
        peer.expect_echo(&letters);
        peer.send(&binary(letters.as_bytes()));
        assert_eq!(peer.frame(), Frame::binary(letters.as_bytes()));
    }
    daemon.stop();
}

#[test]
fn fragments_come_back_as_one_message() {
    let daemon = Daemon::start("");
    let mut peer = Peer::open(&daemon, "/echo");
    // The euro sign is cut in two, and an empty fragment stands between its parts.
    peer.send(
        &[frame(TEXT, b"5 \xe2\x82"), frame(CONTINUATION, b""), frame(FIN | CONTINUATION, b"\xac")].concat(),
    );
    assert_eq!(peer.frame(), Frame::text("5 €"));
    peer.send(&[frame(BINARY, b""), frame(FIN | CONTINUATION, b"")].concat());
    assert_eq!(peer.frame(), Frame::binary(b""));
    peer.send(&frame(BINARY, &[9; 30_000]));
    peer.send(&frame(FIN | CONTINUATION, &[8; 35_536]));
    assert_eq!(peer.frame(), Frame::binary(&[[9; 30_000].as_slice(), &[8; 35_536]].concat()));
    daemon.stop();
}

#[test]
fn a_stream_may_be_cut_at_any_byte() {
    let daemon = Daemon::start("");
    let stream = [
        request("/echo").into_bytes(),
        text("grüß"),
        frame(FIN | PING, b"?"),
        binary(&[1; 130]),
        frame(TEXT, b"a"),
        frame(FIN | CONTINUATION, b"b"),
        close(4_000),
    ]
    .concat();
    let head_bytes = request("/echo").len();
    let peers: Vec<Peer> = (head_bytes - 2..stream.len())
        .map(|cut| {
            let mut peer = Peer::connect(&daemon);
            peer.send(&stream[..cut]);
            (peer, cut)
        })
        .collect::<Vec<_>>()
        .into_iter()
        .map(|(mut peer, cut)| {
            // By now the first part has been read, or is about to be: both must do.
            peer.send(&stream[cut..]);
            peer
        })
        .collect();
    for mut peer in peers {
        peer.expect_upgrade();
        assert_eq!(peer.frame(), Frame::text("grüß"));
        assert_eq!(peer.frame(), Frame { opcode: PONG, payload: b"?".to_vec() });
        assert_eq!(peer.frame(), Frame::binary(&[1; 130]));
        assert_eq!(peer.frame(), Frame::text("ab"));
        peer.expect_close(4_000);
    }
    daemon.await_empty();
    daemon.stop();
}

#[test]
fn a_message_limit_of_the_operators_holds() {
    let daemon = Daemon::start("[websocket]\nmessage_size_limit = '1KiB'");
    let mut peer = Peer::open(&daemon, "/echo");
    let most = "m".repeat(1_024);
    peer.expect_echo(&most);
    peer.send(&text(&(most + "!")));
    peer.expect_close(TOO_BIG);
    daemon.stop();
}
