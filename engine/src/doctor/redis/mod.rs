//! Redis: whether the servers of `engine.redis` are what nodes need.
//!
//! In:  a checked configuration; the servers, asked by `gather` as nodes connect to them.
//! Out: checks, each with the command or the line of redis.conf that mends it.
//!
//! The road: `topology` finds the servers, `gather` asks each, `judge` compares. Nothing is changed on a server. What may not
//! be looked at is said, and the rest is looked at.

mod gather;
mod judge;
mod place;
#[cfg(test)]
mod tests;
mod topology;

use super::Check;
use crate::{broker::Deployment, config::Config};

/// Looks at every Redis that a configuration names; at none without `engine.type = "redis"`.
pub(crate) fn examine(config: &Config) -> Vec<Check> {
    let deployments = match Deployment::all(config) {
        Ok(deployments) if deployments.is_empty() => return Vec::new(),
        Ok(deployments) => deployments,
        Err(error) => return vec![Check::of_fault(&format!("{error:#}"))],
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return vec![
                Check::new("redis", format!("not looked at: {error}"), "a connection")
                    .fail("`ulimit -n 1024`, and try again"),
            ];
        }
    };
    let demands = gather::Demands::of(config);
    runtime.block_on(async {
        let (mut checks, mut written) = (Vec::new(), Vec::new());
        for deployment in &deployments {
            let (found, primaries) = topology::examine(deployment, demands).await;
            checks.extend(found);
            written.push(primaries);
        }
        checks.extend(topology::judge_several(&written));
        checks
    })
}
