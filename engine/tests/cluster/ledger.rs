//! Ledger: what was acknowledged on one node, against what a subscriber of another one got.
//!
//! In:  channels with a history; failures meanwhile.
//! Out: a panic where a publication is missing, or came twice, and nobody was told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use holdfast_testkit::{Daemon, PATIENCE, client::Client};
use serde_json::{Value, json};

use crate::nodes::{api, client};

/// A message comes within so long, or it is looked elsewhere meanwhile.
const MOMENT: Duration = Duration::from_millis(20);

/// Publications of a channel that its history keeps for sure.
const ROUNDS_MAX: u64 = 90;

/// An acknowledged publication.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    channel: String,
    epoch: String,
    offset: u64,
    data: u64,
}

/// Channels with a history, in many partitions and slots and on all of several Redis.
pub(crate) fn kept_channels(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("kept:{n}")).collect()
}

/// Publishes to all channels in turn until it is told to stop, whatever becomes of it. Returns what was acknowledged.
pub(crate) fn publish(node: &Daemon, channels: &[String], is_over: &AtomicBool) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    for data in 0..ROUNDS_MAX {
        for channel in channels {
            let answer = api(node, "publish", &json!({"channel": channel, "data": data}));
            if let (Some(offset), Some(epoch)) =
                (answer["result"]["offset"].as_u64(), answer["result"]["epoch"].as_str())
            {
                let (channel, epoch) = (channel.clone(), epoch.to_owned());
                acknowledged.push(Acknowledged { channel, epoch, offset, data });
            }
        }
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    acknowledged
}

/// Where a subscriber is in a channel.
#[derive(Debug, Default)]
struct Position {
    epoch: String,
    offset: u64,
    /// What it got, by epoch and offset.
    got: BTreeMap<(String, u64), Value>,
    /// Epochs of which it was told that something is missing.
    told: BTreeSet<String>,
}

/// A subscriber with a position in each of its channels, which recovers as SDKs do.
pub(crate) struct Subscriber {
    client: Client,
    channels: BTreeMap<String, Position>,
}

impl Subscriber {
    /// Of these channels.
    pub(crate) fn of(node: &Daemon, channels: &[String]) -> Self {
        let mut subscriber = Self { client: client(node), channels: BTreeMap::new() };
        for channel in channels {
            subscriber.channels.insert(channel.clone(), Position::default());
            assert!(subscriber.subscribe(channel), "{channel}");
        }
        subscriber
    }

    /// Takes what comes until it is told to stop.
    pub(crate) fn listen(&mut self, is_over: &AtomicBool) {
        while !is_over.load(Ordering::Relaxed) {
            self.listen_once();
        }
    }

    fn listen_once(&mut self) {
        let Some(mut message) = self.client.message_within(MOMENT) else { return };
        let push = message["push"].take();
        let channel = push["channel"].as_str().unwrap_or_else(|| panic!("{message} {push}")).to_owned();
        if push["pub"].is_object() {
            self.got(&channel, &push["pub"]);
        } else {
            assert_eq!(push["unsubscribe"]["code"], 2500, "{push}");
            let position = self.channels.get_mut(&channel).expect("it is one of ours");
            position.told.insert(position.epoch.clone());
            let began = Instant::now();
            while !self.subscribe(&channel) {
                assert!(began.elapsed() < PATIENCE, "{channel} can be subscribed to again");
                std::thread::sleep(MOMENT);
            }
        }
    }

    /// Subscribes, from its position where it has one. False where the error is temporary.
    fn subscribe(&mut self, channel: &str) -> bool {
        let position = &self.channels[channel];
        let request = if position.epoch.is_empty() {
            json!({"channel": channel})
        } else {
            json!({"channel": channel, "recover": true, "offset": position.offset, "epoch": position.epoch})
        };
        let reply = self.client.ask("subscribe", &request);
        if reply["error"].is_object() {
            assert_eq!(reply["error"]["code"], 100, "{reply}");
            return false;
        }
        let result = &reply["subscribe"];
        let (epoch, offset) = (result["epoch"].as_str().unwrap(), result["offset"].as_u64().unwrap_or(0));
        let position = self.channels.get_mut(channel).expect("it is one of ours");
        if result["recovered"] == true {
            assert_eq!(epoch, position.epoch);
            for publication in result["publications"].as_array().into_iter().flatten() {
                self.got(channel, publication);
            }
            assert_eq!(self.channels[channel].offset, offset, "{channel} was recovered: {result}");
        } else {
            (position.epoch, position.offset) = (epoch.to_owned(), offset);
        }
        true
    }

    fn got(&mut self, channel: &str, publication: &Value) {
        let position = self.channels.get_mut(channel).expect("it is one of ours");
        let offset = publication["offset"].as_u64().expect("it has an offset");
        assert_eq!(offset, position.offset + 1, "{channel}: no gap and no repeat without a word");
        position.offset = offset;
        position.got.insert((position.epoch.clone(), offset), publication["data"].clone());
    }

    /// Waits until it is where the history is, on whatever node; then holds what it got against it and against what was
    /// acknowledged. Returns how many acknowledged publications are in no history, of which it was told.
    pub(crate) fn is_right(&mut self, node: &Daemon, acknowledged: &[Acknowledged]) -> usize {
        let mut lost = 0;
        let channels: Vec<String> = self.channels.keys().cloned().collect();
        for channel in channels {
            let began = Instant::now();
            let history = loop {
                self.listen_once();
                let answer = api(node, "history", &json!({"channel": channel, "limit": 100}));
                let history = answer["result"].clone();
                let Position { epoch, offset, .. } = &self.channels[&channel];
                if history["epoch"] == **epoch && history["offset"].as_u64().unwrap_or(0) == *offset {
                    break history;
                }
                assert!(began.elapsed() < PATIENCE, "{channel} is not where {answer} is: {epoch} {offset}");
            };
            let position = &self.channels[&channel];
            let kept: BTreeMap<u64, &Value> = history["publications"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|publication| (publication["offset"].as_u64().unwrap(), &publication["data"]))
                .collect();
            for (offset, data) in &kept {
                let got = position.got.get(&(position.epoch.clone(), *offset));
                let was_told = !position.told.is_empty();
                assert!(
                    got == Some(*data) || got.is_none() && was_told,
                    "{channel} {offset}: {got:?}, not {data}"
                );
            }
            for Acknowledged { epoch, offset, data, .. } in
                acknowledged.iter().filter(|of| of.channel == channel)
            {
                if *epoch == position.epoch && kept.get(offset) == Some(&&json!(data)) {
                    continue;
                }
                lost += 1;
                assert!(
                    position.told.contains(epoch),
                    "{channel}: {data} was acknowledged at {offset} of {epoch}, and is gone without a word"
                );
            }
        }
        lost
    }
}

/// Says that it is over, also where a test fails.
struct AtEnd<'a>(&'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Publishes on one node and listens on another one while something happens, and checks everything after it. What happens
/// begins once publications have come, and they go on for a while after it.
pub(crate) fn while_publishing(
    from: &Daemon,
    to: &Daemon,
    channels: &[String],
    happens: impl FnOnce(),
) -> usize {
    let (is_over, is_heard) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut subscriber = Subscriber::of(to, channels);
    let acknowledged = std::thread::scope(|scope| {
        let publisher = scope.spawn(|| publish(from, channels, &is_over));
        let listener = scope.spawn(|| subscriber.listen(&is_heard));
        // Where anything below fails, nobody waits for them.
        let _end = (AtEnd(&is_over), AtEnd(&is_heard));
        std::thread::sleep(Duration::from_millis(500));
        happens();
        std::thread::sleep(Duration::from_millis(500));
        is_over.store(true, Ordering::Relaxed);
        let acknowledged = publisher.join().expect("the publisher ends");
        is_heard.store(true, Ordering::Relaxed);
        listener.join().expect("the listener ends");
        acknowledged
    });
    // One more each: whoever lost the last one notices now.
    let last: Vec<Acknowledged> = {
        let is_over = AtomicBool::new(true);
        let until = Instant::now() + PATIENCE;
        loop {
            let last = publish(from, channels, &is_over);
            if last.len() == channels.len() {
                break last;
            }
            assert!(Instant::now() < until, "everything can be published again");
            std::thread::sleep(MOMENT);
        }
    };
    println!("{} acknowledged", acknowledged.len() + last.len());
    assert!(acknowledged.len() >= channels.len(), "something was acknowledged");
    let all: Vec<Acknowledged> = acknowledged.into_iter().chain(last).collect();
    let lost = subscriber.is_right(from, &all);
    println!("{lost} of them were lost, which subscribers were told");
    lost
}
