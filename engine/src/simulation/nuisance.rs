//! Nuisances: peers that send garbage, say half a request, or go at the worst moment. They must harm nobody else.

use rand::{Rng, RngCore};

use super::{
    actor::{Actor, Scene},
    ledger::{Hearing, Ledger},
    wire::{Heard, Wire},
};

#[derive(Default)]
pub(super) struct Nuisance {
    wire: Option<Wire>,
}

impl Nuisance {
    fn arrive(scene: &mut Scene<'_>) -> Option<Wire> {
        let paths = ["/echo", "/broadcast", "/connection/websocket", "/nowhere"];
        let path = paths[scene.random.random_range(0..paths.len())];
        let mut wire = scene.connect(path)?;
        let mut garbage = vec![0; scene.random.random_range(0..300)];
        scene.random.fill_bytes(&mut garbage);
        match scene.random.random_range(0..6) {
            // Right after the request, before its answer.
            0 => wire.send_bytes(&garbage),
            1 => wire = Wire::with_request(wire.peer, &garbage),
            2 => wire = Wire::with_request(wire.peer, b"GET /echo HTTP/1.1\r\nHost: "),
            3 => wire.send(holdfast_protocol::websocket::MessageKind::Text, b"{}\nnonsense", scene.random),
            4 => wire.close(scene.random),
            _ => {}
        }
        Some(wire)
    }
}

impl Actor for Nuisance {
    fn act(&mut self, scene: &mut Scene<'_>) {
        let Some(wire) = &mut self.wire else {
            if !scene.is_ending {
                self.wire = Self::arrive(scene);
            }
            return;
        };
        let mut heard = Vec::new();
        wire.reads |= scene.is_ending;
        wire.step(scene.random, &mut heard);
        if heard.iter().any(|heard| matches!(heard, Heard::Ended(_))) {
            self.wire = None;
            return;
        }
        match scene.random.random_range(0..100) {
            0 | 1 => wire.peer.reset(),
            2 => wire.peer.close(),
            3 => wire.finish(),
            4 => wire.reads = false,
            5..8 => wire.send_bytes(b"\x00\xff\x81"),
            _ if scene.is_ending => wire.peer.close(),
            _ => {}
        }
    }

    fn check_complete(&self, _: &Ledger, _: &[(&str, &Hearing)]) {}
}
