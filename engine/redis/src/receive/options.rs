//! Options: how channels are subscribed to.
//!
//! In:  what the owner chooses.
//! Out: limits and times for the wanted set; by what its commands are divided.

use std::{ops::Range, time::Duration};

/// Which kind of pub/sub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SUBSCRIBE: on any node of a deployment.
    Classic,
    /// SSUBSCRIBE: on the node that owns the channel's slot, one slot a command.
    Sharded,
}

/// How subscriptions are asked for.
#[derive(Debug, Clone)]
pub struct WantedOptions {
    /// How channels are subscribed to.
    pub kind: Kind,
    /// Channels that may be wanted; more are refused. About 150 bytes each beside their names. 1,000,000.
    pub channels_max: usize,
    /// Channels of one command. 512.
    pub batch_max: usize,
    /// Channels of commands that have no answer yet. 16,384.
    pub asked_max: usize,
    /// How long a channel that is not wanted any more stays subscribed, in case that it is wanted again. 1–2 s.
    pub linger: Range<Duration>,
    /// After which time a refused channel is asked for again. 20–40 s.
    pub refused_again: Range<Duration>,
    /// The same where the server cannot for the moment, or unsubscribed us unasked. 50–500 ms.
    pub unavailable_again: Range<Duration>,
}

impl Default for WantedOptions {
    fn default() -> Self {
        Self {
            kind: Kind::Classic,
            channels_max: 1_000_000,
            batch_max: 512,
            asked_max: 16_384,
            linger: Duration::from_secs(1)..Duration::from_secs(2),
            refused_again: Duration::from_secs(20)..Duration::from_secs(40),
            unavailable_again: Duration::from_millis(50)..Duration::from_millis(500),
        }
    }
}

impl WantedOptions {
    /// By what commands are divided.
    pub(super) fn slot(&self, channel: &str) -> u16 {
        match self.kind {
            Kind::Classic => 0,
            Kind::Sharded => super::slots::slot_of(channel),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sharded_channels_are_divided_and_a_tag_keeps_them_together() {
        let sharded = WantedOptions { kind: Kind::Sharded, ..WantedOptions::default() };
        assert_eq!(sharded.slot("p.client.{foo}.a"), sharded.slot("p.client.{foo}.b"));
        assert_eq!(sharded.slot("foo"), 12_182, "as CLUSTER KEYSLOT says");
        assert_eq!(WantedOptions::default().slot("foo"), 0);
    }
}
