//! Reference: the definitions as a page.
//!
//! In:  the families of `catalog.rs`, `process.rs`, `redis.rs` and `broker.rs`.
//! Out: docs/metrics.md. No number is named here.

use std::fmt::Write as _;

use super::{
    broker,
    catalog::{CATALOG, Metric},
    definition::{Family, Kind},
    process::{FAMILIES, TURN},
    redis,
};

const INFALLIBLE: &str = "writing to a String cannot fail";

const HEAD: &str = "\
<!-- Generated: `holdfast metrics doc > docs/metrics.md`. Edit engine/src/metrics/ instead. -->
# Metrics

`GET /metrics` on the control port answers in OpenMetrics if the request's `Accept` names it, as Prometheus does. Otherwise it
answers in the older text format (`text/plain; version=0.0.4`) with the same samples.
";

const OF_SHARDS: &str = "
## Of each core

Each of these metrics has a label `core` with the number of the shard. A shard publishes its values once a turn, so they are
at most 250 ms old on an idle core.

";

const OF_PROCESS: &str = "
## Of the process

These metrics have no label `core`.

";

const OF_MANY_NODES: &str = "
## With many nodes

Only a node with `engine.type = \"redis\"` has these metrics.

### Of each Redis

Each of these metrics has a label `redis`: the address as it is configured, without user and password; behind Sentinel the
name of the primary; of a cluster the first address.

";

const OF_ROOMS: &str = "
### Of the rooms of each core

Each of these metrics has a label `core`.

";

const OF_BROKER: &str = "
### Of the broker

These metrics have no label `redis`.

";

const TABLE: &str = "| name | type | what it is | watch for |\n|---|---|---|---|\n";

/// `holdfast metrics doc`: the page of all metrics, in Markdown.
pub(crate) fn reference_markdown() -> String {
    let mut page = format!("{HEAD}{OF_SHARDS}{TABLE}");
    for family in CATALOG.iter().filter(|family| !family.needs_redis).chain([&TURN]) {
        row(&mut page, family);
    }
    page.extend([OF_PROCESS, TABLE]);
    for family in FAMILIES.iter().filter(|family| family.name != TURN.name) {
        row(&mut page, family);
    }
    page.extend([OF_MANY_NODES, TABLE]);
    redis::FAMILIES.iter().for_each(|family| row(&mut page, family));
    page.extend([OF_ROOMS, TABLE]);
    CATALOG.iter().filter(|family| family.needs_redis).for_each(|family| row(&mut page, family));
    page.extend([OF_BROKER, TABLE]);
    broker::FAMILIES.iter().for_each(|family| row(&mut page, family));
    page.push_str("\n## Values of labels\n");
    for family in CATALOG {
        values(&mut page, family);
    }
    page
}

fn row(page: &mut String, family: &Family<Metric>) {
    let Family { help, note, watch, .. } = family;
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let space = if note.is_empty() { "" } else { " " };
    writeln!(page, "| `{}` | {kind} | {help}{space}{note} | {watch} |", name(family)).expect(INFALLIBLE);
}

/// The values of a family's label, where they mean more than they say.
fn values(page: &mut String, family: &Family<Metric>) {
    let meanings = (family.meanings)();
    if meanings.is_empty() {
        return;
    }
    write!(page, "\n### `{}`\n\n| {} | meaning |\n|---|---|\n", name(family), family.label)
        .expect(INFALLIBLE);
    for ((_, value), meaning) in family.metrics.iter().zip(meanings) {
        writeln!(page, "| `{value}` | {meaning} |").expect(INFALLIBLE);
    }
}

/// As its samples are named, with its own label.
fn name(family: &Family<Metric>) -> String {
    let mut name = format!("holdfast_{}", family.name);
    if !family.unit.is_empty() {
        name.extend(["_", family.unit]);
    }
    if family.kind == Kind::Counter {
        name.push_str("_total");
    }
    if !family.label.is_empty() {
        name.extend(["{", family.label, "}"]);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_named_once_and_has_words_that_a_table_can_hold() {
        let page = reference_markdown();
        for family in CATALOG.iter().chain(FAMILIES).chain(redis::FAMILIES).chain(broker::FAMILIES) {
            assert_eq!(page.matches(&format!("| `{}` |", name(family))).count(), 1, "{}", family.name);
            assert!(family.help.ends_with('.'), "{}: its help is a sentence", family.name);
            let words = [family.help, family.note, family.watch];
            assert!(words.into_iter().all(|words| !words.contains('|')), "{}", family.name);
            let meanings = (family.meanings)();
            assert!(
                [0, family.metrics.len()].contains(&meanings.len()),
                "{}: a meaning for each",
                family.name
            );
        }
    }
}
