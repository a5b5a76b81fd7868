//! Nuisances: peers that send garbage, say half a request, or go at the worst moment. They must harm nobody else.

use holdfast_protocol::websocket::MessageKind;
use rand::{Rng, RngCore};

use super::{
    actor::{Actor, StepContext},
    oracle::{Hearing, Oracle},
    wire::{Heard, WebSocketPeer},
};

#[derive(Default)]
pub(super) struct FuzzPeer {
    wire: Option<WebSocketPeer>,
}

impl FuzzPeer {
    fn arrive(scene: &mut StepContext<'_>) -> Option<WebSocketPeer> {
        let paths = ["/echo", "/broadcast", "/connection/websocket", "/connection/poll", "/nowhere"];
        let path = paths[scene.random.random_range(0..paths.len())];
        let mut garbage = vec![0; scene.random.random_range(0..300)];
        scene.random.fill_bytes(&mut garbage);
        let first_words = scene.random.random_range(0..6);
        match first_words {
            0 => return Self::saying(&garbage, scene),
            1 => return Self::saying(b"GET /echo HTTP/1.1\r\nHost: ", scene),
            _ => {}
        }
        let mut wire = scene.connect(path)?;
        match first_words {
            // Right after the request, before its answer.
            2 => wire.send_bytes(&garbage),
            3 => wire.send(MessageKind::Text, b"{}\nnonsense", scene.random),
            4 => wire.close(scene.random),
            _ => {}
        }
        Some(wire)
    }

    /// A connection that begins with these bytes, under TLS or not.
    fn saying(bytes: &[u8], scene: &mut StepContext<'_>) -> Option<WebSocketPeer> {
        let mut line = scene.line()?;
        match scene.chance(0.5) {
            true => line.send(bytes),
            false => line.send_raw(bytes),
        }
        Some(WebSocketPeer::mute(line))
    }
}

impl Actor for FuzzPeer {
    fn act(&mut self, scene: &mut StepContext<'_>) {
        let Some(wire) = &mut self.wire else {
            if !scene.is_ending {
                self.wire = Self::arrive(scene);
            }
            return;
        };
        let mut heard = Vec::new();
        wire.line.reads |= scene.is_ending;
        wire.step(scene.random, &mut heard);
        if heard.iter().any(|heard| matches!(heard, Heard::Ended(_))) {
            self.wire = None;
            return;
        }
        match scene.random.random_range(0..100) {
            0 | 1 => wire.line.peer.reset(),
            2 => wire.line.peer.close(),
            3 => wire.line.finish(),
            4 => wire.line.reads = false,
            5..8 => wire.send_bytes(b"\x00\xff\x81"),
            8 => wire.line.send_raw(b"\x17\x03\x03\x00\x05hello"),
            _ if scene.is_ending => wire.line.peer.close(),
            _ => {}
        }
    }

    fn check_complete(&self, _: &Oracle, _: &[(&str, &Hearing)]) {}
}
