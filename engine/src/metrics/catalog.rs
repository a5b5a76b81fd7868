//! Catalog: every number that a shard counts, with the name and the words it is published under.
//!
//! In:  nothing.
//! Out: [`CATALOG`], from which `/metrics` is rendered. A number that is not here is not published.

use super::reason::{CloseReason, DisconnectKind, ErrorKind, RefusalReason};
use crate::{
    limits::{Excess, Offence},
    memory::Budget,
};

/// Upper bounds of the buckets for a turn's working time, in microseconds; one more bucket holds what is longer.
pub(crate) const TURN_BUCKETS_US: [u64; 12] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000];

/// A number that a shard counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    /// Sockets that are open, in whatever state.
    Connections,
    /// Connections that count against the limit.
    PlacesTaken,
    /// Connections whose handshake is done.
    Sessions,
    /// Members of `/broadcast`.
    BroadcastMembers,
    /// Connections accepted.
    Accepted,
    /// Handshakes completed.
    Handshakes,
    /// Accepts that failed for want of memory or descriptors.
    AcceptErrors,
    /// Requests refused.
    Refused(RefusalReason),
    /// Connections closed.
    Closed(CloseReason),
    /// Messages received.
    MessagesIn,
    /// Messages sent, each receiver counted.
    MessagesOut,
    /// Bytes received.
    BytesIn,
    /// Bytes sent.
    BytesOut,
    /// Pings sent.
    Pings,
    /// Pongs received.
    Pongs,
    /// Messages in this shard's mailbox.
    MailboxMessages,
    /// Messages held back because another shard's mailbox is full.
    OutboxMessages,
    /// Messages of this shard to itself.
    InboxMessages,
    /// Connections and clients of which something waits for its part of a turn.
    DeferredConnections,
    /// How often a connection had used up its part of a turn.
    Deferrals,
    /// Turns in which a mailbox of another shard was full.
    MailboxFull,
    /// Receives that found no free buffer.
    BuffersExhausted,
    /// Writes handed to the kernel.
    Writes,
    /// Writes that the kernel took only in part.
    ShortWrites,
    /// System calls into the rings.
    RingEnters,
    /// Operations handed to the rings.
    RingSubmissions,
    /// Completions taken from the rings.
    RingCompletions,
    /// Overflows of a completion queue.
    RingOverflows,
    /// Operations that the kernel had no memory for in their turn.
    RingHeld,
    /// Turns by their working time; the bucket's number.
    TurnBucket(u8),
    /// Working time of all turns, in microseconds.
    TurnBusyUs,
    /// Time that the executor's tasks have held the core, the loop's sleep among it, in microseconds.
    ExecutorTasksUs,
    /// TLS handshakes completed.
    TlsHandshakes,
    /// TLS connections that failed, in the handshake or after it.
    TlsFailures,
    /// Requests of the transports beside WebSocket.
    Requests,
    /// Sessions of long-polling.
    PollSessions,
    /// Commands of the client protocol.
    Commands,
    /// Sessions ended with a code of the client protocol.
    Disconnects(DisconnectKind),
    /// Commands that were answered with an error.
    CommandErrors(ErrorKind),
    /// Clients of the client protocol.
    Clients,
    /// Users among them.
    Users,
    /// Subscriptions of this core's clients.
    Subscriptions,
    /// Channels whose home this core is.
    Channels,
    /// Memory of kept publications.
    HistoryBytes,
    /// Payload bytes that were compressed, before that.
    DeflatePlainBytes,
    /// The same, after that.
    DeflateBytes,
    /// Commands that were refused because there were too many, or too many bytes.
    Throttled(Excess),
    /// What clients did that they should not.
    Offences(Offence),
    /// Addresses that began to be refused for that.
    Penalties,
    /// Addresses, networks and users whose numbers this core keeps.
    LimitsTracked,
    /// Addresses with points whose home this core is.
    PenaltiesTracked,
    /// Addresses that this core refuses.
    PenaltiesRefused,
    /// 1 while clients are sent away.
    Draining,
    /// What clients have sent in part.
    PartialBytes,
    /// Sockets that the kernel takes no more for.
    SlowReaders,
    /// Bytes that wait for them.
    SlowReaderBytes,
    /// Slow readers closed because of a limit of their own.
    SlowByQueue,
    /// Slow readers closed because all together were too much.
    SlowByBudget,
    /// Publications left out because newer ones wait.
    OldestLeftOut,
    /// Publications left out because a newer one took their place.
    OutdatedLeftOut,
    /// Clients that are still to be sent away.
    ClientsLeft,
    /// By how much this shard was late at most within the last second, in milliseconds.
    LateMs,
    /// Time that counted against nobody because nobody read in it, in milliseconds.
    LatenessGrantedMs,
    /// Times that somebody was nearly ended for a silence, and something of it was unread.
    TimeoutsDeferred,
    /// By how much pings are further apart than configured, in eighths.
    PingStretch,
    /// Times that the time of day was set.
    WallSteps,
    /// Bytes of a budget.
    Memory(Budget),
}

/// How a number behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// A published name with its numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    /// Without the `holdfast_` before it, and without `_total` behind a counter.
    pub(crate) name: &'static str,
    /// One sentence.
    pub(crate) help: &'static str,
    /// How its numbers behave.
    pub(crate) kind: Kind,
    /// The name of the label that tells its numbers apart, empty where there is only one.
    pub(crate) label: &'static str,
    /// The numbers, with the label's values.
    pub(crate) metrics: &'static [(Metric, &'static str)],
}

/// The numbers of a family that has one for each value of an enum, with the values' names.
macro_rules! each_of {
    ($values:ident, $metric:expr) => {{
        let mut metrics = [(Metric::Connections, ""); $values::ALL.len()];
        let mut at = 0;
        while at < metrics.len() {
            metrics[at] = ($metric($values::ALL[at].0), $values::ALL[at].1);
            at += 1;
        }
        metrics
    }};
}

const CLOSES: [(Metric, &str); CloseReason::ALL.len()] = each_of!(CloseReason, Metric::Closed);
const REFUSED_FOR: [(Metric, &str); RefusalReason::ALL.len()] = each_of!(RefusalReason, Metric::Refused);
const DISCONNECTS: [(Metric, &str); DisconnectKind::ALL.len()] =
    each_of!(DisconnectKind, Metric::Disconnects);
const COMMAND_ERRORS: [(Metric, &str); ErrorKind::ALL.len()] = each_of!(ErrorKind, Metric::CommandErrors);
const THROTTLES: [(Metric, &str); Excess::ALL.len()] = each_of!(Excess, Metric::Throttled);
const MEMORY_BYTES: [(Metric, &str); Budget::ALL.len()] = each_of!(Budget, Metric::Memory);
const OFFENCES: [(Metric, &str); Offence::ALL.len()] = each_of!(Offence, Metric::Offences);

const fn gauge(name: &'static str, metrics: &'static [(Metric, &'static str)], help: &'static str) -> Family {
    Family { name, help, kind: Kind::Gauge, label: "", metrics }
}

const fn counter(
    name: &'static str,
    metrics: &'static [(Metric, &'static str)],
    help: &'static str,
) -> Family {
    Family { name, help, kind: Kind::Counter, label: "", metrics }
}

/// All that is published for each shard, but for the histogram of turns.
pub(crate) const CATALOG: &[Family] = &[
    gauge("connections", &[(Metric::Connections, "")], "Sockets that are open, in whatever state."),
    gauge(
        "places_taken",
        &[(Metric::PlacesTaken, "")],
        "Connections that count against client.connection_limit: all but those that are being refused.",
    ),
    gauge("sessions", &[(Metric::Sessions, "")], "Connections whose handshake is done."),
    gauge("broadcast_members", &[(Metric::BroadcastMembers, "")], "Connections of the path /broadcast."),
    counter("accepts", &[(Metric::Accepted, "")], "Connections accepted."),
    counter(
        "accept_errors",
        &[(Metric::AcceptErrors, "")],
        "Accepts that failed for want of memory or descriptors.",
    ),
    counter("handshakes", &[(Metric::Handshakes, "")], "Handshakes completed."),
    Family {
        name: "refusals",
        help: "Connections and requests refused, by reason.",
        kind: Kind::Counter,
        label: "reason",
        metrics: &REFUSED_FOR,
    },
    Family {
        name: "closes",
        help: "Connections closed, by reason.",
        kind: Kind::Counter,
        label: "reason",
        metrics: &CLOSES,
    },
    Family {
        name: "messages",
        help: "Messages, by direction; one that goes out is counted for each receiver.",
        kind: Kind::Counter,
        label: "direction",
        metrics: &[(Metric::MessagesIn, "in"), (Metric::MessagesOut, "out")],
    },
    Family {
        name: "network_bytes",
        help: "Bytes on the wire above TCP, by direction.",
        kind: Kind::Counter,
        label: "direction",
        metrics: &[(Metric::BytesIn, "in"), (Metric::BytesOut, "out")],
    },
    Family {
        name: "deflate_bytes",
        help: "Payload bytes of messages that went out compressed, before and after that; a message for many counts once.",
        kind: Kind::Counter,
        label: "form",
        metrics: &[(Metric::DeflatePlainBytes, "plain"), (Metric::DeflateBytes, "deflated")],
    },
    gauge(
        "late_milliseconds",
        &[(Metric::LateMs, "")],
        "How late the shard was at most within the last second: with reading what had come, or with what was due.",
    ),
    counter(
        "lateness_granted_milliseconds",
        &[(Metric::LatenessGrantedMs, "")],
        "Time in which the shard did not read (stopped, suspended, starved of its core): it counts against no client.",
    ),
    counter(
        "timeouts_deferred",
        &[(Metric::TimeoutsDeferred, "")],
        "Connections that were overdue, and found to have something unread.",
    ),
    gauge(
        "ping_stretch_eighths",
        &[(Metric::PingStretch, "")],
        "By how many eighths pings are further apart than client.ping_interval, because the shard is late.",
    ),
    counter(
        "clock_steps",
        &[(Metric::WallSteps, "")],
        "Times that the time of day was set, forward or back.",
    ),
    counter("pings", &[(Metric::Pings, "")], "Pings sent."),
    counter("pongs", &[(Metric::Pongs, "")], "Pongs received."),
    gauge(
        "mailbox_messages",
        &[(Metric::MailboxMessages, "")],
        "Messages of other shards that wait to be taken.",
    ),
    gauge(
        "outbox_messages",
        &[(Metric::OutboxMessages, "")],
        "Messages held back because another shard's mailbox is full.",
    ),
    gauge(
        "inbox_messages",
        &[(Metric::InboxMessages, "")],
        "Messages of a shard to itself: of its clients for channels whose home it is, and back.",
    ),
    gauge(
        "deferred_connections",
        &[(Metric::DeferredConnections, "")],
        "Connections of which something waits for its part of a turn.",
    ),
    counter(
        "deferrals",
        &[(Metric::Deferrals, "")],
        "How often a connection had used up its part of a turn, and was not read from until the rest was handled.",
    ),
    counter("mailbox_full", &[(Metric::MailboxFull, "")], "Turns in which another shard's mailbox was full."),
    counter(
        "receive_buffers_exhausted",
        &[(Metric::BuffersExhausted, "")],
        "Receives that found no free buffer and had to wait a turn.",
    ),
    counter("writes", &[(Metric::Writes, "")], "Writes handed to the kernel."),
    counter("short_writes", &[(Metric::ShortWrites, "")], "Writes that the kernel took only in part."),
    counter("ring_enters", &[(Metric::RingEnters, "")], "System calls into the rings."),
    counter("ring_submissions", &[(Metric::RingSubmissions, "")], "Operations handed to the rings."),
    counter("ring_completions", &[(Metric::RingCompletions, "")], "Completions taken from the rings."),
    counter("ring_overflows", &[(Metric::RingOverflows, "")], "Overflows of a completion queue."),
    counter(
        "ring_held",
        &[(Metric::RingHeld, "")],
        "Operations held over a turn: the kernel had no memory for them.",
    ),
    counter("tls_handshakes", &[(Metric::TlsHandshakes, "")], "TLS handshakes completed."),
    counter(
        "tls_failures",
        &[(Metric::TlsFailures, "")],
        "TLS connections that failed, in the handshake or after it.",
    ),
    counter(
        "requests",
        &[(Metric::Requests, "")],
        "Requests of the transports beside WebSocket: streams, their commands, polls.",
    ),
    gauge("poll_sessions", &[(Metric::PollSessions, "")], "Sessions of long-polling."),
    counter("commands", &[(Metric::Commands, "")], "Commands of the client protocol."),
    Family {
        name: "command_errors",
        help: "Commands that were answered with an error, by its code; all of the application's together.",
        kind: Kind::Counter,
        label: "reason",
        metrics: &COMMAND_ERRORS,
    },
    Family {
        name: "disconnects",
        help: "Sessions ended with a code of the client protocol, by the code; all of the application's together.",
        kind: Kind::Counter,
        label: "reason",
        metrics: &DISCONNECTS,
    },
    gauge("clients", &[(Metric::Clients, "")], "Clients of the client protocol."),
    gauge("users", &[(Metric::Users, "")], "Users with a client on this core."),
    gauge("subscriptions", &[(Metric::Subscriptions, "")], "Subscriptions of this core's clients."),
    gauge("channels", &[(Metric::Channels, "")], "Channels whose home is this core."),
    gauge("history_bytes", &[(Metric::HistoryBytes, "")], "Memory of kept publications."),
    Family {
        name: "throttled_commands",
        help: "Commands refused because there were too many, or too many bytes, by the limit.",
        kind: Kind::Counter,
        label: "limit",
        metrics: &THROTTLES,
    },
    Family {
        name: "offences",
        help: "What clients did that gave points to their address.",
        kind: Kind::Counter,
        label: "offence",
        metrics: &OFFENCES,
    },
    counter(
        "penalties",
        &[(Metric::Penalties, "")],
        "Times that an address began to be refused for its offences.",
    ),
    gauge(
        "penalties_tracked",
        &[(Metric::PenaltiesTracked, "")],
        "Addresses with points whose home is this core.",
    ),
    gauge(
        "penalties_refused",
        &[(Metric::PenaltiesRefused, "")],
        "Addresses that are refused for their offences; every core knows all of them.",
    ),
    gauge(
        "limits_tracked",
        &[(Metric::LimitsTracked, "")],
        "Addresses, networks and users whose numbers this core keeps.",
    ),
    Family {
        name: "memory_bytes",
        help: "Bytes that count against a budget; those of the control port have the core `control`.",
        kind: Kind::Gauge,
        label: "budget",
        metrics: &MEMORY_BYTES,
    },
    gauge("partial_bytes", &[(Metric::PartialBytes, "")], "Memory for what clients have sent in part."),
    gauge("slow_readers", &[(Metric::SlowReaders, "")], "Sockets that the kernel takes no more for."),
    gauge("slow_reader_bytes", &[(Metric::SlowReaderBytes, "")], "Bytes that wait for them."),
    Family {
        name: "slow_reader_disconnects",
        help: "Slow readers closed, by the limit that they met: their queue's own, or the budget of all.",
        kind: Kind::Counter,
        label: "limit",
        metrics: &[(Metric::SlowByQueue, "queue"), (Metric::SlowByBudget, "budget")],
    },
    Family {
        name: "publications_left_out",
        help: "Publications that a slow reader did not get, by policy; each reader is told how many.",
        kind: Kind::Counter,
        label: "policy",
        metrics: &[(Metric::OldestLeftOut, "drop_oldest"), (Metric::OutdatedLeftOut, "keep_latest")],
    },
    gauge("draining", &[(Metric::Draining, "")], "1 while clients are sent away, because the daemon stops."),
    gauge(
        "clients_left",
        &[(Metric::ClientsLeft, "")],
        "Clients that are still to be sent away; 0 while none is.",
    ),
    counter(
        "executor_tasks_microseconds",
        &[(Metric::ExecutorTasksUs, "")],
        "Time that the executor's tasks have held the core, in microseconds; the connection loop's sleep is part of it.",
    ),
];

const REFUSALS: usize = RefusalReason::ALL.len();
const TURN_BUCKETS: usize = TURN_BUCKETS_US.len() + 1;

// The places of the numbers. Plain constants, because the length of an array of all depends on the last one, and that
// must not depend on a function of this crate: the compiler would go round in a circle.
const REFUSED: usize = 6;
const CLOSED: usize = REFUSED + REFUSALS;
const PLAIN: usize = CLOSED + CloseReason::ALL.len();
const BUCKET: usize = PLAIN + 19;
const THROTTLED: usize = BUCKET + TURN_BUCKETS + 12;
const OFFENDED: usize = THROTTLED + Excess::ALL.len();
const LIMITS: usize = OFFENDED + Offence::ALL.len();
const SLOW: usize = LIMITS + 4;
const LATE: usize = SLOW + 10;
const LAST: usize = LATE + 5;
const MEMORY: usize = LAST + 1;
const TURNS: usize = MEMORY + Budget::COUNT;
const ERRORS: usize = TURNS + 2;
const ENDED: usize = ERRORS + ErrorKind::ALL.len();

impl Metric {
    /// How many there are.
    pub(crate) const COUNT: usize = ENDED + DisconnectKind::ALL.len();

    /// The bucket for turns that are in no shorter one.
    #[must_use]
    pub(crate) fn turn_bucket(bucket: usize) -> Self {
        Self::TurnBucket(u8::try_from(bucket).expect("13 buckets"))
    }

    /// Its place among all numbers: known when the daemon is built, for those that are named where they are counted.
    #[must_use]
    #[inline]
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Connections => 0,
            Self::Sessions => 1,
            Self::BroadcastMembers => 2,
            Self::Accepted => 3,
            Self::Handshakes => 4,
            Self::AcceptErrors => 5,
            Self::Refused(reason) => REFUSED + reason as usize,
            Self::Closed(reason) => CLOSED + reason as usize,
            Self::MessagesIn => PLAIN,
            Self::MessagesOut => PLAIN + 1,
            Self::BytesIn => PLAIN + 2,
            Self::BytesOut => PLAIN + 3,
            Self::Pings => PLAIN + 4,
            Self::Pongs => PLAIN + 5,
            Self::MailboxMessages => PLAIN + 6,
            Self::OutboxMessages => PLAIN + 7,
            Self::MailboxFull => PLAIN + 8,
            Self::BuffersExhausted => PLAIN + 9,
            Self::Writes => PLAIN + 10,
            Self::ShortWrites => PLAIN + 11,
            Self::RingEnters => PLAIN + 12,
            Self::RingSubmissions => PLAIN + 13,
            Self::RingCompletions => PLAIN + 14,
            Self::RingOverflows => PLAIN + 15,
            Self::PlacesTaken => PLAIN + 16,
            Self::DeflatePlainBytes => PLAIN + 17,
            Self::DeflateBytes => PLAIN + 18,
            Self::TurnBucket(bucket) => BUCKET + bucket as usize,
            Self::TurnBusyUs => BUCKET + TURN_BUCKETS,
            Self::ExecutorTasksUs => BUCKET + TURN_BUCKETS + 1,
            Self::Commands => BUCKET + TURN_BUCKETS + 2,
            Self::Deferrals => BUCKET + TURN_BUCKETS + 3,
            Self::Clients => BUCKET + TURN_BUCKETS + 4,
            Self::Users => BUCKET + TURN_BUCKETS + 5,
            Self::Subscriptions => BUCKET + TURN_BUCKETS + 6,
            Self::Channels => BUCKET + TURN_BUCKETS + 7,
            Self::Requests => BUCKET + TURN_BUCKETS + 8,
            Self::PollSessions => BUCKET + TURN_BUCKETS + 9,
            Self::TlsHandshakes => BUCKET + TURN_BUCKETS + 10,
            Self::TlsFailures => BUCKET + TURN_BUCKETS + 11,
            Self::Throttled(excess) => THROTTLED + excess as usize,
            Self::Offences(offence) => OFFENDED + offence as usize,
            Self::Penalties => LIMITS,
            Self::LimitsTracked => LIMITS + 1,
            Self::PenaltiesTracked => LIMITS + 2,
            Self::PenaltiesRefused => LIMITS + 3,
            Self::Draining => SLOW,
            Self::SlowReaders => SLOW + 1,
            Self::SlowReaderBytes => SLOW + 2,
            Self::SlowByQueue => SLOW + 3,
            Self::SlowByBudget => SLOW + 4,
            Self::OldestLeftOut => SLOW + 5,
            Self::OutdatedLeftOut => SLOW + 6,
            Self::ClientsLeft => SLOW + 7,
            Self::RingHeld => SLOW + 8,
            Self::PartialBytes => SLOW + 9,
            Self::LateMs => LATE,
            Self::LatenessGrantedMs => LATE + 1,
            Self::TimeoutsDeferred => LATE + 2,
            Self::PingStretch => LATE + 3,
            Self::WallSteps => LATE + 4,
            Self::HistoryBytes => LAST,
            Self::Memory(budget) => MEMORY + budget as usize,
            Self::InboxMessages => TURNS,
            Self::DeferredConnections => TURNS + 1,
            Self::CommandErrors(kind) => ERRORS + kind.place(),
            Self::Disconnects(kind) => ENDED + kind.place(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_place_of_its_own_and_all_but_turns_are_published() {
        let mut places: Vec<usize> =
            CATALOG.iter().flat_map(|family| family.metrics).map(|(metric, _)| metric.index()).collect();
        places.extend((0..TURN_BUCKETS).map(|bucket| Metric::turn_bucket(bucket).index()));
        places.push(Metric::TurnBusyUs.index());
        places.sort_unstable();
        assert_eq!(places, (0..Metric::COUNT).collect::<Vec<_>>());
    }
}
