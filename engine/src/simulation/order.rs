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
pub(super) struct Orders {
    /// By channel, as the witness has heard them.
    all: BTreeMap<&'static str, Vec<String>>,
    by_listener: BTreeMap<(&'static str, Listener), Vec<Heard>>,
    /// When each message was written, in steps of the ledger.
    written: HashMap<(&'static str, String), u64>,
}

impl Orders {
    pub(super) fn write(&mut self, channel: &'static str, message: &str, now: u64) {
        self.written.insert((channel, message.to_owned()), now);
    }

    /// Whoever hears everything has heard a message.
    pub(super) fn witness(&mut self, channel: &'static str, message: &str, left_out: usize) {
        assert_eq!(left_out, 0, "who keeps up hears all of {channel}");
        self.all.entry(channel).or_default().push(message.to_owned());
    }

    pub(super) fn hear(
        &mut self,
        channel: &'static str,
        listener: Listener,
        message: &str,
        left_out: usize,
    ) {
        let heard = Heard { message: message.to_owned(), left_out };
        self.by_listener.entry((channel, listener)).or_default().push(heard);
    }

    /// All have heard the witness's order, each from some point on, and were told of every gap.
    pub(super) fn check(&self) {
        for ((channel, listener), heard) in &self.by_listener {
            let places = self.places(channel);
            let place = |heard: &Heard| {
                places.get(&*heard.message).copied().unwrap_or_else(|| {
                    panic!("{:?} in {channel} was heard by {listener} alone", heard.message)
                })
            };
            for pair in heard.windows(2) {
                let (before, after) = (place(&pair[0]), place(&pair[1]));
                let expected = before + 1 + pair[1].left_out;
                assert_eq!(after, expected, "what {listener} hears of {channel}, up to {:?}", pair[1]);
            }
        }
    }

    /// Everything has come to rest: a subscriber that lives has heard the newest message, if one was written since it
    /// knows of its subscription.
    pub(super) fn check_newest(&self, channel: &'static str, listener: Listener) {
        let Some(newest) = self.all.get(channel).and_then(|all| all.last()) else { return };
        let heard = self.by_listener.get(&(channel, listener)).and_then(|heard| heard.last());
        match heard {
            Some(last) => assert_eq!(&last.message, newest, "{listener} hears the newest of {channel}"),
            None => {
                let written = self.written.get(&(channel, newest.clone())).copied().unwrap_or(0);
                assert!(written < listener, "{listener} hears nothing of {channel}, not even {newest:?}");
            }
        }
    }

    fn places(&self, channel: &str) -> HashMap<&str, usize> {
        let all = self.all.get(channel).map(Vec::as_slice).unwrap_or_default();
        all.iter().enumerate().map(|(place, message)| (message.as_str(), place)).collect()
    }
}
