//! Outbox: what the owner has not taken yet.
//!
//! In:  events, while the consumer may have no room.
//! Out: the same events where it has; where it has not, what they amount to, told before anything that follows.
//!
//! It holds two records a channel at most, one of them on its way, because what is later known of a channel replaces what was known before.
//! No I/O, no clock.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

use super::{
    cause::Cause,
    event::{Consumer, Event},
    reader::Messages,
    refusal::Refusal,
    resp::Protocol,
    wanted::Note,
};

/// What the owner has to be told of a channel, in this order.
#[derive(Debug, Default)]
struct Untold {
    is_lost: bool,
    /// The newest verdict: confirmed, or why not.
    verdict: Option<Result<(), Refusal>>,
    is_lagging: bool,
}

/// Stands before a consumer.
#[derive(Debug)]
pub(super) struct Outbox<C> {
    consumer: C,
    /// What is offered next, in this order. Nothing is added before all of it is taken.
    next: VecDeque<Event>,
    down: Option<Arc<Cause>>,
    up: Option<(SocketAddr, Protocol)>,
    channels: HashMap<Arc<str>, Untold>,
    /// Messages that were dropped since the owner was last told.
    dropped: u64,
}

impl<C: Consumer> Outbox<C> {
    pub(super) fn new(consumer: C) -> Self {
        Self { consumer, next: VecDeque::new(), down: None, up: None, channels: HashMap::new(), dropped: 0 }
    }

    /// There is a connection. The next call tells it.
    pub(super) fn up(&mut self, address: SocketAddr, protocol: Protocol) {
        self.up = Some((address, protocol));
    }

    /// There is none any more: nothing else that was not told matters. The next call tells it.
    pub(super) fn down(&mut self, cause: Arc<Cause>) {
        self.channels.clear();
        (self.up, self.down, self.dropped) = (None, Some(cause), 0);
    }

    /// What became of channels.
    pub(super) fn tell(&mut self, notes: &mut Vec<Note>) {
        if notes.is_empty() {
            return;
        }
        for note in notes.drain(..) {
            let (channel, verdict) = match note {
                Note::Confirmed(channel) => (channel, Some(Ok(()))),
                Note::Refused(channel, refusal) => (channel, Some(Err(refusal))),
                Note::Lost(channel) => (channel, None),
            };
            let untold = self.channels.entry(channel).or_default();
            untold.is_lost |= verdict.is_none();
            untold.verdict = verdict;
        }
        self.flush();
    }

    /// Messages came. Returns how many were dropped, and marks their channels, whose names `name` knows.
    pub(super) fn messages<'n>(
        &mut self,
        messages: Messages,
        name: impl Fn(&[u8]) -> Option<&'n Arc<str>>,
    ) -> usize {
        let refused = if self.flush() {
            self.consumer.offer(Event::Messages(messages))
        } else {
            Err(Event::Messages(messages))
        };
        let Err(Event::Messages(messages)) = refused else { return 0 };
        for message in messages.iter() {
            // What is not known is not wanted.
            let Some(name) = name(message.channel) else { continue };
            if let Some(untold) = self.channels.get_mut(name) {
                untold.is_lagging = true;
            } else {
                self.channels.insert(name.clone(), Untold { is_lagging: true, ..Untold::default() });
            }
        }
        self.dropped += messages.len() as u64;
        messages.len()
    }

    /// Offers what waits. True exactly when nothing waits any more.
    pub(super) fn flush(&mut self) -> bool {
        loop {
            while let Some(event) = self.next.pop_front() {
                if let Err(event) = self.consumer.offer(event) {
                    self.next.push_front(event);
                    return false;
                }
            }
            self.prepare();
            if self.next.is_empty() {
                return true;
            }
        }
    }

    /// The loss of all before what came after it; of each channel its loss, its verdict, and that it lags.
    fn prepare(&mut self) {
        self.next.extend(self.down.take().map(Event::Down));
        self.next.extend(self.up.take().map(|(address, protocol)| Event::Up { address, protocol }));
        if self.channels.is_empty() {
            return;
        }
        let (mut lost, mut refused, mut confirmed, mut lagging) = (vec![], vec![], vec![], vec![]);
        for (channel, untold) in std::mem::take(&mut self.channels) {
            if untold.is_lost {
                lost.push(channel.clone());
            }
            if untold.is_lagging {
                lagging.push(channel.clone());
            }
            match untold.verdict {
                Some(Ok(())) => confirmed.push(channel),
                Some(Err(refusal)) => refused.push((channel, refusal)),
                None => {}
            }
        }
        let events = [
            (!lost.is_empty()).then_some(Event::Lost(lost)),
            (!refused.is_empty()).then_some(Event::Refused(refused)),
            (!confirmed.is_empty()).then_some(Event::Confirmed(confirmed)),
            (!lagging.is_empty()).then_some(Event::Lagging { channels: lagging, messages: self.dropped }),
        ];
        self.dropped = 0;
        self.next.extend(events.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use tokio::sync::mpsc;

    use super::*;
    use crate::receive::reader::{Item, ReadOptions, Reader};

    /// Has room for as many events as it is told.
    struct Room {
        room: usize,
        events: mpsc::UnboundedSender<Event>,
    }

    impl Consumer for Room {
        fn offer(&mut self, event: Event) -> Result<(), Event> {
            if self.room == 0 {
                return Err(event);
            }
            self.room -= 1;
            self.events.send(event).unwrap();
            Ok(())
        }
    }

    fn outbox() -> (Outbox<Room>, impl FnMut() -> Vec<String>) {
        let (events, mut told) = mpsc::unbounded_channel();
        let told = move || {
            let mut words = Vec::new();
            while let Ok(event) = told.try_recv() {
                words.push(match event {
                    Event::Up { .. } => "up".to_owned(),
                    Event::Down(cause) => format!("down {}", cause.name()),
                    Event::Confirmed(channels) => format!("confirmed {}", channels.len()),
                    Event::Refused(channels) => format!("refused {}", channels.len()),
                    Event::Lost(channels) => format!("lost {}", channels.len()),
                    Event::Lagging { channels, messages } => format!("lagging {} {messages}", channels.len()),
                    Event::Messages(messages) => format!("messages {}", messages.len()),
                });
            }
            words
        };
        (Outbox::new(Room { room: 0, events }), told)
    }

    fn messages(count: usize) -> Messages {
        let mut reader = Reader::new(ReadOptions::default());
        let bytes = BytesMut::from("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n");
        for _ in 0..count {
            reader.buffer().extend_from_slice(&bytes);
        }
        let mut items = Vec::new();
        reader.take(&mut items).unwrap();
        let Some(Item::Messages(messages)) = items.pop() else { panic!("these are messages") };
        messages
    }

    #[test]
    fn messages_without_room_are_told_of_before_those_that_follow() {
        let (mut outbox, mut told) = outbox();
        let name: Arc<str> = "a".into();
        let known = |_: &[u8]| Some(&name);
        assert_eq!(outbox.messages(messages(3), known), 3);
        assert_eq!(outbox.messages(messages(2), known), 2);
        outbox.consumer.room = 9;
        assert_eq!(outbox.messages(messages(1), known), 0);
        assert_eq!(told(), ["lagging 1 3", "lagging 1 2", "messages 1"]);
    }

    #[test]
    fn what_waits_is_merged_and_a_loss_comes_before_the_verdict_that_follows_it() {
        let (mut outbox, mut told) = outbox();
        let name: Arc<str> = "a".into();
        outbox.tell(&mut vec![Note::Confirmed(name.clone())]);
        for _ in 0..100 {
            outbox.tell(&mut vec![Note::Lost(name.clone()), Note::Confirmed(name.clone())]);
        }
        outbox.consumer.room = 9;
        assert!(outbox.flush());
        assert_eq!(told(), ["confirmed 1", "lost 1", "confirmed 1"]);
        outbox.tell(&mut vec![Note::Confirmed(name.clone()), Note::Lost(name)]);
        assert_eq!(told(), ["lost 1"], "what is lost again is not confirmed");
    }

    #[test]
    fn a_lost_connection_makes_everything_before_it_pointless() {
        let (mut outbox, mut told) = outbox();
        let name: Arc<str> = "a".into();
        let address = ([127, 0, 0, 1], 6379).into();
        for _ in 0..100 {
            outbox.up(address, Protocol::Resp3);
            outbox.flush();
            outbox.tell(&mut vec![Note::Confirmed(name.clone())]);
            outbox.messages(messages(1), |_| Some(&name));
            outbox.down(Arc::new(Cause::Closed));
            outbox.flush();
        }
        outbox.up(address, Protocol::Resp3);
        outbox.consumer.room = 9;
        assert!(outbox.flush());
        assert_eq!(told(), ["up", "down closed", "up"]);
    }
}
