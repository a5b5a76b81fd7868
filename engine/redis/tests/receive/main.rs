//! Receiving: a link against real Redis servers, and against peers that follow a script.
//!
//! Every test has a server of its own (`redis-server`, Debian package `redis-server`), on a free port, in a folder of its
//! own, without persistence. `HOLDFAST_TEST_REDIS_SERVER` names another program, for example `valkey-server`.

mod failures;
mod nemesis;
mod peers;
mod servers;
mod slots;
mod support;
