//! Api: the server API of the small Centrifuge server, as far as a load tool calls it.
//!
//! In:  `POST /api/{publish,broadcast,batch}` with the key.
//! Out: publications in the server's channels; one answer after the other over connections that are kept.
//!
//! The calls that came are told, so that tests see how many there were and what they were.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::centrifuge::{Hub, Wrong, deliver};

pub(crate) const KEY: &str = "sesame";

/// What was asked of an API.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) connections: usize,
    /// The methods, in the order of the calls.
    pub(crate) calls: Vec<String>,
}

/// Serves the API of a server on a port of its own.
pub(crate) fn api(wrong: Wrong, hub: Hub) -> (SocketAddr, Arc<Mutex<Log>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let log = Arc::<Mutex<Log>>::default();
    let kept = Arc::clone(&log);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            log.lock().expect("nobody panics").connections += 1;
            let (hub, log) = (Arc::clone(&hub), Arc::clone(&log));
            thread::spawn(move || serve(&stream, wrong, &hub, &log));
        }
    });
    (address, kept)
}

fn serve(stream: &TcpStream, wrong: Wrong, hub: &Hub, log: &Mutex<Log>) {
    let mut reader = BufReader::new(stream);
    while let Some((method, has_key, body)) = request(&mut reader) {
        log.lock().expect("nobody panics").calls.push(method.clone());
        let (status, answer) = match has_key {
            true => ("200 OK", call(wrong, hub, &method, &body)),
            false => ("401 Unauthorized", json!({"error": {"code": 101, "message": "unauthorized"}})),
        };
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        if (&*stream).write_all((head + &answer).as_bytes()).is_err() {
            return;
        }
    }
}

/// One request: its method in the API, whether it has the key, and its body. None at the end of the connection.
fn request(reader: &mut BufReader<&TcpStream>) -> Option<(String, bool, Value)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let method = line.split(' ').nth(1)?.strip_prefix("/api/").expect("a call of the API").to_owned();
    let (mut length, mut has_key) = (0, false);
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().expect("a length"),
            "x-api-key" => has_key = value == KEY,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((method, has_key, serde_json::from_slice(&body).expect("a body of JSON")))
}

fn call(wrong: Wrong, hub: &Hub, method: &str, params: &Value) -> Value {
    if method != "batch" {
        return match perform(wrong, hub, method, params) {
            Ok(result) => json!({"result": result}),
            Err(error) => json!({"error": error}),
        };
    }
    let commands = params["commands"].as_array().expect("commands");
    let replies: Vec<_> = commands
        .iter()
        .map(|command| {
            let (method, params) = command.as_object().and_then(|one| one.iter().next()).expect("a command");
            match perform(wrong, hub, method, params) {
                Ok(result) => json!({method: result}),
                Err(error) => json!({"error": error}),
            }
        })
        .collect();
    json!({"replies": replies})
}

fn perform(wrong: Wrong, hub: &Hub, method: &str, params: &Value) -> Result<Value, Value> {
    let publish = |channel: &Value| {
        if wrong == Wrong::RefusePublications {
            return Err(json!({"code": 111, "message": "too many requests"}));
        }
        let name = channel.as_str().expect("a name");
        if let Some(key) = params["idempotency_key"].as_str() {
            let mut hub = hub.lock().expect("nobody panics");
            if !hub.entry(name.to_owned()).or_default().keys.insert(key.to_owned()) {
                return Ok(json!({}));
            }
        }
        let data = params["data"].to_string();
        deliver(hub, wrong, name, data.as_bytes());
        match wrong {
            Wrong::DenyTaken => Err(json!({"code": 100, "message": "internal server error"})),
            _ => Ok(json!({})),
        }
    };
    match method {
        "publish" => publish(&params["channel"]),
        "broadcast" => {
            let channels = params["channels"].as_array().expect("channels");
            let responses: Vec<_> = channels
                .iter()
                .map(|channel| match publish(channel) {
                    Ok(result) => json!({"result": result}),
                    Err(error) => json!({"error": error}),
                })
                .collect();
            Ok(json!({"responses": responses}))
        }
        other => panic!("the load tool has no use for {other}"),
    }
}
