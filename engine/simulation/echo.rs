//! Echo clients: all that they send comes back, once, in order.

use std::collections::VecDeque;

use holdfast_protocol::websocket::MessageKind;
use rand::{Rng, RngCore};

use super::{
    actor::{Actor, EndExpectation, StepContext},
    oracle::{Hearing, Oracle},
    wire::{Heard, WebSocketPeer},
};

/// Messages that may be on their way.
const OPEN_MESSAGES_MAX: usize = 40;

#[derive(Default)]
pub(super) struct Echo {
    wire: Option<WebSocketPeer>,
    fate: EndExpectation,
    is_open: bool,
    expected: VecDeque<(MessageKind, Vec<u8>)>,
}

impl Echo {
    fn do_something(&mut self, scene: &mut StepContext<'_>) {
        let Some(wire) = &mut self.wire else { return };
        match scene.random.random_range(0..1000) {
            0..300 if self.is_open && !wire.has_sent_close() && self.expected.len() < OPEN_MESSAGES_MAX => {
                let longest = if scene.random.random_bool(0.05) { 20_000 } else { 400 };
                let mut payload = vec![0; scene.random.random_range(0..longest)];
                scene.random.fill_bytes(&mut payload);
                let mut kind = MessageKind::Binary;
                if scene.random.random_bool(0.5) {
                    payload.iter_mut().for_each(|byte| *byte = b'a' + *byte % 26);
                    kind = MessageKind::Text;
                }
                wire.send(kind, &payload, scene.random);
                self.expected.push_back((kind, payload));
            }
            300..320 => wire.line.reads = !wire.line.reads,
            320..325 if self.is_open => {
                self.fate.is_our_doing = true;
                wire.close(scene.random);
            }
            325..327 => {
                self.fate.is_our_doing = true;
                wire.line.peer.reset();
            }
            327..329 => {
                self.fate.is_our_doing = true;
                wire.line.finish();
            }
            _ => {}
        }
    }
}

impl Actor for Echo {
    fn act(&mut self, scene: &mut StepContext<'_>) {
        let Some(wire) = &mut self.wire else {
            if !scene.is_ending {
                *self = Self { wire: scene.connect("/echo"), ..Self::default() };
            }
            return;
        };
        for heard in self.fate.step(wire, scene) {
            match heard {
                Heard::Open => self.is_open = true,
                Heard::Message(kind, payload) => {
                    scene.ledger.heard += 1;
                    let expected = self.expected.pop_front().expect("nothing comes that was not sent");
                    assert!((kind, payload) == expected, "an echo is what was sent");
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

    fn check_complete(&self, ledger: &Oracle, _: &[(&str, &Hearing)]) {
        if let Some(wire) = &self.wire
            && self.fate.is_sound()
            && !wire.line.peer.is_broken()
            && !wire.has_sent_close()
        {
            if !self.is_open {
                assert!(!ledger.are_all_in, "connection {} is answered", wire.line.peer.number());
                return;
            }
            assert!(wire.is_flushed(), "all of connection {} is read", wire.line.peer.number());
            assert!(self.expected.is_empty(), "all of connection {} is echoed", wire.line.peer.number());
        }
    }
}
