//! Offers and answers (RFC 7692 §5, §7.1) as tables.

use holdfast_protocol::{
    http::{HeadLimits, Refusal, RequestHead},
    websocket::{
        Role,
        deflate::{Agreement, AnswerError, Offer, Preferences, WindowBits, Windows, accept, check_answer},
        extension,
        handshake_client::{HandshakeError, check_response_with},
        handshake_server,
    },
};

fn bits(bits: u8) -> WindowBits {
    WindowBits::new(bits).unwrap()
}

fn answer(offers: &str, preferences: &Preferences) -> Option<String> {
    let offers = extension::parse([offers.as_bytes()]).unwrap();
    accept(&offers, preferences).map(|agreement| agreement.to_string())
}

const TAKEOVER: Preferences = Preferences {
    server_context_takeover: true,
    client_context_takeover: true,
    server_max_window_bits: WindowBits::MAX,
    client_max_window_bits: WindowBits::MAX,
};

const NONE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

#[test]
fn by_default_nothing_is_kept_for_a_connection() {
    let table = [
        ("permessage-deflate", NONE.to_owned()),
        // What browsers send.
        ("permessage-deflate; client_max_window_bits", NONE.to_owned()),
        ("permessage-deflate; server_no_context_takeover", NONE.to_owned()),
        ("permessage-deflate; client_no_context_takeover", NONE.to_owned()),
        ("permessage-deflate; server_max_window_bits=10", format!("{NONE}; server_max_window_bits=10")),
        ("permessage-deflate; server_max_window_bits=8", format!("{NONE}; server_max_window_bits=8")),
        // Who asks reads an answer, even if it says what is meant anyway (§7.1.2.1).
        ("permessage-deflate; server_max_window_bits=15", format!("{NONE}; server_max_window_bits=15")),
        ("permessage-deflate; server_max_window_bits=\"9\"", format!("{NONE}; server_max_window_bits=9")),
        ("permessage-deflate; client_max_window_bits=12", format!("{NONE}; client_max_window_bits=12")),
    ];
    for (offer, expected) in table {
        assert_eq!(answer(offer, &Preferences::default()), Some(expected), "{offer}");
    }
}

#[test]
fn context_is_kept_where_both_sides_want_it() {
    let table = [
        ("permessage-deflate", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits", "permessage-deflate"),
        ("permessage-deflate; server_no_context_takeover", "permessage-deflate; server_no_context_takeover"),
        ("permessage-deflate; client_no_context_takeover", "permessage-deflate; client_no_context_takeover"),
        (
            "permessage-deflate; client_max_window_bits=8; server_max_window_bits=9",
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=8",
        ),
    ];
    for (offer, expected) in table {
        assert_eq!(answer(offer, &TAKEOVER).as_deref(), Some(expected), "{offer}");
    }
}

#[test]
fn our_window_is_the_smaller_of_offer_and_preference() {
    let small =
        Preferences { server_max_window_bits: bits(11), client_max_window_bits: bits(10), ..TAKEOVER };
    let table = [
        (
            "permessage-deflate; client_max_window_bits",
            "; server_max_window_bits=11; client_max_window_bits=10",
        ),
        (
            "permessage-deflate; client_max_window_bits=9; server_max_window_bits=14",
            "; server_max_window_bits=11; client_max_window_bits=9",
        ),
        (
            "permessage-deflate; client_max_window_bits=15; server_max_window_bits=8",
            "; server_max_window_bits=8; client_max_window_bits=10",
        ),
        // Who does not let us choose its window keeps it at 15, which we then do not remember.
        ("permessage-deflate", "; client_no_context_takeover; server_max_window_bits=11"),
    ];
    for (offer, expected) in table {
        assert_eq!(answer(offer, &small), Some(format!("permessage-deflate{expected}")), "{offer}");
    }
}

#[test]
fn an_offer_with_a_wrong_parameter_is_declined() {
    let wrong = [
        "unknown",
        "unknown=1",
        "server_no_context_takeover=true",
        "client_no_context_takeover=\"1\"",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=08",
        "server_max_window_bits=+9",
        "server_max_window_bits=0",
        "server_max_window_bits=150",
        "server_max_window_bits=x",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=010",
        "client_max_window_bits=\"1x\"",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits=9; server_max_window_bits=9",
        "client_max_window_bits; client_max_window_bits",
        "client_max_window_bits; client_max_window_bits=9",
        "Server_No_Context_Takeover",
    ];
    for parameters in wrong {
        assert_eq!(answer(&format!("permessage-deflate; {parameters}"), &TAKEOVER), None, "{parameters}");
    }
    for other in
        ["", "x-webkit-deflate-frame", "permessage-bzip2", "permessage-deflate-2", "Permessage-Deflate"]
    {
        assert_eq!(answer(other, &TAKEOVER), None, "{other}");
    }
}

#[test]
fn the_first_offer_that_can_be_met_is_taken() {
    let table = [
        ("x-other; a=1, permessage-deflate", "permessage-deflate"),
        (
            "permessage-deflate; foo, permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover",
        ),
        (
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
            "permessage-deflate; server_max_window_bits=10",
        ),
        (
            "permessage-deflate; server_max_window_bits=16, permessage-deflate; server_max_window_bits=12, permessage-deflate",
            "permessage-deflate; server_max_window_bits=12",
        ),
    ];
    for (offers, expected) in table {
        assert_eq!(answer(offers, &TAKEOVER).as_deref(), Some(expected), "{offers}");
    }
}

#[test]
fn windows_exist_for_the_sides_that_keep_their_context() {
    let agreement = |server, client| Agreement {
        server_context_takeover: server,
        client_context_takeover: client,
        server_max_window_bits: Some(bits(9)),
        client_max_window_bits: None,
    };
    assert_eq!(Windows::of(&agreement(false, false), Role::Server), None);
    let ours = Windows::of(&agreement(true, false), Role::Server).unwrap();
    assert!(ours.sent.is_some() && ours.received.is_none());
    let theirs = Windows::of(&agreement(true, false), Role::Client).unwrap();
    assert!(theirs.sent.is_none() && theirs.received.is_some());
    assert_eq!(Windows::of(&agreement(true, true), Role::Server).unwrap().buffered_bytes(), 0);
}

fn request(extensions: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: \
         dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{extensions}\r\n"
    )
}

fn upgrade(extensions: &str) -> Result<String, Refusal> {
    let request = request(extensions);
    let (head, _) = RequestHead::parse(request.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
    let mut upgrade = handshake_server::upgrade(&head, &[])?;
    upgrade.agree_to_deflate(&Preferences::default());
    Ok(String::from_utf8(upgrade.response().to_vec()).unwrap())
}

#[test]
fn the_answer_stands_in_the_response_and_only_where_something_was_agreed() {
    let several =
        upgrade("Sec-WebSocket-Extensions: x\r\nSec-WebSocket-Extensions: permessage-deflate\r\n").unwrap();
    assert!(several.contains(&format!("\r\nSec-WebSocket-Extensions: {NONE}\r\n")), "{several}");
    for none in ["", "Sec-WebSocket-Extensions: x\r\n", "Sec-WebSocket-Extensions:\r\n"] {
        assert!(!upgrade(none).unwrap().contains("Sec-WebSocket-Extensions"), "{none}");
    }
}

#[test]
fn a_malformed_header_fails_the_handshake() {
    let refusal = upgrade("Sec-WebSocket-Extensions: permessage-deflate; a=\"\r\n").unwrap_err();
    assert_eq!(refusal, Refusal::ExtensionsMalformed);
    assert_eq!(refusal.status().code(), 400);
}

#[test]
fn every_offer_of_ours_is_understood_and_its_answer_accepted() {
    let limits = [None, Some(8), Some(12), Some(15)].map(|limit| limit.map(bits));
    let hints = std::iter::once(None).chain(limits.map(Some));
    for client_max_window_bits in hints {
        for server_max_window_bits in limits {
            for flags in 0..4 {
                let offer = Offer {
                    server_no_context_takeover: flags & 1 != 0,
                    client_no_context_takeover: flags & 2 != 0,
                    server_max_window_bits,
                    client_max_window_bits,
                };
                let text = offer.to_string();
                let offers = extension::parse([text.as_bytes()]).unwrap();
                for preferences in [Preferences::default(), TAKEOVER] {
                    let agreed = accept(&offers, &preferences).unwrap();
                    let answer = agreed.to_string();
                    let answer = extension::parse([answer.as_bytes()]).unwrap();
                    assert_eq!(check_answer(&answer[0].parameters, &offer), Ok(agreed), "{text}");
                }
            }
        }
    }
}

#[test]
fn an_answer_that_does_not_fit_the_offer_fails_the_connection() {
    let check = |offer: &Offer, text: &str| {
        let answer = extension::parse([text.as_bytes()]).unwrap();
        check_answer(&answer[0].parameters, offer)
    };
    let strict = Offer {
        server_no_context_takeover: true,
        server_max_window_bits: Some(bits(10)),
        ..Offer::default()
    };
    let table = [
        (Offer::default(), "; foo", AnswerError::Parameter),
        (Offer::default(), "; server_max_window_bits=16", AnswerError::Parameter),
        (Offer::default(), "; client_max_window_bits", AnswerError::Parameter),
        (Offer::default(), "; client_max_window_bits=10", AnswerError::WindowNotOffered),
        (strict, "; server_max_window_bits=10", AnswerError::LimitNotKept),
        (strict, "; server_no_context_takeover", AnswerError::LimitNotKept),
        (strict, "; server_no_context_takeover; server_max_window_bits=11", AnswerError::LimitNotKept),
    ];
    for (offer, text, expected) in table {
        assert_eq!(check(&offer, &format!("permessage-deflate{text}")), Err(expected), "{text}");
    }
    let smaller =
        check(&strict, "permessage-deflate; server_no_context_takeover; server_max_window_bits=9").unwrap();
    assert_eq!(smaller.server_window(), bits(9));
}

#[test]
fn a_client_takes_only_the_extension_that_it_offered_and_only_once() {
    let response = |extensions: &str| {
        let text = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n{extensions}\r\n"
        );
        check_response_with(text.as_bytes(), b"the sample nonce", &[], Some(&Offer::default()))
            .map(|read| read.expect("the head is whole").0.deflate)
    };
    assert_eq!(response(""), Ok(None));
    let agreed = response("Sec-WebSocket-Extensions: permessage-deflate\r\n").unwrap().unwrap();
    assert!(agreed.server_context_takeover);
    let twice = response("Sec-WebSocket-Extensions: permessage-deflate, permessage-deflate\r\n");
    assert_eq!(twice, Err(HandshakeError::ExtensionNotOffered("permessage-deflate".into())));
    assert_eq!(
        response("Sec-WebSocket-Extensions: permessage-deflate; foo\r\n"),
        Err(HandshakeError::Deflate(AnswerError::Parameter))
    );
    assert_eq!(response("Sec-WebSocket-Extensions: ;\r\n"), Err(HandshakeError::ExtensionsMalformed));
}
