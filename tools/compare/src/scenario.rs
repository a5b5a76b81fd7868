//! Scenarios: what is asked of every server, what counts as one operation, and Holdfast's goal in it.
//!
//! In:  where the server listens, its process, how long to measure.
//! Out: the arguments of `holdfast-bench`.
//!
//! Every server gets the same load, so that a broadcast rate is one that the slowest of them can still follow: a
//! server that falls behind drops clients, and then nothing is compared.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::report::LoadReport;

/// Broadcast messages a second, alone or ten at a time: 50,000 deliveries a second at 5,000 connections.
const BROADCAST_MESSAGES_PER_S: u32 = 10;

/// New connections a second, for every server: slow enough that no peer's accept queue overflows on its one core.
const RAMP_PER_S: u32 = 4_000;

/// A broadcast leaves the server idle most of the time, and its CPU time is read in steps of 10 ms: it is measured
/// this many times as long as the rest.
pub(crate) const BROADCAST_WINDOW_FACTOR: u32 = 3;

/// One way to load a server.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Scenario {
    /// What `--scenario` and the JSON call it.
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) connections: u32,
    pub(crate) load: Load,
    pub(crate) goal: Goal,
}

/// What the connections do.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Load {
    /// `busy` of the connections send a message and wait for its echo, over and over.
    Echo { bytes: u32, busy: u32 },
    /// One connection sends, all receive: `burst` messages at once, then a pause.
    Broadcast { bytes: u32, burst: u32 },
    /// Nothing.
    Idle,
}

/// What the project set itself as its aim.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// CPU an operation, at most this many times the baseline's.
    CpuRatioMax(f64),
    /// User memory, at most this many bytes a connection.
    BytesPerConnectionMax(f64),
}

/// All scenarios, in the order in which they run.
pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            id: "echo-1",
            title: "Echo of 64 bytes, 1 busy of 1,000 connections",
            connections: 1_000,
            load: Load::Echo { bytes: 64, busy: 1 },
            goal: Goal::CpuRatioMax(0.75),
        },
        Scenario {
            id: "echo-64",
            title: "Echo of 64 bytes, 64 busy of 1,000 connections",
            connections: 1_000,
            load: Load::Echo { bytes: 64, busy: 64 },
            goal: Goal::CpuRatioMax(0.6),
        },
        Scenario {
            id: "echo-1000",
            title: "Echo of 64 bytes, all of 1,000 connections busy",
            connections: 1_000,
            load: Load::Echo { bytes: 64, busy: 1_000 },
            goal: Goal::CpuRatioMax(0.6),
        },
        Scenario {
            id: "broadcast-1",
            title: "Broadcast of 128 bytes to 5,000 connections, one message at a time",
            connections: 5_000,
            load: Load::Broadcast { bytes: 128, burst: 1 },
            goal: Goal::CpuRatioMax(0.5),
        },
        Scenario {
            id: "broadcast-10",
            title: "Broadcast of 128 bytes to 5,000 connections, ten messages at once",
            connections: 5_000,
            load: Load::Broadcast { bytes: 128, burst: 10 },
            goal: Goal::CpuRatioMax(0.18),
        },
        Scenario {
            id: "idle",
            title: "19,000 idle connections",
            connections: 19_000,
            load: Load::Idle,
            goal: Goal::BytesPerConnectionMax(270.0),
        },
    ]
}

/// What `--scenario` accepts.
pub(crate) fn ids() -> Vec<&'static str> {
    all().into_iter().map(|scenario| scenario.id).collect()
}

impl Scenario {
    /// What one operation is called; `None` where CPU is not what is measured.
    pub(crate) const fn operation(&self) -> Option<&'static str> {
        match self.load {
            Load::Echo { .. } => Some("message"),
            Load::Broadcast { .. } => Some("delivery"),
            Load::Idle => None,
        }
    }

    /// How many operations a run counted: a message echoed, or a message brought to one receiver.
    pub(crate) const fn operations(&self, report: &LoadReport) -> Option<u64> {
        match self.load {
            Load::Echo { .. } => Some(report.messages.received),
            Load::Broadcast { .. } => Some(report.deliveries),
            Load::Idle => None,
        }
    }

    /// How long a run is measured, where `unit` is asked for.
    pub(crate) const fn window(&self, unit: Duration) -> Duration {
        match self.load {
            Load::Broadcast { .. } => unit.saturating_mul(BROADCAST_WINDOW_FACTOR),
            Load::Echo { .. } | Load::Idle => unit,
        }
    }

    /// The command line of `holdfast-bench`.
    pub(crate) fn arguments(
        &self,
        server: SocketAddr,
        server_pid: u32,
        window: Duration,
        json: &Path,
    ) -> Vec<OsString> {
        let (name, path, specific) = match self.load {
            Load::Echo { bytes, busy } => {
                ("echo", "echo", format!("--size {bytes} --busy {busy} --closed-loop"))
            }
            Load::Broadcast { bytes, burst } => {
                let rate = BROADCAST_MESSAGES_PER_S;
                ("broadcast", "broadcast", format!("--size {bytes} --rate {rate}/s --burst {burst}"))
            }
            Load::Idle => ("hold", "echo", String::new()),
        };
        let common = format!(
            "{name} --target ws://{server}/{path} --connections {} --ramp {RAMP_PER_S}/s --duration {}s \
             --server-pid {server_pid}",
            self.connections,
            window.as_secs(),
        );
        let words = common.split_whitespace().chain(specific.split_whitespace()).map(OsString::from);
        words.chain(["--json".into(), json.into()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(id: &str) -> String {
        let scenario = all().into_iter().find(|scenario| scenario.id == id).unwrap();
        let server = "127.0.0.1:9".parse().unwrap();
        let words = scenario.arguments(
            server,
            77,
            scenario.window(Duration::from_secs(5)),
            Path::new("out dir/x.json"),
        );
        words.join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn echo_is_a_closed_loop_over_the_busy_connections() {
        assert_eq!(
            arguments("echo-64"),
            "echo --target ws://127.0.0.1:9/echo --connections 1000 --ramp 4000/s --duration 5s --server-pid 77 \
             --size 64 --busy 64 --closed-loop --json out dir/x.json"
        );
    }

    #[test]
    fn both_broadcasts_ask_for_the_same_number_of_messages_and_are_measured_longer() {
        assert!(arguments("broadcast-1").contains("--duration 15s "));
        assert!(arguments("broadcast-1").contains("--rate 10/s --burst 1 "));
        assert!(arguments("broadcast-10").contains("--rate 10/s --burst 10 "));
    }

    #[test]
    fn idle_connections_are_held_on_the_echo_path() {
        assert!(arguments("idle").starts_with("hold --target ws://127.0.0.1:9/echo --connections 19000 "));
    }
}
