//! Forward: requests for sessions of other nodes, on their way to the control thread, which speaks to other nodes.
//!
//! In:  what a client sent to this node though another one has its session; answers of sessions here to other nodes.
//! Out: the same, in a bounded queue.
//!
//! What does not fit is refused at once: a client repeats a poll, and its commands count as not sent. Worst case:
//! [`MESSAGES_MAX`] messages, and [`BYTES_MAX`] of commands and answers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use holdfast_protocol::client::Format;
use holdfast_ring::Socket;
use tokio::sync::mpsc;

use super::request::Answer;
use crate::ids::ShardId;

/// Messages that wait for the control thread.
const MESSAGES_MAX: usize = 4_096;

/// Bytes of commands and answers in them.
const BYTES_MAX: usize = 32 << 20;

/// To the control thread.
#[derive(Debug)]
pub(crate) enum ToNodes {
    /// A request for a session of another node.
    Request(Forward),
    /// The answer of a session here to the request with this number.
    Answer { number: u64, answer: Answer },
}

impl ToNodes {
    fn bytes(&self) -> usize {
        match self {
            Self::Request(Forward { node, session, what, .. }) => {
                let (ForwardKind::Commands { commands, .. } | ForwardKind::Poll { commands, .. }) = what;
                node.len() + session.len() + commands.len()
            }
            Self::Answer { answer, .. } => {
                answer.as_ref().ok().and_then(Option::as_ref).map_or(0, |body| body.len())
            }
        }
    }
}

/// A request for a session of another node.
#[derive(Debug)]
pub(crate) struct Forward {
    pub(crate) node: Box<str>,
    /// As that node wrote it.
    pub(crate) session: Box<str>,
    pub(crate) what: ForwardKind,
    /// Where the answer goes.
    pub(crate) shard: ShardId,
    pub(crate) socket: Socket,
}

/// The kind of such a request.
#[derive(Debug)]
pub(crate) enum ForwardKind {
    /// Handle a frame of commands, which came in a body of this format.
    Commands { format: Format, commands: Bytes },
    /// Handle a frame of commands, and return the replies after this sequence number.
    Poll { received: u64, commands: Bytes },
}

/// The shards' end of the queue.
#[derive(Clone, Debug)]
pub(crate) struct ForwardHandle {
    sender: mpsc::Sender<ToNodes>,
    bytes: Arc<AtomicUsize>,
}

/// The control thread's end.
#[derive(Debug)]
pub(crate) struct ForwardQueue {
    receiver: mpsc::Receiver<ToNodes>,
    bytes: Arc<AtomicUsize>,
}

/// Both ends.
pub(crate) fn forward_queue() -> (ForwardHandle, ForwardQueue) {
    let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
    let bytes = Arc::<AtomicUsize>::default();
    (ForwardHandle { sender, bytes: Arc::clone(&bytes) }, ForwardQueue { receiver, bytes })
}

impl ForwardHandle {
    /// Hands a message over. True exactly when it was taken.
    #[must_use]
    pub(crate) fn send(&self, message: ToNodes) -> bool {
        let bytes = message.bytes();
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let is_taken = before + bytes <= BYTES_MAX && self.sender.try_send(message).is_ok();
        if !is_taken {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        is_taken
    }
}

impl ForwardQueue {
    /// The next message. `None` once all shards have ended.
    pub(crate) async fn receive(&mut self) -> Option<ToNodes> {
        let message = self.receiver.recv().await?;
        self.bytes.fetch_sub(message.bytes(), Ordering::Relaxed);
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_is_not_taken_and_room_comes_back() {
        let (handle, mut queue) = forward_queue();
        let answer = |bytes| ToNodes::Answer { number: 1, answer: Ok(Some(Bytes::from(vec![b'x'; bytes]))) };
        assert!(handle.send(answer(BYTES_MAX)));
        assert!(!handle.send(answer(1)));
        assert!(queue.receive().await.is_some());
        assert!((0..MESSAGES_MAX).all(|_| handle.send(answer(0))));
        assert!(!handle.send(answer(0)));
        assert_eq!(queue.bytes.load(Ordering::Relaxed), 0);
    }
}
