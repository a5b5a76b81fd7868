//! OfflinePublisher: what is published while all clients of a storm are away.
//!
//! In:  a worker whose connections are gone; how many messages each channel is to get.
//! Out: those messages, over one connection more, once the connections of all workers are gone (who is still leaving
//! would hear them live, and again when it comes back); and the word that all workers are done.
//!
//! A worker publishes to its share of the channels and waits until every message is answered: only then it is in the
//! history. Should the connection fail, the rest stays unpublished, and those who come back miss it.

use std::sync::atomic::Ordering;

use holdfast_ring::Socket;

use super::link::Link;
use super::shared::Shared;
use crate::message::Stamp;

/// Messages that may be unanswered at a time: little enough that no server's queue overflows.
const UNANSWERED_MAX: u32 = 256;

pub(super) struct OfflinePublisher {
    /// The member that publishes: one more than those that come back.
    publisher: u32,
    /// Messages for each channel.
    each: u32,
    stage: Stage,
    /// Of this worker's messages, channel by channel, so many are sent and so many answered.
    sent: u32,
    answered: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begun,
    /// For the connections of other workers to go.
    Waiting,
    Connecting,
    Publishing(Socket),
    /// The connection failed.
    Broken,
    Done,
}

impl OfflinePublisher {
    pub(super) fn new(publisher: u32, each: u32) -> Self {
        Self { publisher, each, stage: Stage::Begun, sent: 0, answered: 0 }
    }

    /// To be called when this worker's connections are gone. Publishes what may be; true when all workers are done.
    pub(super) fn act(&mut self, link: &mut Link<'_>, shared: &Shared) -> bool {
        let messages = link.plan.share(link.plan.channels, link.thread) * self.each;
        match self.stage {
            Stage::Begun => {
                shared.emptying.fetch_sub(1, Ordering::Release);
                self.stage = Stage::Waiting;
            }
            Stage::Waiting if shared.emptying.load(Ordering::Acquire) > 0 => {}
            Stage::Waiting if messages == 0 => self.end(shared),
            Stage::Waiting => {
                let is_begun = link.connect(self.publisher, link.now_ns);
                self.stage = if is_begun { Stage::Connecting } else { Stage::Broken };
            }
            Stage::Broken => self.end(shared),
            Stage::Connecting => {}
            Stage::Publishing(socket) if self.answered == messages => {
                link.leave(socket);
                self.end(shared);
            }
            Stage::Publishing(socket) => self.publish(link, socket, messages),
            Stage::Done => return shared.publishing.load(Ordering::Acquire) == 0,
        }
        false
    }

    pub(super) fn opened(&mut self, socket: Socket) {
        self.stage = Stage::Publishing(socket);
    }

    pub(super) fn answered(&mut self) {
        self.answered += 1;
    }

    /// The connection is over: too early, unless all is done.
    pub(super) fn vacated(&mut self) {
        if self.stage != Stage::Done {
            self.stage = Stage::Broken;
        }
    }

    fn publish(&mut self, link: &mut Link<'_>, socket: Socket, messages: u32) {
        while self.sent < messages && self.sent - self.answered < UNANSWERED_MAX {
            let channel = link.id(self.sent / self.each);
            let stamp =
                Stamp { publisher: channel, sequence: self.sent % self.each, intended_ns: link.now_ns };
            if !link.publish(socket, channel, stamp, 1) {
                return;
            }
            self.sent += 1;
        }
    }

    fn end(&mut self, shared: &Shared) {
        self.stage = Stage::Done;
        shared.publishing.fetch_sub(1, Ordering::Release);
    }
}
