//! Html: the report as one page.
//!
//! In:  a report and its histograms.
//! Out: a page that needs nothing else: style and plots are in it, there is no script, and it asks no network.
//!
//! The verdict stands on top, then what was run, the figures, the plots, and how they were measured. It reads on a
//! phone and follows the reader's choice of a light or dark theme.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::marks::Mark;
use super::plots::{Across, Line, Up, draw};
use super::{Report, Sample, table};
use crate::latency::Percentiles;
use crate::units::{real, show_bytes, show_count, show_rate, show_us, whole};

const STYLE: &str = include_str!("page.css");
/// Quantiles that a percentile line is drawn through: so many for each nine.
const POINTS_PER_NINE: u32 = 12;

/// A histogram with its name for the plot of percentiles.
pub type Named<'a> = (&'static str, &'a Histogram<u64>);

/// The page.
pub fn render(report: &Report, histograms: &[Named<'_>]) -> String {
    let mut page = String::with_capacity(64 * 1024);
    let (class, word) = if report.ok { ("passed", "Passed") } else { ("failed", "Failed") };
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{word}: {} of {} connections</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        report.scenario,
        show_count(u64::from(report.connections)),
    );
    let _ = write!(
        page,
        "<header class=\"{class}\">\n<p class=\"kind\">Load test · {}</p>\n<h1>{}</h1>\n<p>{}</p>\n</header>\n",
        escaped(report.scenario),
        escaped(&report.verdict()),
        escaped(&format!("{} — {}", report.target, report.load)),
    );
    figures(&mut page, report);
    let _ = write!(page, "<h2>What was run</h2>\n<pre><code>{}</code></pre>\n", escaped(&report.command));
    reasons(&mut page, report);
    plots(&mut page, report, histograms);
    times(&mut page, report);
    counts(&mut page, report);
    method(&mut page, report);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn figures(page: &mut String, report: &Report) {
    page.push_str("<section class=\"figures\">\n");
    for (value, name) in key_figures(report) {
        let _ = writeln!(page, "<div><b>{}</b><span>{}</span></div>", escaped(&value), escaped(&name));
    }
    page.push_str("</section>\n");
}

/// What a reader of this scenario asks first.
fn key_figures(report: &Report) -> Vec<(String, String)> {
    let connect = &report.connect;
    let mut figures = vec![(show_count(connect.established), "connections established".to_owned())];
    let mut add = |value: String, name: &str| figures.push((value, name.to_owned()));
    let time = |percentiles: Option<Percentiles>, pick: fn(Percentiles) -> f64| {
        percentiles.map_or_else(|| "–".to_owned(), |percentiles| show_us(pick(percentiles)))
    };
    match report.scenario {
        "echo" => {
            add(show_rate(report.deliveries_per_s), "echoes");
            add(time(report.latency_us, |p| p.p50), "median latency");
            add(time(report.latency_us, |p| p.p99), "99th percentile");
        }
        "broadcast" => {
            add(show_rate(report.deliveries_per_s), "deliveries");
            add(time(report.median_receiver_us, |p| p.p50), "until half have a message");
            add(time(report.last_receiver_us, |p| p.p50), "until all have a message");
        }
        "churn" => {
            add(show_rate(connect.rate_per_s), "arrivals");
            add(time(connect.latency_us, |p| p.p50), "median handshake");
            add(time(connect.latency_us, |p| p.p99), "99th percentile");
        }
        "failover" => {
            add(show_count(report.messages.lost), "messages lost in silence");
            add(show_count(report.messages.repeated), "came twice");
            add(time(report.latency_us, |p| p.max), "longest pause");
            add(time(report.back_us, |p| p.p99), "back after the cut, 99th percentile");
            let recovery = report.recovery.unwrap_or_default();
            add(show_count(recovery.recovered), "recoveries");
            add(show_count(recovery.told), "told that it is impossible");
        }
        "storm" => {
            add(time(report.back_us, |p| p.p50), "until half were back");
            add(time(report.back_us, |p| p.max), "until all were back");
            add(time(connect.latency_us, |p| p.p99), "handshake, 99th percentile");
        }
        _ => {
            add(show_rate(connect.rate_per_s), "connecting");
            add(show_count(connect.lost_later), "lost while held");
            add(format!("{:.0} s", report.measured_s), "held");
        }
    }
    if let Some(server) = &report.server {
        if let Some(us) = server.cpu_us_per_message {
            add(format!("{us:.2} µs"), "server CPU a message");
        } else if let Some(us) = server.cpu_us_per_connection {
            add(format!("{us:.1} µs"), "server CPU a connection");
        }
        if let Some(bytes) = server.rss_anon_bytes_per_connection {
            add(show_bytes(bytes), "server memory a connection");
        }
    }
    figures
}

fn reasons(page: &mut String, report: &Report) {
    if report.reasons.is_empty() {
        return;
    }
    page.push_str("<h2>What went wrong with connections</h2>\n<table>\n<tr><th>reason<th>connections\n");
    for reason in &report.reasons {
        let _ = writeln!(page, "<tr><td>{}<td>{}", escaped(&reason.reason), show_count(reason.count));
    }
    page.push_str("</table>\n");
}

fn plots(page: &mut String, report: &Report, histograms: &[Named<'_>]) {
    let series = report.series.as_slice();
    let over_time = |name, value: fn(&Sample) -> Option<f64>| Line {
        name,
        points: series.iter().filter_map(|sample| Some((sample.at_s, value(sample)?))).collect(),
    };
    let change = |name, value: fn(&Sample) -> Option<f64>| Line { name, points: rate(series, value) };
    let time = Up { is_logarithmic: true, show: show_us };
    let count = Up { is_logarithmic: false, show: |value| show_count(whole(value.round())) };
    marks(page, report);
    page.push_str("<section class=\"plots\">\n");
    let open = [over_time("open connections", |sample| Some(real(sample.open)))];
    plot(page, "Connections", &open, Across::Seconds, count, &report.marks);
    if report.size.is_some() {
        let name = if report.scenario == "broadcast" { "deliveries a second" } else { "messages a second" };
        plot(
            page,
            "Throughput",
            &[change(name, |sample| Some(real(sample.received)))],
            Across::Seconds,
            count,
            &report.marks,
        );
    } else {
        let made = [change("handshakes a second", |sample| Some(real(sample.established)))];
        plot(page, "Rate of connecting", &made, Across::Seconds, count, &report.marks);
    }
    let lines: Vec<_> = histograms.iter().map(|(name, histogram)| percentile_line(name, histogram)).collect();
    plot(page, "Latency by percentile", &lines, Across::Nines, time, &[]);
    let lines = [
        over_time("median", |s| s.p50_us),
        over_time("99th percentile", |s| s.p99_us),
        over_time("longest", |s| s.max_us),
    ];
    plot(page, "Latency over time", &lines, Across::Seconds, time, &report.marks);
    let cores = Up { is_logarithmic: false, show: |value| format!("{:.0} %", value * 100.0) };
    plot(
        page,
        "Server CPU (100 % is one core)",
        &[change("CPU", |s| s.server_cpu_s)],
        Across::Seconds,
        cores,
        &report.marks,
    );
    let mib = Up { is_logarithmic: false, show: |value| format!("{value} MiB") };
    let memory =
        [over_time("anonymous memory", |s| s.server_rss_anon_bytes.map(|bytes| real(bytes) / 1_048_576.0))];
    plot(page, "Server memory", &memory, Across::Seconds, mib, &report.marks);
    page.push_str("</section>\n");
}

/// What the upright lines of the plots are.
fn marks(page: &mut String, report: &Report) {
    if report.marks.is_empty() {
        return;
    }
    page.push_str("<h2>What happened</h2>\n<table>\n<tr><th>at<th>the lines in the plots\n");
    for mark in &report.marks {
        let _ = writeln!(page, "<tr><td>{:.1} s<td>{}", mark.at_s, escaped(&mark.what));
    }
    page.push_str("</table>\n");
}

fn plot(page: &mut String, title: &str, lines: &[Line], across: Across, up: Up, marks: &[Mark]) {
    let Some(svg) = draw(lines, across, up, marks) else { return };
    let _ = write!(page, "<figure>\n<figcaption>{}", escaped(title));
    if lines.len() > 1 {
        page.push_str("<span class=\"legend\">");
        for (number, line) in lines.iter().enumerate() {
            let _ = write!(page, "<span><i class=\"line{number}\"></i>{}</span> ", escaped(line.name));
        }
        page.push_str("</span>");
    }
    let _ = write!(page, "</figcaption>\n{svg}</figure>\n");
}

/// Growth a second between one sample and the next.
fn rate(series: &[Sample], value: fn(&Sample) -> Option<f64>) -> Vec<(f64, f64)> {
    series
        .windows(2)
        .filter_map(|pair| {
            let (growth, time_s) = (value(&pair[1])? - value(&pair[0])?, pair[1].at_s - pair[0].at_s);
            (time_s > 0.0).then(|| (pair[1].at_s, growth.max(0.0) / time_s))
        })
        .collect()
}

/// A percentile line in microseconds, up to the last nine that the number of values carries.
fn percentile_line(name: &'static str, histogram: &Histogram<u64>) -> Line {
    let nines_max = real(histogram.len().max(10)).log10();
    let points = (0..)
        .map(|n| f64::from(n) / f64::from(POINTS_PER_NINE))
        .take_while(|nines| *nines <= nines_max)
        .map(|nines| 1.0 - 10f64.powf(-nines))
        .map(|quantile| (quantile, real(histogram.value_at_quantile(quantile)) / 1000.0));
    Line { name, points: if histogram.is_empty() { Vec::new() } else { points.collect() } }
}

fn times(page: &mut String, report: &Report) {
    let times = table::times(report);
    if times.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Times</h2>\n<div class=\"wide\"><table>\n\
         <tr><th>from due until done<th>p50<th>p90<th>p99<th>p99.9<th>longest\n",
    );
    for (name, p) in times {
        let _ = write!(page, "<tr><td>{}", escaped(name));
        [p.p50, p.p90, p.p99, p.p999, p.max]
            .map(show_us)
            .iter()
            .for_each(|value| _ = write!(page, "<td>{value}"));
        page.push('\n');
    }
    page.push_str("</table></div>\n");
}

fn counts(page: &mut String, report: &Report) {
    page.push_str("<h2>Counts</h2>\n<table class=\"counts\">\n");
    for (name, value) in table::rows(report) {
        let _ = writeln!(page, "<tr><td>{}<td>{}", escaped(name), escaped(&value));
    }
    page.push_str("</table>\n");
}

fn method(page: &mut String, report: &Report) {
    let _ = write!(
        page,
        "<h2>How this was measured</h2>\n<ul>\n\
         <li>A latency counts from the moment at which a message was <em>due</em>, so a stall of the server shows in \
         every message that it held up (no coordinated omission).\n\
         <li>Every message carries its publisher, a sequence number and a checksum over all of it; each delivery was \
         checked.\n\
         <li>The server’s CPU is user and system time of its processes in the measured part; its memory is RssAnon.\n\
         <li>The load tool’s own lateness says how much of the latencies may be its own.\n\
         </ul>\n<footer>holdfast-bench {}</footer>\n",
        escaped(report.version),
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_shows_the_verdict_first() {
        let latencies = sample::latencies();
        let page =
            render(&sample::broadcast().judged(), &[("message", &latencies), ("last receiver", &latencies)]);
        for outside in ["<script", "<link", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside} is in the page");
        }
        let (verdict, command) = (page.find("Passed: 5,000,000"), page.find("<h2>What was run"));
        assert!(verdict.is_some() && verdict < command);
        assert_eq!(page.matches("<svg").count(), 6);
        // For the eyes: run the tests with this set, and open the page.
        if let Some(path) = std::env::var_os("HOLDFAST_BENCH_SAMPLE_PAGE") {
            std::fs::write(path, page).expect("the page is written");
        }
    }

    #[test]
    fn what_a_server_says_cannot_become_markup() {
        let mut report = sample::broadcast();
        report.reasons.push(crate::report::Reason { reason: "<b>&\"".to_owned(), count: 1 });
        let page = render(&report.judged(), &[]);
        assert!(page.contains("&lt;b&gt;&amp;&quot;"));
    }
}
