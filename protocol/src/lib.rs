//! Holdfast's wire protocols without I/O.
//!
//! In:  bytes, as they came from a peer.
//! Out: requests, messages and answers; or an error that names its own answer on the wire.
//!
//! The road of a connection: [`proxy::parse_header`], where a proxy speaks first → [`tls`], where there is such →
//! [`http::RequestHead`] → [`websocket::handshake_server`] → [`websocket::Decoder`] and [`websocket::encoder`]. The load
//! tool walks the mirror of it through [`websocket::handshake_client`].
//!
//! No socket, no clock, no randomness, no unsafe.
#![forbid(unsafe_code)]

pub mod client;
pub mod http;
pub mod proxy;
pub mod tls;
pub mod websocket;
