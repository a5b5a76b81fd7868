//! Client: a session that speaks the Centrifuge client protocol.
//!
//! In:  commands, from any transport; answers and deliveries of owners.
//! Out: replies and pushes, as the same bytes for all clients of the same format.
//!
//! The client's shard decides what a command may do; the channel's owner decides what the channel holds. The files:
//! [`command`] (dispatch), `connect`, `subscribe`, `publish`, `ask` (presence and history), `refresh` (expiring
//! tokens), `seat` (the limit of a user's connections), `event` (decisions of the application's backend), `keys`
//! (tokens with unknown keys), `pending` (commands that wait for either), `waiting` and `parked` (clients on hold),
//! `reads` (queries with long answers), `account` (memory), `deliver` (publications for subscribers with individual
//! options), `leave` (the end).

mod account;
mod ask;
mod command;
mod connect;
mod deliver;
mod event;
mod keys;
mod leave;
mod parked;
mod pending;
mod publish;
mod reads;
mod refresh;
mod seat;
mod subscribe;
mod subscribed;
#[cfg(test)]
mod tests;
mod unsubscribe;
mod waiting;

use std::{
    hash::{DefaultHasher, Hasher as _},
    ops::Range,
    sync::Arc,
};

use holdfast_protocol::client::{Format, filter::Filter};
use holdfast_ring::Socket;

use super::registry::SessionIndex;
use crate::{
    channel::SubscriptionFlags,
    conn::deflate::Deflate,
    encoding::Encoding,
    hub::{
        local::LocalChannelKey,
        message::{ClientKey, PresenceFlags},
        publication::{Data, Info},
    },
    memory::Holders,
    session::quota::SeatNumber,
};

use self::{account::Counted, reads::Reads};
pub(crate) use self::{
    connect::Connecting,
    keys::{KeyWaits, KeysCame},
    pending::ConnectionMeta,
    refresh::is_past,
    subscribe::SubscribeParams,
};

/// How bytes reach a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// A WebSocket: frames of the client's format.
    WebSocket {
        socket: Socket,
        /// True exactly when control frames ping it, not the protocol's own pings.
        has_native_pings: bool,
        /// How its messages are compressed.
        deflate: Deflate,
    },
    /// A stream; its commands arrive in requests that name the session.
    Stream { wire: Encoding, socket: Socket, session: SessionIndex },
    /// Answers to polls, which name the session.
    Poll(SessionIndex),
}

impl Transport {
    /// The client's long-lived connection, if it has one, and its encoding.
    pub(crate) fn connection(self, format: Format) -> Option<(Encoding, Socket)> {
        match self {
            Self::WebSocket { socket, .. } => Some((Encoding::WebSocket(format), socket)),
            Self::Stream { wire, socket, .. } => Some((wire, socket)),
            Self::Poll(_) => None,
        }
    }

    /// How its messages are compressed.
    pub(crate) fn deflate(self) -> Deflate {
        match self {
            Self::WebSocket { deflate, .. } => deflate,
            Self::Stream { .. } | Self::Poll(_) => Deflate::Off,
        }
    }

    /// The session that the client's requests name.
    pub(crate) fn session(self) -> Option<SessionIndex> {
        match self {
            Self::WebSocket { .. } => None,
            Self::Stream { session, .. } | Self::Poll(session) => Some(session),
        }
    }

    /// True exactly when the client must answer the protocol's own pings. For a polling client, each poll is a sign of
    /// life.
    pub(crate) fn is_pinged(self) -> bool {
        match self {
            Self::WebSocket { has_native_pings, .. } => !has_native_pings,
            Self::Stream { .. } => true,
            Self::Poll(_) => false,
        }
    }
}

/// The stage of a client's life.
///
/// ```text
/// Fresh ── connect ──> Connecting ── its server-side subscriptions are made ──> Connected
///                          └─── later commands wait, in order (`waiting`) ─────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its first command must be `connect`.
    Fresh,
    /// It has no reply to its connect yet.
    Connecting,
    Connected,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    generation: u32,
    pub(crate) stage: Stage,
    pub(crate) format: Format,
    pub(crate) link: Transport,
    /// Unpredictable; its text form is the client's id. [`Clients::find`] finds the client by it.
    pub(crate) id: uuid::Uuid,
    pub(crate) user: Arc<str>,
    /// The connection info from its token.
    pub(crate) conn_info: Option<Box<Data>>,
    pub(crate) subs: Vec<Subscription>,
    /// When the connection's token expires, in Unix seconds; 0 for never.
    pub(crate) expires_at_s: u64,
    /// The connect that is not answered yet.
    pub(crate) connecting: Option<Box<Connecting>>,
    reads: Reads,
    /// The bytes charged to the ledger for its record.
    counted: Counted,
    /// State that few clients have.
    pub(crate) kept: Option<Box<ConnectionMeta>>,
    /// Its seat under the user's connection limit.
    pub(crate) seat: Option<SeatNumber>,
}

/// A client's subscription.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) channel: LocalChannelKey,
    pub(crate) place: SubState,
    pub(crate) is_server_side: bool,
    /// True exactly when the connection's token requested it.
    pub(crate) is_by_token: bool,
    /// When its token expires, in Unix seconds; 0 for never.
    pub(crate) expires_at_s: u64,
    /// True exactly when the backend refreshes it, not the client.
    pub(crate) is_refreshed_by_backend: bool,
    /// Rights granted in addition to the messages.
    pub(crate) extras: SubscriptionFlags,
    /// Where others see it.
    pub(crate) shows: PresenceFlags,
    /// The client's info in this channel, if others see it there.
    pub(crate) info: Option<Arc<Info>>,
    /// Its individual delivery options.
    pub(crate) wishes: Option<Box<DeliveryOptions>>,
}

/// The place of a subscription among those of its channel on this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubState {
    /// The owner has not answered yet; `command` asked, 0 for none. An answer with another ticket belongs to a
    /// subscription that has ended since: publications after its position may have bypassed this shard.
    Pending { ticket: u32, command: u32 },
    /// Its index.
    Active(u32),
}

/// Options of one subscriber that the shared frames cannot serve.
#[derive(Debug, Default)]
pub(crate) struct DeliveryOptions {
    pub(crate) delta: Delta,
    pub(crate) filter: Option<Arc<Filter>>,
    /// True exactly when it wants joins and leaves.
    pub(crate) join_leave: bool,
}

/// Which patches may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Delta {
    /// It did not ask for any.
    #[default]
    None,
    /// It asked, and has not received a publication yet.
    WantsWhole,
    /// Patches against the last publication it received:
    /// [`StoredPublication::sequence`](crate::hub::publication::StoredPublication::sequence).
    TakesPatchesTo(u64),
}

/// The clients of a shard.
#[derive(Debug)]
pub(crate) struct Clients {
    /// Hides the clients' slots in their ids.
    secret: [u8; 32],
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Clients with waiting commands.
    waiting: Holders<ClientKey>,
}

#[derive(Debug)]
enum Slot {
    /// The generation of the next client in this slot.
    Free(u32),
    Taken(Box<Client>),
}

/// The last four bytes of a client's id are its slot, masked.
const ID_RANDOM_BYTES: usize = 12;

impl Clients {
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Self { secret, slots: Vec::new(), free: Vec::new(), waiting: Holders::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Inserts a client with an id of random bytes.
    pub(crate) fn insert(
        &mut self,
        link: Transport,
        format: Format,
        random: [u8; 16],
        nobody: Arc<str>,
    ) -> ClientKey {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::Free(0));
            u32::try_from(self.slots.len() - 1).expect("fewer clients than 2^32")
        });
        let id = self.id_at(place, random);
        let slot = &mut self.slots[place as usize];
        let Slot::Free(generation) = *slot else { unreachable!("a free place is free") };
        *slot = Slot::Taken(Box::new(Client {
            generation,
            stage: Stage::Fresh,
            format,
            link,
            id,
            user: nobody,
            conn_info: None,
            subs: Vec::new(),
            expires_at_s: 0,
            connecting: None,
            reads: Reads::default(),
            counted: Counted::default(),
            kept: None,
            seat: None,
        }));
        ClientKey { place, generation }
    }

    /// Finds a client by its id, without a lookup table.
    pub(crate) fn find(&self, id: uuid::Uuid) -> Option<ClientKey> {
        let place = self.place_in(id.as_bytes());
        match self.slots.get(place as usize) {
            Some(Slot::Taken(client)) if client.id == id => {
                Some(ClientKey { place, generation: client.generation })
            }
            _ => None,
        }
    }

    fn id_at(&self, place: u32, random: [u8; 16]) -> uuid::Uuid {
        let mut id = uuid::Builder::from_random_bytes(random).into_uuid().into_bytes();
        let hidden = place ^ self.mask(&id);
        id[ID_RANDOM_BYTES..].copy_from_slice(&hidden.to_be_bytes());
        uuid::Uuid::from_bytes(id)
    }

    fn place_in(&self, id: &uuid::Bytes) -> u32 {
        let hidden = id.last_chunk().map_or(0, |hidden| u32::from_be_bytes(*hidden));
        hidden ^ self.mask(id)
    }

    /// A keyed hash (SipHash): random to anybody without the secret.
    fn mask(&self, id: &uuid::Bytes) -> u32 {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.secret);
        hasher.write(&id[..ID_RANDOM_BYTES]);
        (hasher.finish() >> 32) as u32
    }

    /// Memory of the table.
    fn table_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
            + self.free.capacity() * size_of::<u32>()
            + self.waiting.bytes()
    }

    /// Clients with waiting commands, and the memory of these.
    fn whose_commands_wait(&self) -> Vec<(ClientKey, u64)> {
        let bytes = |key: ClientKey| match &self.slots[key.place as usize] {
            Slot::Taken(client) => client.counted_commands() as u64,
            Slot::Free(_) => 0,
        };
        self.waiting.all().map(|key| (key, bytes(key))).collect()
    }

    /// All clients.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ClientKey, &Client)> {
        self.at(0..self.places())
    }

    /// The clients in a range of slots.
    pub(crate) fn at(&self, places: Range<usize>) -> impl Iterator<Item = (ClientKey, &Client)> {
        let first = u32::try_from(places.start).unwrap_or(u32::MAX);
        self.slots[places].iter().zip(first..).filter_map(|(slot, place)| match slot {
            Slot::Taken(client) => Some((ClientKey { place, generation: client.generation }, &**client)),
            Slot::Free(_) => None,
        })
    }

    /// The number of slots, taken or free.
    pub(crate) fn places(&self) -> usize {
        self.slots.len()
    }

    /// A client, unless it is gone.
    pub(crate) fn get(&mut self, key: ClientKey) -> Option<&mut Client> {
        match self.slots.get_mut(key.place as usize) {
            Some(Slot::Taken(client)) if client.generation == key.generation => Some(client),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, key: ClientKey) -> Option<Box<Client>> {
        self.get(key)?;
        self.free.push(key.place);
        let free = Slot::Free(key.generation.wrapping_add(1));
        match std::mem::replace(&mut self.slots[key.place as usize], free) {
            Slot::Taken(client) => Some(client),
            Slot::Free(_) => None,
        }
    }
}

impl Client {
    pub(crate) fn sub(&mut self, channel: LocalChannelKey) -> Option<&mut Subscription> {
        self.subs.iter_mut().find(|sub| sub.channel == channel)
    }
}

/// The text of a client's id.
pub(crate) fn id_text(id: uuid::Uuid) -> Box<str> {
    id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).to_owned().into_boxed_str()
}
