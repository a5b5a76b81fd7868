//! Commands and replies of the client protocol, in both formats.
//!
//! In:  a frame.
//! Out: a panic where what was read and written again reads otherwise.

use bytes::BytesMut;
use holdfast_protocol::client::{
    Command, Format, FromClient, FromServer, Request, append_command, append_encoded, append_push,
    append_reply, decode_commands, decode_replies, filter::Filter,
};

/// Pieces of JSON frames.
pub const WORDS: &[&[u8]] = &[
    b"{\"id\":1,\"connect\":{\"token\":\"t\",\"data\":{}}}",
    b"\"subscribe\":{\"channel\":\"a\",\"recover\":true,\"epoch\":\"e\",\"offset\":1",
    b"\"tf\":{\"op\":\"and\",\"nodes\":[{\"cmp\":\"eq\",\"key\":\"k\",\"val\":\"v\"}]}",
    b"\"publish\":{\"channel\":\"a\",\"data\":",
    b"{\"push\":{\"channel\":\"a\",\"pub\":{\"data\":1,\"offset\":2}}}",
    b"{\"node\":\"n\",\"session\":\"s\",\"data\":\"{}\"}",
    b"\\u0000",
    b"null",
    b"\n",
    b"[[[[",
];

/// Reads a frame of JSON.
pub fn run_json(data: &[u8]) {
    // Carriage returns between tokens are written as spaces, because they end a line in SSE.
    let spaced: Vec<u8> = data.iter().map(|&byte| if byte == b'\r' { b' ' } else { byte }).collect();
    run(Format::Json, &spaced);
    if spaced != data {
        decode_commands(Format::Json, data).for_each(drop);
        decode_replies(Format::Json, data).for_each(drop);
    }
}

/// Reads a frame of Protobuf.
pub fn run_protobuf(data: &[u8]) {
    run(Format::Protobuf, data);
}

fn run(format: Format, data: &[u8]) {
    if let Ok(commands) = decode_commands(format, data).collect::<Result<Vec<_>, _>>() {
        let mut frame = BytesMut::new();
        for command in &commands {
            match command {
                FromClient::Command(command) => append_command(format, &mut frame, command),
                FromClient::Pong => append_encoded(format, &mut frame, format.empty_message()),
            }
            if let FromClient::Command(Command { request: Request::Subscribe(subscribe), .. }) = command
                && let Some(tree) = &subscribe.tf
                && let Ok(filter) = Filter::new(tree)
            {
                filter.matches(|_| Some("1"));
            }
        }
        let again = decode_commands(format, &frame).collect::<Result<Vec<_>, _>>();
        assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, ()>(commands)));
    }
    if let Ok(replies) = decode_replies(format, data).collect::<Result<Vec<_>, _>>() {
        let mut frame = BytesMut::new();
        for reply in &replies {
            match reply {
                FromServer::Reply(reply) => append_reply(format, &mut frame, reply),
                FromServer::Push(push) => append_push(format, &mut frame, push),
                FromServer::Ping => append_encoded(format, &mut frame, format.empty_message()),
            }
        }
        let again = decode_replies(format, &frame).collect::<Result<Vec<_>, _>>();
        assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, ()>(replies)));
    }
}
