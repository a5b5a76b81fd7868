//! Flags: what a subscription gets beside the messages, and what overrides that.
//!
//! In:  tokens, the application's answers, and clients' commands.
//! Out: plain data.

use serde::{Deserialize, Deserializer};

use crate::value::object;

/// Optional features of a subscription: as requested, or as granted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SubscriptionFlags {
    /// The daemon watches the client's position in the stream.
    pub positioned: bool,
    /// The client recovers missed publications.
    pub recoverable: bool,
    /// The client gets join and leave messages.
    pub join_leave: bool,
}

impl SubscriptionFlags {
    /// Recovery includes positioning, as in Centrifugo.
    pub(super) fn with_position(self) -> Self {
        Self { positioned: self.positioned || self.recoverable, ..self }
    }
}

/// Where others see a subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PresenceFlags {
    /// True exactly when it is in the channel's presence.
    pub(crate) presence: bool,
    /// True exactly when its join and leave are announced.
    pub(crate) join_leave: bool,
}

impl PresenceFlags {
    pub(crate) fn is_seen(self) -> bool {
        self.presence || self.join_leave
    }
}

/// Overrides of a channel's options for one subscription; `None` leaves an option unchanged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Overrides {
    /// Whether the subscriber is in the channel's presence.
    #[serde(deserialize_with = "switch")]
    pub presence: Option<bool>,
    /// Whether its joins and leaves are announced to the others.
    #[serde(deserialize_with = "switch")]
    pub join_leave: Option<bool>,
    /// Whether it is told of the others' joins and leaves.
    #[serde(deserialize_with = "switch")]
    pub force_push_join_leave: Option<bool>,
    /// Whether its position in the channel is watched.
    #[serde(deserialize_with = "switch")]
    pub force_positioning: Option<bool>,
    /// Whether it recovers missed publications.
    #[serde(deserialize_with = "switch")]
    pub force_recovery: Option<bool>,
}

/// `{"value": true}`; a table without a value is false, as in Centrifugo.
fn switch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    #[derive(Deserialize)]
    struct Switch {
        #[serde(default)]
        value: bool,
    }
    Ok(object::read_optional(deserializer)?.map(|switch: Switch| switch.value))
}
