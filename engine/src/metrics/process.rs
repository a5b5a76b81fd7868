//! Process: what is published beside the plain numbers of shards, with its names and words.
//!
//! Only the turns are counted by shards; all else is the control thread's, the backend's, the log's or the kernel's, and
//! has no label `core`. The values are put to these names in `control/metrics.rs`. What only many nodes have is in `redis.rs`
//! and `broker.rs`.

use super::{catalog::Metric, definition::families};

families! {
    Metric, FAMILIES;

    /// Working time of a turn of the connection loop, without its sleep.
    TURN => histogram "turn" in seconds;
        note "Time in the kernel is not included. Buckets from 50 µs to 250 ms.";
        watch "the share above 10 ms: other clients wait for that long";
    /// Calls of the server API that were refused, because http_api.memory_budget was full.
    API_REFUSALS => counter "api_refusals";
        watch "any growth: raise `http_api.memory_budget`";
    /// Calls of the server API.
    API_CALLS => counter "api_calls" by method;
        note "Each command of a batch counts.";
    /// Calls of the server API that ended with an error.
    API_ERRORS => counter "api_errors" by method;
        watch "growth";
    /// Calls of the server API that were denied before they ran.
    API_DENIALS => counter "api_denials" by reason;
        note "`no_key`, `wrong_key`, `host`, `origin`, `content_type`, `body`.";
        watch "any burst";
    /// Connections to the control port.
    CONTROL_CONNECTIONS => gauge "control_connections";
        watch "compare with `http_server.internal_connection_limit`";
    /// Accepted connections to the control port.
    CONTROL_ACCEPTS => counter "control_accepts";
    /// Connections that the control port closed.
    CONTROL_CLOSES => counter "control_closes" by reason;
        note "`full` (503), `evicted` (a new connection needed its place), `head`, `idle`, `answer` (too slow), `tls`.";
        watch "growth of `full` and `evicted`: some peer keeps connections open";
    /// Calls to the application's backend, by event.
    BACKEND_CALLS => counter "backend_calls" by event;
        note "`connect`, `refresh`, `rpc`, `subscribe`, `publish`, `sub_refresh`: see [Asking the backend](backend.md).";
    /// Calls to which the backend gave no usable answer.
    BACKEND_FAILURES => counter "backend_failures" by event;
        note "The log has the reasons.";
        watch "any growth";
    /// Calls to the application's backend that are under way.
    BACKEND_CALLS_UNDER_WAY => gauge "backend_calls_under_way";
        watch "compare with `backend.concurrency`";
    /// Calls to the backend that were dropped, because backend.queue_size calls waited already.
    BACKEND_OVERFLOWS => counter "backend_overflows";
        note "Their commands get error 100.";
        watch "any growth";
    /// Time since a thread last made progress: a shard finished a turn, or the control thread a task.
    BEAT_AGE => gauge "beat_age" in seconds by thread;
        note "`shard-0`, …, `control`, `pulse`; measured in steps of a quarter of a second, and only while the process runs.";
        watch "a value of `engine.stall_timeout` or more";
    /// Time until the certificates of a listener expire; below 0 if they have expired.
    CERTIFICATE_EXPIRY => gauge "certificate_expiry" in seconds by listener;
        note "`clients`, `control`; absent without TLS.";
        watch "less than two weeks";
    /// Log lines that were lost, because standard error did not accept them.
    LOG_LINES_LOST => counter "log_lines_lost";
        watch "any growth: the disk is full, or no process reads the log";
    /// 1 while new connections are refused, because memory is short.
    MEMORY_SHORT => gauge "memory_short";
        watch "a value above 0";
    /// Limit of each budget over all cores, in bytes, and of all budgets together; 0 means no limit.
    MEMORY_LIMIT => gauge "memory_limit" in bytes by budget;
        note "The budgets of `holdfast_memory_bytes`, and `all`.";
    /// Resident memory of the process.
    RESIDENT_MEMORY => gauge "resident_memory" in bytes;
        watch "compare with `engine.memory_limit`";
    /// Memory in use in the control group, without page cache.
    CONTROL_GROUP_MEMORY => gauge "control_group_memory" in bytes;
        note "It includes kernel memory of sockets. Absent without a limit.";
        watch "compare with its limit";
    /// The memory limit of the control group.
    CONTROL_GROUP_MEMORY_LIMIT => gauge "control_group_memory_limit" in bytes;
        note "Absent without a limit.";
}
