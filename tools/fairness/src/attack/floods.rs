//! Floods: WebSockets that send without pause and without waiting for an answer.

use std::io;

use serde_json::json;

use super::{Order, wire::Line};
use crate::{
    frame,
    message::{connect, lines, publish, subscribe},
};

/// About so much is sent at once.
const PIECE_BYTES: usize = 64 * 1024;

/// As many copies of a frame as a piece holds, and how many those are.
fn piece(opcode: u8, payload: &[u8]) -> (Vec<u8>, u64) {
    let (mut bytes, mut count) = (Vec::new(), 0);
    while bytes.len() < PIECE_BYTES {
        frame::append(opcode, payload, &mut bytes);
        count += 1;
    }
    (bytes, count)
}

/// Messages of one byte, of which the most fit into what the daemon receives at once.
pub(super) fn raw(order: &Order<'_>) -> io::Result<()> {
    let mut line = Line::connect(order.target.clients)?;
    line.upgrade(order, "/echo", None)?;
    let (bytes, count) = piece(frame::BINARY, b"x");
    line.flood(order, &bytes, count)
}

/// Each of them goes to all attackers, and to who else is there.
pub(super) fn broadcast(order: &Order<'_>) -> io::Result<()> {
    let mut line = Line::connect(order.target.clients)?;
    line.upgrade(order, "/broadcast", None)?;
    let (bytes, count) = piece(frame::BINARY, &[b'x'; 128]);
    line.flood(order, &bytes, count)
}

/// Publications into a channel that half of the attackers are in.
pub(super) fn publications(order: &Order<'_>) -> io::Result<()> {
    let first = match order.number % 2 {
        0 => lines([&connect("attacker"), &subscribe(2, "attack")]),
        _ => lines([&connect("attacker"), &subscribe(2, "aside")]),
    };
    let mut line = Line::connect(order.target.clients)?;
    line.upgrade(order, "/connection/websocket", Some((&first, "\"id\":2")))?;
    let (bytes, count) = piece(frame::TEXT, publish(3, "attack", &json!("x")).to_string().as_bytes());
    line.flood(order, &bytes, count)
}

/// What costs most for its length.
pub(super) fn commands(order: &Order<'_>) -> io::Result<()> {
    let mut fill: Vec<_> = (3..103).map(|id| publish(id, "kept:attack", &json!("x".repeat(200)))).collect();
    let first = [connect("attacker"), subscribe(2, "kept:attack")];
    fill.splice(0..0, first);
    let mut line = Line::connect(order.target.clients)?;
    line.upgrade(order, "/connection/websocket", Some((&lines(&fill), "\"id\":102")))?;
    let costly = [
        json!({ "id": 3, "history": { "channel": "kept:attack", "limit": 100 } }),
        json!({ "id": 4, "presence": { "channel": "kept:attack" } }),
        subscribe(5, "kept:other"),
        json!({ "id": 6, "unsubscribe": { "channel": "kept:other" } }),
    ];
    let many = lines(costly.iter().cycle().take(costly.len() * 100));
    let mut bytes = Vec::new();
    frame::append(frame::TEXT, many.as_bytes(), &mut bytes);
    line.flood(order, &bytes, costly.len() as u64 * 100)
}
