//! Presence: who is present, as Redis is told.
//!
//! In:  clients that come, go and stay.
//! Out: the same in Redis, the changes of each channel in their order; clients that Redis has forgotten are added again.
//!
//! A failure is told to nobody: the next refresh of the channel, within half the time that presence lasts, mends it.

use std::{hash::BuildHasher as _, sync::Arc};

use bytes::BytesMut;
use holdfast_redis::{
    command::{Commands, Failure, Joined, Shards, Who},
    publication::encode_client_info,
};
use tokio::sync::mpsc;

use crate::hub::{presence::Members, publication::Info};

/// Changes of so many channels go to Redis side by side.
const LANES: u64 = 64;

/// Clients that come to a channel one right after the other go in one call.
const TOGETHER_MAX: usize = 100;

/// A change of a channel's presence.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) channel: Arc<str>,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Came(Arc<Info>),
    Went(Arc<Info>),
    Stay(Members),
}

/// The lanes, each of which does one thing after the other.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<mpsc::UnboundedSender<Change>>,
    hasher: std::hash::RandomState,
}

impl Lanes {
    /// Starts the lanes' tasks on the current runtime.
    pub(super) fn start(redis: &Arc<Shards>) -> Self {
        let lane = |_| {
            let (sender, changes) = mpsc::unbounded_channel();
            tokio::spawn(run(Arc::clone(redis), changes));
            sender
        };
        Self { lanes: (0..LANES).map(lane).collect(), hasher: std::hash::RandomState::new() }
    }

    pub(super) fn send(&self, change: Change) {
        let lane = usize::try_from(self.hasher.hash_one(&change.channel) % LANES).unwrap_or(0);
        // It ends only with the runtime.
        let _ = self.lanes[lane].send(change);
    }
}

async fn run(redis: Arc<Shards>, mut changes: mpsc::UnboundedReceiver<Change>) {
    let mut next = None;
    while let Some(Change { channel, what }) = match next.take() {
        Some(change) => Some(change),
        None => changes.recv().await,
    } {
        let commands = redis.of(&channel);
        let done = match what {
            What::Came(info) => {
                let mut joined = vec![of(&info)];
                while joined.len() < TOGETHER_MAX
                    && let Ok(change) = changes.try_recv()
                {
                    match change {
                        Change { channel: same, what: What::Came(info) } if same == channel => {
                            joined.push(of(&info));
                        }
                        other => {
                            next = Some(other);
                            break;
                        }
                    }
                }
                commands.add_presence(&channel, &joined).await
            }
            What::Went(info) => commands.remove_presence(&channel, &[who(&info)]).await.map(drop),
            What::Stay(members) => refresh(commands, &channel, &members).await,
        };
        if let Err(failure) = done {
            tracing::debug!(channel = &*channel, "presence was not told to Redis: {failure}");
        }
    }
}

async fn refresh(commands: &Commands, channel: &str, members: &Members) -> Result<(), Failure> {
    let all: Vec<Who> = members.iter().map(|info| who(info)).collect();
    let missing = commands.refresh_presence(channel, &all).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let missing: std::collections::HashSet<String> = missing.into_iter().collect();
    let again: Vec<Joined> =
        members.iter().filter(|info| missing.contains(&*info.client)).map(|info| of(info)).collect();
    commands.add_presence(channel, &again).await
}

fn who(info: &Info) -> Who {
    Who { client: info.client.to_string(), user: info.user.to_string() }
}

fn of(info: &Info) -> Joined {
    let mut bytes = BytesMut::new();
    encode_client_info(&info.client_info(), &mut bytes);
    Joined { who: who(info), info: bytes.freeze() }
}
