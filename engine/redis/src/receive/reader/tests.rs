//! The reader against random streams in random pieces.

use proptest::prelude::*;

use super::*;

/// What a stream is made of, and what has to come out.
#[derive(Debug, Clone, PartialEq)]
enum Sent {
    Message(String, Vec<u8>),
    Reply(Reply),
}

fn append(out: &mut Vec<u8>, sent: &Sent, protocol: Protocol, kind: &str) {
    let mark = if protocol == Protocol::Resp3 { '>' } else { '*' };
    let bulk = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend(format!("${}\r\n", bytes.len()).bytes());
        out.extend([bytes, b"\r\n"].concat());
    };
    let push = |out: &mut Vec<u8>, word: &str, channel: Option<&[u8]>| {
        out.extend(format!("{mark}3\r\n").bytes());
        bulk(out, format!("{kind}{word}").as_bytes());
        match channel {
            Some(channel) => bulk(out, channel),
            None if protocol == Protocol::Resp3 => out.extend(b"_\r\n"),
            None => out.extend(b"$-1\r\n"),
        }
    };
    match sent {
        Sent::Message(channel, payload) => {
            push(out, "message", Some(channel.as_bytes()));
            out.extend(format!("${}\r\n", payload.len()).bytes());
            out.extend([payload, &b"\r\n"[..]].concat());
        }
        Sent::Reply(Reply::Subscribed { channel, count }) => {
            push(out, "subscribe", Some(channel));
            out.extend(format!(":{count}\r\n").bytes());
        }
        Sent::Reply(Reply::Unsubscribed { channel }) => {
            push(out, "unsubscribe", channel.as_deref());
            out.extend(b":0\r\n");
        }
        Sent::Reply(Reply::Pong) if protocol == Protocol::Resp2 => {
            out.extend(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n");
        }
        Sent::Reply(Reply::Pong) => out.extend(b"+PONG\r\n"),
        Sent::Reply(Reply::Error(text)) => out.extend([b"-", &text[..], b"\r\n"].concat()),
        Sent::Reply(Reply::Text(text)) => out.extend([b"+", &text[..], b"\r\n"].concat()),
        Sent::Reply(other) => panic!("{other:?}"),
    }
}

fn sent() -> impl Strategy<Value = Sent> {
    let bytes = || "[a-z{}. ]{1,20}".prop_map(Bytes::from);
    let payload = prop_oneof![
        9 => prop::collection::vec(any::<u8>(), 0..200),
        1 => prop::collection::vec(any::<u8>(), 0..5000),
    ];
    prop_oneof![
        6 => ("[a-z]{1,20}", payload).prop_map(|(channel, payload)| Sent::Message(channel, payload)),
        1 => (bytes(), 0..100_i64).prop_map(|(channel, count)| Sent::Reply(Reply::Subscribed { channel, count })),
        1 => prop::option::of(bytes()).prop_map(|channel| Sent::Reply(Reply::Unsubscribed { channel })),
        1 => Just(Sent::Reply(Reply::Pong)),
        1 => bytes().prop_map(|text| Sent::Reply(Reply::Error(text))),
        1 => bytes().prop_map(|text| Sent::Reply(Reply::Text(text))),
    ]
}

/// All that comes out of a stream in pieces of these lengths, over and over.
fn read(stream: &[u8], pieces: &[usize], protocol: Protocol) -> (Vec<Sent>, Result<(), ProtocolError>) {
    let options =
        ReadOptions { read_bytes: 64, limits: Limits { bulk_bytes_max: 10_000, ..Limits::default() } };
    let mut reader = Reader::new(options);
    reader.speak(protocol);
    let (mut items, mut left) = (Vec::new(), stream);
    let mut result = Ok(());
    for length in pieces.iter().cycle() {
        if left.is_empty() || result.is_err() {
            break;
        }
        let (piece, rest) = left.split_at(left.len().min((*length).max(1)));
        left = rest;
        reader.buffer().extend_from_slice(piece);
        result = reader.take(&mut items);
        assert!(reader.buffer().capacity() < 100_000);
    }
    let mut seen = Vec::new();
    for item in items {
        match item {
            Item::Reply(reply) => seen.push(Sent::Reply(reply)),
            Item::Messages(messages) => {
                assert!(messages.len() > 0 && messages.bytes() > 0);
                for message in messages.iter() {
                    assert_eq!(messages.share(message.payload), message.payload);
                    let channel = String::from_utf8(message.channel.to_vec()).unwrap();
                    seen.push(Sent::Message(channel, message.payload.to_vec()));
                }
            }
        }
    }
    (seen, result)
}

proptest! {
    #[test]
    fn what_was_sent_comes_out_in_its_order_whatever_the_pieces(
        sent in prop::collection::vec(sent(), 0..60),
        pieces in prop::collection::vec(1..300_usize, 1..20),
        is_new: bool,
        is_sharded: bool,
    ) {
        let protocol = if is_new { Protocol::Resp3 } else { Protocol::Resp2 };
        let mut stream = Vec::new();
        sent.iter().for_each(|sent| append(&mut stream, sent, protocol, if is_sharded { "s" } else { "" }));
        prop_assert_eq!(read(&stream, &pieces, protocol), (sent, Ok(())));
    }

    #[test]
    fn what_came_before_garbage_counts(
        sent in prop::collection::vec(sent(), 0..10),
        pieces in prop::collection::vec(1..300_usize, 1..20),
    ) {
        let mut stream = Vec::new();
        sent.iter().for_each(|sent| append(&mut stream, sent, Protocol::Resp3, ""));
        stream.extend(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let (seen, result) = read(&stream, &pieces, Protocol::Resp3);
        prop_assert_eq!(seen, sent);
        prop_assert!(result.is_err());
    }
}

#[test]
fn the_messages_of_one_read_go_out_together_and_share_its_buffer() {
    let mut reader = Reader::new(ReadOptions::default());
    reader.speak(Protocol::Resp3);
    let mut stream = Vec::new();
    for number in 0..100_u8 {
        append(&mut stream, &Sent::Message("a".to_owned(), vec![number; 10]), Protocol::Resp3, "");
    }
    reader.buffer().extend_from_slice(&stream);
    let mut items = Vec::new();
    reader.take(&mut items).unwrap();
    let [Item::Messages(messages)] = &items[..] else { panic!("{items:?}") };
    assert_eq!(messages.len(), 100);
    let rest = messages.clone().without(b"b").unwrap();
    assert_eq!(rest.len(), 100);
    assert!(messages.clone().without(b"a").is_none());
}

#[test]
fn small_reads_share_a_buffer_however_long_they_are_kept() {
    let mut reader = Reader::new(ReadOptions { read_bytes: 64 << 10, limits: Limits::default() });
    reader.speak(Protocol::Resp3);
    let mut items = Vec::new();
    for number in 0..1000_usize {
        let mut stream = Vec::new();
        // A long run every now and then must not make the lists of short ones long.
        for _ in 0..if number.is_multiple_of(100) { 50 } else { 1 } {
            append(&mut stream, &Sent::Message("a".to_owned(), vec![b'x'; 100]), Protocol::Resp3, "");
        }
        reader.buffer().extend_from_slice(&stream);
        reader.take(&mut items).unwrap();
    }
    let messages = items.iter().map(|item| match item {
        Item::Messages(messages) => messages,
        Item::Reply(_) => panic!("these are messages"),
    });
    let (mut bytes, mut spans, mut buffers, mut last) = (0, 0, 0, None);
    for messages in messages {
        bytes += messages.bytes();
        spans += messages.spans.capacity() * size_of::<(Span, Span)>();
        let at = messages.bytes.as_ptr() as usize;
        buffers += usize::from(last.replace(at + messages.bytes.len()) != Some(at));
    }
    assert!(buffers * (64 << 10) < bytes * 3 / 2 + (64 << 10), "{buffers} buffers for {bytes} bytes");
    assert!(spans < bytes, "{spans}");
}

#[test]
fn a_long_message_gets_room_as_it_comes_not_as_it_claims() {
    let mut reader = Reader::new(ReadOptions { read_bytes: 1024, limits: Limits::default() });
    reader.buffer().extend_from_slice(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$60000000\r\n");
    reader.take(&mut Vec::new()).unwrap();
    assert!(reader.buffer().capacity() < 10_000);
    for _ in 0..100 {
        reader.buffer().extend_from_slice(&[b'x'; 1024]);
        reader.take(&mut Vec::new()).unwrap();
        let room = reader.buffer().capacity();
        assert!(room < 4 * reader.buffer().len() + 4096, "{room}");
    }
}

#[test]
fn pushes_that_are_none_of_ours_are_passed_over() {
    let read = |stream: &[u8]| read(stream, &[1000], Protocol::Resp3).0;
    assert_eq!(read(b">2\r\n$10\r\ninvalidate\r\n_\r\n"), [Sent::Reply(Reply::Push)]);
    assert_eq!(
        read(b">4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\na\r\n$1\r\nx\r\n"),
        [Sent::Reply(Reply::Push)]
    );
    assert_eq!(read(b">0\r\n"), [Sent::Reply(Reply::Push)]);
    let array = Reply::Array(Some(Bytes::from_static(b"message")));
    assert_eq!(
        read(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n"),
        [Sent::Reply(array)],
        "RESP3 pushes messages"
    );
}
