//! Used: what is known of a connection that calls share.
//!
//! In:  a connector.
//! Out: the same, whose connections count the bytes that came and the calls that were answered.
//!
//! A server may close an idle connection at the moment at which the next call goes out on it. Whether that is what
//! happened can only be told by these counts: a connection that has carried a call before and has given not one byte
//! since.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use hyper::Uri;
use hyper_util::{
    client::legacy::connect::{CaptureConnection, Connected, Connection},
    rt::TokioIo,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower_service::Service;

/// Counts of one connection.
#[derive(Debug, Default)]
struct Counts {
    read_bytes: AtomicU64,
    /// What `read_bytes` was after the last whole answer; 0 before the first one.
    answered_bytes: AtomicU64,
}

/// The counts of the connection that a call has gone out on.
#[derive(Clone, Debug, Default)]
pub(super) struct Use(Arc<Counts>);

impl Use {
    /// That of a call; `None` while it has no connection.
    pub(super) fn of(call: &CaptureConnection) -> Option<Self> {
        let mut extras = hyper::http::Extensions::new();
        call.connection_metadata().as_ref()?.get_extras(&mut extras);
        extras.remove::<Self>()
    }

    /// A whole answer has come.
    pub(super) fn answered(&self) {
        self.0.answered_bytes.store(self.0.read_bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// True exactly when the connection has answered before, and has given nothing since.
    pub(super) fn is_reused_and_silent(&self) -> bool {
        let answered_bytes = self.0.answered_bytes.load(Ordering::Relaxed);
        answered_bytes > 0 && answered_bytes == self.0.read_bytes.load(Ordering::Relaxed)
    }
}

/// A connector whose connections are counted.
#[derive(Clone, Debug)]
pub(super) struct Counting<C>(pub(super) C);

impl<C> Service<Uri> for Counting<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
{
    // Between two adapters, since only tokio's kind of buffer tells how much came without unsafe code.
    type Response = TokioIo<Counted<TokioIo<C::Response>>>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async {
            let stream = TokioIo::new(connecting.await?);
            Ok(TokioIo::new(Counted { stream, of: Use::default() }))
        })
    }
}

/// A connection that is counted.
#[derive(Debug)]
pub(super) struct Counted<S> {
    stream: S,
    of: Use,
}

impl<S: Connection> Connection for Counted<S> {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.of.clone())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.of.0.read_bytes.fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
