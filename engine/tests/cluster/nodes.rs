//! Nodes: daemons that share a Redis.
//!
//! In:  further lines of configuration.
//! Out: daemons on free ports, their clients, and calls of their server API.

use holdfast_testkit::{Daemon, PATIENCE, client::Client, redis::Server};
use serde_json::{Value, json};

/// Options of all tests: who may do what.
const COMMON: &str = r#"
[client]
allow_anonymous_connect_without_token = true
token.hmac_secret_key = "a secret of the tests"
[http_api]
insecure = true
[sse]
enabled = true
[http_stream]
enabled = true
[poll]
enabled = true
[channel.without_namespace]
allow_subscribe_for_client = true
allow_subscribe_for_anonymous = true
allow_publish_for_client = true
allow_publish_for_anonymous = true
[[channel.namespaces]]
name = "kept"
history_size = 100
history_ttl = "60s"
force_recovery = true
force_positioning = true
allow_subscribe_for_client = true
allow_subscribe_for_anonymous = true
allow_publish_for_client = true
allow_publish_for_anonymous = true
allow_history_for_client = true
allow_history_for_anonymous = true
[[channel.namespaces]]
name = "seen"
presence = true
join_leave = true
force_push_join_leave = true
allow_subscribe_for_client = true
allow_subscribe_for_anonymous = true
allow_presence_for_client = true
allow_presence_for_anonymous = true
"#;

/// A deployment of one Redis.
pub(crate) struct Nodes {
    pub(crate) redis: Server,
}

impl Nodes {
    /// `None` where there is no Redis.
    pub(crate) fn new() -> Option<Self> {
        Some(Self { redis: Server::start(&[])? })
    }

    /// One more node.
    pub(crate) fn node(&self) -> Daemon {
        self.node_with("")
    }

    /// The same, with further lines of `engine.redis`.
    pub(crate) fn node_with(&self, options: &str) -> Daemon {
        node_at(&self.address(options))
    }

    /// The same, with further lines of `client`.
    pub(crate) fn node_for(&self, options: &str) -> Daemon {
        let common = COMMON.replace("[client]\n", &format!("[client]\n{options}\n"));
        Daemon::start(&config(&common, &self.address("")))
    }

    /// The configuration of all nodes.
    pub(crate) fn config(&self) -> String {
        config(COMMON, &self.address(""))
    }

    fn address(&self, options: &str) -> String {
        format!("address = \"127.0.0.1:{}\"\n{options}", self.redis.port)
    }
}

/// A node with these lines of `engine.redis`.
pub(crate) fn node_at(options: &str) -> Daemon {
    Daemon::start(&config(COMMON, options))
}

fn config(common: &str, options: &str) -> String {
    format!("{common}\n[engine]\ntype = \"redis\"\n[engine.redis]\n{options}\n")
}

/// Waits until each of these nodes knows all of them.
pub(crate) fn until_acquainted(nodes: &[&Daemon]) {
    for node in nodes {
        api_until(node, "info", &json!({}), |answer| uids(answer).len() == nodes.len());
    }
}

/// The names of the nodes in an answer to `info`, this one's first.
pub(crate) fn uids(info: &Value) -> Vec<String> {
    let nodes = info["result"]["nodes"].as_array().expect("it lists nodes");
    nodes.iter().map(|node| node["uid"].as_str().expect("a node has a name").to_owned()).collect()
}

/// A client of a node, connected.
pub(crate) fn client(node: &Daemon) -> Client {
    Client::connect_with(node, &json!({})).0
}

/// Calls a method of a node's server API.
pub(crate) fn api(node: &Daemon, method: &str, params: &Value) -> Value {
    let fields = "Content-Type: application/json\r\n";
    let (_, body) = node.request("POST", &format!("/api/{method}"), fields, &params.to_string());
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{method}: {error}: {body}"))
}

/// Calls it until its answer is as it should be.
pub(crate) fn api_until(
    node: &Daemon,
    method: &str,
    params: &Value,
    is_so: impl Fn(&Value) -> bool,
) -> Value {
    let began = std::time::Instant::now();
    loop {
        let answer = api(node, method, params);
        if is_so(&answer) {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "{method} {params}: {answer}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
