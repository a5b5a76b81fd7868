//! Report: what a run found.
//!
//! In:  the plan, the merged counts and histograms, samples over time.
//! Out: one value that all outputs are made from (`table`, `hgrm`, `html`; JSON by serde), and the verdict.
//!
//! The field names of the JSON are a contract: scripts compare runs by them. New ones may be added.

pub mod hgrm;
pub mod html;
pub mod marks;
pub mod plots;
pub mod table;

use serde::Serialize;

use self::marks::Mark;
use crate::latency::Percentiles;
use crate::tally::{Messages, Recovery};
use crate::units::{real, show_count};

/// All that a run found. Times are in seconds where the name ends in `_s`, in microseconds where it ends in `_us`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: &'static str,
    /// The URL.
    pub target: String,
    /// Connections that were asked for.
    pub connections: u32,
    /// Bytes in a message; none where no message is sent.
    pub size: Option<usize>,
    /// What was asked for, in words for people.
    pub load: String,
    /// How long the measured part lasted.
    pub measured_s: f64,
    /// What happened to messages.
    pub messages: Messages,
    /// Messages that reached a connection: of `broadcast`, many for each one sent.
    pub deliveries: u64,
    /// The same a second of the measured part.
    pub deliveries_per_s: f64,
    /// From when a message was due until it came (back).
    pub latency_us: Option<Percentiles>,
    /// `broadcast`: from when a message was due until its first receiver had it.
    pub first_receiver_us: Option<Percentiles>,
    /// Until half of its receivers had it.
    pub median_receiver_us: Option<Percentiles>,
    /// Until 99 of 100 had it.
    pub p99_receiver_us: Option<Percentiles>,
    /// Until its last receiver had it.
    pub last_receiver_us: Option<Percentiles>,
    /// How late the load tool itself was to send. Where this is not small, the machine was too busy to measure.
    pub lateness_us: Option<Percentiles>,
    /// What happened to connections.
    pub connect: Connect,
    /// `storm`: from the drop of all connections until one was back; `failover`: from when a client was cut off until it was
    /// subscribed again.
    pub back_us: Option<Percentiles>,
    /// `failover`: how clients came back.
    pub recovery: Option<Recovery>,
    /// What happened during the run.
    pub marks: Vec<Mark>,
    /// The server's processes, where they were named.
    pub server: Option<ServerFigures>,
    /// The machine's memory.
    pub machine: MachineMemory,
    /// True exactly when nothing was found wrong.
    pub ok: bool,
    /// What was found wrong, in sentences.
    pub findings: Vec<String>,
    /// Why connections failed or were lost, and how many for each reason.
    pub reasons: Vec<Reason>,
    /// Twice a second, from the first connection on.
    pub series: Vec<Sample>,
    /// The load tool's version.
    pub version: &'static str,
    /// The command line.
    pub command: String,
}

/// What happened to connections.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Connect {
    /// Begun.
    pub attempted: u64,
    /// Finished their handshake (Centrifuge: and are subscribed).
    pub established: u64,
    /// Did not.
    pub failed: u64,
    /// Ended though nobody asked them to.
    pub lost_later: u64,
    /// Did not get an answer to their close frame.
    pub unclean: u64,
    /// Pings of the server that were answered.
    pub pings_answered: u64,
    /// Established a second, from the first attempt to the last success.
    pub rate_per_s: f64,
    /// From the beginning of a connection to the end of its handshake.
    pub latency_us: Option<Percentiles>,
}

/// The server's processes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ServerFigures {
    /// CPU time in the measured part, user and system.
    pub cpu_s: f64,
    /// The same for each echo or delivery; none where there was no message.
    pub cpu_us_per_message: Option<f64>,
    /// The same for each connection that was established in the measured part (`churn`, `storm`).
    pub cpu_us_per_connection: Option<f64>,
    /// Anonymous memory before the first connection.
    pub rss_anon_bytes_before: u64,
    /// The same at the end of the measured part.
    pub rss_anon_bytes_after: u64,
    /// The difference for each connection that was open then.
    pub rss_anon_bytes_per_connection: Option<f64>,
}

/// The machine's memory. Holds what the kernel keeps for both ends of a connection when both are on this machine,
/// and the load tool's own memory.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct MachineMemory {
    /// `MemAvailable` before the first connection.
    pub available_bytes_before: Option<u64>,
    /// The same at the end of the measured part.
    pub available_bytes_after: Option<u64>,
    /// The difference for each connection that was open then.
    pub bytes_per_connection: Option<f64>,
}

/// Why connections went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// In words.
    pub reason: String,
    /// How many connections.
    pub count: u64,
}

/// One look at the run. Counts are since its beginning.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Sample {
    /// Seconds since the first connection.
    pub at_s: f64,
    /// Connections open.
    pub open: u64,
    /// Connections established so far.
    pub established: u64,
    /// Messages sent so far.
    pub sent: u64,
    /// Messages received so far.
    pub received: u64,
    /// Median latency of the messages that came in this half second.
    pub p50_us: Option<f64>,
    /// The 99th percentile of the same.
    pub p99_us: Option<f64>,
    /// The longest of the same.
    pub max_us: Option<f64>,
    /// The server's CPU time so far.
    pub server_cpu_s: Option<f64>,
    /// The server's anonymous memory.
    pub server_rss_anon_bytes: Option<u64>,
}

impl Report {
    /// Looks for what is wrong; adds to `findings` and fills `ok`.
    #[must_use]
    pub fn judged(mut self) -> Self {
        let (messages, connect) = (self.messages, &self.connect);
        // Where servers are made to fail, connections end, and are made in vain.
        let is_steady = u64::from(self.recovery.is_none());
        let away = self.recovery.map_or(0, |recovery| recovery.away);
        let counted = [
            (messages.lost, "message was lost", "messages were lost"),
            (messages.repeated, "message came twice", "messages came twice"),
            (messages.reordered, "message came out of order", "messages came out of order"),
            (messages.corrupt, "message was corrupt or misdirected", "messages were corrupt or misdirected"),
            (
                messages.withheld,
                "message could not be sent: the server did not read",
                "messages could not be sent: the server did not read",
            ),
            (messages.refused, "message was refused", "messages were refused"),
            (away, "client was not back at the end", "clients were not back at the end"),
            (is_steady * connect.failed, "connection could not be made", "connections could not be made"),
            (is_steady * connect.lost_later, "connection was lost", "connections were lost"),
            (is_steady * connect.unclean, "close frame was not answered", "close frames were not answered"),
        ];
        let counted = counted.into_iter().filter(|(count, ..)| *count > 0).map(|(count, one, more)| {
            format!("{} {}", show_count(count), if count == 1 { one } else { more })
        });
        self.findings.extend(counted);
        if self.scenario == "churn" && connect.established == 0 || self.size.is_some() && messages.sent == 0 {
            self.findings.push("nothing was measured: no message was sent".to_owned());
        }
        self.ok = self.findings.is_empty();
        self
    }

    /// True exactly when not one connection was made: there is nothing to say about the server.
    pub fn is_unreachable(&self) -> bool {
        self.connect.established == 0
    }

    /// One sentence: passed, or what is wrong.
    pub fn verdict(&self) -> String {
        match self.findings.as_slice() {
            [] if self.messages.received > 0 => format!(
                "Passed: {} messages checked, none lost, repeated, reordered or corrupt.",
                show_count(self.messages.received)
            ),
            [] => format!("Passed: {} connections made, none lost.", show_count(self.connect.established)),
            findings => format!("Failed: {}.", findings.join("; ")),
        }
    }

    /// The report as one JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("its keys are strings and its numbers finite")
    }
}

/// A difference of two amounts, for each of `count`.
pub fn growth_per(before: u64, after: u64, count: u64) -> Option<f64> {
    (count > 0).then(|| ((real(after) - real(before)) / real(count)).round())
}

#[cfg(test)]
pub(crate) mod sample;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_run_passes_and_says_how_much_was_checked() {
        let report = sample::broadcast().judged();
        assert!(report.ok);
        assert_eq!(
            report.verdict(),
            "Passed: 5,000,000 messages checked, none lost, repeated, reordered or corrupt."
        );
    }

    #[test]
    fn every_kind_of_fault_fails_the_run_and_is_named() {
        type Fault = fn(&mut Report);
        let faults: [(Fault, &str); 9] = [
            (|r| r.messages.lost = 1, "1 message was lost"),
            (|r| r.messages.repeated = 2, "2 messages came twice"),
            (|r| r.messages.reordered = 1, "out of order"),
            (|r| r.messages.corrupt = 1, "corrupt"),
            (|r| r.messages.withheld = 1, "did not read"),
            (|r| r.messages.refused = 1, "1 message was refused"),
            (|r| r.connect.failed = 1, "could not be made"),
            (|r| r.connect.lost_later = 1234, "1,234 connections were lost"),
            (|r| r.connect.unclean = 1, "not answered"),
        ];
        for (fault, words) in faults {
            let mut report = sample::broadcast();
            fault(&mut report);
            let report = report.judged();
            assert!(!report.ok && report.verdict().contains(words), "{}", report.verdict());
        }
    }

    #[test]
    fn the_json_keeps_the_names_that_scripts_rely_on() {
        let json: serde_json::Value =
            serde_json::from_str(&sample::broadcast().judged().to_json()).expect("is JSON");
        for path in [
            "/scenario",
            "/target",
            "/connections",
            "/measured_s",
            "/messages/sent",
            "/messages/received",
            "/messages/lost",
            "/messages/repeated",
            "/messages/reordered",
            "/messages/corrupt",
            "/deliveries",
            "/latency_us/p50",
            "/latency_us/p90",
            "/latency_us/p99",
            "/latency_us/p999",
            "/latency_us/max",
            "/first_receiver_us/p50",
            "/median_receiver_us/p50",
            "/last_receiver_us/p50",
            "/connect/attempted",
            "/connect/established",
            "/connect/failed",
            "/connect/lost_later",
            "/connect/rate_per_s",
            "/connect/latency_us/p50",
            "/server/cpu_s",
            "/server/cpu_us_per_message",
            "/server/rss_anon_bytes_before",
            "/server/rss_anon_bytes_after",
            "/server/rss_anon_bytes_per_connection",
            "/ok",
            "/version",
            "/command",
        ] {
            assert!(json.pointer(path).is_some_and(|value| !value.is_null()), "{path} is missing");
        }
    }
}
