//! Contestants: the servers that are compared, and how each is started.
//!
//! In:  the directories of their programs.
//! Out: names and command lines.
//!
//! Each runs on one core with one thread for its connections, by its own command line. No process is started here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cores::Core;

/// The server that ratios are taken to.
pub(crate) const BASELINE: &str = "gorilla";

/// The server that the goals are set for.
pub(crate) const HOLDFAST: &str = "holdfast";

/// One server.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// What the tables and `--server` call it.
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
}

/// All servers, in the order in which they take their turns.
pub(crate) fn all(binaries: &Path, peers: &Path) -> Vec<Peer> {
    vec![
        Peer { name: HOLDFAST, program: binaries.join("holdfast") },
        Peer { name: BASELINE, program: peers.join("peer-gorilla") },
        Peer { name: "tokio-tungstenite", program: binaries.join("peer-tokio-tungstenite") },
        Peer { name: "fastwebsockets", program: binaries.join("peer-fastwebsockets") },
    ]
}

/// What `--server` accepts.
pub(crate) fn names() -> Vec<&'static str> {
    all(Path::new(""), Path::new("")).into_iter().map(|contestant| contestant.name).collect()
}

impl Peer {
    /// The command that serves on `listen`. Only Holdfast has a control address and binds its threads itself.
    pub(crate) fn command(&self, listen: SocketAddr, control: SocketAddr, core: Core) -> Command {
        let mut command = Command::new(&self.program);
        if self.name == HOLDFAST {
            command.arg("serve");
        }
        command.args(["--listen", &listen.to_string()]);
        if self.name == HOLDFAST {
            command.args(["--control", &control.to_string(), "--cores", &core.to_string()]);
        } else {
            command.args(["--threads", "1"]);
        }
        command
    }
}
