//! Executor: the glommio executor of a shard. The only file that uses glommio, except for a test of `executor_watchdog`.
//!
//! In:  a CPU, and the parts of the shard.
//! Out: a thread pinned to that CPU, which ends when the shard has stopped.
//!
//! Two task queues: the connection loop, and housekeeping with a twentieth of its shares. The loop sleeps in its own ring,
//! which costs one system call instead of about ten for glommio's sleep; so it yields to glommio by the clock, often enough
//! for housekeeping and seldom enough to cost nothing.

use std::{
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, mpsc},
    time::Duration,
};

use anyhow::Context as _;
use glommio::{ExecutorJoinHandle, Latency, LocalExecutorBuilder, Placement, Shares};
use holdfast_ring::{Doorbell, Kernel as _, Sockets, SocketsConfig, Uring, UringConfig, listener};
use rustls::ServerConfig;

use super::{Next, Shard, drain::Handover, executor_watchdog::WakeHandle};
use crate::{
    backend::ProxyHandle,
    broker::BrokerHandle,
    config::Config,
    conn::TlsListener,
    ids::ShardId,
    limits::LimitPolicy,
    memory::BudgetLimits,
    metrics::Metric,
    session::{
        forward::ForwardHandle,
        message::{Peers, Shared},
    },
    shard::ShardPolicy,
    supervise,
    supervise::{Beats, Part, Sentinel, State, strike},
    time::Clock,
};

/// Memory that each executor registers for file I/O, which we do not use. The default of 10 MiB would exceed RLIMIT_MEMLOCK
/// on many machines.
const IO_MEMORY_BYTES: usize = 64 * 1024;

/// How often the loop yields to glommio's other tasks.
const YIELD_EVERY: Duration = Duration::from_millis(100);

/// The parts of a shard.
#[derive(Clone, Debug)]
pub(crate) struct ShardSpec {
    pub(crate) index: usize,
    pub(crate) cpu: usize,
    pub(crate) listen: SocketAddr,
    pub(crate) listen_backlog: u32,
    pub(crate) uring: UringConfig,
    pub(crate) config: Config,
    pub(crate) budgets: BudgetLimits,
    /// For clients' connections, if they use TLS.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// The daemon's.
    pub(crate) clock: Clock,
    /// The name of this daemon among others.
    pub(crate) node: Arc<str>,
}

/// What a shard's thread reports when it is reachable: its doorbell and its listen address.
pub(crate) type Ready = anyhow::Result<(Arc<Doorbell>, SocketAddr)>;

/// The ways of a shard to the others, and to the control thread.
#[derive(Clone)]
pub(crate) struct Links {
    pub(crate) shared: Arc<Shared>,
    pub(crate) backend: ProxyHandle,
    /// `None` on a node alone.
    pub(crate) broker: Option<BrokerHandle>,
    /// The way to sessions of other nodes. `None` on a node alone.
    pub(crate) forward: Option<ForwardHandle>,
}

/// A shard that waits for the list of the others.
pub(crate) struct Spawned {
    pub(crate) thread: ExecutorJoinHandle<anyhow::Result<()>>,
    pub(crate) begin: mpsc::Sender<Links>,
    /// Wakes it.
    pub(crate) pulse: WakeHandle,
}

/// Starts a shard's thread. It creates its ring and its listening socket, reports them over `ready`, and begins when it
/// gets the state shared with the others.
pub(crate) fn spawn(seed: ShardSpec, ready: mpsc::Sender<Ready>) -> anyhow::Result<Spawned> {
    let (begin, begins) = mpsc::channel();
    let pulse = WakeHandle::default();
    let beats = pulse.clone();
    let thread = LocalExecutorBuilder::new(Placement::Fixed(seed.cpu))
        .name(&format!("shard-{}", seed.index))
        .io_memory(IO_MEMORY_BYTES)
        .spawn(move || run(seed, ready, begins, beats))
        .map_err(|error| anyhow::anyhow!("cannot start the executor of a shard: {error}"))?;
    Ok(Spawned { thread, begin, pulse })
}

async fn run(
    seed: ShardSpec,
    ready: mpsc::Sender<Ready>,
    begins: mpsc::Receiver<Links>,
    pulse: WakeHandle,
) -> anyhow::Result<()> {
    let index = seed.index;
    supervise::is_shard(index);
    let (sockets, bell, address) = match open(&seed) {
        Ok(open) => open,
        Err(error) => {
            // The thread that started us prints the error; our own end is no news then.
            let _ = ready.send(Err(error));
            return Ok(());
        }
    };
    let sentinel = Sentinel::on_duty();
    let _ = ready.send(Ok((bell, address)));
    drop(ready);
    // Fails if another shard could not start.
    let Ok(links) = begins.recv() else {
        sentinel.stand_down();
        return Ok(());
    };
    let beats = Arc::clone(links.shared.beats());
    if let Err(error) = live(seed, sockets, links, pulse).await {
        supervise::fail(&format!("{error:#}"));
    }
    beats.enter(index, State::Ended);
    sentinel.stand_down();
    Ok(())
}

/// Runs the shard from the start signal to its end.
async fn live(
    seed: ShardSpec,
    sockets: Sockets<Uring>,
    links: Links,
    pulse: WakeHandle,
) -> anyhow::Result<()> {
    let index = seed.index;
    strike(Part::Shard(index))?;
    let beats = Arc::clone(links.shared.beats());

    let executor = glommio::executor();
    // No latency is requested: the loop yields by its own clock. Shorter glommio slices would also make the bug that
    // `executor_watchdog` works around more likely.
    let connections = executor.create_task_queue(Shares::Static(1000), Latency::NotImportant, "connections");
    let housekeeping = executor.create_task_queue(Shares::Static(50), Latency::NotImportant, "housekeeping");

    let tasks_us = Rc::new(std::cell::Cell::new(0));
    let measured = Rc::clone(&tasks_us);
    let keeper = glommio::spawn_local_into(
        async move {
            pulse
                .with_every_beat(|| {
                    let runtime = glommio::executor().executor_stats().executor_runtime();
                    measured.set(measured.get() + u64::try_from(runtime.as_micros()).unwrap_or(0));
                })
                .await;
        },
        housekeeping,
    )
    .map_err(|error| anyhow::anyhow!("cannot start housekeeping: {error}"))?;

    let mut shard = Shard::new(
        seed.node,
        ShardPolicy::new(&seed.config, seed.budgets, seed.uring.receive_buffers),
        sockets,
        Peers::new(links.shared, ShardId::new(index)),
        links.backend,
        seed.tls.map(TlsListener::new),
        rand::random(),
    );
    shard.broker = links.broker;
    shard.sessions.forward = links.forward;
    let served = glommio::spawn_local_into(serve(shard, seed.clock, tasks_us, beats), connections)
        .map_err(|error| anyhow::anyhow!("cannot start the connection loop: {error}"))?
        .await;
    keeper.cancel().await;
    served.context("its ring is broken")
}

fn open(seed: &ShardSpec) -> anyhow::Result<(Sockets<Uring>, Arc<Doorbell>, SocketAddr)> {
    let uring = Uring::new(&seed.uring)?;
    let bell = uring.doorbell();
    let (socket, address) = listener(seed.listen, seed.listen_backlog)
        .map_err(|error| anyhow::anyhow!("cannot listen on {}: {error}", seed.listen))?;
    let accept_reserve = seed.listen_backlog + 64;
    let peer_addresses = LimitPolicy::new(&seed.config).is_some_and(|policy| policy.needs_addresses());
    let config = SocketsConfig { accept_reserve, peer_addresses, ..SocketsConfig::default() };
    let mut sockets = Sockets::new(uring, config);
    sockets.listen(socket);
    Ok((sockets, bell, address))
}

async fn serve(
    mut shard: Shard<Uring>,
    clock: Clock,
    tasks_us: Rc<std::cell::Cell<u64>>,
    beats: Arc<Beats>,
) -> io::Result<()> {
    let part = Part::Shard(shard.mesh.shard.index());
    let mut yielded = Duration::ZERO;
    let mut state = State::Starting;
    loop {
        beats.beat(part);
        let now_in = state_of(&shard, state);
        if now_in != state {
            state = now_in;
            beats.enter(shard.mesh.shard.index(), state);
        }
        strike(part)?;
        if shard.turn(|| clock.uptime(), || clock.wall())? == Next::Gone {
            return Ok(());
        }
        let now = clock.uptime();
        if now.saturating_sub(yielded) >= YIELD_EVERY {
            yielded = now;
            shard.cx.counters.set(Metric::ExecutorTasksUs, tasks_us.get());
            glommio::executor().yield_now().await;
        }
    }
}

/// The state of a shard whose state was `before`.
fn state_of(shard: &Shard<Uring>, before: State) -> State {
    match shard.draining.as_ref().map(|stopping| stopping.handover) {
        None => State::Serving,
        // Only if another daemon listens do connections have somewhere to go.
        Some(Handover::Draining { .. }) => State::HandingOver,
        Some(Handover::Over) if before == State::HandingOver => State::HandedOver,
        Some(Handover::Closing) if before == State::HandingOver => State::HandingOver,
        Some(_) if before == State::HandedOver => State::HandedOver,
        Some(_) => State::Draining,
    }
}
