//! A publication, and who is behind it.
//!
//! In:  what a channel carries.
//! Out: the same in both formats, inside pushes and inside results.

use std::borrow::Cow;

use super::Payload;
use super::field::Map;
use super::message::message;

message! {
    /// One connection, as others see it: in presence, in joins and leaves, behind a publication.
    pub struct ClientInfo<'a> {
        /// The user. Empty for an anonymous one.
        1 user [always]: Cow<'a, str>,
        /// The connection.
        2 client [always]: Cow<'a, str>,
        /// What the connection's token or the backend says of it.
        3 conn_info: Payload<'a>,
        /// The same for the subscription.
        4 chan_info: Payload<'a>,
    }
}

message! {
    /// One message of a channel.
    pub struct Publication<'a> {
        /// What was published; a patch where `delta` is set.
        4 data: Payload<'a>,
        /// Who published it, where it was a client.
        5 info: Option<ClientInfo<'a>>,
        /// Its place in the channel's history, from 1; 0 where the channel keeps none.
        6 offset: u64,
        /// What subscription filters look at.
        7 tags: Map<'a, Cow<'a, str>>,
        /// True exactly when `data` is a patch ([`delta`](super::delta)) to the publication before.
        8 delta: bool,
        /// When it was published, in milliseconds since 1970; 0 where not told.
        9 time: i64,
        /// The channel, where the message around it does not name it.
        10 channel: Cow<'a, str>,
    }
}

message! {
    /// A place in a channel's history.
    pub struct StreamPosition<'a> {
        /// The last publication seen.
        1 offset: u64,
        /// Which life of the history the offset belongs to.
        2 epoch: Cow<'a, str>,
    }
}
