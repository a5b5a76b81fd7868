//! The server's side: each check of RFC 6455 §4.2.1, one fault at a time.

use holdfast_protocol::http::{HeadLimits, Refusal, RequestHead};
use holdfast_protocol::websocket::handshake_server::upgrade;

const REQUEST_LINE: &str = "GET /chat HTTP/1.1";
const HEADERS: [&str; 5] = [
    "Host: server.example.com",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

fn request(line: &str, headers: &[&str]) -> String {
    format!("{line}\r\n{}\r\n\r\n", headers.join("\r\n"))
}

/// The answer to a request, refusal or 101.
fn answer(request: &str, subprotocols: &[&str]) -> Result<String, Refusal> {
    let (head, len) =
        RequestHead::parse(request.as_bytes(), &HeadLimits::default())?.expect("a complete head");
    assert_eq!(len, request.len());
    upgrade(&head, subprotocols).map(|upgrade| String::from_utf8(upgrade.response().to_vec()).unwrap())
}

/// The refusal of the good request in which the header named like `header` is replaced by it.
fn refusal_with(header: &str) -> Refusal {
    let name = header.split(':').next().unwrap();
    let mut headers: Vec<&str> = HEADERS.into_iter().filter(|other| !other.starts_with(name)).collect();
    headers.push(header);
    answer(&request(REQUEST_LINE, &headers), &[]).unwrap_err()
}

/// The refusal of the good request without the headers of that name.
fn refusal_without(name: &str) -> Refusal {
    let headers: Vec<&str> = HEADERS.into_iter().filter(|header| !header.starts_with(name)).collect();
    answer(&request(REQUEST_LINE, &headers), &[]).unwrap_err()
}

/// The refusal of the good request with a further header.
fn refusal_with_also(header: &str) -> Refusal {
    answer(&request(REQUEST_LINE, &[&HEADERS[..], &[header]].concat()), &[]).unwrap_err()
}

#[test]
fn the_example_of_the_rfc_is_upgraded() {
    let headers =
        [&HEADERS[..], &["Origin: http://example.com", "Sec-WebSocket-Protocol: chat, superchat"]].concat();
    assert_eq!(
        answer(&request(REQUEST_LINE, &headers), &["superchat", "chat"]).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    );
}

#[test]
fn without_a_subprotocol_in_common_none_is_named() {
    for protocols in ["Sec-WebSocket-Protocol: Chat, other", "X-None: 1"] {
        let headers = [&HEADERS[..], &[protocols]].concat();
        assert!(
            !answer(&request(REQUEST_LINE, &headers), &["chat"]).unwrap().contains("Sec-WebSocket-Protocol")
        );
    }
}

#[test]
fn subprotocols_may_be_spread_over_several_headers() {
    let headers = [&HEADERS[..], &["Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b,c"]].concat();
    let answer = answer(&request(REQUEST_LINE, &headers), &["c"]).unwrap();
    assert!(answer.contains("\r\nSec-WebSocket-Protocol: c\r\n"));
}

#[test]
fn browsers_that_also_ask_to_keep_alive_are_upgraded() {
    let mut headers = HEADERS;
    headers[1] = "upgrade: WebSocket";
    headers[2] = "connection: keep-alive, upgrade";
    assert!(answer(&request(REQUEST_LINE, &headers), &[]).is_ok());
}

#[test]
fn another_method_is_refused_with_405() {
    let refusal = answer(&request("POST /chat HTTP/1.1", &HEADERS), &[]).unwrap_err();
    assert_eq!((refusal, refusal.status().code()), (Refusal::MethodNotGet, 405));
}

#[test]
fn http_1_0_is_refused_with_400() {
    let refusal = answer(&request("GET /chat HTTP/1.0", &HEADERS), &[]).unwrap_err();
    assert_eq!((refusal, refusal.status().code()), (Refusal::HttpTooOld, 400));
}

#[test]
fn a_missing_or_repeated_host_is_refused_with_400() {
    assert_eq!(refusal_without("Host"), Refusal::HostMissing);
    assert_eq!(refusal_with_also("Host: other"), Refusal::HostRepeated);
    assert_eq!(Refusal::HostMissing.status().code(), 400);
}

#[test]
fn a_request_that_does_not_ask_for_websocket_is_refused_with_426() {
    assert_eq!(refusal_without("Upgrade"), Refusal::UpgradeMissing);
    assert_eq!(refusal_with("Upgrade: h2c"), Refusal::UpgradeMissing);
    assert_eq!(Refusal::UpgradeMissing.status().code(), 426);
}

#[test]
fn a_connection_header_without_upgrade_is_refused_with_400() {
    assert_eq!(refusal_without("Connection"), Refusal::ConnectionUpgradeMissing);
    assert_eq!(refusal_with("Connection: keep-alive"), Refusal::ConnectionUpgradeMissing);
    assert_eq!(Refusal::ConnectionUpgradeMissing.status().code(), 400);
}

#[test]
fn a_missing_repeated_or_malformed_key_is_refused_with_400() {
    assert_eq!(refusal_without("Sec-WebSocket-Key"), Refusal::KeyMissing);
    assert_eq!(refusal_with_also("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), Refusal::KeyRepeated);
    assert_eq!(refusal_with("Sec-WebSocket-Key: c2hvcnQ="), Refusal::KeyMalformed);
    assert_eq!(refusal_with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25!ZQ=="), Refusal::KeyMalformed);
    assert_eq!(Refusal::KeyMalformed.status().code(), 400);
}

#[test]
fn another_websocket_version_is_refused_with_426() {
    assert_eq!(refusal_without("Sec-WebSocket-Version"), Refusal::VersionUnsupported);
    assert_eq!(refusal_with("Sec-WebSocket-Version: 8"), Refusal::VersionUnsupported);
    assert_eq!(refusal_with("Sec-WebSocket-Version: 013"), Refusal::VersionUnsupported);
    assert_eq!(refusal_with_also("Sec-WebSocket-Version: 8"), Refusal::VersionUnsupported);
    assert_eq!(Refusal::VersionUnsupported.status().code(), 426);
}

#[test]
fn a_body_is_refused_with_413() {
    assert_eq!(refusal_with("Content-Length: 5"), Refusal::BodyForbidden);
    assert_eq!(refusal_with("Content-Length: 18446744073709551615"), Refusal::BodyForbidden);
    assert_eq!(refusal_with("Transfer-Encoding: chunked"), Refusal::BodyForbidden);
    assert_eq!(Refusal::BodyForbidden.status().code(), 413);
}

#[test]
fn extensions_that_do_not_fit_their_grammar_are_refused_with_400_even_if_none_is_agreed_to() {
    for value in
        ["permessage-deflate; =", "x;", ";", "x y", "x; a=\"", "x; a=\"b c\"", "caf\u{e9}", "x; a=b=c"]
    {
        let refusal = refusal_with_also(&format!("Sec-WebSocket-Extensions: {value}"));
        assert_eq!((refusal, refusal.status().code()), (Refusal::ExtensionsMalformed, 400), "{value}");
    }
    for value in ["", "x", "x; a=\"b\", y", "permessage-deflate; client_max_window_bits=99"] {
        let extensions = format!("Sec-WebSocket-Extensions: {value}");
        let headers = [&HEADERS[..], &[&extensions]].concat();
        let answer = answer(&request(REQUEST_LINE, &headers), &[]).unwrap();
        assert!(!answer.contains("Extensions"), "{value}: {answer}");
    }
}

#[test]
fn a_malformed_content_length_is_refused_with_400_and_a_zero_is_not() {
    assert_eq!(refusal_with("Content-Length: five"), Refusal::ContentLengthMalformed);
    assert_eq!(refusal_with("Content-Length: -1"), Refusal::ContentLengthMalformed);
    assert_eq!(Refusal::ContentLengthMalformed.status().code(), 400);
    assert!(answer(&request(REQUEST_LINE, &[&HEADERS[..], &["Content-Length: 0"]].concat()), &[]).is_ok());
}

#[test]
fn the_first_fault_in_the_order_of_the_rfc_is_the_one_named() {
    assert_eq!(answer(&request("PUT / HTTP/1.0", &["X: 1"]), &[]).unwrap_err(), Refusal::MethodNotGet);
    assert_eq!(answer(&request("GET / HTTP/1.1", &["X: 1"]), &[]).unwrap_err(), Refusal::HostMissing);
    assert_eq!(answer(&request("GET / HTTP/1.1", &["Host: a"]), &[]).unwrap_err(), Refusal::UpgradeMissing);
}
