//! Table: the report for a terminal.
//!
//! In:  a report.
//! Out: lines of text, at most 100 columns, without escape sequences: it is read in logs too.

use std::fmt::Write as _;

use super::Report;
use crate::latency::Percentiles;
use crate::units::{show_bytes, show_count, show_rate, show_us};

/// The report as text.
pub fn render(report: &Report) -> String {
    let mut text = format!("\n{} {}\n{}\n\n", report.scenario, report.target, report.load);
    for (name, value) in rows(report) {
        let _ = writeln!(text, "  {name:<14} {value}");
    }
    let times = times(report);
    if !times.is_empty() {
        let _ = writeln!(
            text,
            "\n  {:<24} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "time", "p50", "p90", "p99", "p99.9", "max"
        );
        for (name, p) in times {
            let shown = [p.p50, p.p90, p.p99, p.p999, p.max].map(show_us);
            let _ = write!(text, "  {name:<24}");
            shown.iter().for_each(|value| _ = write!(text, " {value:>10}"));
            text.push('\n');
        }
    }
    for reason in &report.reasons {
        let _ = writeln!(text, "\n  {} × {}", show_count(reason.count), reason.reason);
    }
    let _ = writeln!(text, "\n{}", report.verdict());
    text
}

/// The figures with their names, for people. Used by the page as well.
pub(super) fn rows(report: &Report) -> Vec<(&'static str, String)> {
    let (connect, messages) = (&report.connect, &report.messages);
    let mut rows = vec![(
        "connections",
        format!(
            "{} established at {}, {} failed, {} lost later",
            show_count(connect.established),
            show_rate(connect.rate_per_s),
            show_count(connect.failed),
            show_count(connect.lost_later)
        ),
    )];
    if connect.pings_answered > 0 {
        rows.push(("pings", format!("{} answered", show_count(connect.pings_answered))));
    }
    rows.push(("measured", format!("{:.1} s", report.measured_s)));
    if report.size.is_some() {
        rows.push((
            "messages",
            format!(
                "{} sent, {} received ({})",
                show_count(messages.sent),
                show_count(messages.received),
                show_rate(report.deliveries_per_s)
            ),
        ));
        rows.push((
            "faults",
            format!(
                "{} lost, {} repeated, {} reordered, {} corrupt",
                show_count(messages.lost),
                show_count(messages.repeated),
                show_count(messages.reordered),
                show_count(messages.corrupt)
            ),
        ));
    }
    if let Some(recovery) = &report.recovery {
        rows.push((
            "recovered",
            format!(
                "{} times, {} messages; {} times told that it is impossible",
                show_count(recovery.recovered),
                show_count(recovery.recovered_messages),
                show_count(recovery.told)
            ),
        ));
        rows.push(("published", format!("{} requests made again", show_count(recovery.requests_repeated))));
    }
    if messages.foreign > 0 {
        rows.push(("foreign", format!("{} messages that are not this run's", show_count(messages.foreign))));
    }
    if let Some(server) = &report.server {
        let each = server.cpu_us_per_message.map(|us| format!(", {us:.2} µs a message"));
        let per_connection = server.cpu_us_per_connection.map(|us| format!(", {us:.1} µs a connection"));
        rows.push((
            "server CPU",
            format!("{:.2} s{}", server.cpu_s, each.or(per_connection).unwrap_or_default()),
        ));
        let each = server.rss_anon_bytes_per_connection.map(|b| format!(": {} a connection", show_bytes(b)));
        rows.push((
            "server memory",
            format!(
                "{} before, {} after{}",
                show_bytes(crate::units::real(server.rss_anon_bytes_before)),
                show_bytes(crate::units::real(server.rss_anon_bytes_after)),
                each.unwrap_or_default()
            ),
        ));
    }
    if let Some(bytes) = report.machine.bytes_per_connection {
        rows.push((
            "machine memory",
            format!("{} a connection, kernel and this tool included", show_bytes(bytes)),
        ));
    }
    rows
}

/// The times that were measured, with their names. Used by the page as well.
pub(super) fn times(report: &Report) -> Vec<(&'static str, Percentiles)> {
    [
        ("message", report.latency_us),
        ("to the first receiver", report.first_receiver_us),
        ("to the median receiver", report.median_receiver_us),
        ("to 99 % of receivers", report.p99_receiver_us),
        ("to the last receiver", report.last_receiver_us),
        ("handshake", report.connect.latency_us),
        ("back after the cut", report.back_us),
        ("load tool's own lateness", report.lateness_us),
    ]
    .into_iter()
    .filter_map(|(name, percentiles)| Some((name, percentiles?)))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Reason, sample};

    #[test]
    fn the_table_says_what_was_run_what_was_found_and_the_verdict() {
        let mut report = sample::broadcast();
        report.reasons.push(Reason { reason: "connection refused".to_owned(), count: 3 });
        let text = render(&report.judged());
        for words in
            ["ws://127.0.0.1:8000/broadcast", "100,000 established", "to the last receiver", "3 × ", "Passed"]
        {
            assert!(text.contains(words), "{words} is missing from\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
}
