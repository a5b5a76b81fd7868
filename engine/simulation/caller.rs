//! Callers: they say all that they have to say, end their side at once, and still want the answer.
//!
//! A request that is refused, or a close frame: the daemon's last words must arrive, though nothing more will come from
//! the other side.

use std::time::Duration;

use rand::Rng;

use super::{
    actor::{Actor, StepContext},
    oracle::{Hearing, Oracle},
    wire::{Heard, WebSocketPeer},
};

/// How long last words may take.
const LINGER: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct HalfClosingPeer {
    wire: Option<WebSocketPeer>,
    has_answer: bool,
    since: Duration,
}

impl Actor for HalfClosingPeer {
    fn act(&mut self, scene: &mut StepContext<'_>) {
        let Some(wire) = &mut self.wire else {
            if !scene.is_ending {
                let path = if scene.chance(0.5) { "/nowhere" } else { "/echo" };
                *self =
                    Self { wire: scene.connect(path), has_answer: false, since: scene.network.trace().now() };
                if let Some(wire) = &mut self.wire
                    && path == "/nowhere"
                {
                    wire.line.finish();
                }
            }
            return;
        };
        let mut heard = Vec::new();
        wire.step(scene.random, &mut heard);
        for heard in heard {
            match heard {
                Heard::Open => {
                    wire.close(scene.random);
                    wire.line.finish();
                }
                Heard::Refused(status) => {
                    assert!(matches!(status, 404 | 408 | 503), "refused with {status}");
                    self.has_answer = true;
                }
                Heard::Closed(code) => {
                    let is_ours = code == Some(1000);
                    assert!(is_ours || scene.ledger.stop.is_some(), "answered {code:?}");
                    self.has_answer = true;
                }
                Heard::Message(..) => panic!("nothing was sent"),
                Heard::Ended(_) => {
                    let is_late = scene.network.trace().now() - self.since > LINGER;
                    let is_explained = wire.line.peer.was_cut() || scene.ledger.stop.is_some() || is_late;
                    let number = wire.line.peer.number();
                    assert!(self.has_answer || is_explained, "connection {number} ends without its answer");
                    self.wire = None;
                    return;
                }
            }
        }
        if scene.random.random_bool(0.01) {
            wire.line.reads = !wire.line.reads;
        }
        wire.line.reads |= scene.is_ending;
    }

    fn check_complete(&self, _: &Oracle, _: &[(&str, &Hearing)]) {}
}
