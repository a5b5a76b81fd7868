//! Every peer speaks what the comparison needs: each test starts a real peer and talks to it with tungstenite.
//!
//! In:  the peers that cargo built, and the gorilla peer where `make compare` has built it.
//! Out: one passing test a behavior and peer.
//!
//! No figure is measured here: whether a peer is right comes before how fast it is.
#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tungstenite::protocol::{Message, WebSocketConfig};
use tungstenite::{Error, WebSocket};

/// Long enough for a loaded machine; a test that reaches it fails.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn tokio_tungstenite_peer_returns_every_message_as_it_came() {
    returns_every_message_as_it_came(tokio_tungstenite());
}

#[test]
fn tokio_tungstenite_peer_sends_a_broadcast_to_all_clients_in_order() {
    sends_a_broadcast_to_all_clients_in_order(tokio_tungstenite());
}

#[test]
fn tokio_tungstenite_peer_refuses_other_paths_and_stops_cleanly() {
    refuses_other_paths_and_stops_cleanly(tokio_tungstenite());
}

#[test]
fn fastwebsockets_peer_returns_every_message_as_it_came() {
    returns_every_message_as_it_came(fastwebsockets());
}

#[test]
fn fastwebsockets_peer_sends_a_broadcast_to_all_clients_in_order() {
    sends_a_broadcast_to_all_clients_in_order(fastwebsockets());
}

#[test]
fn fastwebsockets_peer_refuses_other_paths_and_stops_cleanly() {
    refuses_other_paths_and_stops_cleanly(fastwebsockets());
}

#[test]
fn gorilla_peer_returns_every_message_as_it_came_where_it_is_built() {
    if let Some(peer) = gorilla() {
        returns_every_message_as_it_came(&peer);
    }
}

#[test]
fn gorilla_peer_sends_a_broadcast_to_all_clients_in_order_where_it_is_built() {
    if let Some(peer) = gorilla() {
        sends_a_broadcast_to_all_clients_in_order(&peer);
    }
}

#[test]
fn gorilla_peer_refuses_other_paths_and_stops_cleanly_where_it_is_built() {
    if let Some(peer) = gorilla() {
        refuses_other_paths_and_stops_cleanly(&peer);
    }
}

fn returns_every_message_as_it_came(peer: &Path) {
    for threads in [1, 2] {
        let server = Server::start(peer, threads);
        let mut client = server.connect("/echo");
        for message in messages() {
            client.send(message.clone()).unwrap();
            assert_eq!(data(&mut client), message);
        }
        client.send(Message::Ping("still there?".into())).unwrap();
        assert_eq!(client.read().unwrap(), Message::Pong("still there?".into()));
        closes(client);
    }
}

fn sends_a_broadcast_to_all_clients_in_order(peer: &Path) {
    for threads in [1, 2] {
        let server = Server::start(peer, threads);
        let mut clients: Vec<_> = (0..20).map(|_| server.connect("/broadcast")).collect();
        settle(&mut clients);
        for message in messages() {
            clients[3].send(message).unwrap();
        }
        for client in &mut clients {
            for message in messages() {
                assert_eq!(data(client), message);
            }
        }
        clients[5].send(Message::Ping("still there?".into())).unwrap();
        assert_eq!(clients[5].read().unwrap(), Message::Pong("still there?".into()));
        clients.into_iter().for_each(closes);
    }
}

fn refuses_other_paths_and_stops_cleanly(peer: &Path) {
    let server = Server::start(peer, 1);
    let stream = server.dial();
    let url = format!("ws://{}/elsewhere", server.address);
    let refused = tungstenite::client(url, stream).unwrap_err();
    assert!(refused.to_string().contains("404"), "refused with: {refused}");

    let _connected = server.connect("/echo");
    assert!(server.stop().success());
}

/// Small, empty, at each length encoding, larger than any buffer, and both kinds.
fn messages() -> Vec<Message> {
    let text = |len: usize| Message::text("grüße ".chars().cycle().take(len).collect::<String>());
    let binary = |len: usize| Message::binary((0..=u8::MAX).cycle().take(len).collect::<Vec<u8>>());
    vec![
        text(0),
        text(11),
        text(2_000),
        text(50_000),
        binary(0),
        binary(64),
        binary(125),
        binary(126),
        binary(100_000),
    ]
}

/// A handshake's answer may precede the client's entry into the room: each client says hello until all hear it.
fn settle(clients: &mut [Client]) {
    for (index, client) in clients.iter_mut().enumerate() {
        let hello = Message::text(format!("hello from {index}"));
        client.send(hello.clone()).unwrap();
        while data(client) != hello {}
    }
    let last = Message::text("all are here");
    clients[0].send(last.clone()).unwrap();
    for client in clients {
        while data(client) != last {}
    }
}

/// The next message that is neither ping nor pong.
fn data(client: &mut Client) -> Message {
    loop {
        let message = client.read().unwrap();
        if message.is_text() || message.is_binary() {
            return message;
        }
    }
}

/// The peer answers a close with a close.
fn closes(mut client: Client) {
    client.close(None).unwrap();
    loop {
        match client.read() {
            Ok(_) => {}
            Err(Error::ConnectionClosed) => return,
            Err(error) => panic!("no close handshake: {error}"),
        }
    }
}

type Client = WebSocket<TcpStream>;

/// A running peer; killed when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(peer: &Path, threads: usize) -> Self {
        let mut child = Command::new(peer)
            .args(["--listen", "127.0.0.1:0", "--threads", &threads.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.strip_prefix("ready ").expect("a line `ready ADDR`").trim().parse().unwrap();
        Self { child, address }
    }

    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn connect(&self, path: &str) -> Client {
        let config = WebSocketConfig::default().read_buffer_size(0);
        let url = format!("ws://{}{path}", self.address);
        tungstenite::client::client_with_config(url, self.dial(), Some(config)).unwrap().0
    }

    fn stop(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tokio_tungstenite() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_peer-tokio-tungstenite"))
}

fn fastwebsockets() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_peer-fastwebsockets"))
}

/// Go is not needed to test the workspace, so this peer is tested where `make compare` has built it.
fn gorilla() -> Option<PathBuf> {
    let peer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/peers/peer-gorilla");
    peer.exists().then_some(peer)
}
