//! The load tool's report, as far as a comparison needs it.
//!
//! In:  the JSON that `holdfast-bench --json` wrote.
//! Out: counts, CPU time and memory of one run.
//!
//! Fields that a scenario does not have (latency of idle connections, say) may be absent; the server's figures may
//! not, since they are what is compared.

use serde::Deserialize;

/// One run of the load tool.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct LoadReport {
    pub(crate) connections: u64,
    #[serde(default)]
    pub(crate) messages: Messages,
    /// Messages times receivers, in a broadcast.
    #[serde(default)]
    pub(crate) deliveries: u64,
    #[serde(default)]
    pub(crate) latency_us: Option<Latency>,
    pub(crate) server: ServerCost,
    /// True exactly when the load tool found nothing wrong.
    pub(crate) ok: bool,
}

/// What became of the messages.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Messages {
    pub(crate) received: u64,
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupt: u64,
}

/// Latency of an operation, in microseconds.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p99: f64,
}

/// What the run cost the server's process.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct ServerCost {
    /// User and system time in the measured window, in seconds.
    pub(crate) cpu_s: f64,
    /// Private memory before the first connection and with all of them.
    pub(crate) rss_anon_bytes_before: u64,
    pub(crate) rss_anon_bytes_after: u64,
}

impl LoadReport {
    /// Growth of the server's private memory, a connection. Below 0 when the server gave memory back meanwhile.
    #[expect(clippy::cast_precision_loss, reason = "memory and counts are far below 2^52")]
    pub(crate) fn bytes_per_connection(&self) -> Option<f64> {
        let growth = self.server.rss_anon_bytes_after as f64 - self.server.rss_anon_bytes_before as f64;
        (self.connections > 0).then(|| growth / self.connections as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_of_the_load_tool_is_read() {
        let report: LoadReport = serde_json::from_str(
            r#"{"scenario": "echo", "target": "ws://127.0.0.1:9/echo", "connections": 1000, "measured_s": 5.0,
                "messages": {"sent": 10, "received": 9, "lost": 1, "repeated": 0, "reordered": 0, "corrupt": 0},
                "deliveries": 0, "latency_us": {"p50": 1, "p90": 2, "p99": 3.5, "p999": 4, "max": 5},
                "server": {"cpu_s": 4.5, "cpu_us_per_message": 5.0, "rss_anon_bytes_before": 4096,
                           "rss_anon_bytes_after": 1004096, "rss_anon_bytes_per_connection": 1000.0},
                "ok": false}"#,
        )
        .unwrap();
        assert_eq!((report.messages.received, report.messages.lost), (9, 1));
        assert_eq!(report.bytes_per_connection(), Some(1000.0));
        assert!(!report.ok);
    }

    #[test]
    fn report_without_the_servers_figures_is_refused() {
        let refused = serde_json::from_str::<LoadReport>(r#"{"connections": 1, "ok": true}"#).unwrap_err();
        assert!(refused.to_string().contains("server"), "{refused}");
    }
}
