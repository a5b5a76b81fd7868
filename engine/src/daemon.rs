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

use holdfast_protocol::{
    http::HeadLimits,
    websocket::{DecoderConfig, Role},
};
use holdfast_ring::descriptors_max;
use rustls::ServerConfig;

use crate::{
    backend,
    config::Config,
    context::{DeflateRules, Settings},
    control, doctor, limits,
    log::EACH,
    memory::{self, Budget, BudgetLimits, Room, cgroup::Cgroup},
    mesh::{MailboxLimits, Shared},
    preflight::Prepared,
    shard::{self, Plan, ShardSpec, Spawned, executor_watchdog::Watchdog, plan::SOMAXCONN_DEFAULT},
    supervise::{self, Guard, Manager, Part},
    time::Clock,
};

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// What kept it from starting, in words for the operator. What fails later ends the process.
pub fn run(config: &Config, prepared: Prepared) -> anyhow::Result<()> {
    for warning in config.warnings().iter().chain(prepared.warnings()) {
        tracing::warn!("{warning}");
    }
    let plan = Plan::new(config, descriptors_max());
    let budgets = fit_budgets(config, Cgroup::tightest());
    let tls = prepared.clients.as_ref().map(|secured| Arc::clone(&secured.config));
    let node: Arc<str> = uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string().into();
    let (shards, bells, listen) = start_shards(config, plan, budgets, &node, tls.as_ref())?;
    let (asker, asks) = backend::queue(config.backend.queued_max as usize);
    let mailbox_limits = MailboxLimits {
        messages_max: config.engine.mailbox_messages_max as usize,
        bytes_max: config.engine.mailbox_bytes_max,
    };
    let published_max = limits::Rules::new(config).map_or(0, |rules| rules.published_max());
    let tables = limits::Tables::new(bells.len(), published_max);
    let shared = Arc::new(Shared::new(bells, mailbox_limits, rand::random(), asker, tables, budgets));
    let mut threads = Vec::new();
    let mut pulses = Vec::new();
    for Spawned { thread, begin, pulse } in shards {
        // A shard that is gone by now is found when it is joined.
        let _ = begin.send(Arc::clone(&shared));
        threads.push(thread);
        pulses.push(pulse);
    }
    supervise::supervise(&shared.beats);
    let mut guard =
        Guard::new(Arc::clone(&shared.beats), Duration::from_millis(config.engine.stall_timeout_ms));
    let counted = Arc::clone(&shared);
    let _heart = Watchdog::start(pulses, move || guard.look(|| control::clients(&counted)))?;
    // Where it cannot start the shards end with the process: nobody has connected yet who was told that he may.
    let control = control::start(config, Arc::clone(&shared), asks, node, listen, prepared)?;
    shared.beats.ready();
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
    Ok(())
}

/// What listens where.
fn say_what_is_served(config: &Config, clients: SocketAddr, control: SocketAddr) {
    for (who, address, tls, paths) in [
        ("clients", clients, config.tls.enabled, config.client_paths()),
        ("operators and backends", control, config.control_tls.enabled, config.control_paths()),
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
    let settings = Settings { budgets, ..settings(config, plan) };
    let somaxconn = doctor::sysctl("net.core.somaxconn").and_then(|value| value.parse().ok());
    let somaxconn = somaxconn.unwrap_or(SOMAXCONN_DEFAULT);
    let cpus = config.cores.shards();
    // One for all shards: what they count for each other they count by it.
    let clock = Clock::start();
    let mut listen = config.listen;
    let mut shards = Vec::new();
    let mut bells = Vec::new();
    for (index, cpu) in cpus.into_iter().enumerate() {
        let seed = ShardSpec {
            index,
            cpu,
            listen,
            listen_backlog: plan.listen_backlog(config, somaxconn),
            uring: plan.uring(config),
            settings: settings.clone(),
            config: config.clone(),
            tls: tls.cloned(),
            clock,
            node: Arc::clone(node),
        };
        let (ready, readies) = mpsc::channel();
        let shard = shard::spawn(seed, ready)?;
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

/// Two messages, and all that may be received of one connection in the turn in which that is stopped and in the next one.
fn parked_bytes_max(config: &Config) -> usize {
    let engine = &config.engine;
    let (websocket, inflated) = (&config.websocket, config.websocket.decompressed_message_size_limit_bytes);
    let message_bytes_max = websocket.message_size_limit_bytes.max(inflated) as usize;
    2 * (message_bytes_max + engine.receive_buffers as usize * engine.receive_buffer_bytes as usize)
}

pub(crate) fn settings(config: &Config, plan: Plan) -> Settings {
    let slots = plan.slots() * config.cores.len() as u64;
    let queue_bytes_max = config.client.queue_max_size_bytes as usize;
    Settings {
        handshake_ms: config.client.stale_close_delay_ms,
        ping_interval_ms: config.client.ping_interval_ms,
        pong_ms: config.client.pong_timeout_ms,
        close_ms: config.client.close_timeout_ms,
        connections_max: match config.client.connection_limit {
            0 => slots,
            limit => u64::from(limit),
        },
        paused_queue_bytes: queue_bytes_max / 4,
        queue_bytes_max,
        queue_pieces_max: config.client.queue_max_messages as usize,
        reply_bytes_max: config.client.reply_max_size_bytes as usize,
        parked_bytes_max: parked_bytes_max(config),
        quantum_ns: shard::QUANTUM_NS,
        lane_buffers: plan.uring(config).receive_buffers as usize,
        budgets: BudgetLimits::of(config),
        idempotency_ms: config.channel.idempotency_ttl_ms,
        head: HeadLimits {
            bytes_max: config.client.request_head_bytes_max as usize,
            headers_max: config.client.request_head_fields_max as usize,
        },
        decoder: DecoderConfig {
            role: Role::Server,
            message_bytes_max: u64::from(config.websocket.message_size_limit_bytes),
            frame_bytes_max: u64::from(config.websocket.message_size_limit_bytes),
        },
        deflate: DeflateRules::new(&config.websocket),
    }
}
