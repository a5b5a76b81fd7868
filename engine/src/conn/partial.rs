//! Partial: what has come of requests, messages and TLS records that are not complete, and a budget for all of it.
//!
//! In:  connections that were just read from.
//! Out: where a shard keeps more than `client.receive_budget` leaves it, the end of those for whom it keeps most: close
//!      code 1013 (Try Again Later), or 503.
//!
//! It is counted when something came, so that an idle connection costs nothing here.

use holdfast_protocol::{http::Refusal, websocket::CloseCode};
use holdfast_ring::{Kernel, Socket};

use super::{Conn, Phase};
use crate::{
    conn::{Above, Connections},
    context::{Context, RETRY_AFTER_S},
    memory::{Budget, largest_first},
    metrics::CloseReason,
};

impl Conn {
    /// Memory for what has come in part, in KiB, rounded up. 64 MiB and more are the same: they go first in any case.
    pub(crate) fn partial_kib(&self) -> u16 {
        let coming = self.coming.as_ref().map_or(0, |coming| coming.buffered_bytes());
        let record = self.tls.as_ref().map_or(0, |tls| tls.buffered_bytes());
        let bytes = self.decoder.buffered_bytes() + coming + record;
        u16::try_from(bytes.div_ceil(1024)).unwrap_or(u16::MAX)
    }
}

impl<K: Kernel> Connections<K> {
    /// Something came for a connection, or was taken from it.
    pub(crate) fn count_partial(&mut self, cx: &mut Context, socket: Socket) {
        let Some(conn) = self.table.get(socket) else { return };
        let now = conn.partial_kib();
        let before = std::mem::replace(&mut conn.counted_partial_kib, now);
        let (before, now) = (usize::from(before) * 1024, usize::from(now) * 1024);
        if before != now {
            cx.ledger.recharge(Budget::Receive, before, now);
            self.partial.changed(socket, before, now);
        }
    }

    /// A connection is gone, and what had come of it.
    pub(crate) fn forget_partial(&mut self, cx: &mut Context, socket: Socket, conn: &Conn) {
        let bytes = usize::from(conn.counted_partial_kib) * 1024;
        cx.ledger.release(Budget::Receive, bytes);
        self.partial.changed(socket, bytes, 0);
    }
}

impl<K: Kernel> Connections<K> {
    /// Where there is too much, those for whom most is kept are sent away.
    pub(crate) fn hold_partial_to_budget<A: Above<K>>(&mut self, cx: &mut Context, above: &mut A) {
        let excess = cx.ledger.excess_with_margin(Budget::Receive);
        if excess == 0 {
            return;
        }
        let mut kib = |socket| self.table.get(socket).map_or(0, |conn| conn.counted_partial_kib);
        let holders = self.partial.all().map(|socket| (socket, u64::from(kib(socket)) * 1024)).collect();
        for socket in largest_first(holders, excess) {
            self.end_partial(cx, above, socket);
        }
    }

    fn end_partial<A: Above<K>>(&mut self, cx: &mut Context, above: &mut A, socket: Socket) {
        let Some(conn) = self.table.get(socket) else { return };
        match conn.phase {
            Phase::Open => {
                self.write_close(Some((CloseCode::Again, "too much is received in part")));
                self.write_out(cx, above, socket);
                self.end_lingering(cx, above, socket, CloseReason::ReceiveBudget);
            }
            Phase::Head | Phase::Body | Phase::Answering => {
                self.refuse(cx, socket, Refusal::Unavailable { retry_after_s: RETRY_AFTER_S });
            }
            _ => self.end_now(cx, above, socket, CloseReason::ReceiveBudget),
        }
    }
}
