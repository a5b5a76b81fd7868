//! Centrifugo: a node of the other kind.
//!
//! In:  the variable HOLDFAST_TEST_CENTRIFUGO, which names its program (6.9 was tried); a configuration that both kinds read.
//! Out: a process at free ports, which ends with the test; clients and calls of its server API, as those of a daemon.

use std::{
    env, fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use holdfast_testkit::{Daemon, client::Client, eventually, http::Http, leave_out, peer::Peer};
use serde_json::{Value, json};

use crate::nodes::Nodes;

/// Names the program.
const PROGRAM: &str = "HOLDFAST_TEST_CENTRIFUGO";

/// A running Centrifugo.
pub(crate) struct Centrifugo {
    process: Child,
    folder: PathBuf,
    clients: SocketAddr,
    control: SocketAddr,
}

impl Centrifugo {
    /// Starts it with this configuration (TOML). None where there is no program, which it says.
    fn start(config: &str) -> Option<Self> {
        let Ok(program) = env::var(PROGRAM) else {
            leave_out("a deployment shared with Centrifugo", &format!("{PROGRAM} names no program"));
            return None;
        };
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("holdfast-centrifugo-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        // Held together, so that they differ.
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [clients, control] = ports.each_ref().map(|port| port.local_addr().unwrap());
        drop(ports);
        let server = format!(
            "[http_server]\naddress = \"127.0.0.1\"\nport = {}\ninternal_address = \"127.0.0.1\"\ninternal_port = {}\n",
            clients.port(),
            control.port()
        );
        let file = folder.join("config.toml");
        fs::write(&file, format!("{config}\n{server}")).unwrap();
        let process = Command::new(&program)
            .arg("--config")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{PROGRAM}: {program}: {error}"));
        let node = Self { process, folder, clients, control };
        eventually("Centrifugo listens", || Peer::connect_to(node.clients).is_ok());
        Some(node)
    }

    /// Ends it without a word.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Centrifugo {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A node of either kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    clients: SocketAddr,
    control: SocketAddr,
}

impl Node {
    /// A client of it, connected as a user.
    pub(crate) fn client(&self, user: &str) -> Client {
        let peer = Peer::connect_to(self.clients).expect("the node listens");
        Client::over(peer.upgraded("/connection/websocket"), user)
    }

    /// A connection for other transports.
    pub(crate) fn http(&self) -> Http {
        Http::connect_to(self.clients)
    }

    /// Calls a method of its server API.
    pub(crate) fn api(&self, method: &str, params: &Value) -> Value {
        let mut http = Http::connect_to(self.control);
        // Of HTTP/1.0, so that the answer has no chunks.
        let body = params.to_string();
        let length = body.len();
        let head =
            format!("POST /api/{method} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n");
        http.send(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes());
        let answer = http.answer_to_end();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{method}: {error}: {answer}"))
    }

    /// The names of all nodes that it knows, in order.
    pub(crate) fn knows(&self) -> Vec<String> {
        let answer = self.api("info", &json!({}));
        let nodes =
            answer["result"]["nodes"].as_array().unwrap_or_else(|| panic!("it lists no nodes: {answer}"));
        let mut names: Vec<_> = nodes.iter().map(|node| node["uid"].as_str().unwrap().to_owned()).collect();
        names.sort_unstable();
        names
    }
}

/// A deployment of one node of each kind.
pub(crate) struct Pair {
    pub(crate) daemon: Daemon,
    pub(crate) centrifugo: Centrifugo,
    // The last to go: the others say goodbye through it.
    _nodes: Nodes,
}

impl Pair {
    /// Started, and acquainted. None where there is no Redis, or no Centrifugo.
    pub(crate) fn new() -> Option<Self> {
        let nodes = Nodes::new()?;
        let centrifugo = Centrifugo::start(&nodes.config())?;
        let pair = Self { daemon: nodes.node(), centrifugo, _nodes: nodes };
        let [(one, other), _] = pair.both_ways();
        eventually("they know each other", || one.knows().len() == 2 && one.knows() == other.knows());
        Some(pair)
    }

    /// Holdfast's node and Centrifugo's; and the other way round.
    pub(crate) fn both_ways(&self) -> [(Node, Node); 2] {
        let holdfast = Node { clients: self.daemon.address(), control: self.daemon.control() };
        let centrifugo = Node { clients: self.centrifugo.clients, control: self.centrifugo.control };
        [(holdfast, centrifugo), (centrifugo, holdfast)]
    }
}
