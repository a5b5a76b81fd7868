//! Smuggling: every method, at every path, with every way to announce a body, and with another request behind it.
//!
//! In:  the whole product of these, over connections that would stay open; by itself, at the control port, and behind nginx
//! and HAProxy, where an attacker's requests and a victim's go over one connection.
//! Out: one answer to each request in its order, or the end of the connection after an answer that says so; never an answer
//! to what stands in a body.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
};

use holdfast_testkit::{Daemon, PATIENCE, peer::Peer};

use crate::proxies::{Proxy, free_address};

const CONFIG: &str = "[client]\nallow_anonymous_connect_without_token = true\n[sse]\nenabled = true\n\
                      [http_stream]\nenabled = true\n[poll]\nenabled = true\nwait = '1s'";

const METHODS: [&str; 10] =
    ["OPTIONS", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PURGE"];

const PATHS: [&str; 9] = [
    "/connection/poll",
    "/emulation",
    "/connection/sse",
    "/connection/http_stream",
    "/connection/websocket",
    "/echo",
    "/broadcast",
    "/nowhere",
    "/",
];

/// A way to announce a body, or none: header lines, and what follows the head.
#[derive(Clone, Debug)]
struct Framing {
    name: &'static str,
    version: &'static str,
    fields: String,
    body: String,
}

/// All ways to announce `body`.
fn framings(body: &str) -> Vec<Framing> {
    let length = body.len();
    let chunks = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let with_length = format!("Content-Length: {length}\r\n");
    let chunked = "Transfer-Encoding: chunked\r\n";
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let framing = |name, fields: &str, body: &str| Framing {
        name,
        version: "HTTP/1.1",
        fields: fields.to_owned(),
        body: body.to_owned(),
    };
    let old = |framing: Framing| Framing { version: "HTTP/1.0", ..framing };
    vec![
        framing("none", "", ""),
        framing("a length of 0", "Content-Length: 0\r\n", ""),
        framing("a length", &with_length, body),
        framing("a length with a sign", &format!("Content-Length: +{length}\r\n"), body),
        framing("a length twice", &with_length.repeat(2), body),
        framing("a list of lengths", &format!("Content-Length: {length}, {length}\r\n"), body),
        framing("unlike lengths", &format!("Content-Length: 0\r\n{with_length}"), body),
        framing("chunks", chunked, &chunks),
        framing("no chunks", chunked, "0\r\n\r\n"),
        framing("chunks with extensions and trailers", chunked, &{
            format!("{length:x} ;a=\"b\"\r\n{body}\r\n0;c\r\nD: e\r\n\r\n")
        }),
        framing("a chunk's line with a carriage return", chunked, &{
            format!("{length:x};\r\n{body}\r\n0\r\n\r\n").replacen(";\r\n", ";\rx\r\n", 1)
        }),
        framing("chunks with line feeds alone", chunked, &format!("{length:x}\n{body}\n0\n\n")),
        framing("a length and chunks", &format!("{with_length}{chunked}"), &chunks),
        framing("chunks and a length", &format!("{chunked}Content-Length: 0\r\n"), &chunks),
        framing("chunks twice", &chunked.repeat(2), &chunks),
        framing("another coding", "Transfer-Encoding: identity\r\n", body),
        framing("a coding after chunks", "Transfer-Encoding: chunked, identity\r\n", &chunks),
        framing("a coding before chunks", "Transfer-Encoding: gzip, chunked\r\n", &chunks),
        framing("an expectation", &format!("Expect: 100-continue\r\n{with_length}"), body),
        framing("an expectation of chunks", &format!("Expect: 100-continue\r\n{chunked}"), &chunks),
        framing("an upgrade with a length", &format!("{upgrade}{with_length}"), body),
        framing("an upgrade with chunks", &format!("{upgrade}{chunked}"), &chunks),
        framing("an upgrade", upgrade, ""),
        old(framing("HTTP/1.0", "Connection: keep-alive\r\n", "")),
        old(framing("HTTP/1.0 with a length", &format!("Connection: keep-alive\r\n{with_length}"), body)),
        old(framing("HTTP/1.0 with chunks", &format!("Connection: keep-alive\r\n{chunked}"), &chunks)),
    ]
}

impl Framing {
    fn request(&self, method: &str, path: &str) -> String {
        let Self { version, fields, body, .. } = self;
        format!("{method} {path} {version}\r\nHost: test\r\n{fields}\r\n{body}")
    }
}

/// A request of ours whose answer says whose it is, and after which another one may come.
fn marked(mark: &str) -> String {
    format!(
        "OPTIONS /connection/poll HTTP/1.1\r\nHost: test\r\nAccess-Control-Request-Headers: {mark}\r\n\r\n"
    )
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    closes: bool,
}

/// Takes answers off the front of what came until it says that the connection ends, or there is no more of it. `methods` are
/// those of the requests. Returns what is left, too.
fn answers<'b>(methods: &[&str], mut bytes: &'b [u8]) -> (Vec<Answer>, &'b [u8]) {
    let mut answers: Vec<Answer> = Vec::new();
    while !bytes.is_empty() && answers.last().is_none_or(|last| !last.closes) {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {}", bytes.escape_ascii())) + 4;
        let head = String::from_utf8(bytes[..end].to_vec()).expect("a head is text").to_ascii_lowercase();
        assert!(head.starts_with("http/1."), "{head}");
        let status: u16 = head[9..12].parse().expect("a status");
        bytes = &bytes[end..];
        if status == 100 {
            continue;
        }
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
        let length = length.map_or(0, |length| length.parse().expect("a number"));
        let says = |connection: &str| head.contains(&format!("\r\nconnection: {connection}\r\n"));
        let closes = status == 101 || says("close") || (head.starts_with("http/1.0") && !says("keep-alive"));
        if methods.get(answers.len()) != Some(&"HEAD") {
            bytes = &bytes[length..];
        }
        answers.push(Answer { status, head, closes });
    }
    (answers, bytes)
}

/// Sends all of it, and reads to the end of the connection.
fn exchange(address: SocketAddr, bytes: &[u8], finishes: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    // Who has heard enough may have closed by now.
    let _ = stream.write_all(bytes);
    if finishes {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut came = Vec::new();
    match stream.read_to_end(&mut came) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{}", bytes.escape_ascii()),
    }
    came
}

#[test]
fn every_request_has_one_answer_or_the_connection_ends() {
    let daemon = Daemon::start(CONFIG);
    let mut neighbor = Peer::open(&daemon, "/echo");
    let mut kept = Vec::new();
    for framing in framings(&marked("smuggled")) {
        for path in PATHS {
            for method in METHODS {
                let case = format!("{method} {path} with {}", framing.name);
                let bytes = [framing.request(method, path), marked("second")].concat();
                let came = exchange(daemon.address(), bytes.as_bytes(), true);
                let text = came.escape_ascii().to_string();
                let (answers, rest) = answers(&[method], &came);
                assert!(!text.contains("smuggled"), "{case}: {text}");
                let [first, others @ ..] = &*answers else { panic!("{case} has no answer: {text}") };
                if first.closes {
                    assert!(
                        others.is_empty() && !rest.windows(5).any(|rest| rest == b"HTTP/"),
                        "{case}: {text}"
                    );
                } else {
                    assert!(first.status < 300, "who is refused is heard no more: {case}: {text}");
                    assert_eq!(others.len(), 1, "{case}: {text}");
                    assert!(
                        others[0].head.contains("access-control-allow-headers: second"),
                        "{case}: {text}"
                    );
                    assert!(rest.is_empty(), "{case}: {text}");
                    kept.push(case);
                }
            }
        }
    }
    // Only these do not end the connection, so that the table is known to tell them apart.
    let preflights = ["/connection/poll", "/emulation", "/connection/sse", "/connection/http_stream"];
    for path in preflights {
        for framing in ["none", "a length of 0"] {
            assert!(kept.contains(&format!("OPTIONS {path} with {framing}")), "{path} {framing}: {kept:?}");
        }
    }
    assert!(kept.iter().all(|case| case.starts_with("OPTIONS ")), "{kept:?}");
    neighbor.expect_echo("undisturbed");
    daemon.stop();
}

#[test]
fn a_body_that_is_understood_is_read_to_its_end_and_the_next_request_is_answered() {
    let daemon = Daemon::start(CONFIG);
    let right = [
        "none",
        "a length",
        "chunks",
        "chunks with extensions and trailers",
        "an expectation",
        "an expectation of chunks",
        // It is no handshake, and says so to nobody.
        "an upgrade with a length",
        "an upgrade with chunks",
    ];
    for framing in framings(r#"{"commands":[{"id":1,"connect":{}}]}"#) {
        let bytes = [framing.request("POST", "/connection/poll"), marked("second")].concat();
        let came = exchange(daemon.address(), bytes.as_bytes(), true);
        let text = came.escape_ascii().to_string();
        let (answers, _) = answers(&["POST"], &came);
        let is_right = right[1..].contains(&framing.name);
        assert_eq!(
            answers[0].status == 200,
            is_right || framing.name.ends_with("1.0 with a length"),
            "{framing:?}: {text}"
        );
        assert_eq!(answers.len(), if is_right { 2 } else { 1 }, "{framing:?}: {text}");
        if !is_right {
            assert!(answers[0].closes, "{framing:?}: {text}");
        }
    }
    daemon.stop();
}

#[test]
fn the_control_port_answers_each_request_once_too() {
    let daemon = Daemon::start("[http_api]\nkey = 'k'");
    let last = "GET /health/live HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    for framing in framings("GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n") {
        // That a server may answer the last request after the end of the first one's connection is not asked for here.
        for path in ["/health/live", "/health/ready", "/api/info", "/nowhere"] {
            for method in METHODS {
                let target = if method == "CONNECT" { "test:80" } else { path };
                let case = format!("{method} {target} with {}", framing.name);
                let bytes = [&framing.request(method, target), last].concat();
                let came = exchange(daemon.control(), bytes.as_bytes(), false);
                let text = came.escape_ascii().to_string();
                let (answers, rest) = answers(&[method, "GET"], &came);
                assert!(!text.contains("# TYPE") && rest.is_empty(), "{case}: {text}");
                let [first, others @ ..] = &*answers else { panic!("{case} has no answer: {text}") };
                // hyper takes a connection down that it has not read to the end, whether or not it has said so.
                assert!(others.len() <= usize::from(!first.closes), "{case}: {text}");
                assert!(others.iter().all(|last| last.status == 200 && last.closes), "{case}: {text}");
                let is_ambiguous = ["a length and chunks", "chunks and a length", "a coding before chunks"];
                if is_ambiguous.contains(&framing.name) {
                    assert!(first.closes, "{case}: {text}");
                }
                if framing.name == "none" || framing.name == "a length of 0" {
                    assert_eq!(others.len(), 1, "{case}: {text}");
                }
            }
        }
    }
    daemon.stop();
}

/// What an attacker sends and a victim gets, through a proxy that keeps its connections to the daemon.
fn nobody_speaks_in_anothers_name(proxy: &mut Proxy, address: SocketAddr) {
    proxy.await_listening(address);
    // Half a request: it would take the first line of whoever comes next for its own.
    let framings = framings("GET /nowhere HTTP/1.1\r\nHost: test\r\nX-Swallows: ");
    for framing in framings.iter().filter(|framing| !framing.name.contains("upgrade")) {
        for path in PATHS {
            for method in METHODS {
                let case = format!("{method} {path} with {}", framing.name);
                let mut attacker = TcpStream::connect(address).expect("it listens");
                attacker.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
                let _ = attacker.write_all(framing.request(method, path).as_bytes());
                let mut came = [0; 1024];
                // Its head is all that is waited for: a stream goes on.
                let _ = attacker.read(&mut came);
                let victim = marked("victim").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
                let came = exchange(address, victim.as_bytes(), false);
                let text = came.escape_ascii().to_string().to_ascii_lowercase();
                assert!(text.starts_with("http/1.1 204 "), "after {case}: {text}");
                assert!(text.contains("access-control-allow-headers: victim"), "after {case}: {text}");
            }
        }
    }
}

#[test]
fn behind_nginx_nobody_speaks_in_anothers_name() {
    let daemon = Daemon::start(CONFIG);
    let address = free_address();
    let configuration = format!(
        "daemon off; master_process off; pid FOLDER/pid; error_log FOLDER/errors;\n\
         events {{ worker_connections 256; }}\n\
         http {{ access_log off; client_body_temp_path FOLDER/a; proxy_temp_path FOLDER/b;\n\
         fastcgi_temp_path FOLDER/c; uwsgi_temp_path FOLDER/d; scgi_temp_path FOLDER/e;\n\
         upstream daemon {{ server {}; keepalive 1; }}\n\
         server {{ listen {address}; location / {{ proxy_pass http://daemon;\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}",
        daemon.address()
    );
    if let Some(mut proxy) = Proxy::start("nginx", &["-c"], &configuration) {
        nobody_speaks_in_anothers_name(&mut proxy, address);
    }
    daemon.stop();
}

#[test]
fn behind_haproxy_nobody_speaks_in_anothers_name() {
    let daemon = Daemon::start(CONFIG);
    let address = free_address();
    let configuration = format!(
        "defaults\n mode http\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n http-reuse always\n\
         listen all\n bind {address}\n server one {} pool-max-conn 1\n",
        daemon.address()
    );
    if let Some(mut proxy) = Proxy::start("haproxy", &["-db", "-f"], &configuration) {
        nobody_speaks_in_anothers_name(&mut proxy, address);
    }
    daemon.stop();
}
