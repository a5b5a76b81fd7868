//! Fairness: what a client gets while others use one path of the daemon as hard as they can.
//!
//! In:  a daemon for each path, on a CPU of its own; attackers; one well-behaved client of every kind.
//! Out: every client is served, and so is the server API; the daemon stops in time.
//!
//! This is the one test that looks at a clock. Its bounds are many times those that are promised, since machines that run
//! tests have other things to do; `make fairness` measures against what is promised. Without fairness a client waits for
//! as long as the attack goes on.
#![forbid(unsafe_code)]

use std::{path::PathBuf, time::Duration};

use holdfast_fairness::{Attack, Bounds, Plan, markdown, measure};

#[test]
fn whatever_path_is_attacked_everybody_else_is_served_and_the_daemon_stops() {
    let plan = Plan {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_holdfast")),
        folder: PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
        attackers: 8,
        quiet: Duration::from_millis(300),
        attacked: Duration::from_millis(1_000),
        interval: Duration::from_millis(10),
    };
    let measured = Attack::ALL.map(|attack| {
        measure(&plan, attack).unwrap_or_else(|error| panic!("{attack} cannot be measured: {error:#}"))
    });
    println!("{}", markdown(&measured, &Bounds::BUSY_MACHINE));
    let broken: Vec<String> = measured.iter().flat_map(|row| Bounds::BUSY_MACHINE.broken_by(row)).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
