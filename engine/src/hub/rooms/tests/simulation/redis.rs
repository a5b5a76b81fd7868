//! Simulated Redis: a primary, and a replica that is behind and may replace it.
//!
//! In:  commands; failovers and restarts.
//! Out: replies; what was ever published at an offset, and what came before it there.

use std::collections::{HashMap, VecDeque};

use super::{
    store::{Command, Reply, Store, Text},
    *,
};

/// Where a publication was, in one of the lines that a history took.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) channel: Arc<str>,
    pub(super) epoch: String,
    pub(super) offset: u64,
    /// The one at the offset before it.
    pub(super) before: Option<Text>,
}

#[derive(Default)]
pub(super) struct SimulatedRedis {
    pub(super) primary: Store,
    replica: Store,
    /// What the replica does not have yet.
    lag: VecDeque<(Command, Tick)>,
    /// How many failovers and restarts there were.
    pub(super) generation: u32,
    epochs: u32,
    /// All that was ever published at an offset.
    records: HashMap<Text, Vec<Record>>,
    /// How often each text was published.
    pub(super) published: HashMap<Text, u32>,
}

impl SimulatedRedis {
    pub(super) fn fresh_epoch(&mut self) -> String {
        self.epochs += 1;
        format!("e{}", self.epochs)
    }

    pub(super) fn execute(&mut self, command: &Command, now: Tick) -> Reply {
        let mut reply = self.primary.apply(command, now);
        if let Reply::Read { generation, .. } = &mut reply {
            *generation = self.generation;
        }
        if let (Command::Publish { publication, .. }, Reply::Published { position, frame: Some(_) }) =
            (command, &reply)
        {
            *self.published.entry(Arc::clone(&publication.text)).or_default() += 1;
            if let Some(Position { offset, epoch }) = position {
                let channel = Arc::clone(&publication.channel);
                let before = self.primary.text(&channel, offset - 1).cloned();
                let record = Record { channel, epoch: epoch.to_string(), offset: *offset, before };
                self.records.entry(Arc::clone(&publication.text)).or_default().push(record);
            }
        }
        self.lag.push_back((command.clone(), now));
        reply
    }

    /// The replica gets up to so many commands more.
    pub(super) fn replicate(&mut self, count: usize) {
        for _ in 0..count {
            let Some((command, at)) = self.lag.pop_front() else { return };
            self.replica.apply(&command, at);
        }
    }

    /// The replica becomes the primary. What it does not have is lost, also if it was acknowledged.
    pub(super) fn fail_over(&mut self) {
        self.generation += 1;
        self.lag.clear();
        self.primary = self.replica.clone();
    }

    /// Everything is lost.
    pub(super) fn restart_empty(&mut self) {
        self.generation += 1;
        self.lag.clear();
        (self.primary, self.replica) = (Store::default(), Store::default());
    }

    /// Where a text was, as far as that was at an offset.
    pub(super) fn records_of(&self, text: &str, offset: u64) -> Vec<&Record> {
        let records = self.records.get(text).map(Vec::as_slice).unwrap_or_default();
        records.iter().filter(|record| record.offset == offset).collect()
    }
}
