//! Table: the clients of a shard, by key and by id.
//!
//! In:  clients that come and go.
//! Out: their records.

use std::{
    hash::{DefaultHasher, Hasher as _},
    ops::Range,
    sync::Arc,
};

use holdfast_protocol::client::Format;

use super::record::{Client, Counted, Reads, Stage, Transport};
use crate::{
    ids::{ClientKey, slab::Slab},
    memory::Holders,
};

/// The clients of a shard.
#[derive(Debug)]
pub(crate) struct Clients {
    /// Hides the clients' slots in their ids.
    secret: [u8; 32],
    slots: Slab<ClientKey, Box<Client>>,
    /// Clients with waiting commands.
    pub(super) waiting: Holders<ClientKey>,
}

/// The last four bytes of a client's id are its slot, masked.
const ID_RANDOM_BYTES: usize = 12;

impl Clients {
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Self { secret, slots: Slab::default(), waiting: Holders::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Inserts a client with an id of random bytes.
    pub(crate) fn insert(
        &mut self,
        link: Transport,
        format: Format,
        random: [u8; 16],
        nobody: Arc<str>,
    ) -> ClientKey {
        let secret = &self.secret;
        self.slots.insert_with(|key| {
            Box::new(Client {
                stage: Stage::Fresh,
                format,
                link,
                id: id_at(secret, key.place, random),
                user: nobody,
                conn_info: None,
                subs: Vec::new(),
                expires_at: None,
                connecting: None,
                reads: Reads::default(),
                counted: Counted::default(),
                extra: None,
                lease: None,
            })
        })
    }

    /// Finds a client by its id, without a lookup table.
    pub(crate) fn find(&self, id: uuid::Uuid) -> Option<ClientKey> {
        let place = place_in(&self.secret, id.as_bytes());
        let (key, client) = self.slots.in_place(place as usize)?;
        (client.id == id).then_some(key)
    }

    /// Memory of the table.
    pub(super) fn table_bytes(&self) -> usize {
        self.slots.table_bytes() + self.waiting.bytes()
    }

    /// Clients with waiting commands, and the memory of these.
    pub(super) fn whose_commands_wait(&self) -> Vec<(ClientKey, u64)> {
        let bytes = |key| self.slots.get(key).map_or(0, |client| client.counted_commands() as u64);
        self.waiting.all().map(|key| (key, bytes(key))).collect()
    }

    /// All clients.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ClientKey, &Client)> {
        self.at(0..self.places())
    }

    /// The clients in a range of slots.
    pub(crate) fn at(&self, places: Range<usize>) -> impl Iterator<Item = (ClientKey, &Client)> {
        self.slots.in_places(places).map(|(key, client)| (key, &**client))
    }

    /// The number of slots, taken or free.
    pub(crate) fn places(&self) -> usize {
        self.slots.places()
    }

    /// A client, unless it is gone.
    pub(crate) fn get(&mut self, key: ClientKey) -> Option<&mut Client> {
        self.slots.get_mut(key).map(|client| &mut **client)
    }

    pub(crate) fn remove(&mut self, key: ClientKey) -> Option<Box<Client>> {
        self.slots.remove(key)
    }
}

/// The id of a client in a slot.
fn id_at(secret: &[u8; 32], place: u32, random: [u8; 16]) -> uuid::Uuid {
    let mut id = uuid::Builder::from_random_bytes(random).into_uuid().into_bytes();
    let hidden = place ^ mask(secret, &id);
    id[ID_RANDOM_BYTES..].copy_from_slice(&hidden.to_be_bytes());
    uuid::Uuid::from_bytes(id)
}

/// The slot in an id.
fn place_in(secret: &[u8; 32], id: &uuid::Bytes) -> u32 {
    let hidden = id.last_chunk().map_or(0, |hidden| u32::from_be_bytes(*hidden));
    hidden ^ mask(secret, id)
}

/// A keyed hash (SipHash): random to anybody without the secret.
fn mask(secret: &[u8; 32], id: &uuid::Bytes) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write(secret);
    hasher.write(&id[..ID_RANDOM_BYTES]);
    (hasher.finish() >> 32) as u32
}
