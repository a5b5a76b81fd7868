//! Socket map: one value a socket, by its key.
//!
//! In:  sockets that open and close.
//! Out: their values, found by key; a key of an earlier generation finds nothing.
//!
//! A lane's values are in one table, by slot: the kernel gives out the lowest free slot, so the table is dense. Memory:
//! one value and a generation for each slot up to the highest one that was ever taken.

use crate::{
    kernel::{Descriptor, Socket},
    prefetch::prefetch,
};

/// Values of sockets.
#[derive(Debug)]
pub struct SocketMap<T> {
    lanes: Vec<Vec<Slot<T>>>,
    len: usize,
}

/// What belongs to one descriptor.
#[derive(Debug)]
struct Slot<T> {
    /// Of the socket with this value; if there is none, of the last one, or the one before 0.
    generation: u32,
    value: Option<T>,
}

/// A position in a walk over all sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    lane: usize,
    slot: usize,
}

impl<T> Default for SocketMap<T> {
    /// A map that takes memory for those sockets only that have values.
    fn default() -> Self {
        Self { lanes: Vec::new(), len: 0 }
    }
}

impl<T> SocketMap<T> {
    /// The memory of one slot, in bytes.
    pub const SLOT_BYTES: usize = size_of::<Slot<T>>();

    /// A map with room for all sockets, so that no table ever moves. Pages that no value has touched are not resident.
    #[must_use]
    pub fn with_room(lanes: usize, lane_slots: usize) -> Self {
        Self { lanes: (0..lanes).map(|_| Vec::with_capacity(lane_slots)).collect(), len: 0 }
    }

    /// The memory of all tables, in bytes.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        self.lanes.iter().map(|lane| lane.capacity() * Self::SLOT_BYTES).sum()
    }

    /// How many sockets have values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True exactly when no socket has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Begins the life of a socket in `descriptor`: of the generation after the last one there.
    ///
    /// # Panics
    /// Where a socket has the descriptor already: the kernel gives it out once at a time.
    pub fn open(&mut self, descriptor: Descriptor, value: T) -> Socket {
        let slot = self.slot(descriptor);
        assert!(slot.value.is_none(), "the kernel gives a descriptor out once at a time");
        let socket = Socket::new(descriptor, slot.generation.wrapping_add(1));
        self.insert(socket, value);
        socket
    }

    /// Sets the value of a socket. The value of an earlier one in its descriptor is dropped.
    pub fn insert(&mut self, socket: Socket, value: T) -> &mut T {
        let slot = self.slot(socket.descriptor());
        slot.generation = socket.generation();
        let was_vacant = slot.value.is_none();
        self.len += usize::from(was_vacant);
        self.slot(socket.descriptor()).value.insert(value)
    }

    /// The value of a socket.
    #[must_use]
    pub fn get(&self, socket: Socket) -> Option<&T> {
        let slot = self.lanes.get(socket.lane())?.get(socket.slot())?;
        slot.value.as_ref().filter(|_| slot.generation == socket.generation())
    }

    /// The value of a socket, to be changed.
    #[must_use]
    pub fn get_mut(&mut self, socket: Socket) -> Option<&mut T> {
        let slot = self.lanes.get_mut(socket.lane())?.get_mut(socket.slot())?;
        slot.value.as_mut().filter(|_| slot.generation == socket.generation())
    }

    /// Takes the value of a socket out.
    pub fn remove(&mut self, socket: Socket) -> Option<T> {
        self.get(socket)?;
        self.len -= 1;
        self.slot(socket.descriptor()).value.take()
    }

    /// The socket that has a value in `descriptor`.
    #[must_use]
    pub fn socket_at(&self, descriptor: Descriptor) -> Option<Socket> {
        let slot = self.lanes.get(descriptor.lane())?.get(descriptor.slot() as usize)?;
        slot.value.as_ref().map(|_| Socket::new(descriptor, slot.generation))
    }

    /// Has the value of a socket fetched, for one who asks for it soon.
    pub fn prefetch(&self, socket: Socket) {
        if let Some(slot) = self.lanes.get(socket.lane()).and_then(|lane| lane.get(socket.slot())) {
            prefetch(slot);
        }
    }

    /// The first socket at or after `from`, and where to continue. A walk meets each socket that has a value throughout
    /// exactly once.
    #[must_use]
    pub fn next_from(&self, from: Cursor) -> Option<(Socket, Cursor)> {
        let Cursor { mut lane, mut slot } = from;
        while let Some(slots) = self.lanes.get(lane) {
            let rest = slots.get(slot..).unwrap_or_default();
            if let Some(found) = rest.iter().position(|slot| slot.value.is_some()) {
                slot += found;
                #[expect(clippy::cast_possible_truncation, reason = "it was the slot of a descriptor")]
                let descriptor = Descriptor::new(lane, slot as u32);
                let socket = Socket::new(descriptor, slots[slot].generation);
                return Some((socket, Cursor { lane, slot: slot + 1 }));
            }
            (lane, slot) = (lane + 1, 0);
        }
        None
    }

    /// All sockets with values.
    pub fn sockets(&self) -> impl Iterator<Item = Socket> {
        std::iter::successors(self.next_from(Cursor::default()), |&(_, next)| self.next_from(next))
            .map(|(socket, _)| socket)
    }

    /// Their values.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.lanes.iter().flatten().filter_map(|slot| slot.value.as_ref())
    }

    /// The slot of a descriptor, which exists from now on.
    fn slot(&mut self, descriptor: Descriptor) -> &mut Slot<T> {
        let (lane, slot) = (descriptor.lane(), descriptor.slot() as usize);
        if self.lanes.len() <= lane {
            self.lanes.resize_with(lane + 1, Vec::new);
        }
        let lane = &mut self.lanes[lane];
        if lane.len() <= slot {
            lane.resize_with(slot + 1, Slot::vacant);
        }
        &mut lane[slot]
    }
}

impl<T> Slot<T> {
    /// The slot of a descriptor that no socket has had.
    fn vacant() -> Self {
        Self { generation: u32::MAX, value: None }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    fn walk<T>(map: &SocketMap<T>) -> Vec<Socket> {
        map.sockets().collect()
    }

    #[test]
    fn a_key_of_an_earlier_socket_finds_nobody() {
        let mut map = SocketMap::with_room(2, 4);
        let descriptor = Descriptor::new(1, 3);
        let first = map.open(descriptor, "first");
        assert_eq!((first.generation(), map.get(first)), (0, Some(&"first")));
        assert_eq!(map.remove(first), Some("first"));
        assert_eq!((map.get(first), map.socket_at(descriptor)), (None, None));
        assert_eq!(map.remove(first), None);
        let second = map.open(descriptor, "second");
        assert_eq!((second.generation(), map.socket_at(descriptor)), (1, Some(second)));
        assert_eq!((map.get(first), map.len()), (None, 1));
        assert!(map.get_mut(first).is_none() && map.remove(first).is_none());
        assert_eq!(map.get_mut(second), Some(&mut "second"));
    }

    #[test]
    #[should_panic(expected = "once at a time")]
    fn a_descriptor_is_opened_once_at_a_time() {
        let mut map = SocketMap::default();
        map.open(Descriptor::new(0, 1), ());
        map.open(Descriptor::new(0, 1), ());
    }

    #[test]
    fn a_map_with_room_never_moves_and_one_without_takes_none() {
        let mut map = SocketMap::with_room(1, 1_000);
        let table = map.lanes[0].as_ptr();
        map.open(Descriptor::new(0, 999), [0_u64; 4]);
        assert_eq!(map.lanes[0].as_ptr(), table);
        assert_eq!(SocketMap::<u64>::default().lanes.capacity(), 0);
    }

    #[test]
    fn all_sockets_are_walked_once_over_gaps_and_lanes() {
        let mut map = SocketMap::with_room(3, 16);
        let sockets = [(0, 3), (0, 4), (2, 0), (2, 9)].map(|(lane, slot)| {
            let socket = Socket::new(Descriptor::new(lane, slot), 5);
            map.insert(socket, slot);
            socket
        });
        assert_eq!(walk(&map), sockets);
        assert_eq!(map.values().copied().collect::<Vec<_>>(), [3, 4, 0, 9]);
        map.remove(sockets[1]);
        assert_eq!(walk(&map), [sockets[0], sockets[2], sockets[3]]);
    }

    #[test]
    fn a_map_does_what_a_map_of_the_standard_library_does() {
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let (mut map, mut model) = (SocketMap::default(), BTreeMap::<Descriptor, (u32, u32)>::new());
            for value in 0..300_u32 {
                let descriptor = Descriptor::new(random.random_range(0..3), random.random_range(0..5));
                let socket = Socket::new(descriptor, random.random_range(0..4));
                let at = model.get(&descriptor).copied();
                let found = at.filter(|&(generation, _)| generation == socket.generation());
                match random.random_range(0..4) {
                    0 => {
                        map.insert(socket, value);
                        model.insert(descriptor, (socket.generation(), value));
                    }
                    1 => {
                        assert_eq!(map.remove(socket), found.map(|(_, value)| value), "seed {seed}");
                        found.inspect(|_| _ = model.remove(&descriptor));
                    }
                    2 if at.is_none() => {
                        let socket = map.open(descriptor, value);
                        model.insert(descriptor, (socket.generation(), value));
                    }
                    _ => assert_eq!(map.get(socket), found.as_ref().map(|(_, value)| value), "seed {seed}"),
                }
                assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()), "seed {seed}");
            }
            let sockets =
                model.iter().map(|(&descriptor, &(generation, _))| Socket::new(descriptor, generation));
            assert_eq!(walk(&map), sockets.collect::<Vec<_>>(), "seed {seed}");
        }
    }
}
