//! Slots: one link to each server of a cluster that owns slots, which together look like one link.
//!
//! In:  channels that are wanted, each in a slot; a cluster whose slots move.
//! Out: events of all links, each channel's from the link to its slot's owner.
//!
//! ```text
//!   want, unwant ──> router ── by slot ──> link to A ──> member ──┐
//!                      ^  └──────────────> link to B ──> member ──┴──> consumers
//!                      └── look: CLUSTER NODES <── signs ──┘
//! ```
//!
//! Where a slot moves, its channels are wanted of the new owner's link, which confirms them: whoever listens reads then what
//! was missed. Signs are an unasked `sunsubscribe`, MOVED, a link that goes down; without any the cluster is looked at every
//! 30 s. A server that owns nothing any more loses its link.
//!
//! It holds each wanted name once more, by slot.

mod look;
mod member;
mod places;
mod topology;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::Rng as _;
use redis_protocol::redis_keyslot;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};
use tracing::{error, info, warn};

pub(super) use self::places::Places;
pub use self::topology::Topology;
use self::{
    look::{ASKED_MAX, Schedule, look},
    member::{Member, Signs, SlotSet},
};
use super::{
    connection::Address,
    event::Consumer,
    handle::{Command, LinkHandle},
    link::{LinkOptions, Publisher, guard, link},
    options::{Kind, WantedOptions},
};

/// A slot follows the word of one server at most this often; after that, servers are asked for their common view.
const HINT_EVERY: Duration = Duration::from_secs(1);

/// How long to wait after a panic.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long links may take to end.
const END_WITHIN: Duration = Duration::from_secs(1);

/// How the links of a cluster live.
#[derive(Debug, Clone)]
pub struct SlotOptions {
    /// Of each link, but for its server, its service channel, and that it is sharded.
    pub link: LinkOptions,
    /// Servers that are asked first.
    pub seeds: Vec<Address>,
    /// A service channel in each slot that matters. A server that owns none of them gets no link.
    pub service_channels: Vec<Arc<str>>,
    /// How often the cluster is looked at without a sign. 30 s.
    pub look_every: Duration,
}

/// Makes what each link needs of its own.
pub trait Parts: Send + 'static {
    /// Takes a link's events.
    type Consumer: Consumer;

    /// For a new link.
    fn consumer(&mut self) -> Self::Consumer;

    /// Publishes its probes.
    fn publisher(&mut self) -> Option<Publisher>;
}

/// The links of one cluster: the future of [`Self::run`], to be spawned on a tokio runtime with I/O and time.
pub struct SlotLinks<P> {
    options: SlotOptions,
    parts: P,
    commands: mpsc::Receiver<Command>,
    places: Arc<Places>,
    signs: Arc<Signs>,
    links: HashMap<Address, To>,
    tasks: JoinSet<()>,
    /// Whatever the owner wants, by slot.
    wanted: HashMap<u16, HashSet<Arc<str>>>,
    /// When a slot last followed the word of one server.
    hinted: HashMap<u16, Instant>,
    /// Slots whose owner says that it is not: where the next look does not know better, it is asked again.
    doubted: HashSet<u16>,
    /// The servers of the last look.
    known: Vec<Address>,
}

/// A look that is under way.
type Look = Pin<Box<dyn Future<Output = Option<Topology>> + Send>>;

/// A link to one server.
struct To {
    handle: LinkHandle,
    speaks_for: Arc<SlotSet>,
    service: Arc<str>,
}

/// What changes at one link.
#[derive(Default)]
struct Change {
    unwant: Vec<Arc<str>>,
    want: Vec<Arc<str>>,
}

/// The links of a cluster, and the owner's end of them. A cluster that cannot be reached is no error.
pub fn slot_links<P: Parts>(options: SlotOptions, parts: P) -> (LinkHandle, SlotLinks<P>) {
    let (sender, commands) = mpsc::channel(options.link.commands_max.max(1));
    let slots = options.service_channels.iter().map(|channel| slot_of(channel));
    let places = Arc::new(Places::new(slots, Instant::now()));
    let handle = LinkHandle::of_slots(sender, Arc::clone(&places));
    let links = SlotLinks {
        parts,
        commands,
        places,
        signs: Arc::default(),
        links: HashMap::new(),
        tasks: JoinSet::new(),
        wanted: HashMap::new(),
        hinted: HashMap::new(),
        doubted: HashSet::new(),
        known: Vec::new(),
        options,
    };
    (handle, links)
}

impl<P: Parts> SlotLinks<P> {
    /// Lives until it is told to stop, or nobody is left who could.
    pub async fn run(mut self) {
        while guard(self.route()).await.is_none() {
            error!(
                "what keeps the links to a Redis Cluster panicked, and begins anew; this is a bug, please report it"
            );
            self.forget();
            sleep(AGAIN_AFTER).await;
        }
        for to in self.links.values() {
            let _ = to.handle.send(Command::Stop).await;
        }
        let _ = timeout(END_WITHIN, async { while self.tasks.join_next().await.is_some() {} }).await;
    }

    async fn route(&mut self) {
        let mut schedule = Schedule::new(self.options.look_every, Instant::now());
        let mut looking: Option<Look> = None;
        let signs = Arc::clone(&self.signs);
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Want(names)) => self.want(names).await,
                    Some(Command::Unwant(names)) => self.unwant(names).await,
                    Some(Command::Rebuild(_)) => self.signs.give(),
                    // Each link has its own.
                    Some(Command::Serve(_)) => {}
                    Some(Command::Stop) | None => break,
                },
                () = signs.any() => {
                    schedule.sign(Instant::now());
                    self.follow_hints().await;
                }
                topology = looked(looking.as_mut()), if looking.is_some() => {
                    looking = None;
                    let is_well = match topology {
                        Some(topology) => self.take(&topology).await,
                        None => false,
                    };
                    schedule.done(is_well, rand::rng().random(), Instant::now());
                }
                () = sleep_until(schedule.next.into()), if looking.is_none() => {
                    schedule.begin(Instant::now());
                    looking = Some(Box::pin(look(&self.options.link.connection, self.whom_to_ask())));
                }
                // None ends by itself but by a bug of ours; then its server gets a new one.
                Some(_) = self.tasks.join_next() => self.bury().await,
            }
        }
    }

    /// Drops all links. What is wanted stays.
    fn forget(&mut self) {
        self.tasks.abort_all();
        let mut state = self.places.lock();
        for (server, _) in self.links.drain() {
            state.end(&server);
        }
        state.slots.values_mut().for_each(|owner| *owner = None);
        state.settle(Instant::now());
    }

    async fn want(&mut self, names: Vec<Arc<str>>) {
        let mut changes: HashMap<Address, Change> = HashMap::new();
        {
            let state = self.places.lock();
            for name in names {
                let slot = slot_of(&name);
                if let Some(owner) = state.slots.get(&slot).and_then(Option::as_ref) {
                    change(&mut changes, owner).want.push(Arc::clone(&name));
                }
                self.wanted.entry(slot).or_default().insert(name);
            }
        }
        self.apply(changes).await;
        self.settle();
    }

    async fn unwant(&mut self, names: Vec<Arc<str>>) {
        let mut changes: HashMap<Address, Change> = HashMap::new();
        {
            let state = self.places.lock();
            for name in names {
                let slot = slot_of(&name);
                if let Some(here) = self.wanted.get_mut(&slot) {
                    here.remove(&name);
                    if here.is_empty() {
                        self.wanted.remove(&slot);
                    }
                }
                if let Some(owner) = state.slots.get(&slot).and_then(Option::as_ref) {
                    change(&mut changes, owner).unwant.push(name);
                }
            }
        }
        self.apply(changes).await;
        self.settle();
    }

    /// What the links are told; a link that has ended misses nothing.
    async fn apply(&self, changes: HashMap<Address, Change>) {
        for (server, Change { unwant, want }) in changes {
            let Some(to) = self.links.get(&server) else { continue };
            if !unwant.is_empty() {
                let _ = to.handle.send(Command::Unwant(unwant)).await;
            }
            if !want.is_empty() {
                let _ = to.handle.send(Command::Want(want)).await;
            }
        }
    }

    /// A server that does not own a slot says who does.
    async fn follow_hints(&mut self) {
        let now = Instant::now();
        self.hinted.retain(|_, at| now.saturating_duration_since(*at) < HINT_EVERY);
        let mut moves = BTreeMap::new();
        for (slot, (from, to)) in self.signs.take() {
            if self.places.lock().slots.get(&slot).and_then(Option::as_ref) != Some(&from) {
                continue;
            }
            if from != to && !self.hinted.contains_key(&slot) {
                self.hinted.insert(slot, now);
                moves.insert(slot, Some(to));
            } else {
                self.doubted.insert(slot);
            }
        }
        self.place(moves).await;
    }

    /// Takes what servers say together. True exactly when all is well: each slot has an owner, and each owner is connected.
    async fn take(&mut self, topology: &Topology) -> bool {
        self.known = topology.servers().to_vec();
        let slots: Vec<u16> = self.places.lock().slots.keys().copied().collect();
        let moves = slots.into_iter().map(|slot| (slot, topology.owner(slot).cloned())).collect();
        self.place(moves).await;
        let mut again: HashMap<Address, Change> = HashMap::new();
        for slot in std::mem::take(&mut self.doubted) {
            if let Some(owner) = self.places.lock().slots.get(&slot).and_then(Option::as_ref) {
                let names = self.wanted.get(&slot).into_iter().flatten().cloned();
                change(&mut again, owner).want.extend(names);
            }
        }
        self.apply(again).await;
        self.places.health().is_up
    }

    /// Gives slots to their owners, and links to those who have none yet; ends those of servers without slots.
    async fn place(&mut self, moves: BTreeMap<u16, Option<Address>>) {
        let mut changes: HashMap<Address, Change> = HashMap::new();
        let mut moved: BTreeMap<Option<Address>, usize> = BTreeMap::new();
        for (slot, owner) in moves {
            let before = self.places.lock().slots.get(&slot).cloned().flatten();
            if before == owner {
                continue;
            }
            if let Some(owner) = &owner
                && !self.links.contains_key(owner)
            {
                self.begin(owner, slot);
            }
            let names: Vec<Arc<str>> = self.wanted.get(&slot).into_iter().flatten().cloned().collect();
            if let Some(before) = &before {
                if let Some(to) = self.links.get(before) {
                    to.speaks_for.remove(slot);
                }
                change(&mut changes, before).unwant.extend(names.iter().cloned());
            }
            if let Some(owner) = &owner {
                if let Some(to) = self.links.get(owner) {
                    to.speaks_for.insert(slot);
                }
                change(&mut changes, owner).want.extend(names);
            }
            self.places.lock().slots.insert(slot, owner.clone());
            *moved.entry(owner).or_default() += 1;
        }
        if moved.is_empty() {
            return;
        }
        for (owner, partitions) in &moved {
            match owner {
                Some(server) => info!(%server, partitions, "publications of these partitions are read here"),
                None => warn!(
                    partitions,
                    "no server of the Redis Cluster owns the slots of these partitions: their publications are heard nowhere, until one does"
                ),
            }
        }
        self.apply(changes).await;
        self.serve().await;
        self.end_idle().await;
        self.settle();
    }

    /// A new link.
    fn begin(&mut self, server: &Address, slot: u16) {
        let service = self.options.service_channels.iter().find(|channel| slot_of(channel) == slot);
        let Some(service) = service.cloned() else { return };
        let mut options = self.options.link.clone();
        options.connection.address = server.clone();
        options.wanted = WantedOptions { kind: Kind::Sharded, ..options.wanted };
        options.service_channel = Some(Arc::clone(&service));
        let speaks_for = Arc::new(SlotSet::default());
        let member = Member::new(
            self.parts.consumer(),
            server.clone(),
            Arc::clone(&speaks_for),
            Arc::clone(&self.signs),
        );
        let (handle, link) = link(options, member, self.parts.publisher());
        self.tasks.spawn(link.run());
        if let Some(counts) = handle.counts() {
            self.places.lock().links.insert(server.clone(), counts);
        }
        self.links.insert(server.clone(), To { handle, speaks_for, service });
    }

    /// Sees to it that each link is probed in a slot that its server owns.
    async fn serve(&mut self) {
        for to in self.links.values_mut() {
            if to.speaks_for.contains(slot_of(&to.service)) {
                continue;
            }
            let own = self.options.service_channels.iter();
            let Some(own) = own.into_iter().find(|channel| to.speaks_for.contains(slot_of(channel))) else {
                continue;
            };
            to.service = Arc::clone(own);
            let _ = to.handle.send(Command::Serve(Arc::clone(own))).await;
        }
    }

    async fn end_idle(&mut self) {
        let idle: Vec<Address> = self
            .links
            .iter()
            .filter(|(_, to)| to.speaks_for.is_empty())
            .map(|(server, _)| server.clone())
            .collect();
        for server in idle {
            if let Some(to) = self.links.remove(&server) {
                let _ = to.handle.send(Command::Stop).await;
            }
            self.places.lock().end(&server);
        }
    }

    /// Forgets links that have ended though nobody told them to: their slots are placed anew by the next look.
    async fn bury(&mut self) {
        let ended: Vec<Address> = self
            .links
            .iter()
            .filter(|(_, to)| to.handle.is_gone())
            .map(|(server, _)| server.clone())
            .collect();
        for server in ended {
            warn!(%server, "a link to Redis ended by itself; this is a bug, please report it");
            let slots: Vec<u16> = {
                let state = self.places.lock();
                let owned = state.slots.iter().filter(|(_, owner)| owner.as_ref() == Some(&server));
                owned.map(|(slot, _)| *slot).collect()
            };
            self.place(slots.into_iter().map(|slot| (slot, None)).collect()).await;
            self.signs.give();
        }
    }

    fn settle(&self) {
        let mut state = self.places.lock();
        let unowned = state.slots.iter().filter(|(_, owner)| owner.is_none());
        state.unplaced = unowned.map(|(slot, _)| self.wanted.get(slot).map_or(0, HashSet::len)).sum();
        state.settle(Instant::now());
    }

    /// Servers that are likely to know: those that own slots, or are said to, and the configured ones.
    fn whom_to_ask(&self) -> Vec<Address> {
        let mut known: Vec<&Address> = self.known.iter().chain(&self.options.seeds).collect();
        let first = if known.is_empty() { 0 } else { rand::rng().random_range(0..known.len()) };
        known.rotate_left(first);
        let (mut asked, mut seen) = (Vec::new(), HashSet::new());
        for server in self.links.keys().chain(known) {
            if asked.len() < ASKED_MAX && seen.insert(server) {
                asked.push(server.clone());
            }
        }
        asked
    }
}

async fn looked(looking: Option<&mut Look>) -> Option<Topology> {
    match looking {
        Some(look) => look.await,
        None => std::future::pending().await,
    }
}

fn change<'a>(changes: &'a mut HashMap<Address, Change>, server: &Address) -> &'a mut Change {
    changes.entry(server.clone()).or_default()
}

pub(super) fn slot_of(channel: &str) -> u16 {
    redis_keyslot(channel.as_bytes())
}
