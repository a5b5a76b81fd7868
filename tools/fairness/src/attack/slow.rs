//! Slow: clients that read nothing of what they ask for.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Order, wire::Line};
use crate::{
    frame,
    http::post,
    message::{connect, lines, subscribe},
    server::API_KEY,
};

/// How much the kernel keeps for who reads nothing, or little more.
const NARROW_BYTES: usize = 4 * 1024;
/// How long one of them stays.
const STAY: Duration = Duration::from_millis(700);
/// What the application publishes meanwhile: so much, so often.
const PUBLICATION_BYTES: usize = 16 * 1024;
const PUBLICATION_INTERVAL: Duration = Duration::from_millis(10);

/// One publishes, as an application does; the others subscribe or have much echoed, and read none of it.
pub(super) fn reads_nothing(order: &Order<'_>) -> io::Result<()> {
    match order.number {
        0 => publishes(order),
        odd if odd % 2 == 1 => subscribes(order),
        _ => has_it_echoed(order),
    }
}

fn publishes(order: &Order<'_>) -> io::Result<()> {
    let body = json!({ "channel": "attack", "data": "x".repeat(PUBLICATION_BYTES) }).to_string();
    let request = post("/api/publish", &format!("X-API-Key: {API_KEY}\r\n"), &body);
    let mut line = Line::connect(order.target.control)?;
    while order.goes_on() {
        line.send(order, &request)?;
        line.read_to(order, "}")?;
        order.did(1);
        thread::sleep(PUBLICATION_INTERVAL);
    }
    Ok(())
}

fn subscribes(order: &Order<'_>) -> io::Result<()> {
    let mut line = Line::connect_narrow(order.target.clients, NARROW_BYTES)?;
    let first = lines([&connect("attacker"), &subscribe(2, "attack")]);
    line.upgrade(order, "/connection/websocket", Some((&first, "\"id\":2")))?;
    order.did(1);
    thread::sleep(STAY);
    Ok(())
}

fn has_it_echoed(order: &Order<'_>) -> io::Result<()> {
    let mut line = Line::connect_narrow(order.target.clients, NARROW_BYTES)?;
    line.upgrade(order, "/echo", None)?;
    let mut bytes = Vec::new();
    frame::append(frame::BINARY, &[b'x'; 16 * 1024], &mut bytes);
    let began = Instant::now();
    while order.goes_on() && began.elapsed() < STAY {
        line.send_some(&bytes)?;
        order.did(1);
    }
    Ok(())
}
