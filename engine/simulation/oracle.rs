//! Oracle: what all clients of a simulation know together, and the rules that it must keep.
//!
//! In:  what was published, acknowledged and heard.
//! Out: a panic, where a message is missing, comes twice or out of order without a word.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::{Rng, rngs::SmallRng};

use super::{clock::Clock, config::may_be_patched, order::OrderChecker, wishes::Wishes};

/// A number of a publisher: of one session or connection, never of two.
pub(super) type Publisher = u64;

/// What one listener has heard in a channel without history: from each publisher the first and the last number.
#[derive(Debug, Default)]
pub(super) struct Hearing(BTreeMap<Publisher, (u64, u64)>);

impl Hearing {
    /// The next message of a publisher.
    pub(super) fn hear(&mut self, publisher: Publisher, number: u64) {
        let (_, last) = self.0.entry(publisher).or_insert((number, number.wrapping_sub(1)));
        assert_eq!(
            number,
            last.wrapping_add(1),
            "messages of publisher {publisher}: none is missing, none comes twice"
        );
        *last = number;
    }
}

/// What is known of a publisher in one channel.
#[derive(Debug)]
struct Published {
    /// When its first message was written, in steps of the ledger.
    began: u64,
    /// Messages so far.
    count: u64,
}

/// All are being sent away.
#[derive(Debug)]
pub(super) struct Stop {
    /// Who is still there then may be cut: at the deadline, or where what waits takes long to go out, as soon as last
    /// words that are behind it may be late.
    pub(super) cuts_from: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Oracle {
    steps: u64,
    publishers: Publisher,
    published: BTreeMap<(String, Publisher), Published>,
    /// Acknowledged publications in channels with history.
    acknowledged: BTreeSet<(String, String)>,
    /// Publications of channels with history, by channel, epoch and offset.
    history: BTreeMap<(String, String, u64), String>,
    /// What was heard in channels without history, by whom.
    pub(super) orders: OrderChecker,
    /// True exactly when not all of the histories is known: who was to hear them from their beginning was cut off.
    pub(super) has_lost_witness: bool,
    /// Connections that ended without a word and without a reason that the client knows of.
    pub(super) unexplained: u64,
    pub(super) stop: Option<Stop>,
    /// True exactly when nobody waits for a free descriptor any more.
    pub(super) are_all_in: bool,
    /// True exactly when the clock has jumped: timeouts need no other reason.
    pub(super) has_jumped: bool,
    /// Channels whose history may have been emptied.
    pub(super) emptied: BTreeSet<&'static str>,
    /// Who is in which channel, as the server API has it, when everything has come to rest.
    pub(super) members: BTreeMap<&'static str, BTreeSet<String>>,
    /// Publications that came as patches.
    pub(super) patches: u64,
    pub(super) clock: Clock,
    /// What the server API has asked for clients.
    pub(super) wishes: Wishes,
    /// Echoes, messages and publications that were heard: a simulation in which there are none shows nothing.
    pub(super) heard: u64,
}

impl Oracle {
    /// The order in which clients see things.
    pub(super) fn now(&mut self) -> u64 {
        self.steps += 1;
        self.steps
    }

    /// A publisher that nobody was before.
    pub(super) fn new_publisher(&mut self) -> Publisher {
        self.publishers += 1;
        self.publishers
    }

    /// The number of a publisher's next message in a channel.
    pub(super) fn publish(&mut self, channel: &str, publisher: Publisher) -> u64 {
        let began = self.now();
        let entry = self.published.entry((channel.to_owned(), publisher));
        let published = entry.or_insert(Published { began, count: 0 });
        published.count += 1;
        published.count - 1
    }

    /// The text of a publisher's next publication in a channel.
    pub(super) fn write(
        &mut self,
        channel: &'static str,
        publisher: Publisher,
        random: &mut SmallRng,
    ) -> String {
        let number = self.publish(channel, publisher);
        let padding = "y".repeat(random.random_range(if may_be_patched(channel) { 50..150 } else { 0..100 }));
        let message = format!("\"{publisher}:{number}:{padding}\"");
        let now = self.now();
        self.orders.write(channel, &message, now);
        message
    }

    pub(super) fn acknowledge(&mut self, channel: &str, message: &str) {
        let is_new = self.acknowledged.insert((channel.to_owned(), message.to_owned()));
        assert!(is_new, "{message} in {channel} is acknowledged once");
    }

    /// A publication of a channel with history: the same to all who hear of it.
    pub(super) fn record(&mut self, channel: &str, epoch: &str, offset: u64, message: &str) {
        self.heard += 1;
        let key = (channel.to_owned(), epoch.to_owned(), offset);
        let known = self.history.entry(key).or_insert_with(|| message.to_owned());
        assert_eq!(known, message, "publication {offset} of {channel} is the same for all");
    }

    /// The newest offset that anybody has heard of.
    pub(super) fn newest(&self, channel: &str, epoch: &str) -> u64 {
        let of = |offset| (channel.to_owned(), epoch.to_owned(), offset);
        self.history.range(of(0)..=of(u64::MAX)).next_back().map_or(0, |((.., offset), _)| *offset)
    }

    /// Everything has come to rest: whoever listens to a channel without history since `since` has heard all that its
    /// publishers began after that and brought to the daemon.
    pub(super) fn check_hearing(&self, channel: &str, hearing: &Hearing, since: u64, others: &[&Hearing]) {
        for ((_, publisher), published) in self.published.iter().filter(|((of, _), _)| of == channel) {
            let last = |hearing: &Hearing| hearing.0.get(publisher).map(|&(_, last)| last);
            let most = others.iter().filter_map(|other| last(other)).max();
            if published.began > since {
                assert_eq!(last(hearing), most, "publisher {publisher} in {channel}: all hear as much");
                if let Some((first, _)) = hearing.0.get(publisher) {
                    assert_eq!(*first, 0, "publisher {publisher} in {channel} is heard from its beginning");
                }
            } else if let Some(heard) = last(hearing) {
                assert_eq!(Some(heard), most, "publisher {publisher} in {channel}: all hear as much");
            }
        }
    }

    /// How many messages a publisher has written.
    pub(super) fn count(&self, channel: &str, publisher: Publisher) -> u64 {
        self.published.get(&(channel.to_owned(), publisher)).map_or(0, |published| published.count)
    }

    /// Every acknowledged publication is in its channel's history, once; and no other is there twice.
    pub(super) fn check_acknowledged(&self) {
        if self.has_lost_witness {
            return;
        }
        let mut found = BTreeSet::new();
        for ((channel, _, offset), message) in &self.history {
            let is_new = found.insert((channel.clone(), message.clone()));
            assert!(is_new, "{message} in {channel} is published again at {offset}");
        }
        for (channel, message) in &self.acknowledged {
            let is_there = found.contains(&(channel.clone(), message.clone()));
            assert!(is_there, "{message} in {channel} was acknowledged and is nowhere");
        }
    }
}

impl Hearing {
    /// The number of the last message of a publisher.
    pub(super) fn last(&self, publisher: Publisher) -> Option<u64> {
        self.0.get(&publisher).map(|&(_, last)| last)
    }
}
