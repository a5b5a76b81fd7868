//! TLS: listeners that speak nothing else.
//!
//! In:  clients of TLS 1.2 and 1.3, with certificates and without, and clients of no TLS at all.
//! Out: WebSocket, requests and the control plane as without TLS; new certificates without a connection dropped.

use std::{
    env, fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use holdfast_testkit::{Daemon, PATIENCE, eventually, http::Http};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::Signal;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    version::{TLS12, TLS13},
};
use tungstenite::{Message, WebSocket};

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// An authority, and a folder with what it has signed.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    folder: PathBuf,
}

impl Authority {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("holdfast-tls-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder can be made");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(folder.join("ca.pem"), certificate.pem()).expect("it can be written");
        let der = certificate.der().clone();
        Self { issuer: Issuer::new(params, key), certificate: der, folder }
    }

    /// A new certificate with its key.
    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a good name");
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("it can be signed"), key)
    }

    /// Puts a new certificate for a server where its configuration says.
    fn renew(&self) -> CertificateDer<'static> {
        let (certificate, key) = self.sign("edge.test");
        fs::write(self.folder.join("key.pem"), key.serialize_pem()).expect("it can be written");
        fs::write(self.folder.join("cert.pem"), certificate.pem()).expect("it can be written");
        certificate.der().clone()
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// The section of a listener.
    fn section(&self, listener: &str) -> String {
        let (cert, key) = (self.path("cert.pem"), self.path("key.pem"));
        format!("[http_server.{listener}]\nenabled = true\ncert_pem = '{cert}'\nkey_pem = '{key}'\n")
    }

    /// What a client needs, with a certificate of its own or without.
    fn client(&self, version: &'static SupportedProtocolVersion, named: Option<&str>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("it is one");
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[version])
            .expect("the provider has them")
            .with_root_certificates(roots);
        let mut config = match named {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let (certificate, key) = self.sign(name);
                let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
                builder
                    .with_client_auth_cert(vec![certificate.der().clone()], key)
                    .expect("they belong together")
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Stream {
    let socket = TcpStream::connect(address).expect("the daemon listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let name = ServerName::try_from("edge.test").expect("a name");
    let connection = ClientConnection::new(Arc::clone(config), name).expect("a good configuration");
    StreamOwned::new(connection, socket)
}

fn open(daemon: &Daemon, config: &Arc<ClientConfig>, path: &str) -> WebSocket<Stream> {
    let url = format!("wss://edge.test{path}");
    tungstenite::client(url, connect(daemon.address(), config)).expect("the upgrade is accepted").0
}

fn expect_echo(socket: &mut WebSocket<Stream>, length: usize) {
    let said = Message::binary((0..length).map(|at| at.to_le_bytes()[0]).collect::<Vec<u8>>());
    socket.send(said.clone()).expect("it goes out");
    assert_eq!(socket.read().expect("an answer comes"), said);
}

#[test]
fn messages_of_all_sizes_come_back_over_both_versions() {
    let authority = Authority::new();
    authority.renew();
    let daemon = Daemon::start(&authority.section("tls"));
    for version in [&TLS12, &TLS13] {
        let mut socket = open(&daemon, &authority.client(version, None), "/echo");
        assert_eq!(socket.get_ref().conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        for length in [0, 1, 125, 126, 2048, 16_384, 16_385, 65_000] {
            expect_echo(&mut socket, length);
        }
        socket.close(None).expect("it goes out");
        while socket.read().is_ok() {}
    }
    assert_eq!(daemon.metric("holdfast_tls_handshakes_total", &[]), 2);
    assert_eq!(daemon.metric("holdfast_tls_failures_total", &[]), 0);
    daemon.await_empty();
    daemon.stop();
}

#[test]
fn a_broadcast_reaches_everybody_in_order() {
    let authority = Authority::new();
    authority.renew();
    let daemon = Daemon::start(&authority.section("tls"));
    let config = authority.client(&TLS13, None);
    let mut members: Vec<_> = (0..20).map(|_| open(&daemon, &config, "/broadcast")).collect();
    eventually("all are members", || daemon.metric("holdfast_broadcast_members", &[]) == 20);
    for number in 0..50 {
        let text = format!("{number} {}", "x".repeat(number * 100));
        members[0].send(Message::text(text)).expect("it goes out");
    }
    for member in &mut members {
        for number in 0..50 {
            let text = member.read().expect("a message comes").into_text().expect("it is text");
            assert!(text.starts_with(&format!("{number} ")), "{text}");
        }
    }
    daemon.stop();
}

#[test]
fn who_speaks_no_tls_is_told_so() {
    let authority = Authority::new();
    authority.renew();
    let daemon = Daemon::start(&authority.section("tls"));
    let mut http = Http::connect(&daemon);
    http.ask("GET", "/echo", "");
    let answer = http.answer();
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("this port speaks TLS"), "{}", answer.body);
    let mut socket = TcpStream::connect(daemon.address()).expect("the daemon listens");
    socket.write_all(&[0; 64]).expect("it goes out");
    let mut alert = Vec::new();
    socket.read_to_end(&mut alert).expect("the end comes in good order");
    assert_eq!(alert.first(), Some(&21), "an alert: {alert:?}");
    eventually("both are counted", || daemon.metric("holdfast_tls_failures_total", &[]) == 2);
    daemon.await_empty();
    daemon.stop();
}

#[test]
fn new_certificates_are_for_new_connections_and_old_ones_stay() {
    let authority = Authority::new();
    let first = authority.renew();
    let daemon = Daemon::start(&authority.section("tls"));
    let config = authority.client(&TLS13, None);
    let mut before = open(&daemon, &config, "/echo");
    assert_eq!(before.get_ref().conn.peer_certificates().expect("it has one")[0], first);
    let second = authority.renew();
    daemon.signal(Signal::HUP);
    eventually("the new certificate is shown", || {
        // A ticket would bring the old one back.
        let after = open(&daemon, &authority.client(&TLS13, None), "/echo");
        after.get_ref().conn.peer_certificates().expect("it has one")[0] == second
    });
    expect_echo(&mut before, 1000);
    // A file that is no key changes nothing.
    fs::write(authority.folder.join("key.pem"), "nonsense").expect("it can be written");
    daemon.signal(Signal::HUP);
    for _ in 0..20 {
        expect_echo(&mut open(&daemon, &authority.client(&TLS13, None), "/echo"), 10);
    }
    daemon.stop();
}

#[test]
fn a_client_that_comes_back_resumes_its_session() {
    let authority = Authority::new();
    authority.renew();
    let daemon = Daemon::start(&authority.section("tls"));
    for version in [&TLS12, &TLS13] {
        let config = authority.client(version, None);
        expect_echo(&mut open(&daemon, &config, "/echo"), 10);
        let again = open(&daemon, &config, "/echo");
        assert_eq!(again.get_ref().conn.handshake_kind(), Some(HandshakeKind::Resumed));
    }
    daemon.stop();
}

#[test]
fn only_who_has_a_certificate_of_the_authority_is_let_in_where_one_is_asked_for() {
    let authority = Authority::new();
    authority.renew();
    let section = format!("{}client_ca_pem = '{}'\n", authority.section("tls"), authority.path("ca.pem"));
    let daemon = Daemon::start(&section);
    for version in [&TLS12, &TLS13] {
        expect_echo(&mut open(&daemon, &authority.client(version, Some("phone.test")), "/echo"), 10);
        let stranger = Authority::new();
        let mut foreign = (*authority.client(version, None)).clone();
        let theirs = stranger.client(version, Some("phone.test"));
        foreign.client_auth_cert_resolver = Arc::clone(&theirs.client_auth_cert_resolver);
        for config in [authority.client(version, None), Arc::new(foreign)] {
            let stream = connect(daemon.address(), &config);
            assert!(tungstenite::client("wss://edge.test/echo", stream).is_err());
        }
    }
    daemon.stop();
}

#[test]
fn who_ends_its_side_of_tls_after_a_request_still_has_the_answer() {
    let authority = Authority::new();
    authority.renew();
    let section = authority.section("tls");
    let client = "[client]\nallow_anonymous_connect_without_token = true\n";
    let daemon = Daemon::start(&format!("{client}[poll]\nenabled = true\nwait = '1s'\n{section}"));
    for version in [&TLS12, &TLS13] {
        let ask = |body: &str| {
            let mut stream = connect(daemon.address(), &authority.client(version, None));
            let length = body.len();
            let head = "POST /connection/poll HTTP/1.1\r\nHost: edge.test\r\n";
            stream
                .write_all(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes())
                .expect("it goes out");
            stream.conn.send_close_notify();
            stream.flush().expect("it goes out");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("the answer is complete");
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            let (_, body) = answer.split_once("\r\n\r\n").expect("a head ends");
            serde_json::from_str::<serde_json::Value>(body).expect("an answer is JSON")
        };
        let opened = ask(r#"{"commands":[{"id":1,"connect":{}}]}"#);
        let (session, received) = (&opened["session"], &opened["sequence"]);
        let waited = ask(&format!(r#"{{"session":{session},"received":{received}}}"#));
        assert_eq!(waited["replies"], serde_json::json!([]));
    }
    daemon.stop();
}

#[test]
fn the_control_port_may_speak_tls_too() {
    let authority = Authority::new();
    let first = authority.renew();
    let daemon = Daemon::start(&authority.section("internal_tls"));
    // Who says nothing holds up nobody, and is sent away.
    let mut silent = TcpStream::connect(daemon.control()).expect("it listens");
    let ask = || {
        let mut stream = connect(daemon.control(), &authority.client(&TLS13, None));
        stream
            .write_all(b"GET /health HTTP/1.1\r\nHost: edge.test\r\nConnection: close\r\n\r\n")
            .expect("it goes out");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the answer is complete");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        stream.conn.peer_certificates().expect("it has one")[0].clone()
    };
    assert_eq!(ask(), first);
    let second = authority.renew();
    daemon.signal(Signal::HUP);
    eventually("the new certificate is shown", || ask() == second);
    silent.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    assert_eq!(silent.read(&mut [0]).expect("the end comes in good order"), 0);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn what_cannot_be_used_is_named_at_the_start() {
    let authority = Authority::new();
    authority.renew();
    let cases = [
        ("cert_pem = 'nowhere.pem'", "http_server.tls.cert_pem: cannot read \"nowhere.pem\""),
        ("key_pem = ''", "http_server.tls.key_pem: it is not set"),
        ("client_ca_pem = '-----BEGIN nothing'", "http_server.tls.client_ca_pem"),
    ];
    for (change, expected) in cases {
        let key = change.split(' ').next().expect("a key");
        let section = authority.section("tls");
        let kept = section.lines().filter(|line| !line.starts_with(key)).collect::<Vec<_>>().join("\n");
        let file = authority.folder.join("holdfast.toml");
        fs::write(&file, format!("{kept}\n{change}\n")).expect("it can be written");
        let output = holdfast_testkit::command()
            .args(["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--config"])
            .arg(&file)
            .output()
            .expect("it can be started");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{change}: {said}");
    }
}

#[test]
fn the_end_of_the_certificates_is_in_the_metrics_and_follows_new_ones() {
    let authority = Authority::new();
    authority.renew();
    let daemon = Daemon::start(&authority.section("tls"));
    let left = || daemon.metric("holdfast_certificate_expiry_seconds", &[("listener", "clients")]);
    let before = left();
    // What rcgen makes without being told otherwise holds until the year 4096.
    assert!(before > 1_000_000_000, "{before}");
    assert!(!daemon.log().contains("expire"), "{}", daemon.log());
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["edge.test".to_owned()]).expect("a good name");
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let expired = params.signed_by(&key, &authority.issuer).expect("it can be signed");
    fs::write(authority.folder.join("key.pem"), key.serialize_pem()).expect("it can be written");
    fs::write(authority.folder.join("cert.pem"), expired.pem()).expect("it can be written");
    daemon.signal(Signal::HUP);
    eventually("it is warned of", || daemon.log().contains("the certificate expired on"));
    let metrics = daemon.ask("/metrics").1;
    assert!(metrics.contains("holdfast_certificate_expiry_seconds{listener=\"clients\"} -"), "{metrics}");
    let told = "the certificates are read again; all other options stay as they are until a restart";
    eventually("it is told what was read", || daemon.log().contains(told));
    daemon.stop();
}
