//! Registry: sessions that requests name by id, because they have no bidirectional connection.
//!
//! In:  sessions that begin and end; ids from requests.
//! Out: ids; the session of an id.
//!
//! An id authorizes its holder to speak in the session, so it holds 128 random bits, which are compared in constant
//! time. The rest of it locates the session. Memory: 48 bytes per session, plus its [`Poll`].

use subtle::ConstantTimeEq as _;

use super::poll::Poll;
use crate::{
    ids::{
        ClientKey, ShardId,
        slab::{Slab, key_by_place},
    },
    memory::Holders,
    session::{SessionIndex, request::SessionId},
};

/// Memory of a polling session in the wheel: a few entries of 8 bytes, in vectors that are not all full.
const WHEEL_BYTES: usize = 64;

#[derive(Debug)]
struct Session {
    secret: [u8; 16],
    /// The client, until its session has ended.
    client: Option<ClientKey>,
    /// Its polling queue; `None` for a stream.
    poll: Option<Box<Poll>>,
}

/// The named sessions of one shard.
#[derive(Debug)]
pub(crate) struct SessionRegistry {
    shard: ShardId,
    sessions: Slab<SessionIndex, Session>,
    polls: usize,
    /// Polling sessions with waiting replies.
    pub(super) owed: Holders<SessionIndex>,
}

impl SessionRegistry {
    pub(crate) fn new(shard: ShardId) -> Self {
        Self { shard, sessions: Slab::default(), polls: 0, owed: Holders::default() }
    }

    /// Opens a session with a new id, unpredictable without `secret`.
    pub(crate) fn open(&mut self, secret: [u8; 16]) -> SessionIndex {
        self.sessions.insert(Session { secret, client: None, poll: None })
    }

    /// Makes a session a polling session.
    pub(crate) fn set_poll(&mut self, place: SessionIndex, poll: Poll) {
        if let Some(session) = self.sessions.get_mut(place) {
            session.poll = Some(Box::new(poll));
            self.polls += 1;
        }
    }

    pub(crate) fn set_client(&mut self, place: SessionIndex, client: Option<ClientKey>) {
        if let Some(session) = self.sessions.get_mut(place) {
            session.client = client;
        }
    }

    pub(crate) fn client(&mut self, place: SessionIndex) -> Option<ClientKey> {
        self.sessions.get(place)?.client
    }

    pub(crate) fn poll(&mut self, place: SessionIndex) -> Option<&mut Poll> {
        self.sessions.get_mut(place)?.poll.as_deref_mut()
    }

    pub(crate) fn id(&mut self, place: SessionIndex) -> Option<SessionId> {
        self.sessions.get(place).map(|session| SessionId { shard: self.shard, place, secret: session.secret })
    }

    /// The slot of a session on this shard, if the id matches.
    pub(crate) fn find(&mut self, id: &SessionId) -> Option<SessionIndex> {
        let session = self.sessions.get(id.place)?;
        bool::from(session.secret.ct_eq(&id.secret)).then_some(id.place)
    }

    pub(crate) fn close(&mut self, place: SessionIndex) {
        if let Some(session) = self.sessions.remove(place) {
            self.polls -= usize::from(session.poll.is_some());
        }
    }

    /// Memory of the table, and of the polling records.
    pub(crate) fn table_bytes(&self) -> usize {
        self.sessions.table_bytes() + self.polls * (size_of::<Poll>() + WHEEL_BYTES) + self.owed.bytes()
    }

    /// The number of polling sessions.
    pub(crate) fn polls(&self) -> usize {
        self.polls
    }

    /// The polling sessions with waiting replies, and the memory of these.
    pub(crate) fn owed(&self) -> impl Iterator<Item = (SessionIndex, u64)> {
        let bytes = |place: SessionIndex| {
            let session = self.sessions.get(place)?;
            session.poll.as_ref().map(|poll| poll.cost_bytes() as u64)
        };
        self.owed.all().map(move |place| (place, bytes(place).unwrap_or(0)))
    }

    /// The polling session in a slot, if any.
    pub(crate) fn poll_at(&self, place: usize) -> Option<SessionIndex> {
        let (place, session) = self.sessions.in_place(place)?;
        session.poll.as_ref().map(|_| place)
    }

    /// The number of slots, taken or free.
    pub(crate) fn places(&self) -> usize {
        self.sessions.places()
    }
}

// An id's secret tells the sessions apart that had one slot.
key_by_place!(SessionIndex);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_finds_its_session_and_no_other_one() {
        let mut named = SessionRegistry::new(ShardId::new(3));
        let (first, second) = (named.open([1; 16]), named.open([2; 16]));
        let id = named.id(second).unwrap();
        let read: SessionId = id.to_string().parse().unwrap();
        assert_eq!(read.shard, ShardId::new(3));
        assert_eq!(named.find(&read), Some(second));
        let foreign = SessionId { place: first, ..read };
        assert_eq!(named.find(&foreign), None, "a place without its secret");
        named.close(second);
        assert_eq!(named.find(&read), None);
        assert_eq!(named.open([3; 16]), second, "places are used again");
        assert_eq!(named.find(&read), None, "with another secret");
    }
}
