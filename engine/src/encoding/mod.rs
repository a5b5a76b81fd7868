//! Encoding: messages of the client protocol as the bytes that a transport carries.
//!
//! In:  replies and pushes.
//! Out: bytes for one receiver, or for many (`push`). No I/O.

mod push;
mod transport;

pub(crate) use self::{
    push::{EncodedPush, kind},
    transport::Encoding,
};
