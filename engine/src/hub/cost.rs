//! Cost: the memory that a waiting message between owners and subscribers keeps alive.
//!
//! In:  a message.
//! Out: bytes, never less than it keeps alive alone; shared memory is counted too.

use std::sync::Arc;

use super::{
    broker::{FromBroker, Outbound, Read, Received, ToBroker},
    message::{
        Answer, ChannelQuery, Delivery, FromOwner, Publish, QueryResult, Subscribe, Subscribed, ToOwner,
    },
    publication::{Info, StoredPublication},
};

/// The cost of an entry, an allocation and a reference count besides the text.
const SHARED_BYTES: usize = 64;

impl Subscribe {
    /// Bytes of memory, with the value itself.
    pub(super) fn cost_bytes(&self) -> usize {
        let Self { channel, recover, info, data, .. } = self;
        size_of::<Self>()
            + SHARED_BYTES
            + channel.len()
            + recover.as_ref().map_or(0, |recover| {
                let filter = recover.filter.as_ref();
                recover.epoch.len() + filter.map_or(0, |filter| filter.cost_bytes())
            })
            + info.as_deref().map_or(0, info_bytes)
            + data.as_ref().map_or(0, |data| data.len())
    }
}

impl ToOwner {
    /// Bytes of memory besides the value itself.
    pub(crate) fn cost_bytes(&self) -> usize {
        match self {
            Self::Subscribe(subscribe) => subscribe.cost_bytes(),
            Self::Unsubscribe { channel, info, .. } => {
                SHARED_BYTES + channel.len() + info.as_deref().map_or(0, info_bytes)
            }
            Self::Renew { channel, info } => SHARED_BYTES + channel.len() + info_bytes(info),
            Self::Publish(publish) => {
                let Publish { channel, data, info, tags, idempotency_key, version, .. } = &**publish;
                let tags: usize =
                    tags.iter().map(|(key, value)| key.len() + value.len() + SHARED_BYTES).sum();
                size_of::<Publish>()
                    + SHARED_BYTES
                    + channel.len()
                    + data.bytes.len()
                    + info.as_deref().map_or(0, info_bytes)
                    + tags
                    + idempotency_key.len()
                    + version.epoch.len()
            }
            Self::Ask { channel, question, .. } => {
                let since = match question {
                    ChannelQuery::History(page) => page.since.as_ref().map_or(0, |(_, epoch)| epoch.len()),
                    _ => 0,
                };
                SHARED_BYTES + channel.len() + since
            }
        }
    }
}

impl Delivery {
    /// Bytes of memory, including shared memory.
    pub(crate) fn cost_bytes(&self) -> usize {
        let Self { channel, publication, frames, for_delta } = self;
        let for_delta = for_delta.as_ref().map_or(0, |for_delta| {
            2 * for_delta.whole.len() + for_delta.patch.as_ref().map_or(0, |patch| 2 * patch.frames.len())
        });
        size_of::<Self>()
            + channel.len()
            + 2 * frames.len()
            + for_delta
            + publication.as_deref().map_or(0, StoredPublication::cost_bytes)
    }
}

impl FromOwner {
    /// Bytes of memory besides the value itself.
    pub(crate) fn cost_bytes(&self) -> usize {
        match self {
            Self::Deliver(delivery) => delivery.cost_bytes(),
            Self::Subscribed(subscribed) => {
                let Subscribed { channel, position, recovered, data, .. } = &**subscribed;
                size_of::<Subscribed>()
                    + channel.len()
                    + position.as_ref().map_or(0, |position| position.epoch.len())
                    + recovered.iter().flatten().map(|stored| stored.cost_bytes()).sum::<usize>()
                    + data.as_ref().map_or(0, |data| data.len())
            }
            Self::Answered { outcome, .. } => outcome_bytes(outcome),
            Self::PositionLost { channel, .. } => SHARED_BYTES + channel.len(),
            Self::TooLongNow { question, .. } => size_of_val(&**question) + question.cost_bytes(),
        }
    }
}

impl FromBroker {
    /// Bytes of memory besides the value itself.
    pub(crate) fn cost_bytes(&self) -> usize {
        let names = |channels: &[Arc<str>]| {
            channels.iter().map(|channel| size_of::<Arc<str>>() + channel.len()).sum()
        };
        match self {
            Self::Messages(messages) => {
                let message = |message: &Received| size_of::<Received>() + message.frame.len() + SHARED_BYTES;
                messages.iter().map(message).sum()
            }
            Self::Confirmed(channels) | Self::Refused(channels) | Self::Lagging(channels) => names(channels),
            Self::Read(room, read) => {
                let entries = read.iter().flat_map(|read| &read.entries);
                room.channel.len()
                    + SHARED_BYTES
                    + entries.map(|(_, payload)| payload.len() + SHARED_BYTES).sum::<usize>()
            }
            Self::Undelivered(publish) => size_of::<Publish>() + publish.data.bytes.len() + SHARED_BYTES,
            Self::HistoryRemoved(channel) => channel.len(),
            Self::Leased { user, .. } => SHARED_BYTES + user.len(),
        }
    }
}

impl ToBroker {
    /// Bytes of memory besides the value itself.
    pub(crate) fn cost_bytes(&self) -> usize {
        match self {
            Self::Want(channel) | Self::Unwant(channel) | Self::Ask { channel, .. } => {
                SHARED_BYTES + channel.len()
            }
            Self::Read(Read { room, .. }) | Self::Repair { room, .. } => SHARED_BYTES + room.channel.len(),
            Self::Publish(publish) => {
                size_of::<Outbound>()
                    + SHARED_BYTES
                    + publish.channel.len()
                    + publish.payload.len()
                    + publish.local.as_ref().map_or(0, |local| size_of::<Publish>() + local.data.bytes.len())
            }
            Self::Announce { channel, info, .. }
            | Self::Present { channel, info }
            | Self::Absent { channel, info } => SHARED_BYTES + channel.len() + info_bytes(info),
            Self::StillPresent { channel, members } => {
                SHARED_BYTES + channel.len() + members.len() * size_of::<Arc<Info>>()
            }
            Self::Lease { user, .. } => SHARED_BYTES + user.len(),
        }
    }
}

fn outcome_bytes(outcome: &QueryResult) -> usize {
    match outcome {
        Ok(Answer::Presence(infos)) => infos.iter().map(|info| info_bytes(info)).sum(),
        Ok(Answer::History { publications, position }) => {
            position.epoch.len() + publications.iter().map(|stored| stored.cost_bytes()).sum::<usize>()
        }
        Ok(Answer::Published(position)) => position.as_ref().map_or(0, |position| position.epoch.len()),
        Ok(Answer::PresenceStats { .. } | Answer::Done) | Err(_) => 0,
    }
}

fn info_bytes(info: &Info) -> usize {
    let Info { user, client, conn_info, chan_info } = info;
    size_of::<Info>()
        + SHARED_BYTES
        + user.len()
        + client.len()
        + conn_info.bytes.len()
        + chan_info.bytes.len()
}
