//! Redis: how nodes act as one, through Redis or Valkey.
//!
//! In:  the channels that a node wants to hear; what it publishes, asks and tells other nodes.
//! Out: what other nodes publish ([`receive`]), or that it may be incomplete; answers of Redis ([`command`]); what is wrong
//!      with a server ([`look`]).
//!
//! Names ([`layout`]), frames ([`frame`], [`publication`]) and messages between nodes ([`control`]) are Centrifugo's, so that
//! nodes of both can share a deployment.
//!
//! The daemon's thread `broker` uses it. Receiving has a reader of its own, because a publication that a client library loses in
//! silence is lost for every client of the node (decision 0015).
#![forbid(unsafe_code)]

pub mod command;
pub mod control;
pub mod frame;
pub mod layout;
pub mod look;
pub mod publication;
pub mod receive;

mod scripts;
mod wire;
