//! Redis: servers of a test, their certificates, and clients that wait for their answers.
//!
//! In:  arguments of `redis-server`; the variable HOLDFAST_TEST_REDIS_SERVER, which names another program.
//! Out: a process at a free port, which ends with the test; answers in words.

mod cluster;

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command as Process, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use redis_protocol::resp2::{decode::decode, types::OwnedFrame};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName},
};

pub use cluster::{Cluster, slot};

/// Names another program than `redis-server`.
const PROGRAM: &str = "HOLDFAST_TEST_REDIS_SERVER";

fn program() -> String {
    std::env::var(PROGRAM).unwrap_or_else(|_| "redis-server".to_owned())
}

/// A redis-server of one test.
pub struct Server {
    process: Option<Child>,
    arguments: Vec<String>,
    folder: PathBuf,
    /// Where it listens, at 127.0.0.1.
    pub port: u16,
}

impl Server {
    /// With these arguments beside the usual ones. None where there is no redis-server, which it says; where CI=true, that
    /// is a failure.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        let port = free_port();
        Self::start_with(port, &["--port".into(), port.to_string()], arguments)
    }

    /// None for another program than Debian's, which may have been built without TLS.
    pub fn start_tls(certificate: &Certificate) -> Option<Self> {
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

    /// A sentinel that knows that primary.
    pub fn start_sentinel(name: &str, primary: &Self) -> Option<Self> {
        let folder = temporary_folder();
        let file = folder.join("sentinel.conf");
        let times =
            format!("sentinel down-after-milliseconds {name} 1000\nsentinel failover-timeout {name} 5000\n");
        let lines = format!("sentinel monitor {name} 127.0.0.1 {} 1\n{times}", primary.port);
        std::fs::write(&file, lines).unwrap();
        let port = free_port();
        let arguments = [file.to_str().unwrap().to_owned(), "--port".into(), port.to_string()];
        let arguments =
            arguments.into_iter().chain(["--sentinel".into(), "--bind".into(), "127.0.0.1".into()]);
        let mut server = Self { process: None, arguments: arguments.collect(), folder, port };
        server.restart();
        Some(server)
    }

    fn start_with(port: u16, ports: &[String], arguments: &[&str]) -> Option<Self> {
        if let Err(error) = Process::new(program()).arg("--version").stdout(Stdio::null()).status() {
            crate::skip("what needs Redis", &format!("{}: {error}", program()));
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
    pub fn cluster() -> Option<[Self; 2]> {
        Self::cluster_of([(0, 12_287), (12_288, 16_383)])
    }

    /// The masters of a cluster, each with the slots from and to which it has.
    pub fn cluster_of<const N: usize>(slots: [(u16, u16); N]) -> Option<[Self; N]> {
        let node = || {
            let bus = free_port().to_string();
            Self::start(&["--cluster-enabled", "yes", "--cluster-port", &bus])
        };
        let nodes: Vec<Self> = slots.iter().map_while(|_| node()).collect();
        let nodes: [Self; N] = nodes.try_into().ok()?;
        for (node, (from, to)) in nodes.iter().zip(slots) {
            let (from, to) = (from.to_string(), to.to_string());
            node.client().ask(&[b"CLUSTER", b"ADDSLOTSRANGE", from.as_bytes(), to.as_bytes()]);
        }
        for other in &nodes[1..] {
            let (port, bus) = (other.port.to_string(), other.arguments.last().unwrap());
            nodes[0].client().ask(&[b"CLUSTER", b"MEET", b"127.0.0.1", port.as_bytes(), bus.as_bytes()]);
        }
        let known = format!("cluster_known_nodes:{N}");
        for node in &nodes {
            let until = Instant::now() + crate::PATIENCE;
            loop {
                let info = node.client().ask(&[b"CLUSTER", b"INFO"]);
                if info.contains("cluster_state:ok") && info.contains(&known) {
                    break;
                }
                assert!(Instant::now() < until, "the nodes find each other: {info}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Some(nodes)
    }

    /// Starts it once more, at the same port.
    pub fn restart(&mut self) {
        let program = program();
        let mut redis = Process::new(&program);
        redis.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = redis.spawn().unwrap_or_else(|error| panic!("{program} is installed: {error}"));
        let until = Instant::now() + crate::PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "{program} {:?}: {ended:?}", self.arguments);
            std::thread::sleep(Duration::from_millis(10));
        }
        self.process = Some(process);
    }

    /// Kills it.
    pub fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Stops it as SIGSTOP does: connections are taken, and nothing answers.
    pub fn stand_still(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let process = self.process.as_ref().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_child(process), signal).unwrap();
    }

    /// A client of it.
    pub fn client(&self) -> Client<TcpStream> {
        Client { stream: self.connect(), received: Vec::new() }
    }

    /// A client that speaks TLS.
    pub fn tls_client(&self, certificate: &Certificate) -> Client<StreamOwned<ClientConnection, TcpStream>> {
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

/// Ports that the kernel gives to nobody by itself (`ip_local_port_range`): a server that is started again, or binds its
/// port a moment later, still finds it free.
const PORTS: std::ops::Range<u32> = 10_000..32_000;

/// A port that no other server of this process has had, and that is free.
fn free_port() -> u16 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let many = PORTS.end - PORTS.start;
    // Processes begin far from each other.
    let first = std::process::id().wrapping_mul(2_654_435_761) % many;
    for _ in PORTS {
        let at = first.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed)) % many;
        let port = u16::try_from(PORTS.start + at).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free");
}

fn temporary_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("holdfast-redis-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A certificate for one name, signed by itself.
pub struct Certificate {
    folder: PathBuf,
    name: &'static str,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// For one name, or an address.
    pub fn of(name: &'static str) -> Self {
        let signed = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let folder = temporary_folder();
        std::fs::write(folder.join("cert.pem"), signed.cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), signed.signing_key.serialize_pem()).unwrap();
        Self { folder, name, der: signed.cert.der().clone() }
    }

    /// The certificate, as authorities are configured.
    pub fn pem(&self) -> String {
        std::fs::read_to_string(self.folder.join("cert.pem")).unwrap()
    }

    /// The file that has it.
    pub fn file(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    /// How a client that trusts it speaks TLS.
    pub fn client(&self) -> Arc<ClientConfig> {
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
pub struct Client<S> {
    stream: S,
    received: Vec<u8>,
}

impl<S: Read + Write> Client<S> {
    /// The answer in words, its parts with spaces between them. Errors are answers.
    pub fn ask(&mut self, words: &[&[u8]]) -> String {
        self.pipeline([words.to_vec()]).pop().unwrap()
    }

    /// The same. None where the connection ends first.
    pub fn try_ask(&mut self, words: &[&[u8]]) -> Option<String> {
        self.try_pipeline([words.to_vec()]).ok()?.pop()
    }

    /// All commands, then all answers.
    pub fn pipeline<'a>(&mut self, commands: impl IntoIterator<Item = Vec<&'a [u8]>>) -> Vec<String> {
        self.try_pipeline(commands).unwrap()
    }

    fn try_pipeline<'a>(
        &mut self,
        commands: impl IntoIterator<Item = Vec<&'a [u8]>>,
    ) -> io::Result<Vec<String>> {
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
        self.stream.write_all(&bytes)?;
        (0..count).map(|_| self.try_answer()).collect()
    }

    /// The next answer, or what comes unasked: a message of a subscription.
    pub fn answer(&mut self) -> String {
        self.try_answer().unwrap()
    }

    fn try_answer(&mut self) -> io::Result<String> {
        loop {
            if let Some((frame, used)) = decode(&self.received).unwrap() {
                self.received.drain(..used);
                return Ok(in_words(&frame));
            }
            let mut bytes = [0; 4096];
            let count = self.stream.read(&mut bytes)?;
            if count == 0 {
                return Err(io::Error::other("the server closed"));
            }
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
