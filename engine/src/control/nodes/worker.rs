//! Worker: this node's part in the conversation, on the control thread.
//!
//! In:  what other nodes say; orders of the server API; requests that shards have for other nodes; the time.
//! Out: hello every 3 s; commands, questions and requests of others, carried out here; answers; goodbye.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use holdfast_redis::control::{
    Action, Control, To,
    message::{Body, Message as Said, Node as Hello, Notification},
    registry::{NodeState, RegistryOptions},
    request::{EMULATION_OP, HISTORY_REMOVED_OP, POLL_OP, POLLED_OP},
    survey::{Outcome, SurveyOptions},
};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{
    commands::command_of,
    handle::{Cluster, Nodes, Order},
    leases::{ALIVE_OP, eviction, tell_silent},
    requests::Requests,
    sender::Sender,
    surveys::Surveys,
};
use crate::{
    broker::{self, BrokerHandle, LeaseOrder},
    control::{api::Node, drain::Drain, reach::ShardClient},
    hub::broker::FromBroker,
    metrics::Metric,
    session::{
        calls::ApiCall,
        forward::{ForwardQueue, ToNodes},
        message::{Message, ShardHandle, Shared},
    },
    supervise::task,
};

/// Messages that are taken before anything else is looked at.
const BATCH_MAX: usize = 256;

/// Commands of other nodes that are carried out at a time. What comes beyond is dropped, as one that is lost.
const COMMANDS_MAX: usize = 1_024;

/// How often it is looked at whether others can hear us, while they cannot.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the worker needs of this node.
#[derive(Debug)]
pub(in crate::control) struct Links {
    pub(in crate::control) node: Node,
    pub(in crate::control) shared: Arc<Shared>,
    pub(in crate::control) drain: Arc<Drain>,
    /// How long a client's poll may wait.
    pub(in crate::control) poll_wait: Duration,
}

/// The handle of the other nodes, and the work behind it, which goes on as long as the control thread.
pub(in crate::control) fn serve(
    cluster: Cluster,
    of: Links,
) -> (Nodes, impl Future<Output = ()> + Send + 'static) {
    let Cluster { redis, links, counts, heard, lease_orders, forwards, hold } = cluster;
    let Links { node, shared, drain, poll_wait } = of;
    let sender = Sender::new(Arc::clone(&node.uid), redis);
    let (nodes, orders) = Nodes::new(sender.clone(), Arc::clone(&links), counts);
    let now = Instant::now();
    let reach = Arc::new(ShardClient::new(Arc::clone(&shared)));
    let uid = sender.uid().to_string();
    let worker = Worker {
        control: Control::new(uid, RegistryOptions::default(), SurveyOptions::default(), now),
        requests: Requests::new(sender.clone(), ShardHandle::all(&shared), poll_wait, now),
        surveys: Surveys::new(sender.clone(), Arc::clone(&reach)),
        asked: HashMap::new(),
        commands: Arc::new(Semaphore::new(COMMANDS_MAX)),
        is_heard: false,
        sender,
        links,
        node,
        shared,
        reach,
        _hold: hold,
    };
    (nodes, worker.run(heard, orders, lease_orders, forwards, drain))
}

#[derive(Debug)]
struct Worker {
    control: Control,
    requests: Requests,
    surveys: Surveys,
    /// Who waits for which survey.
    asked: HashMap<u64, oneshot::Sender<Outcome>>,
    commands: Arc<Semaphore>,
    /// True exactly when others could hear us at the last look.
    is_heard: bool,
    sender: Sender,
    links: Arc<[broker::Links]>,
    node: Node,
    shared: Arc<Shared>,
    reach: Arc<ShardClient>,
    _hold: BrokerHandle,
}

impl Worker {
    async fn run(
        mut self,
        mut heard: mpsc::Receiver<Bytes>,
        mut orders: mpsc::Receiver<Order>,
        mut lease_orders: mpsc::Receiver<LeaseOrder>,
        mut forwards: ForwardQueue,
        drain: Arc<Drain>,
    ) {
        let mut messages = Vec::new();
        loop {
            let mut out = Vec::new();
            let wake_at = self.tick(Instant::now(), &mut out);
            self.act(out);
            let mut out = Vec::new();
            tokio::select! {
                count = heard.recv_many(&mut messages, BATCH_MAX), if !heard.is_closed() => {
                    // None: the broker has ended, and the daemon is about to.
                    let now = Instant::now();
                    messages.drain(..count).for_each(|bytes| self.hear(&bytes, now, &mut out));
                }
                Some(order) = orders.recv() => self.obey(order, &mut out),
                Some(order) = lease_orders.recv() => self.obey_lease(order, &mut out),
                Some(message) = forwards.receive() => self.carry(message, &mut out),
                () = drain.sends_away() => self.leave(None),
                () = tokio::time::sleep_until(wake_at.into()) => {}
            }
            self.act(out);
        }
    }

    /// Does what is due. Returns when the next thing is.
    fn tick(&mut self, now: Instant, out: &mut Vec<Action>) -> Instant {
        let is_heard = self.can_be_heard();
        let could_be_heard = std::mem::replace(&mut self.is_heard, is_heard);
        if is_heard && !could_be_heard {
            self.control.greet(now);
        }
        let (node, shared) = (&self.node, &self.shared);
        self.control.tick(now, || hello(node, shared), out);
        self.requests.expire(now);
        let due = self.control.due();
        if self.is_heard { due } else { due.min(now + LOOK_EVERY) }
    }

    /// True exactly when what we say goes out, and the answers come in.
    fn can_be_heard(&self) -> bool {
        let is_up = |links: &broker::Links| {
            let health = links.control_health();
            health.is_up && health.is_settled
        };
        self.sender.redis().open_of(self.sender.uid()).down().is_none() && self.links.iter().all(is_up)
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { to, bytes } => self.sender.send(to, bytes),
                Action::NodeCame(uid) => {
                    let name = self.control.registry().get(&uid).map(|node| node.name.as_str());
                    tracing::info!(uid, name, "another node is there");
                }
                Action::NodeGone(uid) => {
                    tracing::info!(uid, "another node is gone");
                    self.requests.node_gone(&uid);
                }
                Action::SurveyOver(outcome) => {
                    if let Some(outcome) = self.requests.survey_over(outcome)
                        && let Some(answer) = self.asked.remove(&outcome.id)
                    {
                        // The caller may be gone.
                        let _ = answer.send(outcome);
                    }
                }
            }
        }
        self.sender.set_known(self.control.registry().len());
    }

    fn hear(&mut self, bytes: &[u8], now: Instant, out: &mut Vec<Action>) {
        let Said { uid, body } = match self.control.hear(bytes, now, out) {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(error) => {
                return tracing::debug!("a message of another node was not listened to: {error}");
            }
        };
        match body {
            Some(Body::SurveyRequest(request)) if request.op == EMULATION_OP => {
                self.requests.take_commands(&uid, &request, now);
            }
            Some(Body::SurveyRequest(request)) => self.surveys.take(&uid, &request),
            Some(Body::Notification(Notification { op, data })) => match &*op {
                HISTORY_REMOVED_OP => self.forget_history(data),
                POLL_OP => self.requests.take_poll(&uid, data, now),
                POLLED_OP => self.requests.take_answer(&uid, data),
                _ => {}
            },
            Some(body) => self.carry_out(&body),
            None => {}
        }
    }

    /// Does to clients here what another node did to its own.
    fn carry_out(&self, body: &Body<'_>) {
        let Some((whom, wish)) = command_of(body) else { return };
        let Ok(place) = Arc::clone(&self.commands).try_acquire_owned() else {
            return tracing::warn!(
                "a command of another node was dropped, because {COMMANDS_MAX} of them wait for the shards: the daemon is overloaded"
            );
        };
        let (reach, whom, wish) = (Arc::clone(&self.reach), Arc::new(whom), Arc::new(wish));
        task("nodes", async move {
            let call = |done| ApiCall::Clients { whom: Arc::clone(&whom), wish: Arc::clone(&wish), done };
            // A refusal is news for nobody: the caller is on another node.
            let _ = reach.ask_all(call).await;
            drop(place);
        });
    }

    fn forget_history(&self, channel: &[u8]) {
        let Ok(channel) = std::str::from_utf8(channel) else { return };
        let (reach, channel) = (Arc::clone(&self.reach), Arc::<str>::from(channel));
        task("nodes", async move {
            let removed = FromBroker::HistoryRemoved(Arc::clone(&channel));
            // Where its mailbox stays full, the log says so.
            let _ = reach.post_home(&channel, Message::from(removed)).await;
        });
    }

    fn obey(&mut self, order: Order, out: &mut Vec<Action>) {
        match order {
            Order::Survey { op, data, answer } => {
                if let Ok(id) = self.control.survey(To::All, op, &data, Instant::now(), out) {
                    self.asked.insert(id, answer);
                }
            }
            Order::List(answer) => {
                let mut nodes: Vec<NodeState> = self.control.registry().nodes().cloned().collect();
                nodes.sort_by(|one, other| (&one.name, &one.uid).cmp(&(&other.name, &other.uid)));
                let _ = answer.send(nodes);
            }
            Order::Leave(done) => self.leave(Some(done)),
        }
    }

    /// Does what is to be done about users' connections on other nodes.
    fn obey_lease(&mut self, order: LeaseOrder, out: &mut Vec<Action>) {
        match order {
            LeaseOrder::Evict { user, client } => {
                let command = eviction(&user, &client);
                self.carry_out(&command);
                let bytes = self.sender.bytes_of(command);
                self.sender.send(To::All, bytes);
            }
            LeaseOrder::FindSilent { nodes, answer } => {
                if let Ok(id) = self.control.survey(To::All, ALIVE_OP, &[], Instant::now(), out) {
                    let (outcome, receiver) = oneshot::channel();
                    self.asked.insert(id, outcome);
                    task("nodes", tell_silent(nodes, receiver, answer));
                }
            }
        }
    }

    fn carry(&mut self, message: ToNodes, out: &mut Vec<Action>) {
        match message {
            ToNodes::Request(request) => {
                self.requests.pass_on(request, &mut self.control, Instant::now(), out);
            }
            ToNodes::Answer { number, answer } => self.requests.answered(number, &answer),
        }
    }

    fn leave(&mut self, done: Option<oneshot::Sender<()>>) {
        let Action::Send { to, bytes } = self.control.goodbye() else { return };
        let sender = self.sender.clone();
        task("nodes", async move {
            if let Err(failure) = sender.publish(&to, bytes).await {
                tracing::debug!("this node left without a word to the others: {failure}");
            }
            let _ = done.map(|done| done.send(()));
        });
    }
}

/// What a node says of itself. A user with clients on several cores counts on each of them.
fn hello(node: &Node, shared: &Shared) -> Hello<'static> {
    let count = |metric| u32::try_from(shared.sum(metric)).unwrap_or(u32::MAX);
    Hello {
        name: node.name.clone().into(),
        version: env!("CARGO_PKG_VERSION").into(),
        num_clients: count(Metric::Clients),
        num_users: count(Metric::Users),
        num_channels: count(Metric::Channels),
        num_subs: count(Metric::Subscriptions),
        uptime: u32::try_from(node.began.elapsed().as_secs()).unwrap_or(u32::MAX),
        ..Hello::default()
    }
}
