//! Render: a comparison as Markdown, to read on a terminal and to paste into the documentation.
//!
//! In:  a `Comparison`.
//! Out: one table a scenario, columns aligned.
//!
//! A figure is shown as its median and, in parentheses, the lowest and highest of the rounds. What went wrong is
//! counted in the row it belongs to, and failures are told in words below the table. Pure.

use std::fmt::Write as _;

use crate::contestant::HOLDFAST;
use crate::scenario::{BROADCAST_WINDOW_FACTOR, Goal};
use crate::summary::{Comparison, Faults, Row, ScenarioResult, Spread};

/// The whole report.
pub(crate) fn markdown(comparison: &Comparison) -> String {
    let machine = &comparison.machine;
    let mut text = format!(
        "Linux {}, {}, {} cores, {} GiB. {} rounds, {} s a run (broadcasts {} s); median \
         (lowest–highest); ratios to {} within a round.\n",
        machine.kernel,
        machine.processor,
        machine.cores,
        machine.memory_gib,
        comparison.rounds,
        comparison.seconds_per_run,
        comparison.seconds_per_run * u64::from(BROADCAST_WINDOW_FACTOR),
        comparison.baseline,
    );
    for result in &comparison.scenarios {
        let _ = write!(text, "\n### {}\n\n{}", result.scenario.title, table(result, comparison.baseline));
        text.push_str(&failures(result));
        if let Some(line) = verdict(result) {
            let _ = writeln!(text, "\n{line}");
        }
    }
    text
}

fn table(result: &ScenarioResult, baseline: &str) -> String {
    let mut header = vec!["server".to_owned()];
    if let Some(operation) = result.operation {
        header.push(format!("CPU µs a {operation}"));
        header.push(format!("ratio to {baseline}"));
        header.push("p99 µs".to_owned());
    }
    header.push("user memory a connection".to_owned());
    header.push("faults".to_owned());
    let body = result.rows.iter().map(|row| cells(row, result.operation.is_some()));
    aligned(&std::iter::once(header).chain(body).collect::<Vec<_>>())
}

fn cells(row: &Row, with_cpu: bool) -> Vec<String> {
    let mut cells = vec![row.server.to_owned()];
    if with_cpu {
        cells.push(spread(row.cpu_us_per_operation, 2));
        cells.push(spread(row.ratio_to_baseline, 2));
        cells.push(row.latency_p99_us.map_or_else(missing, |p99| format!("{:.0}", p99.median)));
    }
    cells.push(row.bytes_per_connection.map_or_else(missing, |bytes| format!("{:.0} B", bytes.median)));
    cells.push(faults(&row.faults));
    cells
}

/// Holdfast against its goal; nothing where it did not run.
fn verdict(result: &ScenarioResult) -> Option<String> {
    let row = result.rows.iter().find(|row| row.server == HOLDFAST)?;
    let aim = match result.scenario.goal {
        Goal::CpuRatioMax(max) => format!("at most {max} × gorilla's CPU"),
        Goal::BytesPerConnectionMax(max) => format!("at most {max} bytes a connection"),
    };
    let state = match row.goal_reached {
        Some(true) => "reached",
        Some(false) => "**missed**",
        None => "not measured",
    };
    Some(format!("Holdfast's goal, {aim}: {state}."))
}

fn spread(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(missing, |s| format!("{:.digits$} ({:.digits$}–{:.digits$})", s.median, s.min, s.max))
}

fn missing() -> String {
    "—".to_owned()
}

fn faults(faults: &Faults) -> String {
    let words: Vec<String> = [
        ("lost", faults.lost),
        ("repeated", faults.repeated),
        ("reordered", faults.reordered),
        ("corrupt", faults.corrupt),
        ("bad runs", u64::from(faults.bad_runs)),
        ("failures", faults.failures.len() as u64),
    ]
    .into_iter()
    .filter(|&(_, count)| count > 0)
    .map(|(what, count)| format!("**{what}: {count}**"))
    .collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// A list of what failed, to follow the table; empty where nothing did.
fn failures(result: &ScenarioResult) -> String {
    let lines = result.rows.iter().flat_map(|row| {
        // A line break would end the list's item.
        row.faults.failures.iter().map(|words| format!("- {}, {}\n", row.server, words.replace('\n', " ")))
    });
    let list: String = lines.collect();
    if list.is_empty() { list } else { format!("\n{list}") }
}

/// A Markdown table whose columns line up in plain text, the first row its header.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (cell, &width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            for &width in &widths {
                let _ = write!(text, "|{:-<1$}", "", width + 2);
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contestant::BASELINE;
    use crate::summary::tests::{comparison, result, sample, scenario};

    #[test]
    fn each_scenario_is_a_table_with_figures_ratio_and_goal() {
        let echo = scenario("echo-64");
        let samples = [sample(&echo, HOLDFAST, 1, 4.0), sample(&echo, BASELINE, 1, 8.0)];
        assert_eq!(
            markdown(&comparison(vec![result(&echo, &samples)])),
            "\
Linux 6.1.0, Some CPU, 2 cores, 8 GiB. 5 rounds, 5 s a run (broadcasts 15 s); median (lowest–highest); ratios to gorilla within a round.

### Echo of 64 bytes, 64 busy of 1,000 connections

| server   | CPU µs a message | ratio to gorilla | p99 µs | user memory a connection | faults |
|----------|------------------|------------------|--------|--------------------------|--------|
| holdfast | 4.00 (4.00–4.00) | 0.50 (0.50–0.50) | 250    | 200 B                    | none   |
| gorilla  | 8.00 (8.00–8.00) | 1.00 (1.00–1.00) | 250    | 200 B                    | none   |

Holdfast's goal, at most 0.6 × gorilla's CPU: reached.
"
        );
    }

    #[test]
    fn lost_messages_and_failures_are_counted_in_the_row_and_told_below() {
        let broadcast = scenario("broadcast-10");
        let mut samples = [sample(&broadcast, HOLDFAST, 1, 4.0), sample(&broadcast, BASELINE, 1, 8.0)];
        samples[0].outcome.as_mut().unwrap().messages.lost = 12;
        samples[1].outcome = Err("said nothing\nand ended".to_owned());
        let text = markdown(&comparison(vec![result(&broadcast, &samples)]));
        assert!(text.contains("| **lost: 12** "), "{text}");
        assert!(
            text.contains("| **failures: 1** |\n\n- gorilla, round 1: said nothing and ended\n"),
            "{text}"
        );
        assert!(text.contains("0.18 × gorilla's CPU: not measured."), "{text}");
    }

    #[test]
    fn idle_table_has_no_cpu_columns() {
        let idle = scenario("idle");
        let text = markdown(&comparison(vec![result(&idle, &[sample(&idle, HOLDFAST, 1, 4.0)])]));
        assert!(!text.contains("CPU µs"), "{text}");
        assert!(text.contains("at most 270 bytes a connection: reached."), "{text}");
    }
}
