//! Visits: connections that are made, used for one thing, and broken off.

use std::{io, sync::Arc};

use rustls::{ClientConnection, pki_types::ServerName};

use super::{Order, wire::Line};
use crate::{
    frame,
    http::post,
    message::{connect, lines, subscribe},
    token,
};

/// So many connections come back at once, for each attacker.
const CROWD: usize = 16;

pub(super) fn sse(order: &Order<'_>) -> io::Result<()> {
    streamed(order, "/connection/sse")
}

pub(super) fn stream(order: &Order<'_>) -> io::Result<()> {
    streamed(order, "/connection/http_stream")
}

fn streamed(order: &Order<'_>, path: &str) -> io::Result<()> {
    let request = post(path, "", &lines([&connect("attacker"), &subscribe(2, "attack")]));
    while order.goes_on() {
        let mut line = Line::connect(order.target.clients)?;
        line.send(order, &request)?;
        line.read_to(order, "\"id\":2")?;
        order.did(1);
    }
    Ok(())
}

/// Handshakes whose first half is always the same bytes: the daemon's half needs a key exchange and a signature, the
/// attacker's none.
pub(super) fn tls(order: &Order<'_>) -> io::Result<()> {
    let config = order.target.tls.clone().ok_or_else(|| io::Error::other("clients do not speak TLS"))?;
    let name = ServerName::try_from("localhost").expect("it is a name");
    let mut session = ClientConnection::new(Arc::clone(&config), name).map_err(io::Error::other)?;
    let mut hello = Vec::new();
    session.write_tls(&mut hello)?;
    while order.goes_on() {
        let mut line = Line::connect(order.target.clients)?;
        line.send(order, &hello)?;
        // The first bytes come when all of the daemon's half is done.
        line.read_any(order)?;
        order.did(1);
    }
    Ok(())
}

/// A handshake and a forged token in one piece, then the answer.
pub(super) fn bad_token(order: &Order<'_>) -> io::Result<()> {
    let mut visit = frame::handshake("/connection/websocket").into_bytes();
    let connect = serde_json::json!({ "id": 1, "connect": { "token": token::forged("attacker") } });
    frame::append(frame::TEXT, connect.to_string().as_bytes(), &mut visit);
    while order.goes_on() {
        let mut line = Line::connect(order.target.clients)?;
        line.send(order, &visit)?;
        line.read_to(order, "invalid token")?;
        order.did(1);
    }
    Ok(())
}

/// A crowd that comes, subscribes, recovers, and is gone again.
pub(super) fn storm(order: &Order<'_>) -> io::Result<()> {
    let mut visit = frame::handshake("/connection/websocket").into_bytes();
    let mut again = subscribe(2, "kept:attack");
    again["subscribe"]["recover"] = true.into();
    again["subscribe"]["offset"] = 1.into();
    let first = lines([&connect("attacker"), &again]);
    frame::append(frame::TEXT, first.as_bytes(), &mut visit);
    while order.goes_on() {
        let mut crowd = Vec::new();
        for _ in 0..CROWD {
            let mut line = Line::connect(order.target.clients)?;
            line.send(order, &visit)?;
            crowd.push(line);
        }
        for line in &mut crowd {
            line.read_to(order, "\"id\":2")?;
            order.did(1);
        }
    }
    Ok(())
}
