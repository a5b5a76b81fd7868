//! Handover: passes listening on to another daemon on the same port, or ends it if there is none.
//!
//! In:  how many sockets of others listen on our port (`SO_REUSEPORT`); the turns of a stopping shard.
//! Out: a closed listening socket with an empty queue.
//!
//! Closing a listening socket resets the connections in its queue. So the kernel is first told to give new connections only
//! to the other daemon's sockets; handshakes in progress meanwhile complete and are served. Then the shards close their
//! sockets one after the other, the last one in the kernel's list first, so that all positions stay known:
//!
//! ```text
//! index    0 1 2 3        0 1 2       0 1
//!          A A B B   ──>  A B B  ──>  B B      A: ours, B: the successor's
//! new to       2 3          1 (2)     all
//! ```
//!
//! The indexes hold if both daemons have as many shards as those before them. Otherwise some new connections may reach a
//! socket that is about to close: `net.ipv4.tcp_migrate_req=1` has the kernel migrate those too.

use std::ops::Range;

use holdfast_ring::Kernel;

use super::{Shard, drain::Handover};
use crate::mesh::StopOrder;

/// How long handshakes in progress may take: twice the longest round trip on Earth.
const HANDSHAKES_MS: u64 = 1_000;

impl<K: Kernel> Shard<K> {
    pub(super) fn begin_handover(&mut self, order: &StopOrder) -> Handover {
        if order.successors == 0 {
            self.conns.sockets.stop_listening();
            return Handover::Closing;
        }
        let own = u32::try_from(self.mesh.peers.count()).expect("as many as cores");
        self.steer(own..own + order.successors);
        let quarter_ms = u64::try_from(order.close_within.as_millis() / 4).unwrap_or(u64::MAX);
        let until = self.cx.uptime.after_ms(HANDSHAKES_MS.min(quarter_ms));
        Handover::Draining { until, successors: order.successors }
    }

    pub(super) fn advance_handover(&mut self, handover: &mut Handover, is_late: bool) {
        match *handover {
            Handover::Draining { .. } if is_late => {
                self.conns.sockets.stop_listening();
                *handover = Handover::Closing;
            }
            Handover::Draining { until, successors }
                if self.cx.uptime >= until && self.mesh.peers.listening() == self.mesh.shard.index() + 1 =>
            {
                let own = u32::try_from(self.mesh.peers.listening()).expect("as many as cores");
                self.steer(places_before_a_close(own, successors));
                self.conns.sockets.stop_listening();
                *handover = Handover::Closing;
            }
            Handover::Closing if !self.conns.sockets.is_listening() => {
                *handover = Handover::Over;
                if let Some(next) = self.mesh.peers.listener_closed(self.mesh.shard) {
                    self.conns.sockets.wake(&next);
                }
            }
            _ => {}
        }
    }

    fn steer(&mut self, places: Range<u32>) {
        if let Err(error) = self.conns.sockets.steer_new_connections(places) {
            tracing::warn!(shard = self.mesh.shard.index(), %error, "cannot steer new connections to the daemon that takes over: some of them may be reset, and clients then reconnect");
        }
    }
}

/// The positions that get new connections while the last one of `own` sockets closes, valid before and after the close: the
/// last of the others takes its position. The very last close leaves no effective rule behind: a position that does not
/// exist means all.
fn places_before_a_close(own: u32, others: u32) -> Range<u32> {
    match own {
        1 => others..others + 1,
        _ => own..own + others.max(2) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's list: the last one takes the position of the closed one.
    fn close(list: &mut Vec<char>, at: usize) {
        list.swap_remove(at);
    }

    #[test]
    fn every_place_that_is_steered_to_is_the_others_before_and_after_each_close() {
        for (own, others) in [(1, 1), (1, 3), (2, 2), (2, 3), (4, 4), (8, 2), (3, 5)] {
            let mut list: Vec<char> = "A".repeat(own).chars().chain("B".repeat(others).chars()).collect();
            for left in (1..=own).rev() {
                let places =
                    places_before_a_close(u32::try_from(left).unwrap(), u32::try_from(others).unwrap());
                let at = |list: &[char]| -> String {
                    places.clone().filter_map(|at| list.get(at as usize)).collect()
                };
                assert!(!at(&list).is_empty() && !at(&list).contains('A'), "{own} {others}: {list:?}");
                close(&mut list, left - 1);
                assert!(!at(&list).contains('A'), "{own} {others}: {list:?}");
                if left == 1 {
                    assert_eq!(at(&list), "", "no rule is left behind: {list:?}");
                }
            }
            assert_eq!(list, vec!['B'; others]);
        }
    }
}
