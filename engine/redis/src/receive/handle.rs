//! Handle: the owner's end of a link, or of the links by slot that look like one.
//!
//! In:  what the owner wants.
//! Out: commands; how the link is.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    connection::Address,
    health::{Counts, Health},
    slots::{Places, slot_of},
};

/// What an owner wants. Thousands of channels in one command are better than as many commands.
#[derive(Debug)]
pub enum Command {
    /// Subscribe to these. Each is answered by `Confirmed` or `Refused`, however long that takes.
    Want(Vec<Arc<str>>),
    /// These are not wanted any more. Messages may come for a few seconds.
    Unwant(Vec<Arc<str>>),
    /// Give up the connection and make a new one at once: to another address, where one is given. The links of a cluster
    /// look at the cluster anew.
    Rebuild(Option<Address>),
    /// From now on this is the service channel.
    Serve(Arc<str>),
    /// End the link.
    Stop,
}

/// The link was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link was stopped")]
pub struct Gone;

/// Why a command was not taken. It comes back.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// [`LinkOptions::commands_max`](super::link::LinkOptions::commands_max) wait.
    #[error("too many commands wait")]
    Full(Command),
    /// The link was stopped.
    #[error("the link was stopped")]
    Gone(Command),
}

/// The owner's end of a link. When the last one is dropped, the link ends.
#[derive(Debug, Clone)]
pub struct LinkHandle {
    commands: mpsc::Sender<Command>,
    watched: Watched,
}

/// What a handle looks at.
#[derive(Debug, Clone)]
enum Watched {
    One(Arc<Counts>),
    Slots(Arc<Places>),
}

impl LinkHandle {
    /// Of one link.
    pub(super) fn of_one(commands: mpsc::Sender<Command>, counts: Arc<Counts>) -> Self {
        Self { commands, watched: Watched::One(counts) }
    }

    /// Of the links of a cluster.
    pub(super) fn of_slots(commands: mpsc::Sender<Command>, places: Arc<Places>) -> Self {
        Self { commands, watched: Watched::Slots(places) }
    }

    /// The counts of one link.
    pub(super) fn counts(&self) -> Option<Arc<Counts>> {
        match &self.watched {
            Watched::One(counts) => Some(Arc::clone(counts)),
            Watched::Slots(_) => None,
        }
    }

    /// True exactly when the link has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.commands.is_closed()
    }

    /// Hands in a command; waits while too many do.
    ///
    /// # Errors
    ///
    /// The link was stopped.
    pub async fn send(&self, command: Command) -> Result<(), Gone> {
        self.commands.send(command).await.map_err(|_| Gone)
    }

    /// Hands in a command.
    ///
    /// # Errors
    ///
    /// It was not taken.
    pub fn try_send(&self, command: Command) -> Result<(), NotTaken> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(command) => NotTaken::Full(command),
            TrySendError::Closed(command) => NotTaken::Gone(command),
        })
    }

    /// How the link is.
    pub fn health(&self) -> Health {
        match &self.watched {
            Watched::One(counts) => counts.health(),
            Watched::Slots(places) => places.health(),
        }
    }

    /// How long there has been no connection by which this channel could be heard; none while there is one.
    pub fn away(&self, channel: &str) -> Option<Duration> {
        match &self.watched {
            Watched::One(counts) => counts.away(),
            Watched::Slots(places) => places.away(slot_of(channel)),
        }
    }
}
