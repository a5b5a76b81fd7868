//! Control: what nodes say to each other, Centrifugo's among them.
//!
//! In:  messages of `p.control` and `p.node.UID`; the time.
//! Out: messages to send; what the owner has to do; who is there; surveys that are over.
//!
//! ```text
//!   bytes ──> message ──> Node, Shutdown ────> registry ──> NodeCame, NodeGone
//!                   ├───> SurveyResponse ────> surveys ───> SurveyOver
//!                   └───> everything else ───> the owner
//! ```
//!
//! At most once: a message that is lost is said by nobody again. No I/O, no clock.

pub mod channels;
pub mod message;
pub mod registry;
pub mod request;
pub mod survey;

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use holdfast_protocol::client::WireError;

use crate::layout::Layout;
use message::{Body, Message, Node, SurveyRequest, SurveyResponse};
use registry::{Heard, Registry, RegistryOptions};
use survey::{Outcome, SurveyOptions, Surveys, TooMany};

/// The longest message that is looked at, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// To whom a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// Everybody, us too: `p.control`.
    All,
    /// One node: `p.node.UID`.
    Node(String),
}

impl To {
    /// The pub/sub channel by which it goes.
    pub fn channel(&self, layout: &Layout) -> String {
        match self {
            Self::All => layout.control(),
            Self::Node(uid) => layout.node(uid),
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Publish this.
    Send {
        /// To whom.
        to: To,
        /// The message.
        bytes: Bytes,
    },
    /// A node was heard for the first time.
    NodeCame(String),
    /// A node said goodbye, or nothing for too long.
    NodeGone(String),
    /// A survey is over.
    SurveyOver(Outcome),
}

/// Why a message is not listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// [`MESSAGE_BYTES_MAX`].
    #[error("a message of {0} bytes between nodes")]
    TooLong(usize),
    /// Not a message, or of another shape.
    #[error("no message between nodes: {0}")]
    Wire(#[from] WireError),
    /// [`RegistryOptions`].
    #[error("a node more than we keep in mind, or one that says too much of itself")]
    NodeRefused,
}

/// One node's part in the conversation.
#[derive(Debug)]
pub struct Control {
    uid: String,
    registry: Registry,
    surveys: Surveys,
    /// True exactly when we said goodbye: who hears us again would take us back.
    is_leaving: bool,
}

impl Control {
    /// For the node `uid`, which is another one after each start.
    pub fn new(uid: String, registry: RegistryOptions, surveys: SurveyOptions, now: Instant) -> Self {
        Self {
            registry: Registry::new(registry, now),
            surveys: Surveys::new(surveys),
            uid,
            is_leaving: false,
        }
    }

    /// Who we are.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The other nodes.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Takes a message in. What the owner has to do with it is returned; nothing for what is done here, for unknown kinds, and
    /// for our own words.
    ///
    /// # Errors
    ///
    /// See [`ControlError`]; it is the sender's fault, and the conversation goes on.
    pub fn hear<'a>(
        &mut self,
        bytes: &'a [u8],
        now: Instant,
        out: &mut Vec<Action>,
    ) -> Result<Option<Message<'a>>, ControlError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(ControlError::TooLong(bytes.len()));
        }
        let message = Message::decode(bytes)?;
        if message.uid == self.uid {
            return Ok(None);
        }
        match message.body {
            None => Ok(None),
            Some(Body::Node(node)) => match self.registry.hear(&message.uid, &node, now) {
                Heard::First => {
                    out.push(Action::NodeCame(message.uid.into_owned()));
                    Ok(None)
                }
                Heard::Again => Ok(None),
                Heard::Refused => Err(ControlError::NodeRefused),
            },
            Some(Body::Shutdown) => {
                if self.registry.forget(&message.uid) {
                    self.gone(message.uid.into_owned(), out);
                }
                Ok(None)
            }
            Some(Body::SurveyResponse(SurveyResponse { id, code, data })) => {
                out.extend(self.surveys.answer(id, &message.uid, code, data).map(Action::SurveyOver));
                Ok(None)
            }
            Some(_) => Ok(Some(message)),
        }
    }

    /// Says hello at the next tick: others can hear us from now on, who could not before.
    pub fn greet(&mut self, now: Instant) {
        self.registry.greet(now);
    }

    /// Does what is due: says hello, forgets nodes, ends surveys. `own` says how we are.
    pub fn tick(&mut self, now: Instant, own: impl FnOnce() -> Node<'static>, out: &mut Vec<Action>) {
        if self.registry.is_hello_due(now) && !self.is_leaving {
            let node = Node { uid: self.uid.clone().into(), ..own() };
            out.push(self.say(To::All, Body::Node(node)));
        }
        for uid in self.registry.expire(now) {
            self.gone(uid, out);
        }
        out.extend(self.surveys.expire(now).into_iter().map(Action::SurveyOver));
    }

    /// When [`tick`](Self::tick) has something to do, at the latest.
    pub fn due(&self) -> Instant {
        let registry = self.registry.due();
        self.surveys.due().map_or(registry, |surveys| surveys.min(registry))
    }

    /// Asks the other nodes, or one. The owner answers for this node himself. Where nobody is to be asked, it is over at once.
    ///
    /// # Errors
    ///
    /// Too many surveys are open.
    pub fn survey(
        &mut self,
        to: To,
        op: &str,
        data: &[u8],
        now: Instant,
        out: &mut Vec<Action>,
    ) -> Result<u64, TooMany> {
        let asked: Vec<String> = match &to {
            To::All => self.registry.nodes().map(|node| node.uid.clone()).collect(),
            To::Node(uid) => vec![uid.clone()],
        };
        let is_anybody_asked = !asked.is_empty();
        let (id, over) = self.surveys.begin(asked, now)?;
        if is_anybody_asked {
            out.push(self.say(to, Body::SurveyRequest(SurveyRequest { id, op: op.into(), data })));
        }
        out.extend(over.map(Action::SurveyOver));
        Ok(id)
    }

    /// A message of ours, for [`Commands::send`](crate::command::Commands::send).
    pub fn say(&self, to: To, body: Body<'_>) -> Action {
        let mut bytes = BytesMut::new();
        Message { uid: self.uid.as_str().into(), body: Some(body) }.encode(&mut bytes);
        Action::Send { to, bytes: bytes.freeze() }
    }

    /// The last words of a node that leaves. It goes on to hear and to answer, and says hello no more.
    pub fn goodbye(&mut self) -> Action {
        self.is_leaving = true;
        self.say(To::All, Body::Shutdown)
    }

    fn gone(&mut self, uid: String, out: &mut Vec<Action>) {
        out.extend(self.surveys.forget(&uid).into_iter().map(Action::SurveyOver));
        out.push(Action::NodeGone(uid));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use message::Notification;

    struct House {
        nodes: Vec<Control>,
        now: Instant,
    }

    impl House {
        fn of(names: &[&str]) -> Self {
            let now = Instant::now();
            let node = |name: &&str| {
                Control::new((*name).to_owned(), RegistryOptions::default(), SurveyOptions::default(), now)
            };
            Self { nodes: names.iter().map(node).collect(), now }
        }

        /// Lets all nodes act and hear each other. Returns what happened to each.
        fn turn(&mut self) -> Vec<(String, Action)> {
            let mut happened = Vec::new();
            let mut sent = Vec::new();
            for node in &mut self.nodes {
                let mut out = Vec::new();
                node.tick(self.now, Node::default, &mut out);
                sort(node, out, &mut sent, &mut happened);
            }
            self.deliver(sent, &mut happened);
            happened
        }

        fn deliver(&mut self, sent: Vec<(To, Bytes)>, happened: &mut Vec<(String, Action)>) {
            let mut answers = Vec::new();
            for (to, bytes) in sent {
                for node in &mut self.nodes {
                    if to != To::All && to != To::Node(node.uid.clone()) {
                        continue;
                    }
                    let mut out = Vec::new();
                    let message = node.hear(&bytes, self.now, &mut out).unwrap();
                    if let Some(Message { uid, body: Some(Body::SurveyRequest(request)) }) = message {
                        let response = SurveyResponse { id: request.id, code: 0, data: request.data };
                        out.push(node.say(To::Node(uid.into_owned()), Body::SurveyResponse(response)));
                    }
                    sort(node, out, &mut answers, happened);
                }
            }
            if !answers.is_empty() {
                self.deliver(answers, happened);
            }
        }
    }

    fn sort(
        node: &Control,
        out: Vec<Action>,
        sent: &mut Vec<(To, Bytes)>,
        happened: &mut Vec<(String, Action)>,
    ) {
        for action in out {
            match action {
                Action::Send { to, bytes } => sent.push((to, bytes)),
                other => happened.push((node.uid.clone(), other)),
            }
        }
    }

    fn at(uid: &str, action: Action) -> (String, Action) {
        (uid.to_owned(), action)
    }

    #[test]
    fn nodes_find_each_other_and_miss_who_falls_silent() {
        let mut house = House::of(&["a", "b"]);
        let happened = house.turn();
        assert_eq!(happened, [at("b", Action::NodeCame("a".into())), at("a", Action::NodeCame("b".into()))]);
        for _ in 0..30 {
            house.now += Duration::from_secs(1);
            assert_eq!(house.turn(), []);
        }
        house.nodes.truncate(1);
        let mut seconds = 0;
        while house.turn().is_empty() {
            house.now += Duration::from_secs(1);
            seconds += 1;
        }
        assert!((5..=8).contains(&seconds), "forgotten after {seconds} s");
        assert_eq!(house.nodes[0].registry().nodes().count(), 0);
    }

    #[test]
    fn who_says_goodbye_is_gone_at_once_and_no_survey_waits_for_him() {
        let mut house = House::of(&["a", "b"]);
        house.turn();
        let mut out = Vec::new();
        let id = house.nodes[0].survey(To::All, "op", b"x", house.now, &mut out).unwrap();
        let Action::Send { bytes, .. } = house.nodes[1].goodbye() else { panic!("a message") };
        out.clear();
        house.nodes[0].hear(&bytes, house.now, &mut out).unwrap();
        let [Action::SurveyOver(outcome), Action::NodeGone(gone)] = &out[..] else { panic!("{out:?}") };
        assert_eq!((outcome.id, outcome.is_partial(), gone.as_str()), (id, true, "b"));
        assert_eq!(outcome.missing, ["b"]);
        house.now += Duration::from_secs(4);
        assert_eq!(house.turn(), [], "who left says hello no more");
    }

    #[test]
    fn a_survey_ends_with_the_last_answer() {
        let mut house = House::of(&["a", "b", "c"]);
        house.turn();
        let mut out = Vec::new();
        let id = house.nodes[0].survey(To::All, "op", b"x", house.now, &mut out).unwrap();
        let (mut sent, mut happened) = (Vec::new(), Vec::new());
        sort(&house.nodes[0], out, &mut sent, &mut happened);
        house.deliver(sent, &mut happened);
        let [(_, Action::SurveyOver(outcome))] = &happened[..] else { panic!("{happened:?}") };
        assert_eq!((outcome.id, outcome.answers.len(), outcome.is_partial()), (id, 2, false));
        assert!(outcome.answers.iter().all(|answer| answer.data == b"x"[..]));
    }

    #[test]
    fn our_own_words_are_not_heard_and_those_for_the_owner_are_returned() {
        let mut house = House::of(&["a", "b"]);
        let body = Body::Notification(Notification { op: "holdfast.x".into(), data: b"y" });
        let Action::Send { bytes, .. } = house.nodes[0].say(To::All, body) else { panic!("a message") };
        let mut out = Vec::new();
        assert_eq!(house.nodes[0].hear(&bytes, house.now, &mut out), Ok(None));
        let message = house.nodes[1].hear(&bytes, house.now, &mut out).unwrap().unwrap();
        assert_eq!(message.uid, "a");
        assert!(matches!(message.body, Some(Body::Notification(_))));
        assert_eq!(out, []);
        assert!(house.nodes[1].hear(b"\xff", house.now, &mut out).is_err());
    }
}
