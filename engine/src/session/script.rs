//! Script: the sessions of one shard without its connections, for tests that decide what comes when.
//!
//! In:  what clients send; by hand, the moment at which homes, the backend and the endpoint of keys answer; the time.
//! Out: what each client hears, in order; how its session ends (`recorder`).
//!
//! Nothing happens by itself: messages to homes wait in the inbox until [`Script::deliver`], questions to the backend until
//! [`Script::backend_said`]. After each step the ledger is compared with what the clients take.

mod recorder;

use std::{sync::Arc, time::Duration};

use holdfast_protocol::client::{DisconnectCode, Format};
use holdfast_ring::{Doorbell, Socket};
use rand::{
    SeedableRng as _,
    rngs::{SmallRng, StdRng},
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{SessionCx, Sessions, client::Transport, policy::SessionPolicy};
use crate::{
    backend::{Event, KeyNews, KeysAre, ProxyResult, Queue, Refusal, ReplyTo, queue},
    config::Config,
    conn::{Commands, Session, deflate::Deflate, lag::QueueLimits},
    context::Context,
    encoding::Encoding,
    hub::{Gathered, HubPolicy},
    ids::{ClientKey, ShardId},
    limits::{LimitPolicy, Limits, Tables},
    memory::{Budget, BudgetLimits, Ledger},
    mesh::MailboxLimits,
    metrics::CloseReason,
    session::{
        Deferred, FlowKey,
        calls::{ApiCall, ClientCommand, ClientSelector},
        message::{Mesh, Message, Peers, Shared},
        receivers::Hub,
    },
    time::tick_at,
    token::{TokenPolicy, issue::issue},
};

pub(crate) use self::recorder::{End, Recorder};

/// The time of day at which a script begins, in seconds since 1970.
pub(crate) const NOON_S: u64 = 1_800_000_000;

/// Where a script's keys come from, for tests that configure it so.
pub(crate) const KEYS_ENDPOINT: &str = "http://keys.test/jwks";

const SECRET: &str = "a secret of more than thirty-two bytes";

/// Turns are so long. None is late.
const TURN: Duration = Duration::from_millis(200);

/// What one piece of work of a turn may cost.
const QUANTUM_NS: u64 = 200_000;

/// Questions to the backend that may wait.
pub(crate) const CALLS_MAX: usize = 4;

/// One shard's sessions, and what they work on.
pub(crate) struct Script {
    pub(crate) sessions: Sessions,
    pub(crate) hub: Hub,
    pub(crate) mesh: Mesh,
    pub(crate) cx: Context,
    pub(crate) io: Recorder,
    /// What one piece of work may cost.
    pub(crate) quantum_ns: u64,
    asks: Queue,
    /// All that there ever were.
    peers: Vec<Peer>,
    /// Since the beginning.
    uptime: Duration,
}

/// A client's end of its connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) socket: Socket,
    pub(crate) key: ClientKey,
}

/// A question that the backend has been asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    back: ReplyTo,
    event: Event,
}

/// What is kept for clients.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) clients: usize,
    pub(crate) users: usize,
    pub(crate) quota: usize,
    pub(crate) subscribers: usize,
    /// Channels with somebody on this core, and those whose home knows of somebody.
    pub(crate) channels: (usize, usize),
    pub(crate) deferred: usize,
    /// Clients for whom publications wait.
    pub(crate) held_back: usize,
    pub(crate) command_bytes: u64,
    pub(crate) session_bytes: u64,
}

impl Script {
    /// A shard on which anybody may connect, and then subscribe and publish where no namespace is named; otherwise as `change`
    /// configures it.
    pub(crate) fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.client.allow_anonymous_connect_without_token = true;
        config.client.token.hmac_secret_key = Some(SECRET.parse().expect("a text is a secret"));
        let channels = &mut config.channel.without_namespace;
        channels.allow_subscribe_for_client = true;
        channels.allow_subscribe_for_anonymous = true;
        channels.allow_publish_for_client = true;
        channels.allow_publish_for_anonymous = true;
        change(&mut config);
        let (origin, asks) = queue(CALLS_MAX);
        let bell = Arc::new(Doorbell::new(None).expect("there is a file descriptor"));
        let mailboxes = MailboxLimits { messages_max: 64, bytes_max: 1 << 20 };
        let (tables, budgets) = (Tables::new(1, 0), BudgetLimits::all(1 << 30));
        let shared = Arc::new(Shared::new(vec![bell], mailboxes, 7, tables, budgets));
        let limits = LimitPolicy::new(&config).map(|policy| Box::new(Limits::new(policy, ShardId::FIRST)));
        let (policy, hub) = (SessionPolicy::from(&config), HubPolicy::from(&config));
        let tokens = TokenPolicy::from(&config.client);
        let peers = Peers::new(Arc::clone(&shared), ShardId::FIRST);
        let owned = hub.owned(7);
        let gathered = Gathered::new(hub.gathered_bytes_max, 64 * 1024);
        let ledger = Ledger::new(BudgetLimits::of(&config), 1);
        let tables = Arc::clone(shared.limit_tables());
        let ids = StdRng::from_seed([7; 32]);
        let mut script = Self {
            sessions: Sessions::new(ShardId::FIRST, "node".into(), policy, tokens, origin, [7; 32], ids),
            hub: Hub::new(owned, gathered, false),
            mesh: Mesh::new(peers),
            cx: Context::new(ledger, limits, tables, (ShardId::FIRST, 1), SmallRng::seed_from_u64(7)),
            io: Recorder::new(QueueLimits::from(&config.client)),
            quantum_ns: QUANTUM_NS,
            asks,
            peers: Vec::new(),
            uptime: Duration::ZERO,
        };
        script.begin_turn();
        script
    }

    /// Has the sessions do something, as one piece of work of a turn.
    pub(crate) fn act<T>(&mut self, act: impl FnOnce(&mut SessionCx<'_, Recorder>) -> T) -> T {
        let Self { sessions, hub, mesh, cx, io, quantum_ns, .. } = self;
        cx.why = None;
        cx.meter.allow(*quantum_ns);
        let done = act(&mut SessionCx { sessions, hub, mesh, cx, io });
        cx.meter.allow_all();
        self.audit();
        assert!(self.sessions.replies.is_empty(), "replies go out with what led to them");
        done
    }

    /// The ledger knows what the clients take.
    fn audit(&mut self) {
        let Self { sessions, hub, mesh, cx, io, .. } = self;
        let (commands, records) = SessionCx { sessions, hub, mesh, cx, io }.audit_accounts();
        assert_eq!(self.cx.ledger.bytes(Budget::Commands), commands as u64);
        assert_eq!(self.cx.ledger.bytes(Budget::Sessions), records as u64);
    }

    /// A client that speaks JSON over a WebSocket.
    pub(crate) fn open(&mut self) -> Peer {
        let socket = self.io.add(Encoding::WebSocket(Format::Json));
        let link = Transport::WebSocket { socket, has_native_pings: false, deflate: Deflate::Off };
        self.open_with(socket, link)
    }

    /// One whose replies come in an answer that does not end.
    pub(crate) fn open_stream(&mut self) -> Peer {
        let wire = Encoding::Stream(Format::Json);
        let socket = self.io.add(wire);
        let session = self.sessions.registry.open([3; 16]);
        let peer = self.open_with(socket, Transport::Stream { wire, socket, session });
        self.sessions.registry.set_client(session, Some(peer.key));
        peer
    }

    fn open_with(&mut self, socket: Socket, link: Transport) -> Peer {
        let key = self.act(|sessions| sessions.open_client(link, Format::Json));
        self.io.set_session(socket, Session::Client { key });
        let peer = Peer { socket, key };
        self.peers.push(peer);
        peer
    }

    /// One that is connected, anonymous.
    #[track_caller]
    pub(crate) fn open_connected(&mut self) -> Peer {
        let peer = self.open();
        self.connect(peer, "");
        peer
    }

    /// Connects a client with a token, or with none where that is empty.
    #[track_caller]
    pub(crate) fn connect(&mut self, peer: Peer, token: &str) {
        self.send(peer, json!({"id": 1, "connect": {"token": token}}));
        self.deliver();
        let heard = self.hear(peer);
        assert!(heard["id"] == 1 && heard["connect"]["client"] == "*", "it is not connected: {heard}");
    }

    /// Subscribes a client, and has the home answer.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, peer: Peer, channel: &str) {
        self.send(peer, json!({"id": 2, "subscribe": {"channel": channel}}));
        self.deliver();
        self.expect(peer, json!({"id": 2, "subscribe": {}}));
    }

    /// A client sends a command.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "scripts read better without a sign before each command"
    )]
    pub(crate) fn send(&mut self, peer: Peer, command: Value) {
        self.send_text(peer, &command.to_string());
    }

    /// A client sends several in one frame.
    pub(crate) fn send_frame<const N: usize>(&mut self, peer: Peer, commands: [Value; N]) {
        self.send_text(peer, &commands.map(|command| command.to_string()).join("\n"));
    }

    /// A client sends a frame, whatever is in it. Who has been sent away is not heard.
    pub(crate) fn send_text(&mut self, peer: Peer, frame: &str) {
        if self.io.session(peer.socket).is_none() {
            return;
        }
        let commands = Commands::rest(frame.as_bytes(), false);
        if self.io.is_stream(peer.socket) {
            self.act(|sessions| sessions.frame_came(peer.key, &commands.frame));
        } else {
            self.io.deferred.push_back((FlowKey::Socket(peer.socket), Deferred::Commands(commands)));
        }
        self.do_deferred();
    }

    /// All that waits for its part of a turn gets it.
    fn do_deferred(&mut self) {
        while let Some((flow, deferred)) = self.io.deferred.pop_front() {
            let client = match (flow, self.io.session_of(flow)) {
                (FlowKey::Client(key), _) | (FlowKey::Socket(_), Some(Session::Client { key })) => Some(key),
                _ => None,
            };
            match (deferred, client) {
                (Deferred::Commands(commands), Some(key)) => {
                    let left = self.act(|sessions| match commands.is_begun {
                        true => sessions.resume_commands(key, &commands.frame),
                        false => sessions.receive_commands(key, &commands.frame),
                    });
                    if let Some(at) = left {
                        self.io.deferred.push_front((flow, Deferred::Commands(commands.from(at))));
                    }
                }
                (Deferred::Parked, Some(key)) => self.act(|sessions| sessions.handle_parked(key)),
                (Deferred::Retry(key, came), _) => self.act(|sessions| sessions.retry(key, came)),
                (_, None) => {}
            }
        }
    }

    /// Owners, quotas and this shard get the oldest message. False where none waits.
    pub(crate) fn deliver_one(&mut self) -> bool {
        let Some(message) = self.mesh.inbox.pop() else { return false };
        self.act(|sessions| match message {
            Message::ToOwner(message) => sessions.handle_as_owner(message),
            Message::FromOwner(message) => sessions.handle_from_owner(message),
            Message::ToQuota(message) => sessions.handle_quota(message),
            Message::FromQuota(message) => sessions.on_quota_result(message),
            Message::Api(call) => sessions.apply_command(call),
            other => unreachable!("no script causes {other:?}"),
        });
        self.do_deferred();
        true
    }

    /// All messages come through, and what was published goes out: the rest of a turn.
    pub(crate) fn deliver(&mut self) {
        while self.deliver_one() {}
        for channel in self.hub.subscriptions.take_touched() {
            self.act(|sessions| sessions.fan_out_channel(channel));
        }
        (self.hub.gathered.channel_bytes, self.hub.gathered.receivers) = (0, 0);
        if !self.mesh.inbox.is_empty() {
            self.deliver();
        }
    }

    /// The oldest question that the backend has not been asked about yet.
    #[track_caller]
    pub(crate) fn asked(&mut self, event: Event) -> Asked {
        let (back, call) = self.asks.next_call().expect("the backend is asked");
        assert_eq!(call.event, event);
        Asked { back, event }
    }

    /// The application has something happen to a client.
    pub(crate) fn wish(&mut self, peer: Peer, command: ClientCommand) {
        let client = self.sessions.clients.get(peer.key).map(|client| client.id);
        let whom = Arc::new(ClientSelector { user: None, client });
        let (done, answer) = oneshot::channel();
        self.act(|sessions| sessions.apply_command(ApiCall::Clients { whom, wish: Arc::new(command), done }));
        self.do_deferred();
        drop(answer);
    }

    /// True exactly when there is none.
    pub(crate) fn is_nothing_asked(&mut self) -> bool {
        self.asks.next_call().is_none()
    }

    /// The backend answers with this body.
    pub(crate) fn backend_said(&mut self, asked: Asked, body: &Value) {
        self.answer(asked, ProxyResult::of(asked.event, &body.to_string()));
    }

    /// It does not answer in time.
    pub(crate) fn backend_failed(&mut self, asked: Asked) {
        self.answer(asked, ProxyResult::refused(asked.event, Refusal::Failed));
    }

    fn answer(&mut self, asked: Asked, said: ProxyResult) {
        self.act(|sessions| sessions.on_proxy_result(asked.back, said));
        self.do_deferred();
    }

    /// The number of the last token for which keys are asked; `None` where they are not.
    pub(crate) fn asked_for_keys(&mut self) -> Option<u64> {
        self.asks.next_keys().map(|ask| ask.number)
    }

    /// There is news of the keys.
    pub(crate) fn on_keys(&mut self, what: KeysAre) {
        let endpoint = KEYS_ENDPOINT.parse().expect("it is an address");
        self.act(|sessions| sessions.on_keys(&KeyNews { endpoint, what }));
        self.do_deferred();
    }

    /// Time passes, in turns that are not late.
    pub(crate) fn pass_s(&mut self, seconds: u64) {
        for _ in 0..seconds * 5 {
            self.uptime += TURN;
            self.begin_turn();
        }
    }

    fn begin_turn(&mut self) {
        let wall = Duration::from_secs(NOON_S) + self.uptime;
        self.cx.lateness.turn_began(self.uptime, TURN, wall);
        self.cx.uptime = tick_at(self.uptime);
        self.cx.now = self.cx.lateness.served(self.cx.uptime);
        self.cx.ledger.begin_turn(false, |_| 0);
        self.cx.meter.begin_turn(self.uptime);
    }

    /// A ping is due for a client. True exactly when it is sent.
    pub(crate) fn ping(&mut self, peer: Peer) -> bool {
        let keeps_flooding = self.act(|sessions| sessions.check_expiry(peer.key));
        if keeps_flooding {
            self.io.await_pong(peer.socket);
        }
        self.do_deferred();
        keeps_flooding
    }

    /// A client's transport ends.
    pub(crate) fn leave(&mut self, peer: Peer) {
        self.io.forget_session(peer.socket);
        self.hub.slow.forget(peer.socket);
        self.act(|sessions| sessions.forget_client(peer.key));
        self.do_deferred();
    }

    /// The next thing that a client hears. What is random in it is `*`.
    #[track_caller]
    pub(crate) fn hear(&mut self, peer: Peer) -> Value {
        let heard = self.io.hear(peer.socket).expect("something is heard");
        masked(heard)
    }

    /// A client hears exactly this next.
    #[track_caller]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "scripts read better without a sign before each message"
    )]
    pub(crate) fn expect(&mut self, peer: Peer, expected: Value) {
        let heard = self.io.hear(peer.socket).map(masked);
        assert_eq!(heard.as_ref(), Some(&expected), "heard, and to be heard");
    }

    /// A client has heard all that there is for it, and its session goes on.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self, peer: Peer) {
        assert_eq!((self.io.hear(peer.socket), self.io.end(peer.socket)), (None, None));
    }

    /// A client's session has ended so, after all that it has heard.
    #[track_caller]
    pub(crate) fn expect_end(&mut self, peer: Peer, code: DisconnectCode, reason: CloseReason) {
        let end = End { code: code.code, text: code.reason.into(), reason };
        assert_eq!((self.io.hear(peer.socket), self.io.end(peer.socket)), (None, Some(end)));
        assert!(self.sessions.clients.get(peer.key).is_none(), "its record is gone");
    }

    /// When all have left, nothing is kept for any of them.
    #[track_caller]
    pub(crate) fn expect_nothing_kept(&mut self) {
        for peer in self.peers.clone() {
            self.leave(peer);
        }
        self.deliver();
        assert_eq!(self.holdings(), Holdings::default());
    }

    /// What is kept for clients now.
    pub(crate) fn holdings(&mut self) -> Holdings {
        let places = self.hub.subscriptions.places();
        Holdings {
            clients: self.sessions.clients.len(),
            users: self.sessions.users.len(),
            quota: self.sessions.quota.taken(),
            subscribers: self.hub.subscriptions.subscribers(),
            channels: (self.hub.subscriptions.channels_at(0..places).count(), self.hub.owned.active()),
            deferred: self.io.deferred.len(),
            held_back: self.hub.slow.held.len(),
            command_bytes: self.cx.ledger.bytes(Budget::Commands),
            session_bytes: self.cx.ledger.bytes(Budget::Sessions),
        }
    }
}

/// A token with these claims that a script's shard believes.
pub(crate) fn token(claims: &Value) -> String {
    issue(claims, SECRET.as_bytes())
}

/// A message with `*` in place of what is random, or follows from the version.
fn masked(mut message: Value) -> Value {
    mask(&mut message);
    message
}

fn mask(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        match (&**name, &mut *value) {
            ("client" | "version" | "epoch", Value::String(text)) => *text = "*".into(),
            _ => mask(value),
        }
    }
}
