//! Attacks: clients that hold on to all that a connection can cost, in a control group.
//!
//! In:  an attack: a test each, with a configuration and what it does.
//! Out: what [`survive`] asserts: nobody is killed, every budget holds, a neighbor is served; and here: the attacker is
//! sent away, refused, or held up by TCP.

use std::{
    io::{ErrorKind, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use holdfast_testkit::{
    Daemon,
    client::{Client, token},
    eventually,
    http::Http,
    peer::{FIN, Peer, TEXT, frame, request, text},
};
use serde_json::json;

use crate::{
    api::Publisher,
    budgets::{FRAME_COMMANDS, channels_bytes, command_all, survive, survive_with, survive_with_tls},
    certificate,
};

const FLOOD_MAX_BYTES: usize = 256 << 20;

/// What came of a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flooded {
    /// TCP takes no more.
    HeldUp,
    /// The connection has ended.
    Gone,
}

/// Sends the same again and again. Panics where the daemon takes all of it.
fn flood(peer: &Peer, said: &[u8]) -> Flooded {
    let mut sender = peer.sender();
    sender.set_write_timeout(Some(Duration::from_secs(1))).expect("a timeout can be set");
    let mut sent = 0;
    while sent < FLOOD_MAX_BYTES {
        match sender.write(said) {
            Ok(count) => sent += count,
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                return Flooded::HeldUp;
            }
            Err(_) => return Flooded::Gone,
        }
    }
    panic!("{sent} bytes were taken");
}

/// A frame of many publications, as one who waits for no reply sends it.
fn publications(channel: &str, bytes: usize) -> Vec<u8> {
    let data = "x".repeat(bytes);
    let publish = |id| json!({ "id": id, "publish": { "channel": channel, "data": data } }).to_string();
    text(&(1_000..1_000 + FRAME_COMMANDS.min(50_000 / bytes)).map(publish).collect::<Vec<_>>().join("\n"))
}

fn budget(daemon: &Daemon, budget: &str) -> u64 {
    daemon.metric("holdfast_memory_bytes", &[("budget", budget)])
}

#[test]
fn publishing_without_waiting_for_replies_fills_no_inbox() {
    survive("publishers that wait for nothing", "", |daemon| {
        thread::scope(|scope| {
            for (channel, bytes) in [("hi:a", 10), ("hi:b", 10_000), ("hi:a", 1_000)] {
                scope.spawn(move || {
                    let mut client = Client::connect(daemon, "publisher");
                    client.subscribe(channel);
                    println!("{bytes} bytes: {:?}", flood(client.peer(), &publications(channel, bytes)));
                });
            }
        });
    });
}

#[test]
fn commands_behind_a_connect_that_is_not_answered_are_held_up_or_end_their_clients() {
    /// Commands that arrive with each of very many connects.
    const PARKED_BYTES: usize = 30_000;
    // It takes connections and never answers.
    let backend = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = backend.local_addr().expect("it is bound");
    let client = format!(
        "command_budget = '16MiB'\nproxy.connect = {{ enabled = true, endpoint = 'http://{address}/', timeout = '5s' }}"
    );
    survive_with("parked frames", &client, "", |daemon| {
        let connect = text(&json!({ "id": 1, "connect": {} }).to_string());
        let large = publications("hi:a", 20_000);
        for said in [frame(FIN | TEXT, b"").repeat(4_096), text("{}").repeat(2_048), large] {
            let mut peer = Peer::open(daemon, "/connection/websocket");
            peer.send(&connect);
            println!("frames of {} bytes: {:?}", said.len(), flood(&peer, &said));
        }
        let parked = text(
            &json!({ "id": 2, "publish": { "channel": "hi:a", "data": "x".repeat(PARKED_BYTES) } })
                .to_string(),
        );
        let peers: Vec<Peer> = (0..2_000)
            .map(|_| {
                let mut peer = Peer::open(daemon, "/connection/websocket");
                peer.send(&connect);
                peer.send_if_heard(&parked);
                peer
            })
            .collect();
        // Who finds no room for its connect is answered so, and what it sent behind that ends its session.
        let left = || daemon.metric("holdfast_clients", &[]);
        eventually("most of them have gone", || left() < 1_000);
        println!("{} of {} clients are left", left(), peers.len());
        drop(peers);
        eventually("nothing is kept of them", || budget(daemon, "commands") < 1 << 20);
    });
}

/// Opens a session of polls. Answers with the status.
fn open_poll(http: &mut Http, user: &str, subscribe: &str) -> u16 {
    let connect = json!({ "id": 1, "connect": { "token": token(&json!({ "sub": user })) } });
    let subscribe = json!({ "id": 2, "subscribe": { "channel": subscribe } });
    http.post("/connection/poll", "", &json!({ "commands": [connect, subscribe] }).to_string());
    http.answer().status
}

#[test]
fn sessions_of_polls_over_one_connection_count_as_connections_and_who_never_polls_again_is_cut() {
    const SESSIONS: usize = 600;
    let client = "connection_limit = 200\nqueue_budget = '16MiB'";
    survive_with("polls", client, "[poll]\nenabled = true\nsession_ttl = '1m'", |daemon| {
        let mut http = Http::connect(daemon);
        let (mut opened, mut refused) = (0, 0);
        for _ in 0..SESSIONS {
            match open_poll(&mut http, "poller", "hi:polled") {
                200 => opened += 1,
                status => {
                    assert_eq!(status, 503);
                    refused += 1;
                    // Who is refused has to connect again.
                    http = Http::connect(daemon);
                }
            }
        }
        assert!((100..=200).contains(&opened), "{opened} sessions, {refused} were refused");
        // What waits for each of them is a copy of its own.
        let mut caller = Publisher::connect(daemon.control());
        for _ in 0..8 {
            caller.publish("hi:polled", &json!("x".repeat(60_000)));
        }
        eventually("most have gone", || daemon.metric("holdfast_poll_sessions", &[]) < opened / 2);
    });
}

#[test]
fn publications_are_kept_as_far_as_their_budget_reaches_and_channels_that_live_again_cost_no_more() {
    let channels = "[channel]\nhistory_budget = '16MiB'\n[[channel.namespaces]]\nname = 'short'\n\
                    allow_publish_for_client = true\nhistory_size = 10\nhistory_ttl = '1s'";
    survive("kept publications", channels, |daemon| {
        let mut caller = Publisher::connect(daemon.control());
        let data = || json!("x".repeat(30_000));
        for at in 0..20 {
            caller.publish_all(&format!("hi:{at}"), (0..96).map(|_| data()));
        }
        let kept = budget(daemon, "history");
        assert!((8 << 20..=17 << 20).contains(&kept), "{kept} bytes are kept");
        let mut client = Client::connect(daemon, "publisher");
        let mut sizes = Vec::new();
        for _ in 0..3 {
            let publish = |at: usize| ("publish", json!({ "channel": format!("short:{at}"), "data": at }));
            command_all(&mut client, (0..4_000).map(publish));
            sizes.push(channels_bytes(daemon));
            let before = budget(daemon, "history");
            eventually("what was published last expires", || budget(daemon, "history") + 500_000 < before);
        }
        println!("{sizes:?} bytes of channels");
        assert!(sizes[2] <= sizes[1] + sizes[1] / 20, "{sizes:?}");
    });
}

#[test]
fn presence_of_many_users_in_channels_with_long_names_ends_at_its_budget() {
    let seen = "[channel]\nstate_budget = '2MiB'\n[[channel.namespaces]]\nname = 'seen'\n\
                allow_subscribe_for_client = true\npresence = true\njoin_leave = true";
    survive_with("presence and long names", "session_budget = '12MiB'", seen, |daemon| {
        let mut errors = [0; 2];
        let mut clients = Vec::new();
        for user in 0..60 {
            let Some(mut client) = come(daemon, &format!("{user:0200}")) else { continue };
            for commands in (0..800).collect::<Vec<usize>>().chunks(FRAME_COMMANDS / 2) {
                let channel = |at: usize| {
                    if at.is_multiple_of(2) { format!("seen:{at:0200}") } else { format!("{user}-{at:0240}") }
                };
                let commands: Vec<_> =
                    commands.iter().map(|&at| ("subscribe", json!({ "channel": channel(at) }))).collect();
                let first = client.send(&commands);
                let mut left = commands.len();
                while left > 0 {
                    let reply = client.message();
                    left -= usize::from(reply["id"].as_u64().is_some_and(|id| id >= u64::from(first)));
                    errors[0] += u32::from(reply["error"]["code"] == 106);
                    errors[1] += u32::from(reply["error"]["code"] == 111);
                }
            }
            clients.push(client);
        }
        println!("{errors:?} errors for {} clients", clients.len());
        assert!(errors[0] + errors[1] > 1_000, "{errors:?}");
    });
}

/// A client, unless it is refused.
fn come(daemon: &Daemon, user: &str) -> Option<Client> {
    let mut peer = Peer::connect(daemon);
    peer.send_if_heard(request("/connection/websocket").as_bytes());
    peer.response().0.starts_with("HTTP/1.1 101 ").then(|| Client::over(peer, user))
}

#[test]
fn readers_who_take_nothing_of_long_publications_are_cut_and_so_are_those_of_long_histories() {
    survive_with("slow readers", "queue_budget = '24MiB'\nqueue_max_size = '4MiB'", "", |daemon| {
        let mut caller = Publisher::connect(daemon.control());
        let mut readers: Vec<Client> = (0..40)
            .map(|_| {
                let peer = Peer::connect_with_receive_buffer(4_096, daemon).upgraded("/connection/websocket");
                let mut client = Client::over(peer, "slow");
                client.subscribe("hi:long");
                client
            })
            .collect();
        for _ in 0..20 {
            caller.publish_all("hi:long", (0..8).map(|at| json!(format!("{at}{}", "x".repeat(60_000)))));
        }
        for reader in &mut readers {
            let read = json!({ "id": 9, "history": { "channel": "hi:long", "limit": -1 } }).to_string();
            reader.peer().send_if_heard(&text(&vec![read; 20].join("\n")));
        }
        for _ in 0..20 {
            caller.publish_all("hi:long", (0..8).map(|at| json!(format!("{at}{}", "y".repeat(60_000)))));
        }
        assert!(daemon.closes("slow") > 10, "{} were cut", daemon.closes("slow"));
    });
}

#[test]
fn windows_of_compressed_connections_end_at_their_budget() {
    const CONNECTIONS: usize = 900;
    let config = "[websocket]\ncompression = true\ncompression_server_context_takeover = true\n\
                  compression_client_context_takeover = true";
    survive_with("windows", "session_budget = '24MiB'", config, |daemon| {
        let mut kept = Vec::new();
        // An empty compressed message: it begins a window for what comes, its answer one for what goes out.
        let message = frame(FIN | 0x40 | TEXT, &[0xaa, 0x04, 0x00]);
        let mut with_windows = 0;
        for _ in 0..CONNECTIONS {
            let mut peer = Peer::connect(daemon);
            let request = request("/echo");
            let head = request.strip_suffix("\r\n").expect("a request ends with an empty line");
            peer.send(
                format!("{head}Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n")
                    .as_bytes(),
            );
            let (head, _) = peer.response();
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            with_windows += usize::from(!head.contains("server_no_context_takeover"));
            peer.allow_compression();
            peer.send(&message);
            kept.push(peer);
        }
        println!("{with_windows} connections have windows, {} bytes of sessions", budget(daemon, "sessions"));
        assert!((100..CONNECTIONS / 2).contains(&with_windows), "{with_windows}");
        kept.iter_mut().for_each(|peer| assert_eq!(peer.any_frame().0.opcode, TEXT));
    });
}

#[test]
fn heads_bodies_and_records_that_never_end_hold_no_more_than_their_budget() {
    let (polls, tls) = ("[poll]\nenabled = true", certificate::section("tls"));
    // A head in part; a body in part; the record of a TLS handshake that announces more than comes.
    let head = format!("GET /echo HTTP/1.1\r\nHost: test\r\nX: {}", "x".repeat(7_000)).into_bytes();
    let body = b"POST /connection/poll HTTP/1.1\r\nHost: test\r\nContent-Length: 60000\r\n\r\n".to_vec();
    let body = [body, vec![b' '; 50_000]].concat();
    let hello = [&[22, 3, 1, 0x40, 0, 1, 0, 0x7f, 0xff][..], &[0; 16_000]].concat();
    let client = "receive_budget = '2MiB'\nstale_close_delay = '1m'";
    for (what, config, said) in
        [("heads", polls, head), ("bodies", polls, body), ("records", tls.as_str(), hello)]
    {
        let attack = |daemon: &Daemon| {
            let hold = || {
                let mut stream = TcpStream::connect(daemon.address()).expect("the daemon listens");
                let _ = stream.write_all(&said);
                stream
            };
            let held: Vec<TcpStream> = (0..1_500).map(|_| hold()).collect();
            let left = || daemon.metric("holdfast_connections", &[]);
            eventually("most of them have gone", || left() < 1_000);
            println!("{what}: {} of {} are left", left(), held.len());
        };
        if what == "records" {
            survive_with_tls(what, client, config, attack);
        } else {
            survive_with(what, client, config, attack);
        }
    }
}
