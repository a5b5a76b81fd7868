//! Daemon: all shards and the control plane, from start to stop.
//!
//! In:  a checked configuration; SIGTERM and SIGINT.
//! Out: one line `ready …` on stdout when clients can connect; exit when all of them have been sent away, or when a part
//! has failed (`supervise`).
//!
//! The order at the start: shards make their rings and listening sockets, learn of each other, and begin; the control
//! plane opens last, so that who finds it healthy finds the clients' port open.

use std::{
    io::{Write, stdout},
    net::SocketAddr,
    sync::{Arc, mpsc},
    time::Duration,
};

use holdfast_ring::descriptors_max;
use rustls::ServerConfig;

use crate::{
    backend, broker,
    config::{Config, Options},
    control::{self, Cluster},
    doctor::{self, Prepared},
    limits::{LimitPolicy, Tables},
    log::EACH,
    memory::{self, Budget, BudgetLimits, Room, cgroup::Cgroup},
    mesh::MailboxLimits,
    session::{forward::forward_queue, message::Shared},
    shard::{
        Plan,
        executor::{self, Links, ShardSpec, Spawned},
        executor_watchdog::Watchdog,
        plan::SOMAXCONN_DEFAULT,
    },
    supervise::{self, Guard, Manager, Part},
    time::Clock,
};

/// One kind of use may have this part of the process's descriptors.
const DESCRIPTORS_PART: u64 = 4;

/// It may have as many in any case.
const DESCRIPTORS_LEAST: u64 = 8;

/// What may wait for the broker.
const BROKER_LIMITS: broker::QueueLimits =
    broker::QueueLimits { messages_max: 1 << 17, bytes_max: 128 << 20 };

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// What kept it from starting, in words for the operator. What fails later ends the process.
pub(crate) fn run(config: &Config, prepared: Prepared) -> anyhow::Result<()> {
    for warning in config.warnings().iter().chain(prepared.warnings()) {
        tracing::warn!("{warning}");
    }
    let plan = Plan::new(config, descriptors_max());
    let budgets = fit_budgets(config, Cgroup::tightest());
    let config = &fit(config.clone(), plan, descriptors_max());
    let tls = prepared.clients.as_ref().map(|secured| Arc::clone(&secured.config));
    let node: Arc<str> = uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string().into();
    let (shards, bells, listen) = start_shards(config, plan, budgets, &node, tls.as_ref())?;
    let (asker, asks) = backend::queue(config.backend.queued_max as usize);
    let deployments = broker::Deployment::all(config)?;
    let (broker, wants) = broker::queue(BROKER_LIMITS);
    let broker = (!deployments.is_empty()).then_some(broker);
    let (forward, forwards) = forward_queue();
    let forward = broker.as_ref().map(|_| forward);
    let mailbox_limits = MailboxLimits {
        messages_max: config.engine.mailbox_messages_max as usize,
        bytes_max: config.engine.mailbox_bytes_max,
    };
    let published_max = LimitPolicy::new(config).map_or(0, |policy| policy.published_max());
    let tables = Tables::new(bells.len(), published_max);
    let shared = Arc::new(Shared::new(bells, mailbox_limits, rand::random(), tables, budgets));
    let mut threads = Vec::new();
    let mut pulses = Vec::new();
    for Spawned { thread, begin, pulse } in shards {
        // A shard that is gone by now is found when it is joined.
        let links = Links {
            shared: Arc::clone(&shared),
            backend: asker.clone(),
            broker: broker.clone(),
            forward: forward.clone(),
        };
        let _ = begin.send(links);
        threads.push(thread);
        pulses.push(pulse);
    }
    supervise::supervise(shared.beats());
    let mut guard =
        Guard::new(Arc::clone(shared.beats()), Duration::from_millis(config.engine.stall_timeout_ms));
    let counted = Arc::clone(&shared);
    let _heart = Watchdog::start(pulses, move || guard.look(|| control::clients(&counted)))?;
    let mut running = broker::start(deployments, &node, Arc::clone(&shared), wants)?;
    if let Some(broker) = &running {
        broker.await_redis();
    }
    let cluster = running.as_mut().zip(broker).map(|(running, hold)| Cluster::new(running, forwards, hold));
    // Where it cannot start the shards end with the process: nobody has connected yet who was told that he may.
    let control = control::start(config, Arc::clone(&shared), asks, node, listen, prepared, cluster)?;
    shared.beats().ready();
    control.say_who_else_listens();
    tracing::info!(%listen, control = %control.address(), shards = threads.len(), lanes = plan.lanes, slots = plan.slots(), "serving");
    say_what_is_served(config, listen, control.address());
    let (echo, broadcast) = (config.serves(&config.echo), config.serves(&config.broadcast));
    if echo || broadcast {
        tracing::info!(echo, broadcast, "test paths are served without a token");
    }
    announce(listen, control.address(), threads.len());
    Manager::ready();

    // One that fails does not come to its end: it ends the process.
    for (shard, thread) in threads.into_iter().enumerate() {
        let cause = match thread.join() {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => format!("{error:#}"),
            Err(error) => error.to_string(),
        };
        supervise::fail_for(Part::Shard(shard), &cause);
    }
    control.stop();
    if let Some(broker) = running {
        broker.join();
    }
    Ok(())
}

/// What listens where.
fn say_what_is_served(config: &Config, clients: SocketAddr, control: SocketAddr) {
    for (who, address, tls, paths) in [
        ("clients", clients, config.http_server.tls.enabled, config.client_paths()),
        ("operators and backends", control, config.http_server.internal_tls.enabled, config.control_paths()),
    ] {
        tracing::info!(target: EACH, %address, tls, paths = paths.join(" "), "listening for {who}");
    }
}

/// Clients are served whether or not anybody can read of it.
fn announce(listen: SocketAddr, control: SocketAddr, shards: usize) {
    let mut out = stdout();
    let line = format!("ready listen={listen} control={control} shards={shards}\n");
    if let Err(error) = out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
        tracing::warn!(%error, "cannot write the line `ready …` to standard output: clients can connect, but a script that waits for the line does not see it");
    }
}

fn start_shards(
    config: &Config,
    plan: Plan,
    budgets: BudgetLimits,
    node: &Arc<str>,
    tls: Option<&Arc<ServerConfig>>,
) -> anyhow::Result<(Vec<Spawned>, Vec<Arc<holdfast_ring::Doorbell>>, SocketAddr)> {
    let somaxconn = doctor::sysctl("net.core.somaxconn").and_then(|value| value.parse().ok());
    let somaxconn = somaxconn.unwrap_or(SOMAXCONN_DEFAULT);
    let cpus = config.cores.shards();
    // One for all shards: what they count for each other they count by it.
    let clock = Clock::start();
    let mut listen = config.listen();
    let mut shards = Vec::new();
    let mut bells = Vec::new();
    for (index, cpu) in cpus.into_iter().enumerate() {
        let seed = ShardSpec {
            index,
            cpu,
            listen,
            listen_backlog: plan.listen_backlog(config, somaxconn),
            uring: plan.uring(config),
            config: config.clone(),
            budgets,
            tls: tls.cloned(),
            clock,
            node: Arc::clone(node),
        };
        let (ready, readies) = mpsc::channel();
        let shard = executor::spawn(seed, ready)?;
        // One after the other: where port 0 is asked for, the first shard's choice is the others' too.
        let Ok(bell) = readies.recv() else {
            let why = shard.thread.join().map_or_else(|error| error.to_string(), |_| "it ended".to_owned());
            anyhow::bail!("shard {index} cannot start: {why}");
        };
        shards.push(shard);
        let (bell, address) = bell?;
        listen = address;
        bells.push(bell);
    }
    Ok((shards, bells, listen))
}

/// The budgets as they fit into the memory that there is.
fn fit_budgets(config: &Config, group: Option<Cgroup>) -> BudgetLimits {
    let configured = BudgetLimits::of(config);
    let room = Room::new(config, group);
    let budgets = memory::fit(configured, room);
    if room.bytes != BudgetLimits::NONE {
        let (limit_bytes, together_bytes) = (room.limit_bytes, room.bytes);
        tracing::info!(
            limit_bytes,
            together_bytes,
            "the budgets are lowered to fit the memory limit together"
        );
    }
    for (budget, _) in Budget::ALL {
        let (most_bytes, assured_bytes) = (budgets.most(budget), budgets.assured(budget));
        if most_bytes != configured.most(budget) || assured_bytes != most_bytes {
            tracing::info!(
                most_bytes,
                assured_bytes,
                "{} is lowered to fit the memory limit",
                budget.option()
            );
        }
    }
    budgets
}

/// The configuration as it fits into the descriptors that there are: clients' connections into the tables of the rings;
/// what shares the process's own table, so that neither a flood on the control port nor slow backends keep anything else
/// from being opened.
fn fit(mut config: Config, plan: Plan, nofile: u64) -> Config {
    if config.client.connection_limit == 0 {
        let slots = plan.slots() * config.cores.len() as u64;
        config.client.connection_limit = u32::try_from(slots).unwrap_or(u32::MAX);
    }
    let most = u32::try_from((nofile / DESCRIPTORS_PART).max(DESCRIPTORS_LEAST)).unwrap_or(u32::MAX);
    let Options { http_server, backend, .. } = &mut config.options;
    for (option, configured) in [
        ("http_server.internal_connection_limit", &mut http_server.internal_connections_max),
        ("backend.concurrency", &mut backend.calls_max),
    ] {
        if most < *configured {
            tracing::warn!(
                fitting = most,
                configured,
                "{option} is lowered to a quarter of RLIMIT_NOFILE; raise that limit (LimitNOFILE= in systemd) or lower the option"
            );
            *configured = most;
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_port_and_the_backend_leave_most_descriptors_to_others() {
        for (configured, nofile, expected) in
            [(512, 1 << 20, 512), (512, 1024, 256), (512, 16, 8), (4, 1024, 4), (65_536, 20_000, 5_000)]
        {
            let mut config = Config::default();
            config.http_server.internal_connections_max = configured;
            config.backend.calls_max = configured;
            let fitted = fit(config, Plan { lanes: 1, slots_per_lane: 64 }, nofile);
            let limits = (fitted.http_server.internal_connections_max, fitted.backend.calls_max);
            assert_eq!(limits, (expected, expected), "{configured} {nofile}");
        }
    }
}
