//! Table: rows as Markdown.

use std::fmt::Write;

use crate::{bounds::Bounds, figures::Figures, row::Row};

/// The table, with a mark at what breaks a bound.
#[must_use]
pub fn markdown(rows: &[Row], bounds: &Bounds) -> String {
    let Some(first) = rows.first() else {
        return String::new();
    };
    let names: Vec<&str> = first.served.iter().map(|served| served.name).collect();
    let mut text =
        format!("| attacked | by | daemon's CPU | {} | API | stop | bounds |\n", names.join(" | "));
    let columns = names.len() + 6;
    text += &format!("|{}\n", "---|".repeat(columns));
    for row in rows {
        let served: Vec<String> =
            row.served.iter().map(|served| pair(&served.quiet, &served.attacked)).collect();
        let broken = bounds.broken_by(row);
        let verdict = if broken.is_empty() { "held" } else { "**broken**" };
        let stop = row.stop_ms.map_or("none".to_owned(), |ms| format!("{ms:.0}"));
        let _ = writeln!(
            text,
            "| {} | {} at {}/s | {:.0} % | {} | {} | {stop} | {verdict} |",
            row.attack.name(),
            row.attackers,
            round(row.attack_per_s()),
            row.daemon_cpu * 100.0,
            served.join(" | "),
            pair(&row.api.quiet, &row.api.attacked),
        );
    }
    text
}

/// Both 99th percentiles.
fn pair(quiet: &Figures, attacked: &Figures) -> String {
    format!("{:.1} → {:.1}", quiet.p99_ms, attacked.p99_ms)
}

fn round(per_s: f64) -> String {
    match per_s {
        large if large >= 1e6 => format!("{:.1} M", large / 1e6),
        large if large >= 1e4 => format!("{:.0} k", large / 1e3),
        small => format!("{small:.0}"),
    }
}
