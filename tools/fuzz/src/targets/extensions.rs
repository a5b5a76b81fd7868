//! Sec-WebSocket-Extensions, and the agreement on permessage-deflate.
//!
//! In:  the header's value; its first byte chooses our preferences.
//! Out: a panic where our answer is not one that a client which offered this may accept.

use holdfast_protocol::websocket::{
    deflate::{NAME, Preferences, WindowBits, accept},
    extension,
};

/// Pieces of offers.
pub const WORDS: &[&[u8]] = &[
    b"permessage-deflate",
    b"; server_no_context_takeover",
    b"; client_no_context_takeover",
    b"; server_max_window_bits=",
    b"; client_max_window_bits",
    b"=\"15\"",
    b"10",
    b", ",
    b"\\",
];

/// Negotiates once.
pub fn run(data: &[u8]) {
    let (flags, value) = super::choice(data);
    let Ok(offers) = extension::parse([value]) else { return };
    let bits = |flags: u8| WindowBits::new(8 + flags % 8).expect("between 8 and 15");
    let preferences = Preferences {
        server_context_takeover: flags & 1 != 0,
        client_context_takeover: flags & 2 != 0,
        server_max_window_bits: bits(flags >> 2),
        client_max_window_bits: bits(flags >> 5),
    };
    let Some(agreement) = accept(&offers, &preferences) else { return };
    assert!(offers.iter().any(|offer| offer.name == NAME));
    assert!(agreement.server_window() <= preferences.server_max_window_bits);
    let answer = agreement.to_string();
    let answer = extension::parse([answer.as_bytes()]).expect("we write what the grammar allows");
    assert_eq!(answer.len(), 1);
    let again = accept(
        &answer,
        &Preferences {
            server_context_takeover: true,
            client_context_takeover: true,
            ..Preferences::default()
        },
    );
    assert_eq!(again, Some(agreement), "an answer, taken as an offer, is agreed to as it is");
}
