//! Hear: what a client is told, and whether it is right.
//!
//! In:  frames of replies and pushes.
//! Out: what the client and the ledger know; pongs.

use holdfast_protocol::{
    client::{
        ErrorCode, FromServer, Publication, PushBody, Reply, ReplyResult, decode_replies,
        reply::SubscribeResult,
    },
    websocket::MessageKind,
};

use super::{
    Client,
    link::Link,
    session::{Asked, Position, Subscription},
};
use crate::simulation::{
    actor::Scene,
    ledger::{Hearing, Ledger},
    terms::{HISTORY_SIZE, LOSSY, PLAIN, WITH_HISTORY, channels},
    wire::Heard,
};

/// The tag of a publication before which others were left out: how many (docs/decisions/0011).
const LEFT_OUT_TAG: &str = "holdfast-left-out";

impl Client {
    pub(super) fn hear(&mut self, heard: &Heard, scene: &mut Scene<'_>) {
        let Some(link) = &self.link else { return };
        self.session.fate.hear(heard, link.peer(), scene);
        if let Heard::Message(kind, frame) = heard {
            let is_text = *kind == MessageKind::Text;
            assert_eq!(is_text, link.format() == holdfast_protocol::client::Format::Json, "JSON is text");
            self.hear_frame(frame, scene);
        }
    }

    fn hear_frame(&mut self, frame: &[u8], scene: &mut Scene<'_>) {
        let Some(format) = self.link.as_ref().map(Link::format) else { return };
        for message in decode_replies(format, frame) {
            match message.expect("the daemon speaks the protocol") {
                FromServer::Ping => {
                    if let Some(link) = &mut self.link {
                        link.send(format.empty_message(), scene);
                    }
                }
                FromServer::Reply(reply) => self.hear_reply(reply, scene.ledger),
                FromServer::Push(push) => match push.body {
                    PushBody::Publication(publication) => {
                        self.hear_publication(&push.channel, &publication, scene.ledger);
                    }
                    PushBody::Disconnect(disconnect) => {
                        let code = u16::try_from(disconnect.code).expect("codes have four digits");
                        self.hear(&Heard::Closed(Some(code)), scene);
                        // Who polls has no connection that could end.
                        self.session.fate.is_over |= matches!(self.link, Some(Link::Poll(_)));
                    }
                    other => panic!("nothing else was asked for: {other:?}"),
                },
            }
        }
    }

    fn hear_reply(&mut self, reply: Reply<'_>, ledger: &mut Ledger) {
        let asked = self.session.asked.remove(&reply.id).expect("a reply comes once, to what was asked");
        if let Asked::SubscribeAgain(channel) = asked {
            let code = reply.result.map_err(|error| error.code);
            assert_eq!(code, Err(ErrorCode::ALREADY_SUBSCRIBED.code), "{channel} is subscribed already");
            return;
        }
        let result = reply.result.unwrap_or_else(|error| panic!("{asked:?} is refused: {error:?}"));
        match (asked, result) {
            (Asked::Connect, ReplyResult::Connect(result)) => {
                self.session.is_connected = true;
                if let Some(link) = &mut self.link {
                    link.named(&result.session, &result.node);
                }
            }
            (Asked::Subscribe { channel, since }, ReplyResult::Subscribe(result)) => {
                self.subscribed(channel, since, &result, ledger);
            }
            (Asked::Unsubscribe(channel), ReplyResult::Unsubscribe(_)) => {
                self.session.subscriptions.remove(channel);
            }
            (Asked::Publish { channel, message }, ReplyResult::Publish(_)) => {
                if WITH_HISTORY.contains(&channel) {
                    ledger.acknowledge(channel, &message);
                }
            }
            (asked, result) => panic!("{asked:?} is answered with {result:?}"),
        }
    }

    fn subscribed(
        &mut self,
        channel: &'static str,
        since: Option<Position>,
        result: &SubscribeResult<'_>,
        ledger: &mut Ledger,
    ) {
        let subscription = Subscription { since: ledger.now(), hearing: Hearing::default() };
        let last = self.session.subscriptions.insert(channel, subscription);
        assert!(last.is_none(), "{channel} is subscribed once");
        if !WITH_HISTORY.contains(&channel) {
            return;
        }
        let position = Position { epoch: result.epoch.to_string(), offset: result.offset };
        assert_eq!(result.was_recovering, since.is_some(), "the daemon knows what was asked");
        if result.recovered {
            let since = since.expect("only who asks recovers");
            assert_eq!(position.epoch, since.epoch, "recovery is within one epoch");
            let offsets: Vec<_> = result.publications.iter().map(|publication| publication.offset).collect();
            let missed: Vec<_> = (since.offset + 1..=position.offset).collect();
            assert_eq!(offsets, missed, "{channel} is recovered without a gap");
            for publication in &result.publications {
                ledger.record(channel, &position.epoch, publication.offset, &text(publication));
            }
        } else {
            assert!(result.publications.is_empty(), "what is not recovered is not given in part");
            if let Some(since) = since {
                let is_lost = since.epoch != position.epoch || position.offset - since.offset > HISTORY_SIZE;
                assert!(is_lost || ledger.has_jumped, "{channel} is lost at {since:?}, now {position:?}");
            }
            if self.is_witness && position.offset > 0 {
                ledger.has_lost_witness = true;
            }
        }
        self.positions.insert(channel, position);
    }

    fn hear_publication(&mut self, channel: &str, publication: &Publication<'_>, ledger: &mut Ledger) {
        let channel = channels().find(|known| *known == channel).expect("channels are those that we know");
        let subscription =
            self.session.subscriptions.get_mut(channel).expect("only subscribers hear a channel");
        let text = text(publication);
        let left_out = left_out(publication);
        assert!(left_out == 0 || LOSSY.contains(&channel), "nothing of {channel} is left out");
        if let Some(position) = self.positions.get_mut(channel) {
            assert_eq!(
                publication.offset,
                position.offset + 1,
                "{channel}: none is missing, none comes twice"
            );
            position.offset += 1;
            ledger.record(channel, &position.epoch, publication.offset, &text);
            return;
        }
        ledger.heard += 1;
        assert_eq!(publication.offset, 0, "{channel} has no history");
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
}

/// How many publications are missing before this one.
fn left_out(publication: &Publication<'_>) -> usize {
    let tag = publication.tags.0.iter().find(|(tag, _)| tag == LEFT_OUT_TAG);
    tag.map_or(0, |(_, count)| count.parse().expect("a number"))
}

fn text(publication: &Publication<'_>) -> String {
    String::from_utf8(publication.data.bytes().to_vec()).expect("JSON is text")
}
