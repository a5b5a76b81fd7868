//! Executor: the glommio executor that a shard runs in. The only file that knows glommio, but for a test of `pulse`.
//!
//! In:  a CPU, and what the shard is made of.
//! Out: a thread pinned to that CPU, which ends when the shard has stopped.
//!
//! Two task queues: the connection loop, and housekeeping with a twentieth of its shares. The loop sleeps in its own
//! ring, which costs one system call where glommio's own sleep costs about ten; so it yields to glommio by the clock,
//! often enough for housekeeping and seldom enough to cost nothing.

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

use super::{Next, Shard, executor_watchdog::WakeHandle, handover::Handover};
use crate::{
    config::Config,
    conn::tls::TlsListener,
    context::Settings,
    limits,
    mesh::{Peers, Shared},
    metrics::Metric,
    session::rules::Rules,
    supervise::{self, Beats, Part, Sentinel, State, strike},
    time::Clock,
};

/// Memory that each executor registers for file I/O, of which there is none. The default of 10 MiB would not pass
/// RLIMIT_MEMLOCK on many machines.
const IO_MEMORY_BYTES: usize = 64 * 1024;

/// How often the loop lets glommio's other tasks run.
const YIELD_EVERY: Duration = Duration::from_millis(100);

/// What a shard is made of.
#[derive(Clone, Debug)]
pub(crate) struct ShardSpec {
    pub(crate) index: usize,
    pub(crate) cpu: usize,
    pub(crate) listen: SocketAddr,
    pub(crate) listen_backlog: u32,
    pub(crate) uring: UringConfig,
    pub(crate) settings: Settings,
    pub(crate) config: Config,
    /// For clients' connections, where they are encrypted.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// The daemon's.
    pub(crate) clock: Clock,
    /// This daemon's name among others.
    pub(crate) node: Arc<str>,
}

/// What a shard's thread tells once it can be reached: its bell and the address that it will listen on.
pub(crate) type Ready = anyhow::Result<(Arc<Doorbell>, SocketAddr)>;

/// A shard that waits to be told who the others are.
pub(crate) struct Spawned {
    pub(crate) thread: ExecutorJoinHandle<anyhow::Result<()>>,
    pub(crate) begin: mpsc::Sender<Arc<Shared>>,
    /// Wakes it.
    pub(crate) pulse: WakeHandle,
}

/// Starts a shard's thread. It makes its ring and its listening socket, says so over `ready`, and begins when it is
/// given what it shares with the others.
pub(crate) fn spawn(seed: ShardSpec, ready: mpsc::Sender<Ready>) -> anyhow::Result<Spawned> {
    let (begin, begins) = mpsc::channel();
    let pulse = WakeHandle::default();
    let beats = pulse.clone();
    let thread = LocalExecutorBuilder::new(Placement::Fixed(seed.cpu))
        .name(&format!("shard-{}", seed.index))
        .io_memory(IO_MEMORY_BYTES)
        .spawn(move || run(seed, ready, begins, beats))
        .map_err(|error| anyhow::anyhow!("a shard's executor cannot start: {error}"))?;
    Ok(Spawned { thread, begin, pulse })
}

async fn run(
    seed: ShardSpec,
    ready: mpsc::Sender<Ready>,
    begins: mpsc::Receiver<Arc<Shared>>,
    pulse: WakeHandle,
) -> anyhow::Result<()> {
    let index = seed.index;
    supervise::is_shard(index);
    let (sockets, bell, address) = match open(&seed) {
        Ok(open) => open,
        Err(error) => {
            // Whoever started us prints it; our own end is then no news.
            let _ = ready.send(Err(error));
            return Ok(());
        }
    };
    let sentinel = Sentinel::on_duty();
    let _ = ready.send(Ok((bell, address)));
    drop(ready);
    // Ends with an error where another shard could not start.
    let Ok(shared) = begins.recv() else {
        sentinel.stand_down();
        return Ok(());
    };
    let beats = Arc::clone(&shared.beats);
    if let Err(error) = live(seed, sockets, shared, pulse).await {
        supervise::fail(&format!("{error:#}"));
    }
    beats.enter(index, State::Ended);
    sentinel.stand_down();
    Ok(())
}

/// From the moment at which it knows the others to its end.
async fn live(
    seed: ShardSpec,
    sockets: Sockets<Uring>,
    shared: Arc<Shared>,
    pulse: WakeHandle,
) -> anyhow::Result<()> {
    let index = seed.index;
    strike(Part::Shard(index))?;
    let beats = Arc::clone(&shared.beats);

    let executor = glommio::executor();
    // No latency is asked for: the loop yields by its own clock. And the shorter glommio's slices are, the likelier is what
    // `pulse` is there for.
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
    .map_err(|error| anyhow::anyhow!("housekeeping cannot start: {error}"))?;

    let mut shard = Shard::new(
        index,
        seed.settings,
        Rules::new(&seed.config, seed.node),
        sockets,
        Peers::new(shared, index),
        rand::random(),
    );
    shard.conns.secure = seed.tls.map(TlsListener::new);
    let served = glommio::spawn_local_into(serve(shard, seed.clock, tasks_us, beats), connections)
        .map_err(|error| anyhow::anyhow!("the connection loop cannot start: {error}"))?
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
    let peer_addresses = limits::Rules::new(&seed.config).is_some_and(|rules| rules.needs_addresses());
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
    let part = Part::Shard(shard.mesh.index);
    let mut yielded = Duration::ZERO;
    let mut state = State::Starting;
    loop {
        beats.beat(part);
        let now_in = state_of(&shard, state);
        if now_in != state {
            state = now_in;
            beats.enter(shard.mesh.index, state);
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

/// How far a shard has come that was in state `before`.
fn state_of(shard: &Shard<Uring>, before: State) -> State {
    match shard.stopping.as_ref().map(|stopping| stopping.handover) {
        None => State::Serving,
        // Only where another daemon is there are connections left to it.
        Some(Handover::Draining { .. }) => State::HandingOver,
        Some(Handover::Over) if before == State::HandingOver => State::HandedOver,
        Some(Handover::Closing) if before == State::HandingOver => State::HandingOver,
        Some(_) if before == State::HandedOver => State::HandedOver,
        Some(_) => State::Draining,
    }
}
