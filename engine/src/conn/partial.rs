//! Partial: incomplete requests, messages and TLS records, and one budget for all of them.
//!
//! In:  connections that were just read from.
//! Out: if a shard holds more than its part of `client.receive_budget`, the end of the connections that hold most: close
//! code 1013 (Try Again Later), or 503.
//!
//! Counted only when input arrives, so an idle connection costs nothing here.

use holdfast_protocol::{http::Refusal, websocket::CloseCode};
use holdfast_ring::{Kernel, Socket};

use super::{Conn, State};
use crate::{
    conn::{Above, Connections},
    context::{Context, RETRY_AFTER_S},
    memory::{Budget, largest_first},
    metrics::CloseReason,
};

impl Conn {
    /// Memory of partial input, in KiB, rounded up. Values of 64 MiB and more count alike: they are closed first anyway.
    pub(crate) fn partial_kib(&self) -> u16 {
        let record = self.tls.as_ref().map_or(0, |tls| tls.buffered_bytes());
        let bytes = self.state.partial_bytes() + record;
        u16::try_from(bytes.div_ceil(1024)).unwrap_or(u16::MAX)
    }
}

impl<K: Kernel> Connections<K> {
    /// Input of a connection arrived or was consumed.
    pub(crate) fn count_partial(&mut self, cx: &mut Context, socket: Socket) {
        let Some(conn) = self.table.get_mut(socket) else { return };
        let now = conn.partial_kib();
        let before = std::mem::replace(&mut conn.counted_partial_kib, now);
        let (before, now) = (usize::from(before) * 1024, usize::from(now) * 1024);
        if before != now {
            cx.ledger.recharge(Budget::Receive, before, now);
            self.partial.changed(socket, before, now);
        }
    }

    /// A connection is gone, and its partial input with it.
    pub(crate) fn forget_partial(&mut self, cx: &mut Context, socket: Socket, conn: &Conn) {
        let bytes = usize::from(conn.counted_partial_kib) * 1024;
        cx.ledger.release(Budget::Receive, bytes);
        self.partial.changed(socket, bytes, 0);
    }
}

impl<K: Kernel> Connections<K> {
    /// Over the budget, closes the connections with the most partial input.
    pub(crate) fn hold_partial_to_budget<A: Above<K>>(&mut self, cx: &mut Context, above: &mut A) {
        let excess = cx.ledger.excess_with_margin(Budget::Receive);
        if excess == 0 {
            return;
        }
        let mut kib = |socket| self.table.get_mut(socket).map_or(0, |conn| conn.counted_partial_kib);
        let holders = self.partial.all().map(|socket| (socket, u64::from(kib(socket)) * 1024)).collect();
        for socket in largest_first(holders, excess) {
            self.end_partial(cx, above, socket);
        }
    }

    fn end_partial<A: Above<K>>(&mut self, cx: &mut Context, above: &mut A, socket: Socket) {
        let Some(conn) = self.table.get_mut(socket) else { return };
        match conn.state {
            State::Open { .. } => {
                self.write_close(Some((CloseCode::Again, "too much is received in part")));
                self.write_out(cx, above, socket);
                self.end_lingering(cx, above, socket, CloseReason::ReceiveBudget);
            }
            State::Head { .. } | State::Body(_) | State::Answering(_) => {
                self.refuse(cx, socket, Refusal::Unavailable { retry_after_s: RETRY_AFTER_S });
            }
            _ => self.end_now(cx, above, socket, CloseReason::ReceiveBudget),
        }
    }
}
