//! Watch: the control port answers all the time, and memory stays within its budgets.
//!
//! In:  the world.
//! Out: broken promises.

use std::{thread::sleep, time::Duration};

use holdfast_testkit::Metrics;

use crate::{
    api::{Api, is_silence},
    world::World,
};

const PACE: Duration = Duration::from_millis(200);
/// What one turn of each shard may bring, beside what budgets allow.
const TURN_BYTES: f64 = 16.0 * 1024.0 * 1024.0;

/// Watches until it is over.
pub(crate) fn watch(world: &World) {
    while !world.is_over() {
        sleep(PACE);
        let began = world.moment();
        let Some(control) = world.control() else { continue };
        let look = Api::connect(control).and_then(|mut api| {
            let (status, _) = api.get("/health/live")?;
            Ok((status, api.get("/metrics")?.1))
        });
        match look {
            Ok((200, metrics)) => judge(world, &Metrics::parse(&metrics)),
            Ok((status, _)) => world.oracle.broken(format!("/health/live is answered {status}")),
            Err(error) if is_silence(&error) => {
                world.oracle.broken(format!("the control port does not answer: {error}"));
            }
            // It may have stopped since.
            Err(_) if world.control() != Some(control) || world.has_stopped_since(&began) => {}
            Err(error) => world.oracle.broken(format!("the control port of a daemon that is there: {error}")),
        }
    }
}

fn judge(world: &World, metrics: &Metrics) {
    if metrics.select("holdfast_memory_limit_bytes", &[]).next().is_none() {
        world.oracle.broken("no memory budget is told of".to_owned());
    }
    for limit in metrics.select("holdfast_memory_limit_bytes", &[]) {
        let budget = limit.label("budget").unwrap_or_default();
        let used: f64 =
            metrics.select("holdfast_memory_bytes", &[("budget", budget)]).map(|part| part.value).sum();
        if limit.value > 0.0 && used > limit.value + TURN_BYTES {
            let limit = limit.value;
            world.oracle.broken(format!("budget {budget}: {used} bytes of {limit} are in use"));
        }
    }
}
