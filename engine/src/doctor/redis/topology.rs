//! Topology: the servers of a deployment.
//!
//! In:  a deployment: one server, sentinels, or addresses of a cluster.
//! Out: checks of sentinels and of the cluster as a whole; of each server that nodes write to.

use holdfast_redis::{
    command::Servers,
    layout::SLOTS,
    look::{ClusterState, Look},
    receive::{
        cause::Cause,
        connection::{Address, ConnectionOptions},
    },
};

use super::{
    gather::{Demands, Said, Wanted, gather},
    judge::{judge, judge_cause},
    place::Place,
};
use crate::{
    broker::Deployment,
    doctor::check::{Check, Status},
};

/// With fewer sentinels, one that ends leaves no majority.
const SENTINELS_LEAST: usize = 3;

/// Looks at a deployment. Returns the servers that nodes write to as well.
pub(super) async fn examine(deployment: &Deployment, demands: Demands) -> (Vec<Check>, Vec<Address>) {
    let connection = &deployment.link.connection;
    let wanted = Wanted { deployment, demands, is_of_cluster: false };
    match &deployment.commands.servers {
        Servers::One(address) => {
            let checks = server(&Place::of("redis", connection, address), wanted).await;
            (checks, vec![address.clone()])
        }
        Servers::Sentinel { sentinels, primary } => {
            let own = ConnectionOptions {
                credentials: deployment.commands.sentinel_credentials.clone(),
                ..connection.clone()
            };
            let mut answers = Vec::new();
            for address in sentinels {
                let place = Place::of("sentinel", &own, address);
                let answer = match Look::at(&place.connection).await {
                    Ok(mut look) => Ok(look.primary(primary).await),
                    Err(cause) => Err(cause),
                };
                answers.push((place, answer));
            }
            let (mut checks, at) = judge_sentinels(&answers, primary);
            if let Some(address) = &at {
                checks.extend(server(&Place::of("redis", connection, address), wanted).await);
            }
            (checks, at.into_iter().collect())
        }
        Servers::Cluster(seeds) => cluster(connection, seeds, Wanted { is_of_cluster: true, ..wanted }).await,
    }
}

/// One server.
async fn server(place: &Place, wanted: Wanted<'_>) -> Vec<Check> {
    match Look::at(&place.connection).await {
        Ok(mut look) => judge(place, &gather(&mut look, wanted).await, wanted),
        Err(cause) => vec![judge_cause(place, &cause)],
    }
}

/// What a sentinel said, if it lets us in.
type Answer = Result<Said<Address>, Cause>;

/// Judges what sentinels say. Returns the primary, which more than half of them name; where none is, the first one named.
fn judge_sentinels(answers: &[(Place, Answer)], name: &str) -> (Vec<Check>, Option<Address>) {
    let named = |address: &Address| {
        answers.iter().filter(|(_, answer)| matches!(answer, Ok(Ok(named)) if named == address)).count()
    };
    let all: Vec<&Address> =
        answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()?.as_ref().ok()).collect();
    let most = all.iter().copied().max_by_key(|address| named(address)).cloned();
    let needs = format!("the address of the primary {name:?}, the same from all");
    let mut checks = Vec::new();
    for (place, answer) in answers {
        checks.push(match answer {
            Err(cause) => {
                let check = judge_cause(place, cause);
                // The others are enough for now.
                let status = if most.is_some() { Status::Warn } else { Status::Fail };
                Check { status, ..check }
            }
            Ok(Err(words)) => place
                .check("answer", words.clone(), needs.clone())
                .fail(&format!("engine.redis.sentinel_master_name as in {}", place.cli("SENTINEL MASTERS"))),
            Ok(Ok(address)) => {
                let check = place.check("answer", format!("{address} is the primary"), needs.clone());
                match &most {
                    Some(most) if most != address => check.warn(&format!(
                        "wait for a failover to end; then {}",
                        place.cli(&format!("SENTINEL RESET {name}"))
                    )),
                    _ => check,
                }
            }
        });
    }
    let count = answers.len();
    let has_majority = most.as_ref().is_some_and(|most| 2 * named(most) > count);
    let found = match &most {
        Some(most) => format!("{} of {count} name {most}", named(most)),
        None => format!("none of {count} names one"),
    };
    let check = Check::new("sentinels", found, format!("more than half of at least {SENTINELS_LEAST}"));
    checks.push(if !has_majority {
        check.fail("the sentinels above; nodes go by what more than half of them say")
    } else if count < SENTINELS_LEAST {
        check.warn(&format!(
            "run {SENTINELS_LEAST} sentinels on machines of their own, and name all in engine.redis.sentinel_address"
        ))
    } else {
        check
    });
    (checks, most)
}

/// A cluster: what it says of itself, and each of its primaries.
async fn cluster(
    connection: &ConnectionOptions,
    seeds: &[Address],
    wanted: Wanted<'_>,
) -> (Vec<Check>, Vec<Address>) {
    let mut unreachable = Vec::new();
    let mut found = None;
    for seed in seeds {
        let place = Place::of("redis", connection, seed);
        match Look::at(&place.connection).await {
            Ok(look) if found.is_none() => found = Some((place, look)),
            Ok(_) => {}
            Err(cause) => unreachable.push(judge_cause(&place, &cause)),
        }
    }
    let Some((place, mut look)) = found else { return (unreachable, Vec::new()) };
    // The others are enough for now.
    let mut checks: Vec<Check> =
        unreachable.into_iter().map(|check| Check { status: Status::Warn, ..check }).collect();
    checks.push(judge_cluster(&place, &look.cluster_state().await));
    let primaries = match look.primaries(&place.address().host).await {
        Ok(primaries) => primaries,
        Err(words) => {
            checks.push(
                place
                    .check("primaries", format!("unknown: {words}"), "CLUSTER SLOTS")
                    .fail(&place.cli(&format!("ACL SETUSER {} '+cluster|slots'", place.user()))),
            );
            vec![place.address().clone()]
        }
    };
    drop(look);
    for address in &primaries {
        checks.extend(server(&Place::of("redis", connection, address), wanted).await);
    }
    (checks, primaries)
}

/// Judges several deployments, over which channels are divided, by the servers that each writes to.
pub(super) fn judge_several(written: &[Vec<Address>]) -> Option<Check> {
    let is_of_another = |at: usize, address: &Address| {
        written.iter().enumerate().any(|(other, addresses)| other != at && addresses.contains(address))
    };
    let same = written
        .iter()
        .enumerate()
        .find_map(|(at, addresses)| addresses.iter().find(|address| is_of_another(at, address)))?;
    let found =
        format!("several of {} lead to {same}: channels are divided over a server and itself", written.len());
    Some(Check::new("redis deployments", found, "another server for each address, by which channels are divided").warn(
        "one address for each server; the sentinels of one primary, and the nodes of one cluster, stand in one text with \
         commas between them: engine.redis.sentinel_address = \"a:26379,b:26379\"",
    ))
}

/// Judges a cluster as a whole.
fn judge_cluster(place: &Place, state: &Said<ClusterState>) -> Check {
    let needs = format!("cluster_state ok, {SLOTS} slots covered");
    match state {
        Ok(ClusterState { is_ok, slots_ok }) => {
            let state = if *is_ok { "ok" } else { "fail" };
            let check =
                place.check("cluster", format!("cluster_state {state}, {slots_ok} slots covered"), needs);
            if *is_ok && *slots_ok == u64::from(SLOTS) {
                return check;
            }
            let address = place.address();
            check.fail(&format!(
                "`redis-cli --cluster check {address}` says what is missing; `redis-cli --cluster fix {address}` gives slots that nobody has to those who are there"
            ))
        }
        Err(words) => place
            .check("cluster", format!("unknown: {words}"), needs)
            .fail(&place.cli(&format!("ACL SETUSER {} '+cluster|info' '+cluster|slots'", place.user()))),
    }
}
