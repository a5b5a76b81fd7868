//! Broker: the thread that talks to Redis for all shards.
//!
//! In:  what shards publish, ask and want to hear; the section `engine.redis`.
//! Out: what Redis answers, and what other nodes publish, in the mailboxes of the shards.
//!
//! A shard never waits for Redis. The file so far: `options` (the section `engine.redis`, as the library takes it).

mod options;
