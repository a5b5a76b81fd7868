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
use crate::{ids::ClientKey, memory::Holders};

/// The clients of a shard.
#[derive(Debug)]
pub(crate) struct Clients {
    /// Hides the clients' slots in their ids.
    secret: [u8; 32],
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Clients with waiting commands.
    pub(super) waiting: Holders<ClientKey>,
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
            lease: None,
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
    pub(super) fn table_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
            + self.free.capacity() * size_of::<u32>()
            + self.waiting.bytes()
    }

    /// Clients with waiting commands, and the memory of these.
    pub(super) fn whose_commands_wait(&self) -> Vec<(ClientKey, u64)> {
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
