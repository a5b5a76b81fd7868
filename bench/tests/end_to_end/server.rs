//! Server: what the end-to-end tests share: servers that behave and servers that do not, and the load tool as a process.
//!
//! In:  a fault to commit, a command line.
//! Out: a listening server; the tool's exit code and results.
//!
//! The servers are tungstenite's, a thread a connection: slow, and not our code.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use tungstenite::handshake::server::{Request, Response};
use tungstenite::http::StatusCode;
use tungstenite::{Bytes, Message, WebSocket};

/// What a server does wrong, to the message with sequence number 3 of each connection (broadcast: on its way to one
/// connection).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Forgets it.
    Lose,
    /// Sends it twice.
    Repeat,
    /// Sends it after the next one.
    Reorder,
    /// Changes one byte of it.
    Corrupt,
    /// Drops the connection instead of answering it, without a close frame.
    Disconnect,
    /// Does not answer close frames.
    IgnoreClose,
}

const FAULTY_MESSAGE: usize = 3;

/// Everybody in the room of `/broadcast`.
type Room = Arc<Mutex<Vec<TcpStream>>>;

/// Starts a server on a free port; it lives as long as the test.
pub(crate) fn server(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let room = Room::default();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let room = Arc::clone(&room);
            thread::spawn(move || serve(stream, fault, &room));
        }
    });
    address
}

/// Serves one connection until it ends. What ends it is the tool's to judge.
fn serve(stream: TcpStream, fault: Fault, room: &Room) {
    let _ = stream.set_nodelay(true);
    let Ok(raw) = stream.try_clone() else { return };
    let mut path = String::new();
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let route = |request: &Request, response: Response| {
        path = request.uri().path().to_owned();
        if path == "/nowhere" {
            return Err(Response::builder()
                .status(StatusCode::NOT_FOUND)
                .body(None)
                .expect("a plain answer"));
        }
        Ok(response)
    };
    let Ok(mut socket) = tungstenite::accept_hdr(stream, route) else { return };
    match path.as_str() {
        "/broadcast" => {
            room.lock().expect("nobody panics").push(raw);
            broadcast(&mut socket, fault, room);
        }
        "/ping" => {
            let _ = socket.send(Message::Ping(Bytes::from_static(b"still there?")));
            let is_answered =
                matches!(socket.read(), Ok(Message::Pong(payload)) if payload == "still there?");
            if is_answered {
                while socket.read().is_ok() {}
            }
        }
        _ => echo(&mut socket, fault),
    }
}

fn echo(socket: &mut WebSocket<TcpStream>, fault: Fault) {
    let mut count = 0;
    let mut held = None;
    loop {
        let message = match socket.read() {
            Ok(Message::Close(_)) if fault == Fault::IgnoreClose => return,
            Ok(message) if message.is_binary() || message.is_text() => message,
            Ok(_) => continue,
            Err(_) => return,
        };
        let out = if count == FAULTY_MESSAGE { faulty(fault, message, &mut held) } else { vec![message] };
        let Some(out) = (fault != Fault::Disconnect || count != FAULTY_MESSAGE).then_some(out) else {
            return;
        };
        let late = if count > FAULTY_MESSAGE { held.take() } else { None };
        count += 1;
        for message in out.into_iter().chain(late) {
            if socket.send(message).is_err() {
                return;
            }
        }
    }
}

/// What comes of a message that meets the fault.
fn faulty(fault: Fault, message: Message, held: &mut Option<Message>) -> Vec<Message> {
    match fault {
        Fault::None | Fault::Disconnect | Fault::IgnoreClose => vec![message],
        Fault::Lose => vec![],
        Fault::Repeat => vec![message.clone(), message],
        Fault::Reorder => {
            *held = Some(message);
            vec![]
        }
        Fault::Corrupt => {
            let mut bytes = message.into_data().to_vec();
            let last = bytes.last_mut().expect("messages are not empty");
            *last = if *last == b'A' { b'B' } else { b'A' };
            vec![Message::Binary(bytes.into())]
        }
    }
}

fn broadcast(socket: &mut WebSocket<TcpStream>, fault: Fault, room: &Room) {
    let mut count = 0;
    let mut held = None;
    while let Ok(message) = socket.read() {
        if !message.is_binary() {
            continue;
        }
        let receivers = room.lock().expect("nobody panics");
        for (number, receiver) in receivers.iter().enumerate() {
            let is_faulty = number == 1 && count == FAULTY_MESSAGE;
            let out =
                if is_faulty { faulty(fault, message.clone(), &mut held) } else { vec![message.clone()] };
            if is_faulty && fault == Fault::Disconnect {
                let _ = receiver.shutdown(std::net::Shutdown::Both);
            }
            let late = if number == 1 && count > FAULTY_MESSAGE { held.take() } else { None };
            for message in out.into_iter().chain(late) {
                let payload = message.into_data();
                let length = u8::try_from(payload.len()).expect("short messages");
                // A frame of a final binary message (RFC 6455 §5.2), by hand: the other threads own the sockets.
                let _ = (&*receiver).write_all(&[&[0x82, length], &payload[..]].concat());
            }
        }
        count += 1;
    }
}

/// What the load tool came to.
pub(crate) struct Results {
    pub(crate) exit_code: i32,
    pub(crate) json: serde_json::Value,
    pub(crate) stderr: String,
}

impl Results {
    /// A number of the report.
    pub(crate) fn number(&self, pointer: &str) -> u64 {
        self.json
            .pointer(pointer)
            .and_then(serde_json::Value::as_u64)
            .unwrap_or_else(|| panic!("{pointer} is a count"))
    }
}

/// Runs the load tool against `path` of the server.
pub(crate) fn bench(address: SocketAddr, path: &str, words: &str) -> Results {
    let (scenario, flags) = words.split_once(' ').unwrap_or((words, ""));
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast-bench"))
        .args([scenario, "--target", &format!("ws://{address}{path}"), "--threads", "2", "--json", "-"])
        .args(flags.split_whitespace())
        .output()
        .expect("the load tool runs");
    Results {
        exit_code: output.status.code().expect("it ends by itself"),
        json: serde_json::from_slice(&output.stdout).unwrap_or_default(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
