//! Requests: one after the other over a kept connection, without waiting for the answers.

use std::{io, thread};

use serde_json::{Value, json};

use super::{Order, wire::Line};
use crate::{
    http::post,
    message::{connect, lines, publish},
    server::API_KEY,
};

/// So many requests are sent at once: what waits behind a request may be as long as a head at most.
const AT_ONCE: usize = 16;

/// So many times are polls sent in a session, before there is another one: sessions are places, and whoever takes all of
/// them is no matter of fairness.
const SESSION_ROUNDS: usize = 256;

/// Polls that publish, in one session after the other.
pub(super) fn polls(order: &Order<'_>) -> io::Result<()> {
    let poll = |session: &str, commands: &[Value]| {
        post("/connection/poll", "", &json!({ "session": session, "commands": commands }).to_string())
    };
    let mut line = Line::connect(order.target.clients)?;
    while order.goes_on() {
        line.send(order, &poll("", &[connect("attacker")]))?;
        line.read_to(order, "\"session\":\"")?;
        let session = line.read_to(order, "\"")?;
        let session = String::from_utf8_lossy(&session).trim_end_matches('"').to_owned();
        let mut id = 1;
        for _ in 0..SESSION_ROUNDS {
            let mut requests = Vec::new();
            for _ in 0..AT_ONCE {
                id += 1;
                requests.extend(poll(&session, &[publish(id, "attack", &json!("x"))]));
            }
            line.ask_once(order, &requests, AT_ONCE)?;
            order.did(AT_ONCE as u64);
        }
    }
    Ok(())
}

/// Publications for a stream that is read.
pub(super) fn emulation(order: &Order<'_>) -> io::Result<()> {
    let mut stream = Line::connect(order.target.clients)?;
    stream.send(order, &post("/connection/http_stream", "", &connect("attacker").to_string()))?;
    stream.read_to(order, "\r\n\r\n")?;
    let told: Value = serde_json::from_slice(&stream.read_to(order, "\n")?).map_err(io::Error::other)?;
    let (session, node) = (&told["connect"]["session"], &told["connect"]["node"]);
    let commands: Vec<_> = (2..66).map(|id| publish(id, "attack", &json!("x"))).collect();
    let body = json!({ "session": session, "node": node, "data": lines(&commands) }).to_string();
    let request = post("/emulation", "", &body);
    thread::scope(|scope| {
        scope.spawn(|| stream.read_all(order));
        ask(Line::connect(order.target.clients)?, order, &request, 1, commands.len())
    })
}

/// Publications by whoever has the key.
pub(super) fn api(order: &Order<'_>) -> io::Result<()> {
    const COMMANDS: usize = 64;
    let commands = vec![json!({ "publish": { "channel": "attack", "data": "x" } }); COMMANDS];
    let body = json!({ "commands": commands }).to_string();
    let request = post("/api/batch", &format!("X-API-Key: {API_KEY}\r\n"), &body);
    ask(Line::connect(order.target.control)?, order, &request, 2, COMMANDS)
}

/// Sends so many copies of a request at once, each of which asks for so much.
fn ask(line: Line, order: &Order<'_>, request: &[u8], count: usize, operations: usize) -> io::Result<()> {
    line.ask(order, &request.repeat(count), count, (count * operations) as u64)
}
