//! Broker: what is published of the thread between the shards and Redis, and of the other nodes.
//!
//! The broker counts in atomics of its own; the values are put to these names in `control/metrics/redis.rs`. The labels of
//! each family are its own only.

use super::{catalog::Metric, definition::families};

/// Upper bounds of the buckets for how long publications were on their way, in seconds. In one machine room that is less
/// than a millisecond, which is as fine as publications tell it; beyond 5 s nobody calls it real time.
pub(crate) const LAG_BUCKETS_S: [f64; 11] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

families! {
    Metric, FAMILIES with redis;

    /// Nodes of this deployment that are known, this one among them.
    NODES => gauge "nodes";
        note "A node that was killed counts for 7 s.";
        watch "another number on some node: it does not hear the others";
    /// Time from the moment in which a node sent a publication to the one in which this node read it.
    LAG => histogram "broker_lag" in seconds;
        note "One publication for each read from the socket, the oldest of it. By the clocks of two nodes: their difference is part of it, and less than nothing counts as nothing.";
        watch "the share above 100 ms: Redis or this node cannot keep up";
    /// Memory of publications that wait, because the mailbox of a core is full.
    OUTLET => gauge "broker_outlet" in bytes by core;
        note "At most 32 MiB for each core.";
        watch "a lasting value above 0: the core is overloaded";
    /// Publications that were dropped, because too many waited for a core, by what is left of them.
    DROPPED => counter "broker_dropped" by history;
        note "`kept`: in the history, from which the room reads them. `none`: lost, as are joins and leaves.";
        watch "any growth";
    /// Messages of other nodes that were dropped, because the control thread did not keep up.
    CONTROL_DROPPED => counter "broker_control_dropped";
        watch "any growth: commands of the server API at other nodes are lost";
    /// Messages of this node's cores that wait for the broker.
    QUEUE_MESSAGES => gauge "broker_queue_messages";
        watch "a lasting level: the broker's core is overloaded";
    /// Memory of these messages.
    QUEUE => gauge "broker_queue" in bytes;
    /// Messages of a core that came back, because too much waited for the broker.
    QUEUE_REFUSALS => counter "broker_queue_refusals";
        note "Publications and questions among them get error 100. What rooms want is offered again.";
        watch "any growth";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order() {
        assert!(LAG_BUCKETS_S.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(FAMILIES.iter().all(|family| family.needs_redis));
    }

    #[test]
    fn a_unit_is_a_base_unit() {
        assert!(FAMILIES.iter().all(|family| ["", "seconds", "bytes"].contains(&family.unit)));
    }
}
