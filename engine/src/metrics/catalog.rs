//! Catalog: every number that a shard counts, with the name and the words it is published under.
//!
//! One line is the enum's variant, its place, what `/metrics` says and what docs/metrics.md says. A number that is not
//! here is not published. What is no shard's is in `process.rs`.

use super::{
    definition::metrics,
    labels::{
        Bucket, Budget, CloseReason, DisconnectKind, ErrorKind, LimitExceeded, Lost, Offense, RefusalReason,
        RoomState,
    },
};

metrics! {
    /// A number that a shard counts.
    pub(crate) enum Metric, CATALOG;

    // Of the histogram `TURN` in `process.rs`: turns by their working time, and that of all turns, in microseconds.
    parts TurnBucket(bucket: Bucket), TurnBusyUs;

    /// Open sockets, in any state.
    gauge "connections" => Connections;
        watch "the planned number";
    /// Connections that count against client.connection_limit: all except those that are being refused.
    gauge "places_taken" => PlacesTaken;
        watch "the limit";
    /// Connections that have completed their handshake.
    gauge "sessions" => Sessions;
        watch "far below `connections`: many handshakes are incomplete";
    /// Connections of the path /broadcast.
    gauge "broadcast_members" => BroadcastMembers;
    /// Connections accepted.
    counter "accepts" => Accepted;
    /// Failed accepts, because memory or descriptors ran out.
    counter "accept_errors" => AcceptErrors;
        watch "any growth; the daemon tries again after a second";
    /// Handshakes completed.
    counter "handshakes" => Handshakes;
    /// Connections and requests refused, by reason.
    counter "refusals" => Refused(reason: RefusalReason);
        watch "growth of `capacity`; [under attack](operations/proxies-and-attack.md#under-attack)";
    /// Connections closed, by reason.
    counter "closes" => Closed(reason: CloseReason);
        watch "growth of `slow`, `no_pong`, `broken`";
    /// Messages, by direction. An outgoing message counts once for each receiver.
    counter "messages" by direction => MessagesIn = "in", MessagesOut = "out";
    /// Bytes on the wire above TCP, by direction.
    counter "network_bytes" by direction => BytesIn = "in", BytesOut = "out";
    /// Payload bytes of compressed outgoing messages, before and after compression. A broadcast counts once.
    counter "deflate_bytes" by form => DeflatePlainBytes = "plain", DeflateBytes = "deflated";
        watch "`deflated` near `plain`: compression costs and saves nothing";
    /// Greatest delay of the shard within the last second, in reading what had arrived or in running timers.
    gauge "late_milliseconds" => LateMs;
        watch "a lasting level: the core is overloaded";
    /// Time in which the shard was stopped, suspended or without CPU. No client timeout counts it.
    counter "lateness_granted_milliseconds" => LatenessGrantedMs;
        watch "any growth: other processes use the core, or the machine was suspended";
    /// Connections that seemed to time out, but had sent bytes that were not read yet.
    counter "timeouts_deferred" => TimeoutsDeferred;
    /// By how many eighths the shard stretches client.ping_interval, because it is late.
    gauge "ping_stretch_eighths" => PingStretch;
        watch "a lasting value above 0";
    /// How often the system clock was set, forward or back.
    counter "clock_steps" => WallSteps;
        watch "any growth: tokens expire by this clock";
    /// Pings sent.
    counter "pings" => Pings;
        watch "a growing difference from `pongs`";
    /// Pongs received.
    counter "pongs" => Pongs;
    /// Messages from other shards that wait in the mailbox.
    gauge "mailbox_messages" => MailboxMessages;
        watch "a lasting level";
    /// Messages held back because another shard's mailbox is full.
    gauge "outbox_messages" => OutboxMessages;
        watch "a lasting value above 0";
    /// Messages of a shard to itself: from its clients to channels that it owns, and back.
    gauge "inbox_messages" => InboxMessages;
        watch "a lasting level: clients wait";
    /// Connections with input that waits for a later turn.
    gauge "deferred_connections" => DeferredConnections;
        watch "a lasting level: the core is overloaded";
    /// How often a connection used up its share of a turn, so that the daemon paused reading from it.
    counter "deferrals" => Deferrals;
        watch "growth: some clients send as fast as they can; other clients do not wait for them";
    /// Turns in which another shard's mailbox was full.
    counter "mailbox_full" => MailboxFull;
        watch "growth: publishers and requests wait, on all cores";
    /// Receives that waited a turn, because no buffer was free.
    counter "receive_buffers_exhausted" => BuffersExhausted;
        watch "steady growth: raise `engine.receive_buffers`";
    /// Writes handed to the kernel.
    counter "writes" => Writes;
    /// Writes that the kernel accepted only in part.
    counter "short_writes" => ShortWrites;
        note "Writes of which it accepted nothing count too.";
        watch "growth: slow readers";
    /// System calls into the rings.
    counter "ring_enters" => RingEnters;
    /// Operations handed to the rings.
    counter "ring_submissions" => RingSubmissions;
        note "Divide by `ring_enters` to get operations for each system call.";
    /// Completions taken from the rings.
    counter "ring_completions" => RingCompletions;
    /// Overflows of a completion queue.
    counter "ring_overflows" => RingOverflows;
        note "Nothing is lost: the kernel keeps the completions that did not fit.";
        watch "steady growth: raise `engine.submission_entries`";
    /// Operations that waited for the next turn, because the kernel had no memory for them.
    counter "ring_held" => RingHeld;
        note "Nothing is lost.";
        watch "any growth: the machine, or the control group, is out of memory";
    /// TLS handshakes completed.
    counter "tls_handshakes" => TlsHandshakes;
    /// TLS connections that failed, in the handshake or after it.
    counter "tls_failures" => TlsFailures;
        watch "any burst: clients do not trust the certificate, or do not speak TLS";
    /// Requests of the HTTP transports: streams, their commands, and polls.
    counter "requests" => Requests;
    /// Long-polling sessions.
    gauge "poll_sessions" => PollSessions;
    /// Commands of the client protocol.
    counter "commands" => Commands;
    /// Commands that got an error, by error code. All errors of the application count as one.
    counter "command_errors" => CommandErrors(reason: ErrorKind);
        watch "any burst";
    /// Sessions that the daemon ended with a disconnect code, by code. All codes of the application count as one.
    counter "disconnects" => Disconnects(reason: DisconnectKind);
        watch "any burst";
    /// Connected clients of the client protocol.
    gauge "clients" => Clients;
    /// Users with a client on this core.
    gauge "users" => Users;
    /// Subscriptions of this core's clients.
    gauge "subscriptions" => Subscriptions;
    /// Channels that this core owns.
    gauge "channels" => Channels;
    /// Rooms, by what they do: what this node knows of the channels that this core owns.
    gauge "rooms" => Rooms(state: RoomState);
        with redis;
        watch "a lasting level of `joining` or `reading`: Redis does not answer for these channels";
    /// Reads of a history that gave a room publications which it had not heard, and which it then delivered in order.
    counter "room_heals" => RoomHeals;
        with redis;
        note "As after each interruption of the connection to Redis.";
        watch "steady growth while `holdfast_redis_reconnects_total` stays: publications get lost on their way";
    /// Publications that a room had not heard, and delivered from the history.
    counter "room_healed_publications" => RoomHealedPublications;
        with redis;
    /// How often publications were gone that a room had not heard, by the reason.
    counter "room_heals_impossible" => RoomLost(reason: Lost);
        with redis;
        note "Subscribers with a position get code 2500 and subscribe again.";
        watch "any growth";
    /// How often Redis gave out offsets again that it had given out before, so that a channel got a new epoch.
    counter "room_offsets_gone_back" => RoomOffsetsGoneBack;
        with redis;
        watch "any growth: acknowledged publications are lost; see `min-replicas-to-write` and `appendonly` in [When Redis is away](cluster/redis-away.md#settings-of-redis)";
    /// Messages of other nodes that cannot be read, and reach no client here.
    counter "room_messages_unreadable" => RoomMessagesUnreadable;
        with redis;
        watch "any growth: another application publishes with the same prefix";
    /// Memory for publications in histories.
    gauge "history_bytes" => HistoryBytes;
        watch "compare with `channel.history_budget`, of which each core has an equal part";
    /// Commands that were refused, because a client sent too many commands or bytes, by limit.
    counter "throttled_commands" => Throttled(limit: LimitExceeded);
        note "They get error 111.";
        watch "any burst";
    /// Offenses of clients, for which their address gets penalty points.
    counter "offenses" => Offenses(offense: Offense);
        watch "any burst";
    /// How often the daemon began to refuse an address for its offenses.
    counter "penalties" => Penalties;
    /// Addresses with penalty points that this core tracks.
    gauge "penalties_tracked" => PenaltiesTracked;
        watch "compare with `limits.penalty.tracked_max`";
    /// Addresses that are refused for their offenses. Every core knows all of them.
    gauge "penalties_refused" => PenaltiesRefused;
        watch "compare with `limits.penalty.tracked_max`";
    /// Addresses, networks and users that this core counts.
    gauge "limits_tracked" => LimitsTracked;
        watch "compare with `limits.tracked_max`";
    /// Bytes that count against a budget. Those of the control port have the core `control`.
    gauge "memory_bytes" => Memory(budget: Budget);
        watch "compare with `memory_limit_bytes`";
    /// Memory for incomplete input of clients.
    gauge "partial_bytes" => PartialBytes;
        note "Messages, requests and TLS records.";
        watch "compare with `client.receive_budget`";
    /// Sockets whose send buffer is full.
    gauge "slow_readers" => Conflation;
        note "Their peers do not read fast enough.";
        watch "a lasting level";
    /// Bytes that wait for slow readers.
    gauge "slow_reader_bytes" => SlowReaderBytes;
        watch "compare with `client.queue_budget`";
    /// Slow readers that were closed, by the limit that they exceeded: that of their queue, or the budget.
    counter "slow_reader_disconnects" by limit => SlowByQueue = "queue", SlowByBudget = "budget";
        watch "growth of `budget`";
    /// Publications that were dropped for a slow reader, by policy. Each reader is told how many.
    counter "publications_left_out" by policy => OldestLeftOut = "drop_oldest", OutdatedLeftOut = "keep_latest";
        note "The policy is `slow_readers` of the channel's namespace.";
    /// 1 while the daemon stops and tells clients to leave.
    gauge "draining" => Draining;
    /// Clients that still have to leave before the daemon stops.
    gauge "clients_left" => ClientsLeft;
        watch "it should fall during a stop";
    /// Time in which the executor's tasks held the core, in microseconds, sleep of the loop included.
    counter "executor_tasks_microseconds" => ExecutorTasksUs;
        note "To see how busy a core is, use `holdfast_turn_seconds_sum`.";
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
