//! The client's side: the request it writes, and each check of the answer (RFC 6455 §4.1), one fault at a time.

use bytes::BytesMut;
use holdfast_protocol::http::{HeadLimits, Refusal, RequestHead};
use holdfast_protocol::websocket::handshake_client::{
    Accepted, ClientRequest, HandshakeError, RESPONSE_HEAD_BYTES_MAX, check_response,
};
use holdfast_protocol::websocket::handshake_server::upgrade;

const KEY: [u8; 16] = *b"the sample nonce";
const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn request() -> ClientRequest<'static> {
    ClientRequest {
        host: "server.example.com:8000",
        path_and_query: "/chat?room=1",
        subprotocols: &["chat", "superchat"],
        origin: Some("http://example.com"),
        headers: &[("X-Tenant", "blue")],
        key: KEY,
    }
}

fn error(answer: &str) -> HandshakeError {
    check_response(answer.as_bytes(), &KEY, &["chat"]).unwrap_err()
}

#[test]
fn a_request_says_all_it_was_asked_to() {
    let mut out = BytesMut::new();
    request().write(&mut out);
    assert_eq!(
        str::from_utf8(&out).unwrap(),
        "GET /chat?room=1 HTTP/1.1\r\nHost: server.example.com:8000\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: chat, superchat\r\nOrigin: http://example.com\r\nX-Tenant: blue\r\n\r\n"
    );
}

#[test]
fn our_client_and_our_server_agree() {
    let mut out = BytesMut::new();
    request().write(&mut out);
    let (head, _) = RequestHead::parse(&out, &HeadLimits::default()).unwrap().unwrap();
    let mut answer = upgrade(&head, &["superchat"]).unwrap().response().to_vec();
    let head_bytes = answer.len();
    answer.extend(b"\x81\x00");
    let accepted = check_response(&answer, &KEY, request().subprotocols).unwrap();
    assert_eq!(accepted, Some((Accepted { subprotocol: Some("superchat"), deflate: None }, head_bytes)));
}

#[test]
fn every_proper_prefix_of_an_answer_asks_for_more() {
    for len in 0..GOOD.len() {
        assert_eq!(check_response(&GOOD.as_bytes()[..len], &KEY, &[]), Ok(None), "at {len}");
    }
    let accepted = check_response(GOOD.as_bytes(), &KEY, &[]).unwrap();
    assert_eq!(accepted, Some((Accepted { subprotocol: None, deflate: None }, GOOD.len())));
}

#[test]
fn another_status_is_told_with_the_beginning_of_its_body() {
    let answer = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\n\r\nno capacity\n";
    let refused = error(answer);
    assert_eq!(refused, HandshakeError::Refused { status: 503, body_excerpt: "no capacity".into() });
    assert_eq!(refused.to_string(), "the server answered 503 instead of 101: no capacity");
}

#[test]
fn control_characters_of_a_body_do_not_reach_the_terminal() {
    let refused = error("HTTP/1.1 500 Oops\r\n\r\na\x1b[2Jb");
    assert_eq!(refused, HandshakeError::Refused { status: 500, body_excerpt: "a [2Jb".into() });
}

#[test]
fn every_refusal_of_our_server_is_an_answer_that_our_client_reads() {
    let refusals = [
        Refusal::TlsOnPlainPort,
        Refusal::HttpVersionUnknown,
        Refusal::HeadTooLong { bytes_max: 8192 },
        Refusal::TooManyHeaders { headers_max: 64 },
        Refusal::MethodNotGet,
        Refusal::HostMissing,
        Refusal::UpgradeMissing,
        Refusal::KeyMalformed,
        Refusal::VersionUnsupported,
        Refusal::BodyForbidden,
        Refusal::OriginForbidden,
        Refusal::NotFound,
        Refusal::HeadTimeout,
        Refusal::TooManyRequests { retry_after_s: 1 },
        Refusal::Unavailable { retry_after_s: 1 },
    ];
    for refusal in refusals {
        let answer = refusal.response();
        let expected =
            HandshakeError::Refused { status: refusal.status().code(), body_excerpt: refusal.to_string() };
        assert_eq!(check_response(&answer, &KEY, &[]), Err(expected));
    }
}

#[test]
fn an_answer_that_is_not_http_is_an_error_at_once() {
    assert!(matches!(error("SSH-2.0-OpenSSH_9\r\n"), HandshakeError::NotHttp(_)));
}

#[test]
fn an_endless_head_is_an_error() {
    let endless = format!("HTTP/1.1 101 Switching Protocols\r\nX: {}", "x".repeat(RESPONSE_HEAD_BYTES_MAX));
    assert_eq!(error(&endless), HandshakeError::HeadTooLong);
}

#[test]
fn an_answer_without_the_upgrade_headers_is_an_error() {
    assert_eq!(error(&GOOD.replace("Upgrade: websocket\r\n", "")), HandshakeError::UpgradeMissing);
    assert_eq!(error(&GOOD.replace("Connection: Upgrade\r\n", "")), HandshakeError::ConnectionUpgradeMissing);
}

#[test]
fn a_missing_or_wrong_accept_value_is_an_error() {
    assert_eq!(error(&GOOD.replace("s3p", "S3p")), HandshakeError::AcceptMismatch);
    assert_eq!(error(&GOOD.replace("Sec-WebSocket-Accept", "X-Accept")), HandshakeError::AcceptMismatch);
}

#[test]
fn a_subprotocol_or_extension_that_was_not_offered_is_an_error() {
    let with = |header: &str| GOOD.replace("\r\n\r\n", &format!("\r\n{header}\r\n\r\n"));
    let subprotocol = error(&with("Sec-WebSocket-Protocol: other"));
    assert_eq!(subprotocol, HandshakeError::SubprotocolNotOffered("other".into()));
    let extension = error(&with("Sec-WebSocket-Extensions: permessage-deflate"));
    assert_eq!(extension, HandshakeError::ExtensionNotOffered("permessage-deflate".into()));
}
