//! Control plane: one thread beside the shards, for everything that is not a client's byte.
//!
//! In:  HTTP requests on the control address; SIGTERM and SIGINT; the shards' published numbers.
//! Out: `/health`, `/metrics`, the server API; an order to stop for the shards; the word that memory is short.
//!
//! It talks to shards through their mailboxes and atomics only. A shard never waits for it.

mod api;
mod drain;
mod health;
mod memory;
mod metrics;
mod successors;

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context as _;
use axum::{Router, routing::get};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    time::timeout,
};

use self::{
    api::{Api, Node},
    drain::Drain,
};
use crate::{config::Config, peers::Shared};

/// How long answers that are under way may take when the daemon ends.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What the request handlers know.
#[derive(Clone, Debug)]
struct State {
    shared: Arc<Shared>,
    drain: Arc<Drain>,
}

/// The running control plane.
#[derive(Debug)]
pub(crate) struct Control {
    address: SocketAddr,
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Opens the control plane. From here on signals stop the daemon. `node` is what this process calls itself, `clients`
/// where it listens for them.
///
/// # Errors
/// Where the address cannot be listened on.
pub(crate) fn start(
    config: &Config,
    shared: Arc<Shared>,
    node: Arc<str>,
    clients: SocketAddr,
) -> anyhow::Result<Control> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the control plane's runtime cannot start")?;
    let (opened, opens) = mpsc::channel();
    let (end, ends) = oneshot::channel();
    let listen = config.control_listen;
    let memory_limit_bytes = config.engine.memory_limit_bytes;
    let drain = Arc::new(Drain::new(config, Arc::clone(&shared), clients));
    let api = (!config.http_api.disabled).then(|| {
        let node = Node::new(node, &config.node.name, clients);
        Arc::new(Api::new(config, Arc::clone(&shared), Arc::clone(&drain), node))
    });
    let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let (listener, signals) = match open(listen).await {
                Ok(open) => open,
                Err(error) => return drop(opened.send(Err(error))),
            };
            let address = listener.local_addr().unwrap_or(listen);
            let _ = opened.send(Ok(address));
            tokio::spawn(drain::watch_signals(Arc::clone(&drain), signals.terminate, signals.interrupt));
            if memory_limit_bytes > 0 {
                tokio::spawn(memory::watch(Arc::clone(&shared), memory_limit_bytes));
            }
            let (leave, leaves) = oneshot::channel::<()>();
            let serving = axum::serve(listener, router(State { shared, drain }, api));
            let serving = serving.with_graceful_shutdown(async { drop(leaves.await) });
            let mut serving = pin!(serving.into_future());
            tokio::select! {
                served = &mut serving => {
                    if let Err(error) = served {
                        tracing::error!(%error, "the control plane cannot serve any more");
                    }
                }
                _ = ends => {
                    drop(leave);
                    let _ = timeout(LAST_ANSWERS, serving).await;
                }
            }
        });
    })?;
    let address = opens.recv().context("the control plane ended before it began")??;
    Ok(Control { address, end, thread })
}

impl Control {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, when all clients are gone.
    pub(crate) fn stop(self) {
        let _ = self.end.send(());
        if self.thread.join().is_err() {
            tracing::error!("the control plane's thread has failed");
        }
    }
}

fn router(state: State, api: Option<Arc<Api>>) -> Router {
    let router = Router::new()
        .route("/health", get(health::live))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .with_state(state);
    match api {
        Some(api) => router.merge(api::router(api)),
        None => router,
    }
}

/// What ends the daemon.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// Signals come first: who learns that the daemon is ready may send one at once.
async fn open(listen: SocketAddr) -> anyhow::Result<(TcpListener, Signals)> {
    let watch = |kind| signal(kind).context("signals cannot be watched");
    let signals =
        Signals { terminate: watch(SignalKind::terminate())?, interrupt: watch(SignalKind::interrupt())? };
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen} (http_server.internal_address, --control)"))?;
    Ok((listener, signals))
}
