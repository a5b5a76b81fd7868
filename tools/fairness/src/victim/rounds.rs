//! Rounds: what each kind of client does.
//!
//! Who has a channel publishes in it and waits until that has come back to it: through its own connection, the home of
//! the channel, the fan-out, and its own connection again.

use std::io;

use serde_json::{Value, json};

use super::Round;
use crate::{
    frame,
    http::{Http, post},
    link::Target,
    message::{connect, lines, publish, subscribe},
    server::API_KEY,
};

/// A message and its echo.
pub(crate) fn echo(target: &Target) -> io::Result<Round> {
    numbered(target, "/echo")
}

/// A message to all, and it comes back.
pub(crate) fn broadcast(target: &Target) -> io::Result<Round> {
    numbered(target, "/broadcast")
}

fn numbered(target: &Target, path: &str) -> io::Result<Round> {
    let mut socket = target.websocket(path)?;
    let mut number = 0_u64;
    Ok(Box::new(move || {
        number += 1;
        let message = format!("fairness {number}");
        socket.send(frame::BINARY, message.as_bytes())?;
        socket.read_until(|payload| payload == message.as_bytes())
    }))
}

/// A publication over a WebSocket: its reply and itself.
pub(crate) fn websocket(target: &Target) -> io::Result<Round> {
    let mut socket = target.websocket("/connection/websocket")?;
    let channel = "well-websocket";
    socket.send_text(&lines([&connect("well-websocket"), &subscribe(2, channel)]))?;
    socket.read_until(|payload| replies(payload).any(|reply| reply["id"] == 2))?;
    let mut number = 2;
    Ok(Box::new(move || {
        number += 1;
        socket.send_text(&publish(number, channel, &json!(number)).to_string())?;
        let (mut is_replied, mut has_come) = (false, false);
        socket.read_until(|payload| {
            for reply in replies(payload) {
                is_replied |= reply["id"] == number && reply.get("error").is_none();
                has_come |= reply["push"]["pub"]["data"] == number;
            }
            is_replied && has_come
        })
    }))
}

fn replies(payload: &[u8]) -> impl Iterator<Item = Value> {
    serde_json::Deserializer::from_slice(payload).into_iter::<Value>().map_while(Result::ok)
}

/// A publication by `/emulation`, into a stream of events.
pub(crate) fn sse(target: &Target) -> io::Result<Round> {
    streamed(target, "/connection/sse", "well-sse")
}

/// The same into an HTTP stream.
pub(crate) fn stream(target: &Target) -> io::Result<Round> {
    streamed(target, "/connection/http_stream", "well-stream")
}

fn streamed(target: &Target, path: &str, channel: &'static str) -> io::Result<Round> {
    let mut stream = Http::over(target.connect()?);
    let commands = [connect(channel), subscribe(2, channel)];
    stream.begin(&post(path, "", &lines(&commands)))?;
    let mut told = Value::Null;
    while told["connect"].is_null() {
        told = message(&stream.line()?);
    }
    let (session, node) = (told["connect"]["session"].take(), told["connect"]["node"].take());
    let mut commands = Http::over(target.connect()?);
    let mut emulate = move |command: &Value| {
        let body = json!({ "session": session, "node": node, "data": command.to_string() });
        commands.ask(&post("/emulation", "", &body.to_string()))
    };
    let mut number = 2;
    Ok(Box::new(move || {
        number += 1;
        emulate(&publish(number, channel, &json!(number)))?;
        loop {
            let told = message(&stream.line()?);
            if told == json!({}) {
                emulate(&told)?;
            }
            if told["push"]["pub"]["data"] == number {
                return Ok(());
            }
        }
    }))
}

/// What a line of a stream says; null where it says nothing.
fn message(line: &str) -> Value {
    let text = line.strip_prefix("data: ").unwrap_or(line);
    serde_json::from_str(text).unwrap_or_default()
}

/// A publication by a poll, and polls until it has come back.
pub(crate) fn poll(target: &Target) -> io::Result<Round> {
    let channel = "well-poll";
    let mut http = Http::over(target.connect()?);
    let (mut session, mut received) = (json!(""), json!(0));
    let mut poll = move |commands: &[Value]| -> io::Result<Value> {
        let body = json!({ "session": session, "received": received, "commands": commands });
        let answer = http.ask(&post("/connection/poll", "", &body.to_string()))?;
        let mut answer: Value = serde_json::from_slice(&answer).map_err(io::Error::other)?;
        (session, received) = (answer["session"].take(), answer["sequence"].take());
        Ok(answer["replies"].take())
    };
    poll(&[connect("well-poll"), subscribe(2, channel)])?;
    let mut number = 2;
    Ok(Box::new(move || {
        number += 1;
        let mut replies = poll(&[publish(number, channel, &json!(number))])?;
        while !replies
            .as_array()
            .is_some_and(|all| all.iter().any(|reply| reply["push"]["pub"]["data"] == number))
        {
            replies = poll(&[])?;
        }
        Ok(())
    }))
}

/// A client that comes, connects with a good token, and goes.
pub(crate) fn newcomer(target: &Target) -> io::Result<Round> {
    let target = target.clone();
    let hello = connect("newcomer").to_string();
    Ok(Box::new(move || {
        let mut socket = target.websocket("/connection/websocket")?;
        socket.send_text(&hello)?;
        socket.read_until(|payload| replies(payload).any(|reply| reply.get("connect").is_some()))
    }))
}

/// A call of the server API.
pub(crate) fn api(target: &Target) -> io::Result<Round> {
    let mut http = Http::over(target.connect_to_control()?);
    let body = json!({ "channel": "well-api", "data": 1 }).to_string();
    let request = post("/api/publish", &format!("X-API-Key: {API_KEY}\r\n"), &body);
    Ok(Box::new(move || {
        let answer = http.ask(&request)?;
        let answer: Value = serde_json::from_slice(&answer).map_err(io::Error::other)?;
        match answer.get("error") {
            None => Ok(()),
            Some(error) => Err(io::Error::other(error.to_string())),
        }
    }))
}
