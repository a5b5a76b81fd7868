//! Order: what each subscriber of a channel without history has heard, held against what the witness has.
//!
//! In:  publications, with how many were left out before each, as their tags say.
//! Out: a panic, where a subscriber has heard another order, or less than all without being told so.

use std::collections::{BTreeMap, HashMap};

/// One subscription: the ledger's time at which it began.
pub(super) type Listener = u64;

#[derive(Debug)]
struct Heard {
    message: String,
    left_out: usize,
}

#[derive(Debug, Default)]
pub(super) struct OrderChecker {
    /// By channel, as the witness has heard them. It misses some only where the kernel has no memory for what it is sent.
    all: BTreeMap<&'static str, Vec<Option<String>>>,
    by_listener: BTreeMap<(&'static str, Listener), Vec<Heard>>,
    /// Which tag a listener has chosen, where it has.
    chosen: BTreeMap<Listener, u64>,
    /// The messages that have a tag.
    tags: HashMap<String, u64>,
    /// When each message was written, in steps of the ledger.
    written: HashMap<(&'static str, String), u64>,
}

impl OrderChecker {
    pub(super) fn write(&mut self, channel: &'static str, message: &str, now: u64) {
        self.written.insert((channel, message.to_owned()), now);
    }

    /// A message has a tag.
    pub(super) fn tag(&mut self, message: &str, tag: u64) {
        self.tags.insert(message.to_owned(), tag);
    }

    /// A listener is to hear what has this tag, and nothing else.
    pub(super) fn choose(&mut self, listener: Listener, tag: u64) {
        self.chosen.insert(listener, tag);
    }

    /// Who hears everything has heard a message.
    pub(super) fn witness(&mut self, channel: &'static str, message: &str, left_out: usize) {
        let all = self.all.entry(channel).or_default();
        all.extend(std::iter::repeat_n(None, left_out));
        all.push(Some(message.to_owned()));
    }

    pub(super) fn hear(&mut self, channel: &'static str, listener: Listener, message: &str, left_out: usize) {
        let heard = Heard { message: message.to_owned(), left_out };
        self.by_listener.entry((channel, listener)).or_default().push(heard);
    }

    /// All have heard the witness's order, each from some point on, and were told of every gap.
    pub(super) fn check(&self) {
        for ((channel, listener), heard) in &self.by_listener {
            let places = self.places(channel, *listener);
            let misses_some = self.all.get(channel).is_some_and(|all| all.contains(&None));
            // Where it stands, once that is known.
            let mut place = None;
            for heard in heard {
                let found = places.get(&*heard.message).copied();
                assert!(
                    found.is_some() || misses_some,
                    "{heard:?} in {channel} was heard by {listener} alone"
                );
                let expected = place.map(|place| place + 1 + heard.left_out);
                if let (Some(found), Some(expected)) = (found, expected) {
                    assert_eq!(found, expected, "what {listener} hears of {channel}, up to {heard:?}");
                }
                place = found.or(expected);
            }
        }
    }

    /// Everything has come to rest: a subscriber that lives has heard the newest message, if one was written since it
    /// knows of its subscription.
    pub(super) fn check_newest(&self, channel: &'static str, listener: Listener) {
        let Some(Some(newest)) = self.meant(channel, listener).last() else { return };
        let heard = self.by_listener.get(&(channel, listener)).and_then(|heard| heard.last());
        match heard {
            Some(last) => assert_eq!(last.message, newest, "{listener} hears the newest of {channel}"),
            None => {
                let written = self.written.get(&(channel, newest.to_owned())).copied().unwrap_or(0);
                assert!(written < listener, "{listener} hears nothing of {channel}, not even {newest:?}");
            }
        }
    }

    /// What a listener is to hear of all that the witness has.
    fn meant(&self, channel: &str, listener: Listener) -> impl Iterator<Item = Option<&str>> {
        let all = self.all.get(channel).map(Vec::as_slice).unwrap_or_default();
        let tag = self.chosen.get(&listener);
        let is_meant = move |message: &Option<&str>| {
            tag.is_none() || message.is_some_and(|message| self.tags.get(message) == tag)
        };
        all.iter().map(Option::as_deref).filter(is_meant)
    }

    fn places(&self, channel: &str, listener: Listener) -> HashMap<&str, usize> {
        let meant = self.meant(channel, listener).enumerate();
        meant.filter_map(|(place, message)| Some((message?, place))).collect()
    }
}
