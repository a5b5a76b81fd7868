//! Catalog: every number that a shard counts, with the name and the words it is published under.
//!
//! One line is the enum's variant, its place, what `/metrics` says and what docs/metrics.md says. A number that is not
//! here is not published. What is no shard's is in `process.rs`.

use super::{
    definition::metrics,
    labels::{Bucket, Budget, CloseReason, DisconnectKind, ErrorKind, LimitExceeded, Offense, RefusalReason},
};

metrics! {
    /// A number that a shard counts.
    pub(crate) enum Metric, CATALOG;

    // Of the histogram `TURN` in `process.rs`: turns by their working time, and that of all turns, in microseconds.
    parts TurnBucket(bucket: Bucket), TurnBusyUs;

    /// Sockets that are open, in whatever state.
    gauge "connections" => Connections;
        watch "the planned number";
    /// Connections that count against client.connection_limit: all but those that are being refused.
    gauge "places_taken" => PlacesTaken;
        watch "the limit";
    /// Connections whose handshake is done.
    gauge "sessions" => Sessions;
        watch "far below `connections`: handshakes that hang";
    /// Connections of the path /broadcast.
    gauge "broadcast_members" => BroadcastMembers;
    /// Connections accepted.
    counter "accepts" => Accepted;
    /// Accepts that failed for want of memory or descriptors.
    counter "accept_errors" => AcceptErrors;
        watch "any growth; the next try is after a second";
    /// Handshakes completed.
    counter "handshakes" => Handshakes;
    /// Connections and requests refused, by reason.
    counter "refusals" => Refused(reason: RefusalReason);
        watch "growth of `capacity`; [under attack](operations/proxies-and-attack.md#under-attack)";
    /// Connections closed, by reason.
    counter "closes" => Closed(reason: CloseReason);
        watch "growth of `slow`, `no_pong`, `broken`";
    /// Messages, by direction; one that goes out is counted for each receiver.
    counter "messages" by direction => MessagesIn = "in", MessagesOut = "out";
    /// Bytes on the wire above TCP, by direction.
    counter "network_bytes" by direction => BytesIn = "in", BytesOut = "out";
    /// Payload bytes of messages that went out compressed, before and after that; a message for many counts once.
    counter "deflate_bytes" by form => DeflatePlainBytes = "plain", DeflateBytes = "deflated";
        watch "`deflated` near `plain`: compression costs and saves nothing";
    /// How late the shard was at most within the last second: with reading what had come, or with what was due.
    gauge "late_milliseconds" => LateMs;
        watch "a level that stays: the core has more to do than it can";
    /// Time in which the shard did not read (stopped, suspended, starved of its core): it counts against no client.
    counter "lateness_granted_milliseconds" => LatenessGrantedMs;
        watch "any growth: others use the core, or the machine stood still";
    /// Connections that were overdue, and found to have something unread.
    counter "timeouts_deferred" => TimeoutsDeferred;
    /// By how many eighths pings are further apart than client.ping_interval, because the shard is late.
    gauge "ping_stretch_eighths" => PingStretch;
        watch "anything but 0 that stays";
    /// Times that the time of day was set, forward or back.
    counter "clock_steps" => WallSteps;
        watch "any growth: tokens expire by that clock";
    /// Pings sent.
    counter "pings" => Pings;
        watch "a growing distance to `pongs`";
    /// Pongs received.
    counter "pongs" => Pongs;
    /// Messages of other shards that wait to be taken.
    gauge "mailbox_messages" => MailboxMessages;
        watch "a level that stays";
    /// Messages held back because another shard's mailbox is full.
    gauge "outbox_messages" => OutboxMessages;
        watch "anything but 0 that stays";
    /// Messages of a shard to itself: of its clients for channels whose home it is, and back.
    gauge "inbox_messages" => InboxMessages;
        watch "a level that stays: clients are held up";
    /// Connections of which something waits for its part of a turn.
    gauge "deferred_connections" => DeferredConnections;
        watch "a level that stays: the core has more to do than it can";
    /// How often a connection had used up its part of a turn, and was not read from until the rest was handled.
    counter "deferrals" => Deferrals;
        watch "growth: some send as fast as they can; others do not wait for them";
    /// Turns in which another shard's mailbox was full.
    counter "mailbox_full" => MailboxFull;
        watch "growth: publishers and requests are being held up, on all cores";
    /// Receives that found no free buffer and had to wait a turn.
    counter "receive_buffers_exhausted" => BuffersExhausted;
        watch "steady growth: raise `engine.receive_buffers`";
    /// Writes handed to the kernel.
    counter "writes" => Writes;
    /// Writes that the kernel took only in part.
    counter "short_writes" => ShortWrites;
        note "Those of which it took nothing count too.";
        watch "growth: slow readers";
    /// System calls into the rings.
    counter "ring_enters" => RingEnters;
    /// Operations handed to the rings.
    counter "ring_submissions" => RingSubmissions;
        note "Divided by `ring_enters`: operations a system call.";
    /// Completions taken from the rings.
    counter "ring_completions" => RingCompletions;
    /// Overflows of a completion queue.
    counter "ring_overflows" => RingOverflows;
        note "Nothing is lost: the kernel keeps what did not fit.";
        watch "steady growth: raise `engine.submission_entries`";
    /// Operations held over a turn: the kernel had no memory for them.
    counter "ring_held" => RingHeld;
        note "Nothing is lost: they go with the next turn.";
        watch "any growth: the machine, or the control group, is out of memory";
    /// TLS handshakes completed.
    counter "tls_handshakes" => TlsHandshakes;
    /// TLS connections that failed, in the handshake or after it.
    counter "tls_failures" => TlsFailures;
        watch "any burst: clients that do not trust the certificate, or do not speak TLS";
    /// Requests of the transports beside WebSocket: streams, their commands, polls.
    counter "requests" => Requests;
    /// Sessions of long-polling.
    gauge "poll_sessions" => PollSessions;
    /// Commands of the client protocol.
    counter "commands" => Commands;
    /// Commands that were answered with an error, by its code; all of the application's together.
    counter "command_errors" => CommandErrors(reason: ErrorKind);
        watch "any burst";
    /// Sessions ended with a code of the client protocol, by the code; all of the application's together.
    counter "disconnects" => Disconnects(reason: DisconnectKind);
        watch "any burst";
    /// Clients of the client protocol.
    gauge "clients" => Clients;
    /// Users with a client on this core.
    gauge "users" => Users;
    /// Subscriptions of this core's clients.
    gauge "subscriptions" => Subscriptions;
    /// Channels whose home is this core.
    gauge "channels" => Channels;
    /// Memory of kept publications.
    gauge "history_bytes" => HistoryBytes;
        watch "against `channel.history_budget`, of which each core has its part";
    /// Commands refused because there were too many, or too many bytes, by the limit.
    counter "throttled_commands" => Throttled(limit: LimitExceeded);
        note "They are answered with error 111.";
        watch "any burst";
    /// What clients did that gave points to their address.
    counter "offenses" => Offenses(offense: Offense);
        watch "any burst";
    /// Times that an address began to be refused for its offenses.
    counter "penalties" => Penalties;
    /// Addresses with points whose home is this core.
    gauge "penalties_tracked" => PenaltiesTracked;
        watch "against `limits.penalty.tracked_max`";
    /// Addresses that are refused for their offenses; every core knows all of them.
    gauge "penalties_refused" => PenaltiesRefused;
        watch "against `limits.penalty.tracked_max`";
    /// Addresses, networks and users whose numbers this core keeps.
    gauge "limits_tracked" => LimitsTracked;
        watch "against `limits.tracked_max`";
    /// Bytes that count against a budget; those of the control port have the core `control`.
    gauge "memory_bytes" => Memory(budget: Budget);
        watch "against `memory_limit_bytes`";
    /// Memory for what clients have sent in part.
    gauge "partial_bytes" => PartialBytes;
        note "Messages, requests and TLS records.";
        watch "against `client.receive_budget`";
    /// Sockets that the kernel takes no more for.
    gauge "slow_readers" => Conflation;
        note "Their peers do not read.";
        watch "a level that stays";
    /// Bytes that wait for them.
    gauge "slow_reader_bytes" => SlowReaderBytes;
        watch "against `client.queue_budget`";
    /// Slow readers closed, by the limit that they met: their queue's own, or the budget of all.
    counter "slow_reader_disconnects" by limit => SlowByQueue = "queue", SlowByBudget = "budget";
        watch "growth of `budget`";
    /// Publications that a slow reader did not get, by policy; each reader is told how many.
    counter "publications_left_out" by policy => OldestLeftOut = "drop_oldest", OutdatedLeftOut = "keep_latest";
        note "The policy is `slow_readers` of the channel's namespace.";
    /// 1 while clients are sent away, because the daemon stops.
    gauge "draining" => Draining;
    /// Clients that are still to be sent away; 0 while none is.
    gauge "clients_left" => ClientsLeft;
        watch "that it falls";
    /// Time that the executor's tasks have held the core, in microseconds; the connection loop's sleep is part of it.
    counter "executor_tasks_microseconds" => ExecutorTasksUs;
        note "For how busy a core is, use `holdfast_turn_seconds_sum`.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_place_of_its_own_and_all_but_turns_are_published() {
        let mut places: Vec<usize> =
            CATALOG.iter().flat_map(|family| family.metrics).map(|(metric, _)| metric.index()).collect();
        places.extend(Bucket::ALL.map(|bucket| Metric::TurnBucket(bucket).index()));
        places.push(Metric::TurnBusyUs.index());
        places.sort_unstable();
        assert_eq!(places, (0..Metric::COUNT).collect::<Vec<_>>());
    }
}
