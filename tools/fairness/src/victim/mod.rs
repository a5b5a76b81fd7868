//! Victim: well-behaved clients, one of each kind, that do one small thing at a time, at a pace that is nothing to the
//! daemon.
//!
//! In:  a daemon.
//! Out: how long each thing took, without attackers and with them; what went wrong.

mod rounds;
mod stage;

use std::{
    io, thread,
    time::{Duration, Instant},
};

use crate::{figures::Latencies, link::Target, row::Served};

pub(crate) use self::stage::{Phase, Stage};

/// The client that calls the server API.
pub(crate) const API: &str = "api";

/// Does one thing, and returns when it is done.
pub(crate) type Round = Box<dyn FnMut() -> io::Result<()>>;

/// A kind of client.
#[derive(Debug)]
pub(crate) struct Kind {
    name: &'static str,
    come: fn(&Target) -> io::Result<Round>,
}

/// All kinds.
pub(crate) const KINDS: [Kind; 8] = [
    Kind { name: "echo", come: rounds::echo },
    Kind { name: "broadcast", come: rounds::broadcast },
    Kind { name: "websocket", come: rounds::websocket },
    Kind { name: "sse", come: rounds::sse },
    Kind { name: "stream", come: rounds::stream },
    Kind { name: "poll", come: rounds::poll },
    Kind { name: "newcomer", come: rounds::newcomer },
    Kind { name: API, come: rounds::api },
];

/// Is such a client until it is over. Answers with how it was served, and how late this thread woke under the attack.
pub(crate) fn be_served(
    kind: &Kind,
    target: &Target,
    stage: &Stage,
    interval: Duration,
) -> (Served, Latencies) {
    let (mut quiet, mut attacked, mut late) = (Latencies::new(), Latencies::new(), Latencies::new());
    let mut failures = Vec::new();
    let mut round: Option<Round> = None;
    let mut due = Instant::now();
    while stage.phase() != Phase::Over {
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            thread::sleep(early);
            if stage.phase() == Phase::Attacked {
                late.add_alone(due.elapsed());
            }
        }
        let begun = Instant::now();
        // Later rounds are not crowded together because one took long: what it held up is accounted for.
        due = begun + interval;
        let done = match &mut round {
            Some(round) => round().map(|()| true),
            // What it takes to come is measured by the newcomer.
            None => (kind.come)(target).map(|came| {
                round = Some(came);
                false
            }),
        };
        let (phase, took) = (stage.phase(), begun.elapsed());
        match (done, phase) {
            (Ok(false), _) => {}
            (Ok(true), Phase::Coming) => stage.served_once(),
            (Ok(true), Phase::Quiet) => quiet.add(took, interval),
            (Ok(true), Phase::Attacked | Phase::Over) => attacked.add(took, interval),
            (Err(error), _) => {
                failures.push(format!("{error}, after {:.1} s", took.as_secs_f64()));
                round = None;
            }
        }
    }
    let served = Served { name: kind.name, quiet: quiet.figures(), attacked: attacked.figures(), failures };
    (served, late)
}
