//! Partial: what has come of requests, messages and TLS records that are not complete, and a budget for all of it.
//!
//! In:  connections that were just read from.
//! Out: where a shard keeps more than its part of `client.receive_budget`, the end of those for whom it keeps most: close
//!      code 1013 (Try Again Later), or 503.
//!
//! It is counted when something came, so that an idle connection costs nothing here.

use std::cmp::Reverse;

use holdfast_protocol::{http::Refusal, websocket::CloseCode};
use holdfast_ring::{Kernel, Socket};

use super::{Conn, Phase};
use crate::{intake::RETRY_AFTER_S, metrics::CloseReason, shard::Shard};

/// What a shard keeps when it has had too much, of its part, in percent. To find the worst costs a walk over all
/// connections: whoever wants another one has to send the rest again.
const LEFT_PERCENT: u64 = 90;

impl Conn {
    /// Memory for what has come in part.
    pub(crate) fn partial_bytes(&self) -> u32 {
        let coming = self.coming.as_ref().map_or(0, |coming| coming.buffered_bytes());
        let record = self.tls.as_ref().map_or(0, |tls| tls.buffered_bytes());
        u32::try_from(self.decoder.buffered_bytes() + coming + record).unwrap_or(u32::MAX)
    }
}

impl<K: Kernel> Shard<K> {
    /// Something came for a connection, or was taken from it.
    pub(crate) fn count_partial(&mut self, socket: Socket) {
        let Some(conn) = self.conns.get(socket) else { return };
        let bytes = conn.partial_bytes();
        let before = std::mem::replace(&mut conn.counted_partial_bytes, bytes);
        self.partial_bytes = self.partial_bytes - u64::from(before) + u64::from(bytes);
    }

    /// Where there is too much, those for whom most is kept are sent away.
    pub(crate) fn hold_partial_to_budget(&mut self) {
        let budget = self.settings.receive_budget_bytes / self.peers.count() as u64;
        if budget == 0 || self.partial_bytes <= budget {
            return;
        }
        let mut worst = Vec::new();
        let mut from = (0, 0);
        while let Some((socket, next)) = self.conns.next_from(from) {
            from = next;
            let bytes = self.conns.get(socket).map_or(0, |conn| conn.counted_partial_bytes);
            if bytes > 0 {
                worst.push((Reverse(bytes), socket));
            }
        }
        worst.sort_unstable_by_key(|&(bytes, _)| bytes);
        for (_, socket) in worst {
            if self.partial_bytes <= budget / 100 * LEFT_PERCENT {
                break;
            }
            self.end_partial(socket);
        }
    }

    fn end_partial(&mut self, socket: Socket) {
        let Some(conn) = self.conns.get(socket) else { return };
        match conn.phase {
            Phase::Open => {
                self.write_close(Some((CloseCode::Again, "too much is received in part")));
                self.write_out(socket);
                self.linger(socket, CloseReason::ReceiveBudget);
            }
            Phase::Head | Phase::Body | Phase::Answering => {
                self.refuse(socket, Refusal::Unavailable { retry_after_s: RETRY_AFTER_S });
            }
            _ => self.drop_now(socket, CloseReason::ReceiveBudget),
        }
    }
}
