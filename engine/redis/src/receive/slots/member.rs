//! Member: what one link of a cluster passes on, and what it says of the cluster.
//!
//! In:  events of a link to one server; the slots for which it speaks.
//! Out: the events of channels in those slots; signs that slots may have moved.
//!
//! Only the link of a slot's owner speaks for its channels. A primary that became a replica goes on delivering to whom is
//! subscribed there, so a publication might be heard twice; and a room that hears one twice concludes that Redis lost it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use redis_protocol::redis_keyslot;
use tokio::sync::Notify;

use crate::{
    layout::SLOTS,
    receive::{
        connection::Address,
        event::{Consumer, Event},
        refusal::Refusal,
    },
};

/// A set of slots that one task changes and others look at.
#[derive(Debug)]
pub(super) struct SlotSet(Vec<AtomicU64>);

impl Default for SlotSet {
    fn default() -> Self {
        Self((0..SLOTS / 64).map(|_| AtomicU64::new(0)).collect())
    }
}

impl SlotSet {
    pub(super) fn insert(&self, slot: u16) {
        self.word(slot).fetch_or(Self::bit(slot), Ordering::Release);
    }

    pub(super) fn remove(&self, slot: u16) {
        self.word(slot).fetch_and(!Self::bit(slot), Ordering::Release);
    }

    pub(super) fn contains(&self, slot: u16) -> bool {
        self.word(slot).load(Ordering::Acquire) & Self::bit(slot) != 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| word.load(Ordering::Acquire) == 0)
    }

    fn word(&self, slot: u16) -> &AtomicU64 {
        // A slot is less than `SLOTS`; anything else would be taken for another one.
        &self.0[usize::from(slot % SLOTS) / 64]
    }

    const fn bit(slot: u16) -> u64 {
        1 << (slot % 64)
    }

    fn has(&self, channel: &[u8]) -> bool {
        self.contains(redis_keyslot(channel))
    }
}

/// Who says that a slot is elsewhere, and where.
pub(super) type Moved = (Address, Address);

/// Signs that slots may have moved, from all links of a cluster. It holds one for each slot at most.
#[derive(Debug, Default)]
pub(super) struct Signs {
    moved: Mutex<HashMap<u16, Moved>>,
    any: Notify,
}

impl Signs {
    /// Something happened that a change of the cluster explains.
    pub(super) fn give(&self) {
        self.any.notify_one();
    }

    fn moved(&self, slot: u16, from: &Address, to: &str) {
        if slot < SLOTS
            && let Some(to) = address_of(to, from)
        {
            self.lock().insert(slot, (from.clone(), to));
        }
        self.give();
    }

    /// Waits for a sign.
    pub(super) async fn any(&self) {
        self.any.notified().await;
    }

    /// The slots of which servers said since the last call that they are elsewhere.
    pub(super) fn take(&self) -> HashMap<u16, Moved> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u16, Moved>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address in a MOVED. A host that the server does not know, or does not name, is its own.
fn address_of(text: &str, said_by: &Address) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let host = if matches!(host, "" | "?") { &said_by.host } else { host };
    Some(Address { host: host.to_owned(), port: port.parse().ok().filter(|port| *port != 0)? })
}

/// Stands between a link to one server and whoever listens.
#[derive(Debug)]
pub(super) struct Member<C> {
    inner: C,
    server: Address,
    speaks_for: Arc<SlotSet>,
    signs: Arc<Signs>,
}

impl<C> Member<C> {
    pub(super) fn new(inner: C, server: Address, speaks_for: Arc<SlotSet>, signs: Arc<Signs>) -> Self {
        Self { inner, server, speaks_for, signs }
    }

    fn own(&self, mut names: Vec<Arc<str>>) -> Vec<Arc<str>> {
        names.retain(|name| self.speaks_for.has(name.as_bytes()));
        names
    }
}

impl<C: Consumer> Consumer for Member<C> {
    fn offer(&mut self, event: Event) -> Result<(), Event> {
        let event = match event {
            Event::Messages(messages) => match messages.keep(|channel| self.speaks_for.has(channel)) {
                Some(messages) => Event::Messages(messages),
                None => return Ok(()),
            },
            Event::Confirmed(names) => Event::Confirmed(self.own(names)),
            Event::Lagging { channels, messages } => {
                Event::Lagging { channels: self.own(channels), messages }
            }
            Event::Lost(names) => {
                self.signs.give();
                Event::Lost(self.own(names))
            }
            Event::Refused(mut refused) => {
                refused.retain(|(name, refusal)| match refusal {
                    // No refusal, but a way: the channel is asked for there.
                    Refusal::Moved { slot, address } => {
                        self.signs.moved(*slot, &self.server, address);
                        false
                    }
                    Refusal::Unavailable(_) => {
                        self.signs.give();
                        self.speaks_for.has(name.as_bytes())
                    }
                    _ => self.speaks_for.has(name.as_bytes()),
                });
                Event::Refused(refused)
            }
            Event::Down(cause) => {
                self.signs.give();
                Event::Down(cause)
            }
            Event::Up { .. } => event,
        };
        let is_empty = match &event {
            Event::Confirmed(names) | Event::Lost(names) => names.is_empty(),
            Event::Lagging { channels, .. } => channels.is_empty(),
            Event::Refused(refused) => refused.is_empty(),
            Event::Up { .. } | Event::Down(_) | Event::Messages(_) => false,
        };
        if is_empty { Ok(()) } else { self.inner.offer(event) }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::receive::{
        cause::Cause,
        reader::{Item, ReadOptions, Reader},
    };

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    impl Consumer for Heard {
        fn offer(&mut self, event: Event) -> Result<(), Event> {
            let words = match event {
                Event::Messages(messages) => {
                    let payloads = messages.iter().map(|message| message.payload.to_vec());
                    String::from_utf8(payloads.collect::<Vec<_>>().concat()).unwrap()
                }
                Event::Confirmed(names) => format!("confirmed {}", names.join(" ")),
                Event::Refused(refused) => format!("refused {}", refused.len()),
                Event::Lost(names) => format!("lost {}", names.join(" ")),
                other => format!("{other:?}"),
            };
            self.0.lock().unwrap().push(words);
            Ok(())
        }
    }

    fn server(host: &str) -> Address {
        Address { host: host.to_owned(), port: 1 }
    }

    fn member() -> (Member<Heard>, Heard) {
        let heard = Heard::default();
        let slots = SlotSet::default();
        slots.insert(redis_keyslot(b"here"));
        (Member::new(heard.clone(), server("here.test"), Arc::new(slots), Arc::default()), heard)
    }

    fn messages() -> Event {
        let mut reader = Reader::new(ReadOptions::default());
        reader.buffer().extend_from_slice(
            b"*3\r\n$8\r\nsmessage\r\n$4\r\nhere\r\n$1\r\nx\r\n*3\r\n$8\r\nsmessage\r\n$5\r\nthere\r\n$1\r\ny\r\n",
        );
        let mut items = Vec::new();
        reader.take(&mut items).unwrap();
        assert_eq!(*reader.buffer(), BytesMut::new());
        let Some(Item::Messages(messages)) = items.pop() else { panic!("these are messages") };
        Event::Messages(messages)
    }

    #[test]
    fn a_link_speaks_for_its_own_slots_only_and_from_the_moment_on_that_they_are_its_own() {
        let (mut member, heard) = member();
        for _ in 0..2 {
            member.offer(messages()).unwrap();
            member.offer(Event::Confirmed(vec!["here".into(), "there".into()])).unwrap();
            member.offer(Event::Lost(vec!["there".into()])).unwrap();
            member.speaks_for.insert(redis_keyslot(b"there"));
        }
        let expected = ["x", "confirmed here", "xy", "confirmed here there", "lost there"];
        assert_eq!(*heard.0.lock().unwrap(), expected);
        member.speaks_for.remove(redis_keyslot(b"here"));
        member.speaks_for.remove(redis_keyslot(b"there"));
        assert!(member.speaks_for.is_empty());
        member.offer(messages()).unwrap();
        assert_eq!(heard.0.lock().unwrap().len(), expected.len());
    }

    #[tokio::test]
    async fn a_slot_that_is_elsewhere_is_a_sign_and_no_refusal() {
        let (mut member, heard) = member();
        let moved =
            |slot, address: &str| ("here".into(), Refusal::Moved { slot, address: address.to_owned() });
        let mut refused =
            vec![moved(7, "there.test:1"), moved(8, ":1"), moved(9, "?:1"), moved(10, "nonsense")];
        refused.push(("here".into(), Refusal::CrossSlot));
        member.offer(Event::Refused(refused)).unwrap();
        assert_eq!(*heard.0.lock().unwrap(), ["refused 1"]);
        member.signs.any().await;
        let here = server("here.test");
        let expected = [(7, server("there.test")), (8, here.clone()), (9, here.clone())];
        let expected = expected.into_iter().map(|(slot, to)| (slot, (here.clone(), to))).collect();
        assert_eq!(member.signs.take(), expected);
        assert!(member.signs.take().is_empty());
        member.offer(Event::Down(Arc::new(Cause::Closed))).unwrap();
        member.signs.any().await;
    }
}
