//! Members of `/broadcast`: they hear each other, each one's messages in order, none missing, none twice.

use holdfast_protocol::websocket::MessageKind;
use rand::Rng;

use super::{
    actor::{Actor, EndExpectation, StepContext},
    oracle::{Hearing, Oracle},
    wire::{Heard, WebSocketPeer},
};

/// What the ledger calls the channel of all members.
const CHANNEL: &str = "/broadcast";

#[derive(Default)]
pub(super) struct Member {
    wire: Option<WebSocketPeer>,
    fate: EndExpectation,
    /// When it knew that it is a member.
    member_since: Option<u64>,
    hearing: Hearing,
}

impl Member {
    fn do_something(&mut self, scene: &mut StepContext<'_>) {
        let Some(wire) = &mut self.wire else { return };
        match scene.random.random_range(0..1000) {
            0..150 if self.member_since.is_some() && !wire.has_sent_close() && wire.is_flushed() => {
                let publisher = wire.line.peer.number();
                let number = scene.ledger.publish(CHANNEL, publisher);
                let padding = "x".repeat(scene.random.random_range(0..300));
                let message = format!("{publisher}:{number}:{padding}");
                wire.send(MessageKind::Text, message.as_bytes(), scene.random);
            }
            150..160 => wire.line.reads = !wire.line.reads,
            160..163 if self.member_since.is_some() => {
                self.fate.is_our_doing = true;
                wire.close(scene.random);
            }
            163..165 => {
                self.fate.is_our_doing = true;
                wire.line.peer.reset();
            }
            165..167 => {
                self.fate.is_our_doing = true;
                wire.line.peer.close();
            }
            _ => {}
        }
    }

    fn lives(&self) -> bool {
        let is_sound = |wire: &WebSocketPeer| !wire.line.peer.is_broken() && !wire.has_sent_close();
        self.wire.as_ref().is_some_and(is_sound) && self.fate.is_sound()
    }
}

impl Actor for Member {
    fn act(&mut self, scene: &mut StepContext<'_>) {
        let Some(wire) = &mut self.wire else {
            if !scene.is_ending {
                *self = Self { wire: scene.connect(CHANNEL), ..Self::default() };
            }
            return;
        };
        for heard in self.fate.step(wire, scene) {
            match heard {
                Heard::Open => self.member_since = Some(scene.ledger.now()),
                Heard::Message(_, payload) => {
                    scene.ledger.heard += 1;
                    // What nuisances say has no number.
                    let text = String::from_utf8_lossy(&payload);
                    let mut parts = text.split(':').map(str::parse);
                    if let (Some(Ok(publisher)), Some(Ok(number))) = (parts.next(), parts.next()) {
                        self.hearing.hear(publisher, number);
                    }
                }
                Heard::Closed(_) | Heard::Refused(_) | Heard::Ended(_) => {}
            }
        }
        if self.fate.is_over {
            *self = Self::default();
        } else if !scene.is_ending {
            self.do_something(scene);
        }
    }

    fn check_complete(&self, ledger: &Oracle, hearings: &[(&str, &Hearing)]) {
        if !self.lives() {
            return;
        }
        let (Some(wire), Some(since)) = (&self.wire, self.member_since) else {
            assert!(!ledger.are_all_in, "a member is answered");
            return;
        };
        assert!(wire.is_flushed(), "all of connection {} is read", wire.line.peer.number());
        let others: Vec<_> =
            hearings.iter().filter(|(of, _)| *of == CHANNEL).map(|(_, hearing)| *hearing).collect();
        ledger.check_hearing(CHANNEL, &self.hearing, since, &others);
        // It hears itself.
        let own = wire.line.peer.number();
        let count = ledger.count(CHANNEL, own);
        assert_eq!(self.hearing.last(own), count.checked_sub(1), "a member hears all of its own");
    }

    fn hearings(&self) -> Vec<(&str, &Hearing)> {
        if self.lives() { vec![(CHANNEL, &self.hearing)] } else { Vec::new() }
    }
}
