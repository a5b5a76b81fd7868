//! Redis: what is published of each Redis that this node uses.
//!
//! Each has a label `redis`, beside its own: the address as it is configured, without user and password. The library for
//! Redis counts; the values are put to these names in `control/metrics/redis.rs`.

use super::{catalog::Metric, definition::families};

families! {
    Metric, FAMILIES with redis;

    /// What went through pub/sub, by direction.
    PUBLICATIONS => counter "redis_publications" by direction;
        note "`out`: publications of this node that Redis took. `in`: messages that this node heard, its own among them; joins, leaves and messages between nodes count, too.";
        watch "`out` near what one Redis carries: [sizing](cluster/sizing.md)";
    /// Bytes of these messages, by direction.
    PUBLICATION_BYTES => counter "redis_publication" in bytes by direction;
        note "`out`: payloads. `in`: with their frames and the names of channels.";
    /// Publications that went to Redis in one call.
    BATCH => histogram "redis_batch_publications";
        note "At most `engine.redis.batch_size`.";
        watch "a mean near 1 at a high rate: `engine.redis.gather` is too short";
    /// Time from a command, or a batch of publications, to its answer.
    ROUND_TRIP => histogram "redis_round_trip" in seconds;
        note "Buckets from 100 µs to 1 s. What is never answered is counted in `holdfast_redis_asks_refused_total`.";
        watch "the share above 10 ms: Redis, or the way to it, is overloaded";
    /// Commands that Redis answered, other than publications.
    READS => counter "redis_reads";
    /// Publications and questions that Redis did not answer or answered with an error, by reason.
    ASKS_REFUSED => counter "redis_asks_refused" by reason;
        note "`full` (`engine.redis.queue_size`, `queue_bytes`), `too_large`, `scattered` (the name of a channel fits no slot), `down` (the breaker is open), `expired` (it waited too long), `denied` (an error of Redis), `late` (no answer in time), `lost` (the connection ended before the answer), `garbled`, `unreplicated` (`engine.redis.wait_replicas`). After the last four it may have been done. Clients get error 100.";
        watch "any growth, of `denied` first: the log has Redis' words";
    /// Publications that wait to be sent.
    ASKS_WAITING => gauge "redis_asks_waiting";
        watch "compare with `engine.redis.queue_size`";
    /// Memory of publications that wait or are under way.
    QUEUE => gauge "redis_queue" in bytes;
        watch "compare with `engine.redis.queue_bytes`";
    /// The breaker's state: 1 for the one that it has.
    BREAKER => gauge "redis_breaker" by state;
        note "`closed`: Redis is asked. Otherwise it is not, and why: `connecting` (not connected yet), `lost` (the connection ended), `silent` (it does not answer), `wrong_primary` (it is a replica, or it lost its data or its cluster), `stopped`.";
        watch "`closed` at 0 for more than a few seconds";
    /// How often the breaker opened.
    BREAKER_OPENED => counter "redis_breaker_opened";
        watch "any growth";
    /// 1 while there is a connection by which this node hears what is published.
    LINK_UP => gauge "redis_link_up";
        watch "0 for more than a few seconds";
    /// Connections for what is published that ended, or did not come about, by cause. Each is followed by another attempt.
    RECONNECTS => counter "redis_reconnects" by cause;
        note "Not made: `resolve`, `connect`, `tls`, `authentication`, `not_ready`, `not_master`, `handshake`, `deadline`. Ended: `closed` (by Redis: a restart, CLIENT KILL, `client-output-buffer-limit pubsub`), `broken`, `protocol`, `unasked`, `unanswered`, `silent`, `deaf`, `miscounted`, `panicked`. On purpose: `asked` (another Redis is the primary), `stopped`. The log has the words.";
        watch "any growth; of `closed` while Redis runs: raise `client-output-buffer-limit`";
    /// Probes of a connection that had brought nothing for some seconds.
    PROBES => counter "redis_probes";
    /// Probes that showed that the connection was of no use any more.
    PROBE_FAILURES => counter "redis_probe_failures" by cause;
        note "`silent` (PING was not answered), `deaf` (it was, but what was published did not arrive). They are in `holdfast_redis_reconnects_total`, too.";
        watch "any growth: without probes, nobody would have noticed";
    /// Channels of pub/sub, by state.
    CHANNELS => gauge "redis_channels" by state;
        note "`wanted`: that this node wants to hear. `confirmed`: of which Redis said that it does.";
        watch "a lasting difference: a channel is refused, and the log says why";
    /// Connections for commands that came about, in a cluster to each node.
    CONNECTIONS => counter "redis_connections";
    /// Scripts that Redis had forgotten and was told again.
    SCRIPTS_RELOADED => counter "redis_scripts_reloaded";
        note "After a restart, a failover, or SCRIPT FLUSH.";
    /// Redis' clock less this machine's.
    CLOCK_SKEW => gauge "redis_clock_skew" in seconds;
        note "Measured every few seconds, by TIME. Absent before that, and where the user may not run TIME.";
        watch "more than 1, or less than -1";
}
