//! Servers, their clients, and the owner of a link.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command as Process, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use holdfast_redis::receive::{
    cause::Cause,
    connection::ConnectionOptions,
    event::Event,
    link::{Command, LinkHandle, LinkOptions, Publisher, link},
    queue::{Queue, QueueLimits, queue},
};
use redis_protocol::resp2::{decode::decode, types::OwnedFrame};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName},
};

/// Names another program than `redis-server`.
const PROGRAM: &str = "HOLDFAST_TEST_REDIS_SERVER";

fn program() -> String {
    std::env::var(PROGRAM).unwrap_or_else(|_| "redis-server".to_owned())
}

/// A redis-server of one test.
pub(crate) struct Server {
    process: Option<Child>,
    arguments: Vec<String>,
    folder: PathBuf,
    pub(crate) port: u16,
}

impl Server {
    /// With these arguments beside the usual ones. None where there is no redis-server, which it says; where CI=true, that
    /// is a failure.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        let port = free_port();
        Self::start_with(port, &["--port".into(), port.to_string()], arguments)
    }

    /// None for another program than Debian's, which may have been built without TLS.
    pub(crate) fn start_tls(certificate: &Certificate) -> Option<Self> {
        if std::env::var(PROGRAM).is_ok() {
            return None;
        }
        let port = free_port();
        let folder = certificate.folder.to_str().unwrap();
        let tls = ["--port".into(), "0".into(), "--tls-port".into(), port.to_string()];
        let files = [
            ("--tls-cert-file", format!("{folder}/cert.pem")),
            ("--tls-key-file", format!("{folder}/key.pem")),
            ("--tls-auth-clients", "no".to_owned()),
        ];
        let arguments: Vec<&str> = files.iter().flat_map(|(name, value)| [*name, value]).collect();
        Self::start_with(port, &tls, &arguments)
    }

    fn start_with(port: u16, ports: &[String], arguments: &[&str]) -> Option<Self> {
        if let Err(error) = Process::new(program()).arg("--version").stdout(Stdio::null()).status() {
            assert!(!std::env::var("CI").is_ok_and(|ci| ci == "true"), "{}: {error}", program());
            // Not `eprintln`: that is shown only where a test fails.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {} is not installed", program());
            return None;
        }
        let folder = temporary_folder();
        let dir = folder.to_str().unwrap();
        let usual = [
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            dir,
            "--loglevel",
            "warning",
        ];
        let all = ports.iter().cloned().chain(usual.iter().chain(arguments).map(ToString::to_string));
        let mut server = Self { process: None, arguments: all.collect(), folder, port };
        server.restart();
        Some(server)
    }

    /// Two nodes of a cluster. The first has the slots below 12,288.
    pub(crate) fn cluster() -> Option<[Self; 2]> {
        let node = || {
            let bus = free_port().to_string();
            Self::start(&["--cluster-enabled", "yes", "--cluster-port", &bus])
        };
        let nodes = [node()?, node()?];
        nodes[0].client().ask(&[b"CLUSTER", b"ADDSLOTSRANGE", b"0", b"12287"]);
        nodes[1].client().ask(&[b"CLUSTER", b"ADDSLOTSRANGE", b"12288", b"16383"]);
        let (port, bus) = (nodes[1].port.to_string(), nodes[1].arguments.last().unwrap());
        nodes[0].client().ask(&[b"CLUSTER", b"MEET", b"127.0.0.1", port.as_bytes(), bus.as_bytes()]);
        for node in &nodes {
            let until = Instant::now() + Duration::from_secs(20);
            while !node.client().ask(&[b"CLUSTER", b"INFO"]).contains("cluster_state:ok") {
                assert!(Instant::now() < until, "the nodes find each other");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Some(nodes)
    }

    /// Starts it once more, at the same port.
    pub(crate) fn restart(&mut self) {
        let program = program();
        let mut redis = Process::new(&program);
        redis.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = redis.spawn().unwrap_or_else(|error| panic!("{program} is installed: {error}"));
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "{program} {:?}: {ended:?}", self.arguments);
            std::thread::sleep(Duration::from_millis(10));
        }
        self.process = Some(process);
    }

    /// Kills it.
    pub(crate) fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(crate) fn stand_still(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    pub(crate) fn go_on(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let process = self.process.as_ref().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_child(process), signal).unwrap();
    }

    pub(crate) fn client(&self) -> Client<TcpStream> {
        Client { stream: self.connect(), received: Vec::new() }
    }

    pub(crate) fn tls_client(
        &self,
        certificate: &Certificate,
    ) -> Client<StreamOwned<ClientConnection, TcpStream>> {
        let name = ServerName::try_from(certificate.name).unwrap();
        let tls = ClientConnection::new(certificate.client(), name).unwrap();
        Client { stream: StreamOwned::new(tls, self.connect()), received: Vec::new() }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn temporary_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("holdfast-redis-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A certificate for one name, signed by itself.
pub(crate) struct Certificate {
    folder: PathBuf,
    name: &'static str,
    der: CertificateDer<'static>,
}

impl Certificate {
    pub(crate) fn of(name: &'static str) -> Self {
        let signed = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let folder = temporary_folder();
        std::fs::write(folder.join("cert.pem"), signed.cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), signed.signing_key.serialize_pem()).unwrap();
        Self { folder, name, der: signed.cert.der().clone() }
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A client that waits for its answers.
pub(crate) struct Client<S> {
    stream: S,
    received: Vec<u8>,
}

impl<S: Read + Write> Client<S> {
    /// The answer in words, its parts with spaces between them. Errors are answers.
    pub(crate) fn ask(&mut self, words: &[&[u8]]) -> String {
        self.pipeline([words.to_vec()]).pop().unwrap()
    }

    /// All commands, then all answers.
    pub(crate) fn pipeline<'a>(&mut self, commands: impl IntoIterator<Item = Vec<&'a [u8]>>) -> Vec<String> {
        let (mut bytes, mut count) = (Vec::new(), 0);
        for words in commands {
            count += 1;
            write!(bytes, "*{}\r\n", words.len()).unwrap();
            for word in words {
                write!(bytes, "${}\r\n", word.len()).unwrap();
                bytes.extend_from_slice(word);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        self.stream.write_all(&bytes).unwrap();
        (0..count).map(|_| self.answer()).collect()
    }

    fn answer(&mut self) -> String {
        loop {
            if let Some((frame, used)) = decode(&self.received).unwrap() {
                self.received.drain(..used);
                return in_words(&frame);
            }
            let mut bytes = [0; 4096];
            let count = self.stream.read(&mut bytes).unwrap();
            assert!(count > 0, "the server closed");
            self.received.extend_from_slice(&bytes[..count]);
        }
    }
}

fn in_words(frame: &OwnedFrame) -> String {
    match frame {
        OwnedFrame::Integer(number) => number.to_string(),
        OwnedFrame::Array(frames) => frames.iter().map(in_words).collect::<Vec<_>>().join(" "),
        OwnedFrame::Error(text) => text.clone(),
        OwnedFrame::SimpleString(bytes) | OwnedFrame::BulkString(bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        OwnedFrame::Null => "nothing".to_owned(),
    }
}

/// Channels c0, c1, …
pub(crate) fn names(count: usize) -> Vec<Arc<str>> {
    (0..count).map(|n| format!("c{n}").into()).collect()
}

/// Whose link it is.
pub(crate) struct Owner {
    pub(crate) handle: LinkHandle,
    events: Queue,
    task: tokio::task::JoinHandle<()>,
    /// Messages that came together with one that was asked for.
    messages: std::collections::VecDeque<(String, Vec<u8>)>,
}

impl Owner {
    pub(crate) fn of(server: &Server, change: impl FnOnce(&mut LinkOptions)) -> Self {
        Self::with(server, QueueLimits::default(), None, change)
    }

    pub(crate) fn with(
        server: &Server,
        limits: QueueLimits,
        publisher: Option<Publisher>,
        change: impl FnOnce(&mut LinkOptions),
    ) -> Self {
        Self::at("127.0.0.1", server.port, limits, publisher, change)
    }

    pub(crate) fn at(
        host: &str,
        port: u16,
        limits: QueueLimits,
        publisher: Option<Publisher>,
        change: impl FnOnce(&mut LinkOptions),
    ) -> Self {
        let mut options = LinkOptions::new(ConnectionOptions::new(host, port));
        change(&mut options);
        let (sender, events) = queue(limits);
        let (handle, link) = link(options, sender, publisher);
        Self { handle, events, task: tokio::spawn(link.run()), messages: std::collections::VecDeque::new() }
    }

    pub(crate) async fn send(&self, command: Command) {
        self.handle.send(command).await.unwrap();
    }

    pub(crate) async fn want<const N: usize>(&self, channels: [&str; N]) {
        self.send(Command::Want(channels.map(Arc::from).to_vec())).await;
    }

    pub(crate) async fn next(&mut self) -> Event {
        tokio::time::timeout(Duration::from_secs(30), self.events.recv())
            .await
            .unwrap_or_else(|_| panic!("nothing happened: {:?}", self.handle.health()))
            .expect("the link lives")
    }

    pub(crate) fn try_next(&mut self) -> Option<Event> {
        self.events.try_recv()
    }

    /// Waits until so many channels are confirmed, whatever else happens.
    pub(crate) async fn confirmed(&mut self, count: usize) {
        let mut confirmed = 0;
        while confirmed < count {
            if let Event::Confirmed(channels) = self.next().await {
                confirmed += channels.len();
            }
        }
        assert_eq!(confirmed, count);
    }

    /// Waits until the connection is gone.
    pub(crate) async fn down(&mut self) -> Arc<Cause> {
        loop {
            if let Event::Down(cause) = self.next().await {
                return cause;
            }
        }
    }

    pub(crate) async fn message(&mut self) -> (String, Vec<u8>) {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return message;
            }
            if let Event::Messages(messages) = self.next().await {
                self.messages.extend(messages.iter().map(|message| {
                    (String::from_utf8(message.channel.to_vec()).unwrap(), message.payload.to_vec())
                }));
            }
        }
    }

    /// Waits until a connection ended, or did not come about, by that cause. Returns its words.
    pub(crate) async fn until_cause(&mut self, name: &str) -> String {
        let index = (0..).find(|&index| Cause::name_of(index) == name).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let health = self.handle.health();
            if health.causes[index] > 0 {
                return health.last_cause.unwrap();
            }
            assert!(Instant::now() < until, "it ends otherwise: {health:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// True exactly when the link's task ended by itself.
    pub(crate) async fn ended(&mut self) -> bool {
        let ended = tokio::time::timeout(Duration::from_secs(10), &mut self.task).await;
        matches!(ended, Ok(Ok(())))
    }
}
