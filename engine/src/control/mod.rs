//! Control plane: one thread beside the shards, for everything except the clients' traffic.
//!
//! In:  HTTP requests on the control address; SIGTERM and SIGINT; the shards' published counters and requests.
//! Out: `/health`, `/metrics`, the server API, the chat page; a stop order for the shards; the flag for a shortage of
//!      memory; answers.
//!
//! It reaches shards only through their mailboxes and atomics. A shard never waits for it.

mod api;
mod chat;
mod connection;
mod counts;
mod drain;
mod framing;
mod listener;
mod memory;
mod metrics;
mod nodes;
mod pace;
mod places;
mod reach;
mod share;
mod signals;
mod status;
mod successors;
mod tls;
mod welcome;

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context as _;
use axum::{Router, middleware::from_fn, routing::get};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    time::{sleep, timeout},
};

use self::{
    api::{Api, Node},
    connection::Serving,
    counts::Counts,
    drain::Drain,
    nodes::Links,
    places::Places,
    signals::Signals,
    status::State,
};
use crate::{
    backend,
    config::Config,
    doctor::Prepared,
    session::message::{ShardHandle, Shared},
    supervise::{self, Part, Sentinel, Watch, endless, strike},
    tls::Ends,
};

pub(crate) use self::nodes::Cluster;

/// Time for answers in progress when the daemon ends.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Heartbeat interval of this thread.
const BEAT_EVERY: Duration = Duration::from_millis(250);

/// The running control plane.
#[derive(Debug)]
pub(crate) struct Control {
    address: SocketAddr,
    clients: SocketAddr,
    shards: usize,
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Starts the control plane. From here on, signals stop the daemon. `node` is this process's name, `clients` the
/// clients' address, `prepared` the TLS configuration of both ports, `cluster` the way to other nodes.
///
/// # Errors
/// The control address cannot be bound.
pub(crate) fn start(
    config: &Config,
    shared: Arc<Shared>,
    asks: backend::Queue,
    node: Arc<str>,
    clients: SocketAddr,
    prepared: Prepared,
    cluster: Option<Cluster>,
) -> anyhow::Result<Control> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime of the control plane")?;
    let (opened, opens) = mpsc::channel();
    let (end, ends) = oneshot::channel();
    let listen = config.control_listen();
    let places = config.http_server.internal_connections_max as usize;
    let memory_limit_bytes = config.engine.memory_limit_bytes;
    let stall = Duration::from_millis(config.engine.stall_timeout_ms);
    let shards = shared.shards();
    let drain = Arc::new(Drain::new(config, Arc::clone(&shared), clients));
    let node = Node::new(node, &config.node.name, clients);
    let (nodes, talk) = cluster
        .map(|cluster| {
            let poll_wait = Duration::from_millis(config.poll.wait_ms);
            let (shared, drain) = (Arc::clone(&shared), Arc::clone(&drain));
            nodes::serve(cluster, Links { node: node.clone(), shared, drain, poll_wait })
        })
        .unzip();
    let api = (!config.http_api.disabled)
        .then(|| api::open(config, Arc::clone(&shared), Arc::clone(&drain), node, nodes.clone()));
    let page = config.admin.enabled.then(|| chat::router(config, clients));
    let (client_tls, control_tls) = (config.http_server.tls.clone(), config.http_server.internal_tls.clone());
    let expiries = Arc::new(Ends::default());
    for (secured, end) in [(&prepared.clients, &expiries.clients), (&prepared.control, &expiries.control)] {
        if let Some(validity) = secured.as_ref().and_then(|secured| secured.validity) {
            validity.publish(end);
        }
    }
    let Prepared { clients: client_secured, control: control_secured, .. } = prepared;
    let backend_counts = asks.counts();
    let backend = backend::serve(config.clone(), ShardHandle::all(&shared), asks);
    let thread = std::thread::Builder::new().name(Part::CONTROL.to_string()).spawn(move || {
        let sentinel = Sentinel::on_duty();
        runtime.block_on(async move {
            let (listener, signals) = match open(listen).await {
                Ok(open) => open,
                Err(error) => {
                    sentinel.stand_down();
                    return drop(opened.send(Err(error)));
                }
            };
            if let Err(error) = strike(Part::CONTROL) {
                supervise::fail(&error.to_string());
            }
            let address = listener.local_addr().unwrap_or(listen);
            let _ = opened.send(Ok(address));
            endless("control", beat(Arc::clone(&shared), stall));
            let ((terminate, interrupt), others) = signals.split();
            endless("signals", drain::watch_signals(Arc::clone(&drain), terminate, interrupt));
            let has_files = client_secured.is_some() || control_secured.is_some();
            endless("other signals", signals::tell(others, has_files));
            endless("backend", backend);
            if let Some(talk) = talk {
                endless("nodes", talk);
            }
            endless("memory", memory::watch(Arc::clone(&shared), memory_limit_bytes));
            if let Some(first) = client_secured {
                let renewing = tls::renew_clients(
                    client_tls,
                    first.config,
                    Arc::clone(&expiries),
                    ShardHandle::all(&shared),
                );
                endless("certificates", renewing);
            }
            let counts = Arc::<Counts>::default();
            let api_counts = api.as_ref().map(|api| api.counts());
            let state = State {
                shared,
                api_counts,
                drain,
                counts: Arc::clone(&counts),
                backend_counts,
                expiries: Arc::clone(&expiries),
                nodes: nodes.clone(),
            };
            let (leave, leaves) = watch::channel(false);
            let serving = Serving {
                router: router(state, api, page),
                secure: control_secured.map(|first| tls::renew_own(control_tls, first.config, expiries)),
                leaves: leaves.clone(),
            };
            let places = Places::new(places, Arc::clone(&counts));
            let mut serving = pin!(listener::serve(listener, places, counts, serving, leaves));
            tokio::select! {
                () = &mut serving => supervise::fail("it stopped serving"),
                _ = ends => {
                    sentinel.stand_down();
                    let _ = leave.send(true);
                    if let Some(nodes) = &nodes {
                        nodes.leave().await;
                    }
                    let _ = timeout(LAST_ANSWERS, serving).await;
                }
            }
        });
    })?;
    let address = opens.recv().context("the control plane ended before it began")??;
    Ok(Control { address, clients, shards, end, thread })
}

impl Control {
    /// The address of the control port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Logs a warning if another daemon listens for clients on the same port.
    pub(crate) fn say_who_else_listens(&self) {
        let others = successors::listeners(self.clients).saturating_sub(self.shards);
        if others > 0 {
            tracing::warn!(
                others,
                clients = %self.clients,
                "another daemon listens on the same client port; {}",
                drain::APART
            );
        }
    }

    /// Stops the control plane, after all clients are gone.
    pub(crate) fn stop(self) {
        let _ = self.end.send(());
        // If the thread had failed, the process would have ended already.
        let _ = self.thread.join();
    }
}

/// Shows that this thread is alive. Watches the pulse, which watches all other parts.
async fn beat(shared: Arc<Shared>, stall: Duration) {
    let beats = shared.beats();
    let mut watch = Watch::new(Arc::clone(beats), vec![Part::PULSE], stall);
    loop {
        beats.beat(Part::CONTROL);
        let (changes, _) = watch.look(beats.elapsed());
        supervise::tell(&changes);
        sleep(BEAT_EVERY).await;
    }
}

/// The number of clients on all shards.
pub(crate) fn clients(shared: &Shared) -> u64 {
    drain::clients(shared)
}

fn router(state: State, api: Option<Arc<Api>>, page: Option<Router>) -> Router {
    let has_api = api.is_some();
    let plain = if page.is_some() {
        Router::new()
    } else {
        Router::new().route("/", get(async move |headers| welcome::welcome(&headers, has_api)))
    };
    let router = plain
        .route("/health", get(status::live))
        .route("/health/live", get(status::live))
        .route("/health/ready", get(status::ready))
        .route("/health/broker", get(status::broker))
        .route("/metrics", get(metrics::metrics))
        .with_state(state);
    let parts = [api.map(api::router), page];
    parts.into_iter().flatten().fold(router, Router::merge).layer(from_fn(framing::check))
}

/// Signals come first: another process may send one as soon as it sees the daemon ready.
async fn open(listen: SocketAddr) -> anyhow::Result<(TcpListener, Signals)> {
    let signals = Signals::watch()?;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen} (http_server.internal_address, --control)"))?;
    Ok((listener, signals))
}
