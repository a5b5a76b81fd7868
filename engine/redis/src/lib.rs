//! Redis: how nodes act as one, through Redis or Valkey.
//!
//! In:  publications, subscriptions and questions of one node.
//! Out: the same, in the layout of Centrifugo's Redis engine, so that nodes of both share a deployment; what other nodes
//! publish.
//!
//! Commands and scripts go through `fred`; receiving has a reader of its own, because a publication that a client library
//! loses in silence is lost for every client of the node.
#![forbid(unsafe_code)]

pub mod receive;
