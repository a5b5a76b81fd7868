//! Leases: the connections of this node's users, as Redis counts them over all nodes.
//!
//! In:  connections that want to begin, and those that have ended.
//! Out: whether each may; which connections of other nodes end for it; leases that are kept while the connections live.
//!
//! What one user does keeps its order. A lease of a node that has died is in the way of those who come back from there: before
//! anybody is refused, the nodes that hold the leases are asked for a sign of life, and those of the silent are freed.
//!
//! Redis forgets what nobody keeps, and may lose all: each lease is kept every five minutes, and counted again if it was lost.
//! Memory: about 100 bytes and the name for each user, and 24 bytes for each connection. Two calls may wait for each
//! connection, so `client.connection_limit` bounds them, too.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::BuildHasher as _,
    num::NonZeroU64,
    sync::Arc,
    time::Duration,
};

use holdfast_redis::command::{Commands, LeaseLimit, Leased, Shards};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, sleep},
};
use uuid::Uuid;

use super::outlets::Outlets;
use crate::{
    hub::{
        broker::{FromBroker, LeaseCall, LeaseOutcome},
        message::FromOwner,
    },
    mesh::Message,
};

/// Calls of so many users go to Redis side by side.
const LANES: u64 = 64;

/// How often some of a lane's leases are kept: a part of them each time, so that all are in five minutes.
const KEEP_SOME_EVERY: Duration = Duration::from_secs(1);
const PARTS: usize = 300;
const _: () = assert!(KEEP_SOME_EVERY.as_secs() * PARTS as u64 == Commands::KEEP_LEASES_EVERY.as_secs());

/// The nodes are asked for signs of life this often at most, for all who wait: whoever knocks again and again causes no more.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Questions of lanes that wait.
const DOUBTS_MAX: usize = 64;

/// Orders for the other nodes that wait.
const ORDERS_MAX: usize = 4_096;

/// What the control thread is to do about leases of other nodes.
#[derive(Debug)]
pub(crate) enum LeaseOrder {
    /// End a connection, on whatever node it is: a newer one has its place.
    Evict { user: Arc<str>, client: Uuid },
    /// Which of these nodes give no sign of life.
    FindSilent { nodes: HashSet<String>, answer: oneshot::Sender<HashSet<String>> },
}

/// Nodes that may be dead, and who wants to know which are.
#[derive(Debug)]
struct Doubt {
    nodes: HashSet<String>,
    answer: oneshot::Sender<HashSet<String>>,
}

/// A call, and whose connection it is about.
#[derive(Debug)]
struct Call {
    user: Arc<str>,
    what: LeaseCall,
}

/// The lanes, each of which does one thing after the other.
#[derive(Debug)]
pub(super) struct Leases {
    lanes: Vec<mpsc::UnboundedSender<Call>>,
    hasher: std::hash::RandomState,
}

impl Leases {
    /// Starts the lanes' tasks on the current runtime. `node` is this one's name.
    pub(super) fn start<M>(
        redis: &Arc<Shards>,
        node: &Arc<str>,
        outlets: &Arc<Outlets<M>>,
        orders: &mpsc::Sender<LeaseOrder>,
    ) -> Self
    where
        M: Message + From<FromBroker> + From<FromOwner> + Send + 'static,
    {
        let (doubts, doubted) = mpsc::channel(DOUBTS_MAX);
        tokio::spawn(ask_for_signs(doubted, orders.clone()));
        let lane = |_| {
            let (sender, calls) = mpsc::unbounded_channel();
            let lane = Lane {
                redis: Arc::clone(redis),
                node: Arc::clone(node),
                orders: orders.clone(),
                doubts: doubts.clone(),
                held: HashMap::new(),
                turns: VecDeque::new(),
            };
            tokio::spawn(lane.run(calls, Arc::clone(outlets)));
            sender
        };
        Self { lanes: (0..LANES).map(lane).collect(), hasher: std::hash::RandomState::new() }
    }

    pub(super) fn send(&self, user: Arc<str>, what: LeaseCall) {
        let lane = usize::try_from(self.hasher.hash_one(&user) % LANES).unwrap_or(0);
        // It ends only with the runtime.
        let _ = self.lanes[lane].send(Call { user, what });
    }
}

/// Where leases' orders go, and where they come from.
pub(super) fn orders() -> (mpsc::Sender<LeaseOrder>, mpsc::Receiver<LeaseOrder>) {
    mpsc::channel(ORDERS_MAX)
}

/// Some of the users.
struct Lane {
    redis: Arc<Shards>,
    node: Arc<str>,
    orders: mpsc::Sender<LeaseOrder>,
    doubts: mpsc::Sender<Doubt>,
    /// The leases of each user here. A user without any stays until its turn comes.
    held: HashMap<Arc<str>, Vec<(NonZeroU64, Uuid)>>,
    /// Whose leases are kept next: each user once.
    turns: VecDeque<Arc<str>>,
}

impl Lane {
    async fn run<M>(mut self, mut calls: mpsc::UnboundedReceiver<Call>, outlets: Arc<Outlets<M>>)
    where
        M: Message + From<FromBroker> + From<FromOwner>,
    {
        let mut clock = interval(KEEP_SOME_EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                call = calls.recv() => {
                    let Some(Call { user, what }) = call else { return };
                    match what {
                        LeaseCall::Take { lease, client, limit } => {
                            let outcome = self.take(&user, lease, client, limit).await;
                            outlets.send(outlets.owner(&user), FromBroker::Leased { user, lease, outcome });
                        }
                        LeaseCall::Free { lease } => self.free(&user, lease).await,
                    }
                }
                _ = clock.tick(), if !self.turns.is_empty() => self.keep_some().await,
            }
        }
    }

    async fn take(
        &mut self,
        user: &Arc<str>,
        lease: NonZeroU64,
        client: Uuid,
        limit: LeaseLimit,
    ) -> LeaseOutcome {
        if !self.held.contains_key(user) {
            self.turns.push_back(Arc::clone(user));
        }
        self.held.entry(Arc::clone(user)).or_default().push((lease, client));
        let name = self.name_of(client);
        let redis = Arc::clone(&self.redis);
        let commands = redis.of(user);
        let mut taken = commands.take_lease(user, &name, limit).await;
        if let Ok(Leased::Full(in_the_way)) = &taken {
            let dead = self.dead_among(user, in_the_way).await;
            if !dead.is_empty() {
                taken = match commands.free_leases(user, &dead).await {
                    Ok(_) => commands.take_lease(user, &name, limit).await,
                    Err(failure) => Err(failure),
                };
            }
        }
        match taken {
            Ok(Leased::Taken(evicted)) => {
                evicted.iter().for_each(|lease| self.evict(user, lease));
                LeaseOutcome::Taken
            }
            Ok(Leased::Full(_)) => {
                self.forget(user, lease);
                LeaseOutcome::Full
            }
            Err(failure) => {
                tracing::debug!(
                    user = &**user,
                    "the user's connections are counted on this node alone: {failure}"
                );
                LeaseOutcome::Unknown
            }
        }
    }

    async fn free(&mut self, user: &Arc<str>, lease: NonZeroU64) {
        let Some(client) = self.forget(user, lease) else { return };
        let freed = self.redis.of(user).free_leases(user, &[self.name_of(client)]).await;
        if let Err(failure) = freed {
            // It ends by itself, and whoever finds it in the way sees that nobody has it.
            tracing::debug!(
                user = &**user,
                "a connection that has ended is counted a little longer: {failure}"
            );
        }
    }

    fn forget(&mut self, user: &Arc<str>, lease: NonZeroU64) -> Option<Uuid> {
        let held = self.held.get_mut(user)?;
        let place = held.iter().position(|(number, _)| *number == lease)?;
        Some(held.swap_remove(place).1)
    }

    /// Keeps the leases of some users.
    async fn keep_some(&mut self) {
        for _ in 0..self.turns.len().div_ceil(PARTS) {
            let Some(user) = self.turns.pop_front() else { return };
            let held = self.held.get(&user).map(Vec::as_slice).unwrap_or_default();
            if held.is_empty() {
                self.held.remove(&user);
                continue;
            }
            let names: Vec<String> = held.iter().map(|(_, client)| self.name_of(*client)).collect();
            match self.redis.of(&user).keep_leases(&user, &names).await {
                Ok(0) | Err(_) => {}
                Ok(lost) => {
                    tracing::debug!(
                        user = &*user,
                        lost,
                        "Redis had lost connections of the user; they count again"
                    );
                }
            }
            self.turns.push_back(user);
        }
        if self.turns.is_empty() {
            (self.held, self.turns) = (HashMap::new(), VecDeque::new());
        }
    }

    /// Of these leases, those that nobody has: of nodes without a sign of life, and of this one but not here.
    async fn dead_among(&self, user: &Arc<str>, leases: &[String]) -> Vec<String> {
        let is_other = |node: &&str| *node != &*self.node;
        let nodes: HashSet<String> =
            leases.iter().filter_map(|lease| node_of(lease)).filter(is_other).map(str::to_owned).collect();
        let silent = if nodes.is_empty() { HashSet::new() } else { self.silent_among(nodes).await };
        let held = self.held.get(user).map(Vec::as_slice).unwrap_or_default();
        let here: HashSet<String> = held.iter().map(|(_, client)| self.name_of(*client)).collect();
        let is_dead = |lease: &&String| match node_of(lease) {
            Some(node) if node == &*self.node => !here.contains(*lease),
            Some(node) => silent.contains(node),
            None => true,
        };
        leases.iter().filter(is_dead).cloned().collect()
    }

    async fn silent_among(&self, nodes: HashSet<String>) -> HashSet<String> {
        let (answer, receiver) = oneshot::channel();
        match self.doubts.send(Doubt { nodes, answer }).await {
            Ok(()) => receiver.await.unwrap_or_default(),
            // The daemon is about to end.
            Err(_) => HashSet::new(),
        }
    }

    /// Has a connection ended, on whatever node it is.
    fn evict(&self, user: &Arc<str>, lease: &str) {
        let Some(client) = lease.split_once('/').and_then(|(_, client)| client.parse().ok()) else { return };
        if self.orders.try_send(LeaseOrder::Evict { user: Arc::clone(user), client }).is_err() {
            tracing::warn!(
                user = &**user,
                "a user has a connection more than it may: the control thread has too much to do to end one of another node"
            );
        }
    }

    /// A lease in Redis: no two connections share one.
    fn name_of(&self, client: Uuid) -> String {
        format!("{}/{client}", self.node)
    }
}

/// Asks the nodes for signs of life, each time for all lanes that have come to doubt since the last time.
async fn ask_for_signs(mut doubted: mpsc::Receiver<Doubt>, orders: mpsc::Sender<LeaseOrder>) {
    let mut doubts = Vec::new();
    while doubted.recv_many(&mut doubts, DOUBTS_MAX).await > 0 {
        let nodes = doubts.iter().flat_map(|doubt| &doubt.nodes).cloned().collect();
        let (answer, receiver) = oneshot::channel();
        if orders.send(LeaseOrder::FindSilent { nodes, answer }).await.is_err() {
            return;
        }
        // Without an answer nobody knows, and nobody is taken for dead.
        let silent = receiver.await.unwrap_or_default();
        for Doubt { nodes, answer } in doubts.drain(..) {
            let _ = answer.send(nodes.intersection(&silent).cloned().collect());
        }
        sleep(ASK_EVERY).await;
    }
}

fn node_of(lease: &str) -> Option<&str> {
    lease.split_once('/').map(|(node, _)| node)
}
