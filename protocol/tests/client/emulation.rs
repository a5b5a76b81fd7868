//! The body of `/emulation`: both formats, and what comes out of it as a frame.

use bytes::BytesMut;
use holdfast_protocol::client::emulation::EmulationRequest;
use holdfast_protocol::client::{DecodeError, Format, FromClient, WireError};

use crate::support::read_commands;

#[test]
fn the_data_of_a_json_body_is_a_string_that_holds_the_lines() {
    let body = r#"{"session":"s","node":"n","data":"{\"id\":2,\"ping\":{}}\n{}"}"#;
    let request = EmulationRequest::decode(Format::Json, body.as_bytes()).unwrap();
    assert_eq!((&*request.session, &*request.node), ("s", "n"));
    let commands = read_commands(Format::Json, &request.data).unwrap();
    assert!(matches!(commands[..], [FromClient::Command(_), FromClient::Pong]));
}

#[test]
fn a_protobuf_body_has_no_length_before_it() {
    let body = b"\x0a\x01n\x12\x01s\x1a\x01\x00";
    let request = EmulationRequest::decode(Format::Protobuf, body).unwrap();
    assert_eq!((&*request.session, &*request.node), ("s", "n"));
    assert_eq!(read_commands(Format::Protobuf, &request.data), Ok(vec![FromClient::Pong]));
    let mut out = BytesMut::new();
    request.encode(Format::Protobuf, &mut out);
    assert_eq!(out, &body[..]);
}

#[test]
fn what_is_written_is_read() {
    for format in Format::ALL {
        let request =
            EmulationRequest { node: "n".into(), session: "s\"".into(), data: b"{}\n{}"[..].into() };
        let mut out = BytesMut::new();
        request.encode(format, &mut out);
        assert_eq!(EmulationRequest::decode(format, &out), Ok(request));
    }
}

#[test]
fn a_bad_body_is_refused() {
    for body in ["", "{", "{}{}", "{\"data\":{}}", "{\"session\":1}"] {
        let refused = EmulationRequest::decode(Format::Json, body.as_bytes());
        assert!(matches!(refused, Err(DecodeError::Json { .. })), "{body}: {refused:?}");
    }
    let refused = EmulationRequest::decode(Format::Protobuf, b"\x0a\x05n");
    assert_eq!(refused, Err(DecodeError::Protobuf(WireError::Truncated)));
}
