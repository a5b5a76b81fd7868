//! Row: what one attack came to.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{attack::Attack, figures::Figures};

/// How one well-behaved client was served.
#[derive(Clone, Debug, Serialize)]
pub struct Served {
    /// What it does.
    pub name: &'static str,
    /// Without attackers.
    pub quiet: Figures,
    /// With them.
    pub attacked: Figures,
    /// What went wrong, with attackers or without.
    pub failures: Vec<String>,
}

/// What one attack came to.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The path that was attacked.
    pub attack: Attack,
    /// How many attackers there were.
    pub attackers: usize,
    /// What they got done: messages, requests, handshakes.
    pub attack_operations: u64,
    /// Why the daemon wanted no more of them, and how often; they tried again.
    pub attackers_heard: BTreeMap<String, u64>,
    /// For how long they were measured.
    pub attack_s: f64,
    /// How many clients, attackers among them, the daemon closed because they did not read.
    pub closed_as_slow: u64,
    /// How much of its CPU the daemon used under the attack, from 0 to 1 for each CPU.
    pub daemon_cpu: f64,
    /// The 99th percentile of how late a thread of the tool woke under the attack. It is part of every latency.
    pub tool_late_ms: f64,
    /// The well-behaved clients.
    pub served: Vec<Served>,
    /// Who calls the server API.
    pub api: Served,
    /// `shutdown.timeout` of the daemon.
    pub shutdown_timeout_ms: f64,
    /// How long the stop took, under the attack; none where it did not come to an end.
    pub stop_ms: Option<f64>,
}

impl Row {
    /// What the attackers got done in a second.
    #[must_use]
    pub fn attack_per_s(&self) -> f64 {
        self.attack_operations as f64 / self.attack_s.max(1e-9)
    }

    /// The client of all that was served worst under the attack.
    #[must_use]
    pub fn worst(&self) -> Option<&Served> {
        self.served.iter().max_by(|a, b| a.attacked.p99_ms.total_cmp(&b.attacked.p99_ms))
    }
}
