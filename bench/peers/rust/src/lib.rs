//! What the Rust peers share: the command line, the runtime, the accept loop and the way they stop.
//!
//! In:  `--listen ADDR --threads N`, and a function that serves one TCP connection.
//! Out: one line `ready ADDR` on stdout; a return after SIGTERM or SIGINT.
//!
//! No WebSocket here: each binary speaks it with the library that it stands for, set up as that library's own
//! documentation advises. A peer is there to be measured against, so it is as fast as we can honestly make it.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// How many broadcast messages may wait for one slow client before it is dropped. The Go peer has the same bound.
pub const QUEUE_MESSAGES_MAX: usize = 256;

/// What a connection keeps for reading, in bytes: tungstenite's documentation advises this much for servers with
/// many connections, and it is what Go's HTTP server keeps.
pub const BUFFER_BYTES: usize = 4 * 1024;

/// How long accepting rests after a failure, such as running out of descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// The command line that all peers have in common.
#[derive(Debug, Parser)]
struct Options {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// Worker threads; 1 is tokio's current-thread runtime.
    #[arg(long, default_value = "1")]
    threads: NonZeroUsize,
}

/// Serves connections with `handle`, a task for each, until SIGTERM or SIGINT.
pub fn run<H, F>(handle: H) -> anyhow::Result<()>
where
    H: Fn(TcpStream) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let options = Options::parse();
    runtime(options.threads)?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            result = accept(options.listen, handle) => result,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    })
}

fn runtime(threads: NonZeroUsize) -> anyhow::Result<Runtime> {
    let mut builder = match threads.get() {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(threads.get()).enable_all().build().context("cannot start the runtime")
}

async fn accept<H, F>(listen: SocketAddr, handle: H) -> anyhow::Result<()>
where
    H: Fn(TcpStream) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    println!("ready {}", listener.local_addr()?);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Go sets this by default; without it Nagle's algorithm would be measured. A failure only
                // means that the client has gone, which reading will tell.
                let _ = stream.set_nodelay(true);
                tokio::spawn(handle(stream));
            }
            Err(error) => {
                eprintln!("cannot accept: {error}");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}
