//! Refusal: why a channel is not subscribed to.
//!
//! In:  the server's words.
//! Out: what they mean for one channel, and whether they mean it for each of a command.
//!
//! The words are those of Redis 7 and Valkey 9; a refusal that is not known is passed on as it is.

use super::cause::printable;

/// Why a channel is not subscribed to. Unless told otherwise it is asked for again later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The user's ACL lacks the channel, or the command. The server's words.
    #[error("this user may not subscribe to it: {0}")]
    NotPermitted(String),
    /// Another node of the cluster owns the slot. Look at the topology.
    #[error("slot {slot} is at {address}")]
    Moved {
        /// The channel's.
        slot: u16,
        /// Who owns it, as this node sees it: a host that may be empty (the same as this node's), and a port.
        address: String,
    },
    /// The channels of one command hash to different slots.
    #[error("its slot is another one than that of the others")]
    CrossSlot,
    /// For the moment: a cluster without majority, a slot on its way. The server's words.
    #[error("Redis cannot for the moment: {0}")]
    Unavailable(String),
    /// [`WantedOptions::channels_max`](super::options::WantedOptions::channels_max). It is not asked for again.
    #[error("too many channels are wanted")]
    TooMany,
    /// Something else. The server's words.
    #[error("Redis refused: {0}")]
    Other(String),
}

impl Refusal {
    pub(super) fn of(error: &[u8]) -> Self {
        let text = printable(error);
        let mut words = text.split(' ');
        match (words.next().unwrap_or_default(), words.next(), words.next()) {
            ("NOPERM" | "NOAUTH", ..) => Self::NotPermitted(text),
            ("CROSSSLOT", ..) => Self::CrossSlot,
            ("MOVED" | "ASK", Some(slot), Some(address)) => match slot.parse() {
                Ok(slot) => Self::Moved { slot, address: address.to_owned() },
                Err(_) => Self::Other(text),
            },
            ("CLUSTERDOWN" | "TRYAGAIN" | "LOADING" | "MASTERDOWN" | "BUSY", ..) => Self::Unavailable(text),
            _ => Self::Other(text),
        }
    }

    /// True exactly when each channel of the command would be refused so by itself.
    pub(super) fn concerns_all(&self) -> bool {
        match self {
            // `… has no permissions to run the 'subscribe' command`, against `… to access one of the channels`.
            Self::NotPermitted(text) => text.contains("to run the") || text.starts_with("NOAUTH"),
            // A command has channels of one slot.
            Self::Moved { .. } | Self::Unavailable(_) => true,
            Self::CrossSlot | Self::TooMany | Self::Other(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_says_is_told_apart() {
        let moved = Refusal::Moved { slot: 12_182, address: "10.0.0.1:7000".to_owned() };
        assert_eq!(Refusal::of(b"MOVED 12182 10.0.0.1:7000"), moved);
        assert!(matches!(Refusal::of(b"MOVED"), Refusal::Other(_)));
        assert!(matches!(Refusal::of(b"MOVED 70000 a:1"), Refusal::Other(_)), "there are 16,384 slots");
        assert_eq!(Refusal::of(b"CROSSSLOT Keys in request don't hash to the same slot"), Refusal::CrossSlot);
        assert!(matches!(Refusal::of(b"CLUSTERDOWN Hash slot not served"), Refusal::Unavailable(_)));
        assert!(matches!(Refusal::of(b"\xff"), Refusal::Other(_)));
    }

    #[test]
    fn a_channel_that_may_not_be_heard_says_nothing_of_its_neighbors() {
        for words in [
            "NOPERM this user has no permissions to access one of the channels used as arguments",
            "NOPERM No permissions to access a channel",
            "ERR something new",
        ] {
            assert!(!Refusal::of(words.as_bytes()).concerns_all(), "{words}");
        }
        for words in [
            "NOPERM this user has no permissions to run the 'subscribe' command",
            "NOPERM User node has no permissions to run the 'ssubscribe' command",
            "NOAUTH Authentication required.",
            "MOVED 1 a:1",
            "TRYAGAIN",
        ] {
            assert!(Refusal::of(words.as_bytes()).concerns_all(), "{words}");
        }
    }
}
