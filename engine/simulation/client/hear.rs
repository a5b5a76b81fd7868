//! Hear: what a client is told, and whether it is right.
//!
//! In:  frames of replies and pushes.
//! Out: what the client and the ledger know; pongs.

use std::collections::BTreeMap;

use holdfast_protocol::{
    client::{
        Format, FromServer, Publication, PushBody, Reply, ReplyResult, decode_replies, delta, push::Presence,
        reply::SubscribeResult,
    },
    websocket::MessageKind,
};

use super::{
    Client,
    lease::Lease,
    link::Link,
    session::{Asked, Position, Subscription, Wants},
};
use crate::simulation::{
    actor::StepContext,
    config::{CACHED, HISTORY_SIZE, LOSSY, PATCHED, PLAIN, channels, keeps_history},
    oracle::{Hearing, Oracle},
    wire::Heard,
};

/// The tag of a publication before which others were left out: how many (docs/decisions/0011).
const LEFT_OUT_TAG: &str = "holdfast-left-out";

impl Client {
    pub(super) fn hear(&mut self, heard: &Heard, scene: &mut StepContext<'_>) {
        let Some(link) = &self.link else { return };
        if let Heard::Closed(Some(code)) = heard {
            self.session.fate.excuse = self.has_excuse(*code, scene).then_some(*code);
        }
        if let Heard::Ended(_) = heard {
            self.session.fate.may_end_mute = self.may_end_mute(scene);
        }
        self.session.fate.hear(heard, link.peer(), scene);
        if let Heard::Message(kind, frame) = heard {
            let is_text = *kind == MessageKind::Text;
            assert_eq!(is_text, link.format() == Format::Json, "JSON is text");
            self.hear_frame(frame, scene);
        }
    }

    fn hear_frame(&mut self, frame: &[u8], scene: &mut StepContext<'_>) {
        let Some(format) = self.link.as_ref().map(Link::format) else { return };
        for message in decode_replies(format, frame) {
            match message.expect("the daemon speaks the protocol") {
                FromServer::Ping => {
                    if let Some(link) = &mut self.link {
                        link.send(format.empty_message(), scene);
                    }
                }
                FromServer::Reply(reply) => self.hear_reply(reply, scene),
                FromServer::Push(push) => match push.body {
                    PushBody::Publication(publication) => {
                        self.hear_publication(&push.channel, &publication, scene.ledger);
                    }
                    PushBody::Join(who) => self.hear_presence(&push.channel, &who, true),
                    PushBody::Leave(who) => self.hear_presence(&push.channel, &who, false),
                    PushBody::Disconnect(disconnect) => {
                        let code = u16::try_from(disconnect.code).expect("codes have four digits");
                        self.hear(&Heard::Closed(Some(code)), scene);
                        // Who polls has no connection that could end.
                        self.session.fate.is_over |= matches!(self.link, Some(Link::Poll(_)));
                    }
                    PushBody::Unsubscribe(end) => self.hear_unsubscribe(&push.channel, &end, scene),
                    PushBody::Subscribe(begin) => self.hear_subscribe(&push.channel, &begin, scene),
                    PushBody::Refresh(refresh) => self.hear_refresh(&refresh, scene),
                    other => panic!("nothing else was asked for: {other:?}"),
                },
            }
        }
    }

    fn hear_reply(&mut self, reply: Reply<'_>, scene: &mut StepContext<'_>) {
        let asked = self.session.asked.remove(&reply.id).expect("a reply comes once, to what was asked");
        let result = match reply.result {
            Ok(result) => result,
            Err(error) => return self.hear_error(&asked, error.code, scene),
        };
        if let Some((lease, expires, ttl)) = told_lease(&asked, &result) {
            lease.check_begun(scene);
            assert!(lease.is_told(expires, ttl, scene), "{asked:?} is to last for {ttl} s: {result:?}");
        }
        let ledger = &mut *scene.ledger;
        match (asked, result) {
            (Asked::Connect(lease), ReplyResult::Connect(result)) => {
                self.session.is_connected = true;
                self.session.connected_at = ledger.now();
                self.session.lease = lease;
                self.session.client = result.client.to_string();
                if self.is_witness {
                    ledger.wishes.witness = result.client.to_string();
                } else {
                    ledger.wishes.met(&result.client, self.session.user);
                }
                if let Some(link) = &mut self.link {
                    link.named(&result.session, &result.node);
                }
            }
            (Asked::Subscribe { channel, since, wants, lease }, ReplyResult::Subscribe(result)) => {
                self.subscribed(channel, since, (wants, lease), &result, ledger);
            }
            (Asked::SubscribeAgain(channel), ReplyResult::Subscribe(result)) => {
                let is_explained = self.may_subscribe_again(channel, ledger);
                assert!(is_explained, "{channel} is subscribed already");
                self.subscribed(channel, None, <_>::default(), &result, ledger);
            }
            (Asked::Unsubscribe(channel), ReplyResult::Unsubscribe(_)) => {
                self.session.subscriptions.remove(channel);
                self.session.ended.insert(channel, ledger.now());
            }
            (Asked::Refresh(lease), ReplyResult::Refresh(result)) => {
                assert_eq!(*result.client, *self.session.client, "it is refreshed itself");
                self.session.lease = lease;
            }
            (Asked::SubRefresh { channel, lease, .. }, ReplyResult::SubRefresh(_)) => {
                let subscription = self.session.subscriptions.get_mut(channel);
                subscription.expect("what is refreshed is there").lease = lease;
            }
            (Asked::Publish { channel, message }, ReplyResult::Publish(_)) => {
                if keeps_history(channel) {
                    ledger.acknowledge(channel, &message);
                }
            }
            (Asked::PresenceStats(channel), ReplyResult::PresenceStats(stats)) => {
                assert!(stats.num_users <= stats.num_clients, "users have clients: {stats:?}");
                let is_there = self.session.certain().any(|(certain, _)| certain == channel);
                assert!(stats.num_clients > 0 || !is_there, "{channel} counts who is there: {stats:?}");
            }
            (Asked::History(channel), ReplyResult::History(result)) => {
                let first = result.publications.first().map_or(0, |publication| publication.offset);
                for (offset, publication) in (first..).zip(&result.publications) {
                    assert_eq!(publication.offset, offset, "the history of {channel} has no gap");
                    assert!(offset <= result.offset, "{channel} stands behind its history");
                    let text = String::from_utf8(publication.data.bytes().to_vec()).expect("JSON is text");
                    ledger.record(channel, &result.epoch, offset, &text);
                }
            }
            (asked, result) => panic!("{asked:?} is answered with {result:?}"),
        }
    }

    fn subscribed(
        &mut self,
        channel: &'static str,
        since: Option<Position>,
        (wants, lease): (Wants, Lease),
        result: &SubscribeResult<'_>,
        ledger: &mut Oracle,
    ) {
        let Some(format) = self.link.as_ref().map(Link::format) else { return };
        let subscription = Subscription {
            since: ledger.now(),
            hearing: Hearing::default(),
            base: wants.patches.then(Vec::new),
            seen: wants.joins.then(BTreeMap::new),
            lease,
            is_server_side: false,
        };
        if let Some(tag) = wants.tag {
            ledger.orders.choose(subscription.since, tag);
        }
        let last = self.session.subscriptions.insert(channel, subscription);
        assert!(last.is_none(), "{channel} is subscribed once");
        assert_eq!(result.delta, wants.patches, "who asks for patches gets them");
        if !keeps_history(channel) {
            return;
        }
        let mut position = Position { epoch: result.epoch.to_string(), offset: result.offset };
        assert_eq!(result.was_recovering, since.is_some(), "the daemon knows what was asked");
        assert!(result.recovered || result.publications.is_empty(), "what is lost is not given in part");
        if result.recovered {
            let since = since.expect("only who asks recovers");
            assert_eq!(position, since, "a recovery begins where the client was, within one epoch");
            for publication in &result.publications {
                let is_next = publication.offset == position.offset + 1;
                let is_newest = CACHED.contains(&channel) && publication.offset > position.offset;
                assert!(is_next || is_newest, "{channel} is recovered without a gap");
                position.offset = publication.offset;
                let text = self.text(channel, format, publication, ledger);
                ledger.record(channel, &position.epoch, publication.offset, &text);
            }
            if CACHED.contains(&channel) {
                let count = result.publications.len();
                assert!(count == 1 || count == 0 && since.offset > 0, "{channel} has its newest: {count}");
            }
        } else {
            let is_known = |since: &Position| *since == position && position.offset > 0;
            assert!(!since.as_ref().is_some_and(is_known), "{channel} has not moved, and is not lost");
            if let Some(since) = since.filter(|_| !ledger.emptied.contains(channel)) {
                let has_had_too_little = position.offset - since.offset > HISTORY_SIZE;
                let is_empty = CACHED.contains(&channel) && position.offset == 0;
                let is_lost = since.epoch != position.epoch || has_had_too_little || is_empty;
                assert!(is_lost || ledger.has_jumped, "{channel} is lost at {since:?}, now {position:?}");
            }
            if self.is_witness && position.offset > 0 {
                ledger.has_lost_witness = true;
            }
        }
        self.positions.insert(channel, position);
    }

    /// Somebody has come to a channel, or gone.
    fn hear_presence(&mut self, channel: &str, who: &Presence<'_>, is_there: bool) {
        let subscription =
            self.session.subscriptions.get_mut(channel).expect("only subscribers hear who comes");
        let seen = subscription.seen.as_mut().expect("only who asks hears who comes");
        let client = who.info.as_ref().expect("it is told who comes").client.to_string();
        let before = seen.insert(client, is_there);
        assert_ne!(before, Some(is_there), "{channel}: who has come goes before it comes again");
    }

    fn hear_publication(&mut self, channel: &str, publication: &Publication<'_>, ledger: &mut Oracle) {
        let Some(format) = self.link.as_ref().map(Link::format) else { return };
        let channel = channels().find(|known| *known == channel).expect("channels are those that we know");
        let text = self.text(channel, format, publication, ledger);
        let subscription =
            self.session.subscriptions.get_mut(channel).expect("only subscribers hear a channel");
        let left_out = left_out(publication);
        assert!(left_out == 0 || LOSSY.contains(&channel), "nothing of {channel} is left out");
        match self.positions.get_mut(channel) {
            Some(position) if publication.offset > 0 || !PATCHED.contains(&channel) => {
                assert_eq!(
                    publication.offset,
                    position.offset + 1,
                    "{channel}: none is missing, none comes twice"
                );
                position.offset += 1;
                ledger.record(channel, &position.epoch, publication.offset, &text);
                if !PATCHED.contains(&channel) {
                    return;
                }
            }
            _ => {
                ledger.heard += 1;
                assert_eq!(publication.offset, 0, "{channel} has no history, or was to keep nothing of this");
            }
        }
        if PLAIN.contains(&channel) {
            let mut parts = text.trim_matches('"').split(':').map(str::parse);
            let (Some(Ok(publisher)), Some(Ok(number))) = (parts.next(), parts.next()) else {
                panic!("a publication is what was published, not {text:?}")
            };
            subscription.hearing.hear(publisher, number);
        }
        if self.is_witness {
            ledger.orders.witness(channel, &text, left_out);
        } else {
            ledger.orders.hear(channel, subscription.since, &text, left_out);
        }
    }

    /// What was published, from what came of it.
    fn text(
        &mut self,
        channel: &str,
        format: Format,
        publication: &Publication<'_>,
        ledger: &mut Oracle,
    ) -> String {
        let base = self.session.subscriptions.get_mut(channel).and_then(|of| of.base.as_mut());
        let mut bytes = publication.data.bytes().to_vec();
        if let Some(base) = base {
            if format == Format::Json {
                bytes = publication.data.unquoted().expect("it is in a text").into_owned().into_bytes();
            }
            if publication.delta {
                ledger.patches += 1;
                let applied = delta::apply(base, &bytes, TEXT_BYTES_MAX);
                bytes = applied.unwrap_or_else(|error| {
                    panic!("{channel}: {error}: no patch to {:?}", String::from_utf8_lossy(base))
                });
            }
            base.clone_from(&bytes);
        } else {
            assert!(!publication.delta, "who did not ask for patches gets none");
        }
        String::from_utf8(bytes).expect("JSON is text")
    }
}

/// For how long something that was asked for lasts, and what the answer says of that.
fn told_lease<'a>(asked: &'a Asked, result: &ReplyResult<'_>) -> Option<(&'a Lease, bool, u32)> {
    match (asked, result) {
        (Asked::Connect(lease), ReplyResult::Connect(told)) => Some((lease, told.expires, told.ttl)),
        (Asked::Subscribe { lease, .. }, ReplyResult::Subscribe(told)) => {
            Some((lease, told.expires, told.ttl))
        }
        (Asked::Refresh(lease), ReplyResult::Refresh(told)) => Some((lease, told.expires, told.ttl)),
        (Asked::SubRefresh { lease, .. }, ReplyResult::SubRefresh(told)) => {
            Some((lease, told.expires, told.ttl))
        }
        _ => None,
    }
}

/// Texts are shorter.
const TEXT_BYTES_MAX: usize = 10_000;

/// How many publications are missing before this one.
fn left_out(publication: &Publication<'_>) -> usize {
    let tag = publication.tags.0.iter().find(|(tag, _)| tag == LEFT_OUT_TAG);
    tag.map_or(0, |(_, count)| count.parse().expect("a number"))
}
