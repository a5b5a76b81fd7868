//! What other nodes say, and what Redis says of them: messages between nodes, frames of publications, answers to surveys,
//! forwarded requests, the topology of a cluster.
//!
//! In:  one byte for the reader; a message, or several of them with their lengths.
//! Out: a panic where what was read and written again reads otherwise, or more is kept in mind than is allowed.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use holdfast_redis::{
    control::{
        Action, Control, To,
        channels::{decode_request, read_result},
        message::{Message, Node},
        registry::RegistryOptions,
        request::{PollAnswer, PollRequest},
        survey::SurveyOptions,
    },
    frame::Frame,
    publication::{decode_client_info, decode_publication, encode_client_info, encode_publication},
    receive::{connection::Address, slots::Topology},
};

/// Pieces of messages.
pub const WORDS: &[&[u8]] = &[
    b"\x0a\x01a",
    b"\x22\x06\x0a\x01a\x12\x01n",
    b"\x3a\x00",
    b"\x42\x0c\x08\x01\x12\x08channels",
    b"\x4a\x06\x08\x01\x10\x02\x1a\x00",
    b"\x5a\x0f\x0a\x0dholdfast.poll",
    b"centrifuge_emulation",
    b"__p1:1:epoch__",
    b"__d1:2:epoch:2:{}:2:{}",
    b"__j__\x0a\x01u\x12\x01c",
    b"__l__",
    b"\x22\x02{}\x30\xac\x02",
    b"\x3a\x06\x0a\x01a\x12\x01b",
    b"\x0a\x07\x0a\x01a\x12\x02\x08\x03",
    b"a 10.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-5460\n",
    b" slave ",
    b" [93->-b]",
    b"16383",
];

const NODES_MAX: usize = 4;

/// Gives the input to one of the readers.
pub fn run(data: &[u8]) {
    let (which, data) = super::choice(data);
    match which % 8 {
        0 => message(data),
        1 => frame(data),
        2 => publication(data),
        3 => client_info(data),
        4 => requests(data),
        5 => surveys(data),
        6 => conversation(data),
        _ => topology(data),
    }
}

/// What was read, written and read again is the same, and so are its bytes.
fn again<T: Debug, E: Debug>(
    read: &T,
    encode: impl Fn(&T, &mut BytesMut),
    decode: impl Fn(&[u8]) -> Result<BytesMut, E>,
) {
    let mut written = BytesMut::new();
    encode(read, &mut written);
    // Bytes are compared, because a number that is none equals nothing.
    let once_more = decode(&written).unwrap_or_else(|error| panic!("{error:?}: {read:?}"));
    assert_eq!(once_more, written, "{read:?}");
}

fn message(data: &[u8]) {
    let Ok(read) = Message::decode(data) else { return };
    again(
        &read,
        |message, out| message.encode(out),
        |bytes| {
            let mut out = BytesMut::new();
            Message::decode(bytes).map(|message| {
                message.encode(&mut out);
                out
            })
        },
    );
}

fn frame(data: &[u8]) {
    let Ok(frame) = Frame::decode(data) else { return };
    let mut written = BytesMut::new();
    frame.encode(&mut written);
    assert_eq!(Frame::decode(&written), Ok(frame));
}

fn publication(data: &[u8]) {
    let Ok(publication) = decode_publication(data) else { return };
    let mut written = BytesMut::new();
    encode_publication(&publication, &mut written);
    assert_eq!(decode_publication(&written), Ok(publication));
}

fn client_info(data: &[u8]) {
    let Ok(info) = decode_client_info(data) else { return };
    let mut written = BytesMut::new();
    encode_client_info(&info, &mut written);
    assert_eq!(decode_client_info(&written), Ok(info));
}

fn requests(data: &[u8]) {
    if let Ok(request) = PollRequest::decode(data) {
        assert_eq!(PollRequest::decode(&request.encode()), Ok(request));
    }
    if let Ok(answer) = PollAnswer::decode(data) {
        assert_eq!(PollAnswer::decode(&answer.encode()), Ok(answer));
    }
}

fn surveys(data: &[u8]) {
    // A pattern, and an answer: channels that are passed on lie within it.
    let _ = decode_request(data);
    let _ = read_result(data, |name, _| assert!(name.len() <= data.len()));
}

/// Messages of other nodes, each with its length before it, while a survey is open and time goes by.
fn conversation(mut data: &[u8]) {
    let mut now = Instant::now();
    let registry = RegistryOptions { nodes_max: NODES_MAX, ..RegistryOptions::default() };
    let mut control = Control::new("me".to_owned(), registry, SurveyOptions::default(), now);
    let (mut out, mut open) = (Vec::new(), Vec::new());
    while let Some((&length, rest)) = data.split_first() {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(length)));
        data = rest;
        // A refused message changes nothing that is counted here.
        let _ = control.hear(bytes, now, &mut out);
        assert!(control.registry().len() <= NODES_MAX);
        if length % 7 == 0 {
            open.extend(control.survey(To::All, "op", b"", now, &mut out));
        }
        now += Duration::from_millis(u64::from(length) * 10);
        control.tick(now, Node::default, &mut out);
        for action in out.drain(..) {
            if let Action::SurveyOver(outcome) = action {
                let at =
                    open.iter().position(|id| *id == outcome.id).expect("it was asked, and is over once");
                open.swap_remove(at);
            }
        }
    }
    control.tick(now + Duration::from_secs(3_600), Node::default, &mut out);
    let over = out.iter().filter(|action| matches!(action, Action::SurveyOver(_))).count();
    assert_eq!(over, open.len(), "each survey ends");
    assert_eq!(control.registry().len(), 0, "each node is forgotten");
}

fn topology(data: &[u8]) {
    let asked = Address { host: "asked".to_owned(), port: 1 };
    let text = String::from_utf8_lossy(data);
    let mut topology = Topology::default();
    let is_any = topology.add(&text, &asked);
    assert_eq!(is_any, !topology.servers().is_empty());
    let owners = (0..=u16::MAX).filter_map(|slot| topology.owner(slot));
    assert_eq!(owners.clone().next().is_some(), is_any);
    owners.for_each(|owner| assert!(topology.servers().contains(owner) && owner.port != 0));
    let mut once_more = topology.clone();
    once_more.add(&text, &asked);
    assert_eq!(once_more, topology, "the same answer says nothing new");
}
