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
    /// Memory for what has come in part, in KiB, rounded up. 64 MiB and more are the same: they go first in any case.
    pub(crate) fn partial_kib(&self) -> u16 {
        let coming = self.coming.as_ref().map_or(0, |coming| coming.buffered_bytes());
        let record = self.tls.as_ref().map_or(0, |tls| tls.buffered_bytes());
        let bytes = self.decoder.buffered_bytes() + coming + record;
        u16::try_from(bytes.div_ceil(1024)).unwrap_or(u16::MAX)
    }
}

impl<K: Kernel> Shard<K> {
    /// Something came for a connection, or was taken from it.
    pub(crate) fn count_partial(&mut self, socket: Socket) {
        let Some(conn) = self.conns.get(socket) else { return };
        let now = conn.partial_kib();
        let before = std::mem::replace(&mut conn.counted_partial_kib, now);
        self.partial_kib = self.partial_kib - u64::from(before) + u64::from(now);
    }

    /// Where there is too much, those for whom most is kept are sent away.
    pub(crate) fn hold_partial_to_budget(&mut self) {
        let budget_kib = self.settings.receive_budget_bytes / 1024 / self.peers.count() as u64;
        if self.settings.receive_budget_bytes == 0 || self.partial_kib <= budget_kib {
            return;
        }
        let mut worst = Vec::new();
        let mut from = (0, 0);
        while let Some((socket, next)) = self.conns.next_from(from) {
            from = next;
            let kib = self.conns.get(socket).map_or(0, |conn| conn.counted_partial_kib);
            if kib > 0 {
                worst.push((Reverse(kib), socket));
            }
        }
        worst.sort_unstable_by_key(|&(kib, _)| kib);
        for (_, socket) in worst {
            if self.partial_kib <= budget_kib * LEFT_PERCENT / 100 {
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
