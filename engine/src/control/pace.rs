//! Pace: a stream that fails if its peer reads too slowly.
//!
//! In:  a stream; its reads and writes.
//! Out: the same; an error if an answer is read too slowly.
//!
//! An answer may take [`ANSWER_MAX`], plus one second for each [`BYTES_PER_S`] that the peer has received.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{counts::Closed, places::Place};

/// Minimum timeout for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Minimum rate at which the peer must read a longer answer.
const BYTES_PER_S: u64 = 64 * 1024;

/// The stream of one connection.
pub(super) struct Paced<S> {
    stream: S,
    place: Arc<Place>,
    /// The answer being sent; `None` between answers.
    sending: Option<Sending>,
}

struct Sending {
    began: Instant,
    bytes: u64,
    late: Pin<Box<Sleep>>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, place: Arc<Place>) -> Self {
        Self { stream, place, sending: None }
    }

    /// Returns the result of a write; an error if the deadline has passed.
    fn keep_pace<T>(
        &mut self,
        cx: &mut Context<'_>,
        step: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        let sending = self.sending.get_or_insert_with(|| {
            let began = Instant::now();
            Sending { began, bytes: 0, late: Box::pin(sleep_until(began + ANSWER_MAX)) }
        });
        match step {
            Poll::Ready(Ok(done)) => {
                sending.bytes = sending.bytes.saturating_add(bytes(&done) as u64);
                Poll::Ready(Ok(done))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => {
                let deadline = sending.began + ANSWER_MAX + Duration::from_secs(sending.bytes / BYTES_PER_S);
                if sending.late.deadline() != deadline {
                    sending.late.as_mut().reset(deadline);
                }
                ready!(sending.late.as_mut().poll(cx));
                self.place.counts.closed(Closed::Answer);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.place.heard();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.keep_pace(cx, step, |bytes| *bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.keep_pace(cx, step, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.stream).poll_flush(cx);
        let flushed = self.keep_pace(cx, step, |()| 0);
        if flushed.is_ready() {
            self.sending = None;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.keep_pace(cx, step, |()| 0)
    }
}
