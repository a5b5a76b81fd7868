//! Centrifuge clients, over every transport: they subscribe, publish, leave, break off and come back to recover.
//!
//! In channels with history they hear every publication, in its order, or are told that they lost their place. In
//! channels without, those of each publisher while they are subscribed; where not all of them are sent to those who do not
//! keep up, they are told how many are missing. The files: `session` (what was asked) with `lease` (for how long), `hear` (what
//! comes) with `judge` (what was not asked for), `link` (the transports) with `stream` and `poll`.

mod hear;
mod judge;
mod lease;
mod link;
mod poll;
mod session;
mod stream;

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use bytes::BytesMut;
use holdfast_protocol::client::{
    Format, Payload, Request,
    command::{
        ConnectRequest, HistoryRequest, PresenceStatsRequest, PublishRequest, RefreshRequest,
        SubRefreshRequest, SubscribeRequest, UnsubscribeRequest,
    },
    delta::FOSSIL,
    filter::FilterNode,
};
use rand::{Rng, seq::IteratorRandom};

pub(super) use self::link::Transport;
use self::{
    lease::Lease,
    link::{Inbound, Link},
    session::{Asked, Position, Session, Subscription, Wants},
};
use super::{
    actor::{Actor, StepContext},
    config::{
        LOSSY, PATCHED, PLAIN, TAG, TAGGED, WITH_HISTORY, channels, keeps_history, may_be_patched,
        tells_joins,
    },
    oracle::{Hearing, Oracle},
};

/// Commands that may wait for their answers.
const OPEN_COMMANDS_MAX: usize = 200;

#[derive(Default)]
pub(super) struct Client {
    link: Option<Link>,
    session: Session,
    /// Where it stands in channels with history; outlives sessions.
    positions: BTreeMap<&'static str, Position>,
    /// True exactly when it only listens, and nothing happens to it.
    is_witness: bool,
    /// The channels in which it listens and speaks, where these are not all.
    only: Option<&'static [&'static str]>,
    /// How it connects, where that is not left to chance.
    transport: Option<Transport>,
    /// True exactly when it neither stalls nor breaks off.
    is_steady: bool,
}

impl Client {
    /// A client that hears all channels from their beginning, so that all else can be held against them.
    pub(super) fn witness() -> Self {
        Self { is_witness: true, ..Self::over(Transport::WebSocket(Format::Json)) }
    }

    pub(super) fn over(transport: Transport) -> Self {
        Self { transport: Some(transport), ..Self::default() }
    }

    /// The same, with no other channels than these.
    pub(super) fn only_in(self, channels: &'static [&'static str]) -> Self {
        Self { only: Some(channels), ..self }
    }

    /// The same, reading and speaking as long as it may.
    pub(super) fn steady(self) -> Self {
        Self { is_steady: true, ..self }
    }

    /// True exactly when it hears all channels.
    pub(super) fn hears_all(&self) -> bool {
        channels().all(|channel| self.session.subscriptions.contains_key(channel))
    }

    fn arrive(&mut self, scene: &mut StepContext<'_>) {
        let transport = self.transport.unwrap_or_else(|| Transport::any(scene.random));
        let format = transport.format();
        self.session = Session { publisher: scene.ledger.new_publisher(), ..Session::default() };
        let users = scene.terms.users.iter().filter(|_| !self.is_witness);
        self.session.user = users.choose(scene.random).copied().unwrap_or_default();
        let lease = if self.is_witness { Lease::default() } else { Lease::any(scene) };
        let mut frame = BytesMut::new();
        self.append_connect(format, &mut frame, lease, scene);
        if lease.ends() {
            // Nothing may follow what may be refused.
        } else if self.is_witness {
            // Who sees all that come and go.
            let wants = Wants { joins: true, ..Wants::default() };
            channels().for_each(|channel| self.append_subscribe(format, &mut frame, channel, wants, scene));
        } else if scene.chance(0.5) {
            // What follows a connect in its frame is done after it.
            let channel = self.any_channel(scene);
            let wants = Wants::any(scene);
            self.append_subscribe(format, &mut frame, channel, wants, scene);
        }
        self.link = Link::open(transport, &frame, scene);
        if let Some(link) = &self.link
            && self.is_witness
        {
            link.keep_safe();
        }
    }

    fn append_connect(
        &mut self,
        format: Format,
        frame: &mut BytesMut,
        lease: Lease,
        scene: &StepContext<'_>,
    ) {
        let token = scene.terms.connection_token(self.session.user, lease.term);
        let request = ConnectRequest { token: token.into(), ..ConnectRequest::default() };
        self.session.append(format, frame, Request::Connect(request), Asked::Connect(lease));
    }

    fn append_subscribe(
        &mut self,
        format: Format,
        frame: &mut BytesMut,
        channel: &'static str,
        wants: Wants,
        scene: &StepContext<'_>,
    ) {
        self.append_subscribe_for(format, frame, channel, wants, Lease::default(), scene);
    }

    fn append_subscribe_for(
        &mut self,
        format: Format,
        frame: &mut BytesMut,
        channel: &'static str,
        wants: Wants,
        lease: Lease,
        scene: &StepContext<'_>,
    ) {
        let wants = Wants {
            patches: wants.patches && may_be_patched(channel),
            joins: wants.joins && tells_joins(channel),
            tag: wants.tag.filter(|_| TAGGED.contains(&channel)),
        };
        let filter = |tag: u64| FilterNode {
            key: TAG.into(),
            cmp: "eq".into(),
            val: tag.to_string().into(),
            ..FilterNode::default()
        };
        let since = self.positions.get(channel).cloned();
        let request = SubscribeRequest {
            channel: Cow::Borrowed(channel),
            recover: since.is_some(),
            epoch: Cow::Owned(since.as_ref().map(|since| since.epoch.clone()).unwrap_or_default()),
            offset: since.as_ref().map_or(0, |since| since.offset),
            recoverable: keeps_history(channel),
            delta: Cow::Borrowed(if wants.patches { FOSSIL } else { "" }),
            join_leave: wants.joins,
            tf: wants.tag.map(|tag| Box::new(filter(tag))),
            token: Cow::Owned(self.subscription_token(channel, lease, scene)),
            ..SubscribeRequest::default()
        };
        let asked = Asked::Subscribe { channel, since, wants, lease };
        self.session.append(format, frame, Request::Subscribe(request), asked);
    }

    /// Its token came too late. It tries another one, where it can say so.
    fn connect_again(&mut self, scene: &mut StepContext<'_>) {
        let Some(link) = &mut self.link else { return };
        if let Link::Stream(_) = link {
            self.session.fate.is_our_doing |= link.break_off(scene);
            return;
        }
        let format = link.format();
        let lease = Lease::any(scene);
        let mut frame = BytesMut::new();
        self.append_connect(format, &mut frame, lease, scene);
        self.send(&frame, scene);
    }

    /// None where anybody may listen as long as he likes.
    fn subscription_token(&self, channel: &str, lease: Lease, scene: &StepContext<'_>) -> String {
        if !lease.ends() {
            return String::new();
        }
        scene.terms.subscription_token(self.session.user, channel, lease.term)
    }

    /// Asks for what follows that which is about to expire.
    fn keep_leases(&mut self, scene: &mut StepContext<'_>) {
        let Some(link) = self.link.as_ref().filter(|link| link.can_send()) else { return };
        if !scene.terms.expires || !self.session.is_connected || self.session.fate.is_our_doing {
            return;
        }
        let format = link.format();
        let mut frame = BytesMut::new();
        if self.session.lease.is_due(scene) && !self.session.awaits_lease(None) {
            let lease = Lease::next(scene);
            // What was named once has its name in all its tokens; and without one there is no token to refresh with.
            let token = scene.terms.refresh_token(self.session.user, lease.term);
            let request = Request::Refresh(RefreshRequest { token: token.into() });
            self.session.append(format, &mut frame, request, Asked::Refresh(lease));
        }
        let due = self.session.certain().filter(|(_, subscription)| subscription.lease.is_due(scene));
        let due: Vec<_> = due.map(|(channel, _)| channel).collect();
        for channel in due {
            if self.session.awaits_lease(Some(channel)) {
                continue;
            }
            let lease = Lease::next(scene);
            let token = scene.terms.subscription_token(self.session.user, channel, lease.term);
            let request = SubRefreshRequest { channel: channel.into(), token: token.into(), kind: 0 };
            let asked = Asked::SubRefresh { channel, lease, at: scene.ledger.now() };
            self.session.append(format, &mut frame, Request::SubRefresh(request), asked);
        }
        self.send(&frame, scene);
    }

    fn send(&mut self, frame: &[u8], scene: &mut StepContext<'_>) {
        if let Some(link) = self.link.as_mut().filter(|_| !frame.is_empty()) {
            self.session.sent(scene.network.trace().now());
            link.send(frame, scene);
        }
    }

    fn do_something(&mut self, scene: &mut StepContext<'_>) {
        let Some(link) = &mut self.link else { return };
        let format = link.format();
        let is_ready =
            self.session.is_connected && link.can_send() && self.session.asked.len() < OPEN_COMMANDS_MAX;
        let mut frame = BytesMut::new();
        match scene.random.random_range(0..1000) {
            0..50 if is_ready => {
                let channel = self.any_channel(scene);
                if !self.session.concerns(channel) {
                    let wants = Wants::any(scene);
                    let lease = Lease::any(scene);
                    self.append_subscribe_for(format, &mut frame, channel, wants, lease, scene);
                }
            }
            50..58 if is_ready => {
                let channel = self.any_channel(scene);
                // Only where it is subscribed for certain, so that the answer is.
                if self.session.subscriptions.contains_key(channel) && !self.session.awaits(channel) {
                    let request = Request::Unsubscribe(UnsubscribeRequest { channel: channel.into() });
                    self.session.append(format, &mut frame, request, Asked::Unsubscribe(channel));
                }
            }
            58..250 if is_ready => {
                for _ in 0..scene.random.random_range(1..4) {
                    self.append_publish(format, &mut frame, scene);
                }
            }
            268..280 if is_ready => self.append_changes_of_mind(format, &mut frame, scene),
            280..290 if is_ready => self.append_question(format, &mut frame, scene),
            250..260 if !self.is_steady => link.stall(),
            260..268 if !self.is_steady => self.session.fate.is_our_doing |= link.break_off(scene),
            _ => {}
        }
        self.send(&frame, scene);
    }

    /// Comes to one channel and leaves it again, in any order and in one frame: all of it is done, one after the other.
    fn append_changes_of_mind(&mut self, format: Format, frame: &mut BytesMut, scene: &mut StepContext<'_>) {
        let channel = self.any_channel(scene);
        // What may expire meanwhile is not what its client takes it for.
        let is_leased = self.session.subscriptions.get(channel).is_some_and(|of| of.lease.ends());
        if self.session.awaits(channel) || is_leased {
            return;
        }
        let mut is_subscribed = self.session.subscriptions.contains_key(channel);
        for _ in 0..scene.random.random_range(2..6) {
            if scene.chance(0.5) {
                let request = Request::Unsubscribe(UnsubscribeRequest { channel: channel.into() });
                self.session.append(format, frame, request, Asked::Unsubscribe(channel));
                is_subscribed = false;
            } else if is_subscribed {
                let recoverable = keeps_history(channel);
                let request =
                    SubscribeRequest { channel: channel.into(), recoverable, ..SubscribeRequest::default() };
                self.session.append(
                    format,
                    frame,
                    Request::Subscribe(request),
                    Asked::SubscribeAgain(channel),
                );
            } else {
                let wants = Wants::any(scene);
                self.append_subscribe(format, frame, channel, wants, scene);
                is_subscribed = true;
            }
        }
    }

    /// Asks how many are in a channel, or what was said there.
    fn append_question(&mut self, format: Format, frame: &mut BytesMut, scene: &mut StepContext<'_>) {
        let channel = self.any_channel(scene);
        if WITH_HISTORY.contains(&channel) && scene.chance(0.5) {
            let limit = scene.random.random_range(-1..20);
            let request = HistoryRequest { channel: channel.into(), limit, ..HistoryRequest::default() };
            self.session.append(format, frame, Request::History(request), Asked::History(channel));
        } else {
            let request = PresenceStatsRequest { channel: channel.into() };
            let asked = Asked::PresenceStats(channel);
            self.session.append(format, frame, Request::PresenceStats(request), asked);
        }
    }

    fn any_channel(&self, scene: &mut StepContext<'_>) -> &'static str {
        let all = channels().filter(|channel| self.only.is_none_or(|only| only.contains(channel)));
        all.choose(scene.random).expect("there are channels")
    }

    fn append_publish(&mut self, format: Format, frame: &mut BytesMut, scene: &mut StepContext<'_>) {
        let publisher = self.session.publisher;
        let channel = self.any_channel(scene);
        let message = scene.ledger.write(channel, publisher, scene.random);
        let data = Payload::new(message.as_bytes());
        let request = PublishRequest { channel: Cow::Borrowed(channel), data, ..PublishRequest::default() };
        let asked = Asked::Publish { channel, message: message.clone() };
        self.session.append(format, frame, Request::Publish(request), asked);
    }

    /// Everybody has been told who is there.
    fn check_presence(&self, channel: &str, subscription: &Subscription, ledger: &Oracle) {
        let members = &ledger.members[channel];
        let name = self.name();
        assert!(members.contains(&self.session.client), "{name} is in the presence of {channel}");
        for (client, is_there) in subscription.seen.iter().flatten() {
            let has_come = members.contains(client);
            assert_eq!(*is_there, has_come, "{name} knows whether {client} is in {channel}");
        }
    }

    fn lives(&self) -> bool {
        self.link.as_ref().is_some_and(Link::lives) && self.session.fate.is_sound()
    }

    /// For messages.
    fn name(&self) -> String {
        let peer = self.link.as_ref().and_then(Link::peer);
        let connection =
            peer.map_or_else(|| "a poll".to_owned(), |peer| format!("connection {}", peer.number()));
        format!("{connection}, publisher {}", self.session.publisher)
    }
}

impl Actor for Client {
    fn act(&mut self, scene: &mut StepContext<'_>) {
        let Some(link) = &mut self.link else {
            if !scene.is_ending {
                self.arrive(scene);
            }
            return;
        };
        let mut news = Vec::new();
        link.step(scene, &mut news);
        for news in news {
            match news {
                Inbound::Lost(commands) => {
                    self.session.fate.has_lost_words = true;
                    self.session.lost.extend(commands.into_iter().flatten());
                    // What it has lost must not stand between what it says before and after.
                    self.session.publisher = scene.ledger.new_publisher();
                }
                Inbound::Heard(heard) => self.hear(&heard, scene),
            }
        }
        if self.session.fate.is_over {
            if self.is_witness && scene.ledger.stop.is_none() {
                scene.ledger.has_lost_witness = true;
            }
            self.link = None;
            return;
        }
        self.keep_leases(scene);
        if !scene.is_ending && !self.is_witness {
            self.do_something(scene);
        }
    }

    fn check_overdue(&self, calm_since: Duration, scene: &StepContext<'_>) {
        if self.lives() && self.session.is_connected {
            self.judge_overdue(calm_since, scene);
        }
    }

    fn check_prompt(&self, now: Duration, longest: Duration) {
        if let Some((asked, at)) = self.session.oldest().filter(|_| self.is_steady && self.lives()) {
            assert!(now - at <= longest, "{}: {asked:?} is not answered", self.name());
        }
    }

    fn check_complete(&self, ledger: &Oracle, hearings: &[(&str, &Hearing)]) {
        if !self.lives() {
            return;
        }
        let name = self.name();
        if !self.session.is_connected {
            assert!(!ledger.are_all_in, "{name} is answered");
            return;
        }
        if !ledger.are_all_in && !matches!(self.link, Some(Link::WebSocket { .. })) {
            // Its next request may wait to be let in.
            return;
        }
        if let Some(link) = &self.link {
            link.check_complete();
        }
        let unanswered: Vec<_> =
            self.session.asked.iter().filter(|(id, _)| !self.session.lost.contains(id)).collect();
        assert!(unanswered.is_empty(), "{name}: every command is answered: {unanswered:?}");
        self.judge_wishes(ledger);
        for (channel, subscription) in self.session.certain() {
            self.check_presence(channel, subscription, ledger);
            if let Some(position) = self.positions.get(channel) {
                let newest = ledger.newest(channel, &position.epoch);
                assert!(position.offset >= newest, "{name}: nothing of {channel} is missing");
                if !PATCHED.contains(&channel) {
                    continue;
                }
            }
            if PLAIN.contains(&channel) {
                let others: Vec<_> =
                    hearings.iter().filter(|(of, _)| *of == channel).map(|(_, hearing)| *hearing).collect();
                ledger.check_hearing(channel, &subscription.hearing, subscription.since, &others);
            }
            if !self.is_witness && !ledger.has_lost_witness {
                ledger.orders.check_newest(channel, subscription.since);
            }
        }
    }

    fn polls(&self) -> bool {
        matches!(self.link, Some(Link::Poll(_)))
    }

    fn user(&self) -> Option<&'static str> {
        let user = Some(self.session.user).filter(|user| !user.is_empty());
        user.filter(|_| self.session.is_connected && self.lives())
    }

    fn hearings(&self) -> Vec<(&str, &Hearing)> {
        if !self.lives() {
            return Vec::new();
        }
        let plain = self.session.certain().filter(|(channel, _)| !LOSSY.contains(channel));
        plain.map(|(channel, subscription)| (channel, &subscription.hearing)).collect()
    }
}
