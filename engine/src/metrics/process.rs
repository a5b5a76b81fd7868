//! Process: what is published beside the plain numbers of shards, with its names and words.
//!
//! Only the turns are counted by shards; all else is the control thread's, the backend's, the log's or the kernel's, and
//! has no label `core`. The values are put to these names in `control/metrics.rs`.

use super::{catalog::Metric, definition::families};

families! {
    Metric;

    /// Working time of a turn of the connection loop, without its sleep.
    TURN => histogram "turn" in seconds;
        note "The kernel's part is not in it either. Buckets from 50 µs to 250 ms.";
        watch "the share above 10 ms: that long others wait";
    /// Calls of the server API for which there was no memory.
    API_REFUSALS => counter "api_refusals";
        watch "any growth: raise `http_api.memory_budget`";
    /// Calls of the server API.
    API_CALLS => counter "api_calls" by method;
        note "Those of a batch one by one.";
    /// Calls of the server API that ended with an error.
    API_ERRORS => counter "api_errors" by method;
        watch "growth";
    /// Calls of the server API that were not let in.
    API_DENIALS => counter "api_denials" by reason;
        note "`no_key`, `wrong_key`, `host`, `origin`, `content_type`, `body`.";
        watch "any burst";
    /// Connections to the control port.
    CONTROL_CONNECTIONS => gauge "control_connections";
        watch "against `http_server.internal_connection_limit`";
    /// Connections to the control port that were accepted.
    CONTROL_ACCEPTS => counter "control_accepts";
    /// Connections that the control port closed by itself.
    CONTROL_CLOSES => counter "control_closes" by reason;
        note "`full` (503), `evicted` (its place was needed), `head`, `idle`, `answer` (too slow), `tls`.";
        watch "growth of `full` and `evicted`: somebody holds connections";
    /// Events that were put to the application's backend.
    BACKEND_CALLS => counter "backend_calls" by event;
        note "`connect`, `refresh`, `rpc`, `subscribe`, `publish`, `sub_refresh`: see [Asking the backend](backend.md).";
    /// Events to which the backend gave no answer that could be used.
    BACKEND_FAILURES => counter "backend_failures" by event;
        note "The log has the reasons.";
        watch "any growth";
    /// Calls to the application's backend that are under way.
    BACKEND_CALLS_UNDER_WAY => gauge "backend_calls_under_way";
        watch "against `backend.concurrency`";
    /// Asks that the control thread was not given, because too many waited.
    BACKEND_OVERFLOWS => counter "backend_overflows";
        note "Their commands were answered with error 100.";
        watch "any growth";
    /// For how long a thread has not come round: a shard to its next turn, the control thread to its next task.
    BEAT_AGE => gauge "beat_age" in seconds by thread;
        note "`shard-0`, …, `control`, `pulse`; counted in steps of a quarter of a second, and only while the process runs.";
        watch "anything from `engine.stall_timeout` on";
    /// How long the certificates of a listener still hold; below 0 where they have expired.
    CERTIFICATE_EXPIRY => gauge "certificate_expiry" in seconds by listener;
        note "`clients`, `control`; missing without TLS.";
        watch "less than two weeks";
    /// Log lines that standard error did not take.
    LOG_LINES_LOST => counter "log_lines_lost";
        watch "any growth: a full disk, or nobody reads";
    /// 1 while new connections are refused for want of memory.
    MEMORY_SHORT => gauge "memory_short";
        watch "anything but 0";
    /// How many bytes may count against a budget, over all cores, and against all; 0 where there is no limit.
    MEMORY_LIMIT => gauge "memory_limit" in bytes by budget;
        note "The budgets of `holdfast_memory_bytes`, and `all`.";
    /// Resident memory of the process.
    RESIDENT_MEMORY => gauge "resident_memory" in bytes;
        watch "against `engine.memory_limit`";
    /// Memory in use in the control group, without that of files.
    CONTROL_GROUP_MEMORY => gauge "control_group_memory" in bytes;
        note "The kernel's for sockets is in it; missing where there is no limit.";
        watch "against its limit";
    /// The memory limit of the control group.
    CONTROL_GROUP_MEMORY_LIMIT => gauge "control_group_memory_limit" in bytes;
        note "Missing where there is none.";
}
