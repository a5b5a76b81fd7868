//! Holdfast's wire protocols without I/O.
//!
//! In:  bytes, as they came from a peer.
//! Out: requests, messages and answers; or an error that names its own answer on the wire.
//!
//! No socket, no clock, no unsafe.
#![forbid(unsafe_code)]
