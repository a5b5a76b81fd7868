//! Requests: clients' requests that came to a node that does not have their session.
//!
//! In:  such requests of this node's clients; those of other nodes for sessions here; answers.
//! Out: the same to the node that has the session, or to a session here; one answer to each client.
//!
//! Worst case: [`WAITING_MAX`] polls at other nodes, and as many requests of other nodes for sessions here.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use holdfast_protocol::{
    client::{Format, emulation::EmulationRequest},
    http::Refusal,
};
use holdfast_redis::control::{
    Action, Control, To,
    message::{Body, Notification, SurveyRequest, SurveyResponse},
    request::{EMULATION_OP, POLL_OP, POLLED_OP, PollAnswer, PollRequest},
    survey::Outcome,
};
use holdfast_ring::Socket;

use super::sender::Sender;
use crate::{
    context::RETRY_AFTER_S,
    ids::ShardId,
    session::{
        forward::{Forward, ForwardKind},
        message::{Message, ShardHandle},
        request::{Answer, RequestOrigin, SessionId, SessionRequest, SessionRequestKind},
    },
    supervise::task,
};

/// Polls that wait at other nodes; and requests of other nodes that wait here.
const WAITING_MAX: usize = 65_536;

/// How long an answer to a poll may take beyond what polls wait for.
const POLL_GRACE: Duration = Duration::from_secs(5);

/// A session that has not answered for so long never will: its shard had no room for the request.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// How often that is looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How long a mailbox may stay full.
const FULL_MAX: Duration = Duration::from_secs(1);

/// What answers between nodes say. The first three are Centrifugo's.
const DONE: u32 = 0;
const MALFORMED: u32 = 1;
const SESSION_UNKNOWN: u32 = 2;
const UNAVAILABLE: u32 = 16;
const NEVER_SENT: u32 = 17;

const REFUSED: Refusal = Refusal::Unavailable { retry_after_s: RETRY_AFTER_S };

/// A connection of this node that waits for an answer.
#[derive(Clone, Copy, Debug)]
struct Connection {
    shard: ShardId,
    socket: Socket,
}

/// A poll at another node.
#[derive(Debug)]
struct Poll {
    node: Box<str>,
    connection: Connection,
    until: Instant,
}

/// A request of another node that waits for a session here.
#[derive(Debug)]
struct Foreign {
    node: Box<str>,
    /// That node's number for it.
    id: u64,
    is_poll: bool,
    since: Instant,
}

/// Requests under way.
#[derive(Debug)]
pub(super) struct Requests {
    sender: Sender,
    shards: Vec<ShardHandle>,
    poll_max: Duration,
    last_number: u64,
    /// By the number of the survey.
    commands: HashMap<u64, Connection>,
    polls: HashMap<u64, Poll>,
    foreign: HashMap<u64, Foreign>,
    swept_at: Instant,
}

impl Requests {
    /// Polls wait for `poll_wait`.
    pub(super) fn new(sender: Sender, shards: Vec<ShardHandle>, poll_wait: Duration, now: Instant) -> Self {
        Self {
            sender,
            shards,
            poll_max: poll_wait + POLL_GRACE,
            last_number: 0,
            commands: HashMap::new(),
            polls: HashMap::new(),
            foreign: HashMap::new(),
            swept_at: now,
        }
    }

    /// Passes a request of a client here on to the node that has its session, if there is one of that name.
    pub(super) fn pass_on(
        &mut self,
        request: Forward,
        control: &mut Control,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Forward { node, session, what, shard, socket } = request;
        let connection = Connection { shard, socket };
        if control.registry().get(&node).is_none() {
            return self.answer(connection, Err(Refusal::SessionUnknown));
        }
        let to = To::Node(node.to_string());
        match what {
            ForwardKind::Commands { format, commands } => {
                let data = emulation(&node, &session, format, &commands);
                match control.survey(to, EMULATION_OP, &data, now, out) {
                    Ok(id) => _ = self.commands.insert(id, connection),
                    Err(_) => self.answer(connection, Err(REFUSED)),
                }
            }
            ForwardKind::Poll { .. } if self.polls.len() >= WAITING_MAX => {
                self.answer(connection, Err(REFUSED));
            }
            ForwardKind::Poll { received, commands } => {
                let id = self.next_number();
                let until = now + self.poll_max;
                self.polls.insert(id, Poll { node, connection, until });
                let request = PollRequest { id, session: (&*session).into(), received, commands: &commands };
                let body = Notification { op: POLL_OP.into(), data: &request.encode() };
                self.sender.send(to, self.sender.bytes_of(Body::Notification(body)));
            }
        }
    }

    /// A survey is over. Returned if it was not about a request.
    pub(super) fn survey_over(&mut self, outcome: Outcome) -> Option<Outcome> {
        let Some(connection) = self.commands.remove(&outcome.id) else { return Some(outcome) };
        let answer = match outcome.answers.first() {
            Some(answer) => refusal(answer.code).map_or(Ok(None), Err),
            None => Err(REFUSED),
        };
        self.answer(connection, answer);
        None
    }

    /// Commands of another node for a session here.
    pub(super) fn take_commands(&mut self, node: &str, request: &SurveyRequest<'_>, now: Instant) {
        let asked = EmulationRequest::decode(Format::Protobuf, request.data);
        let foreign = Foreign { node: node.into(), id: request.id, is_poll: false, since: now };
        match asked {
            Ok(EmulationRequest { session, data, .. }) => {
                let commands = Bytes::copy_from_slice(&data);
                self.ask(&session, SessionRequestKind::ForwardedCommands(commands), foreign);
            }
            Err(_) => self.reply(&foreign, MALFORMED, b""),
        }
    }

    /// A poll of another node for a session here.
    pub(super) fn take_poll(&mut self, node: &str, data: &[u8], now: Instant) {
        let Ok(PollRequest { id, session, received, commands }) = PollRequest::decode(data) else { return };
        let commands = Bytes::copy_from_slice(commands);
        let foreign = Foreign { node: node.into(), id, is_poll: true, since: now };
        self.ask(&session, SessionRequestKind::Poll { received, commands }, foreign);
    }

    /// Another node answers a poll.
    pub(super) fn take_answer(&mut self, node: &str, data: &[u8]) {
        let Ok(PollAnswer { id, code, body }) = PollAnswer::decode(data) else { return };
        // Nobody else answers for that node.
        if self.polls.get(&id).is_some_and(|poll| *poll.node == *node)
            && let Some(Poll { connection, .. }) = self.polls.remove(&id)
        {
            let answer = refusal(code).map_or_else(|| Ok(Some(Bytes::copy_from_slice(body))), Err);
            self.answer(connection, answer);
        }
    }

    /// A session here has answered.
    pub(super) fn answered(&mut self, number: u64, answer: &Answer) {
        let Some(foreign) = self.foreign.remove(&number) else { return };
        match answer {
            Ok(body) => self.reply(&foreign, DONE, body.as_deref().unwrap_or_default()),
            Err(refusal) => self.reply(&foreign, code(refusal), b""),
        }
    }

    /// A node is gone, and its sessions with it.
    pub(super) fn node_gone(&mut self, node: &str) {
        let gone: Vec<_> = self.polls.extract_if(|_, poll| *poll.node == *node).collect();
        for (_, Poll { connection, .. }) in gone {
            self.answer(connection, Err(Refusal::SessionUnknown));
        }
    }

    /// Gives up what took too long.
    pub(super) fn expire(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept_at) < SWEEP_EVERY {
            return;
        }
        self.swept_at = now;
        let late: Vec<_> = self.polls.extract_if(|_, poll| poll.until <= now).collect();
        for (_, Poll { connection, .. }) in late {
            self.answer(connection, Err(REFUSED));
        }
        self.foreign.retain(|_, foreign| now.saturating_duration_since(foreign.since) < FORGOTTEN_AFTER);
    }

    fn ask(&mut self, session: &str, what: SessionRequestKind, foreign: Foreign) {
        let session = session.parse::<SessionId>().ok();
        let Some(session) = session.filter(|session| session.shard.index() < self.shards.len()) else {
            return self.reply(&foreign, SESSION_UNKNOWN, b"");
        };
        if self.foreign.len() >= WAITING_MAX {
            return self.reply(&foreign, UNAVAILABLE, b"");
        }
        let number = self.next_number();
        self.foreign.insert(number, foreign);
        let request = SessionRequest { session, origin: RequestOrigin::Node { number }, what };
        self.post(session.shard, Message::ToSession(Box::new(request)));
    }

    fn reply(&self, to: &Foreign, code: u32, body: &[u8]) {
        let bytes = if to.is_poll {
            let answer = PollAnswer { id: to.id, code, body }.encode();
            self.sender.bytes_of(Body::Notification(Notification { op: POLLED_OP.into(), data: &answer }))
        } else {
            self.sender.bytes_of(Body::SurveyResponse(SurveyResponse { id: to.id, code, data: b"" }))
        };
        self.sender.send(To::Node(to.node.to_string()), bytes);
    }

    fn answer(&self, to: Connection, answer: Answer) {
        self.post(to.shard, Message::Answer { socket: to.socket, answer });
    }

    fn post(&self, shard: ShardId, message: Message) {
        let shard = self.shards[shard.index()].clone();
        // Where it stays full, the log says so.
        task("nodes", async move { _ = shard.deliver(message, FULL_MAX).await });
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

/// A client's body as Centrifugo passes it on: what came in JSON stays a JSON string.
fn emulation(node: &str, session: &str, format: Format, commands: &[u8]) -> BytesMut {
    let data = match format {
        Format::Json => serde_json::to_vec(&String::from_utf8_lossy(commands)).unwrap_or_default().into(),
        Format::Protobuf => commands.into(),
    };
    let mut out = BytesMut::new();
    EmulationRequest { node: node.into(), session: session.into(), data }.encode(Format::Protobuf, &mut out);
    out
}

/// What a code of another node means for the client; `None` if all is done.
fn refusal(code: u32) -> Option<Refusal> {
    match code {
        DONE => None,
        MALFORMED => Some(Refusal::BodyMalformed("the node that has the session cannot read it")),
        UNAVAILABLE => Some(REFUSED),
        NEVER_SENT => {
            Some(Refusal::BodyMalformed("received is higher than any sequence number of this session"))
        }
        _ => Some(Refusal::SessionUnknown),
    }
}

/// The code for a refusal of a session here.
fn code(refusal: &Refusal) -> u32 {
    match refusal {
        Refusal::Unavailable { .. } => UNAVAILABLE,
        Refusal::BodyMalformed(_) => NEVER_SENT,
        _ => SESSION_UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_in_json_is_passed_on_as_a_json_string() {
        let passed_on = emulation("n", "s", Format::Json, b"{\"id\":1}\n{}");
        let read = EmulationRequest::decode(Format::Protobuf, &passed_on).unwrap();
        assert_eq!((&*read.node, &*read.session, &*read.data), ("n", "s", &br#""{\"id\":1}\n{}""#[..]));
        let passed_on = emulation("n", "s", Format::Protobuf, b"\x02\x08\x01");
        let read = EmulationRequest::decode(Format::Protobuf, &passed_on).unwrap();
        assert_eq!(&*read.data, b"\x02\x08\x01");
    }

    #[test]
    fn a_refusal_is_the_same_on_the_other_node() {
        let unknown = Refusal::SessionUnknown;
        let malformed = Refusal::BodyMalformed("received is higher than any sequence number of this session");
        for one in [REFUSED, unknown, malformed] {
            assert_eq!(format!("{:?}", refusal(code(&one)).unwrap()), format!("{one:?}"));
        }
        assert!(refusal(DONE).is_none());
    }
}
