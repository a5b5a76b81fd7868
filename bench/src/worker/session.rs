//! Session: what a connection says and hears above WebSocket, where the dialect is Centrifuge's.
//!
//! In:  the server's 101; frames.
//! Out: connect and subscribe in one frame; answers to pings; calls of the scenario for what else came.
//!
//! A connection counts as open when its subscription is answered, or its session where it subscribes to nothing.

use holdfast_protocol::client::{Format, StreamPosition};
use holdfast_protocol::websocket::CloseCode;
use holdfast_ring::{CloseWhen, Socket};

use super::Play;
use super::connection::Stage;
use super::link::Link;
use crate::dialect::centrifuge::{self, Heard};

/// What a member subscribes to.
pub(super) struct Subscription<'p> {
    pub(super) channel: u32,
    /// After which publication it wants to recover.
    pub(super) since: Option<StreamPosition<'p>>,
}

impl Link<'_> {
    /// Opens the session.
    pub(super) fn join<P: Play>(&mut self, format: Format, socket: Socket, play: &P) {
        self.connections.move_to(socket, Stage::Joining);
        let Some(member) = self.connections.get(socket).map(|connection| connection.member) else { return };
        let subscription = play.subscription(self, member);
        let name =
            subscription.as_ref().map(|subscription| self.name_channel(subscription.channel).to_owned());
        let since = subscription.as_ref().and_then(|subscription| subscription.since.as_ref());
        self.body.clear();
        centrifuge::greet(format, &self.plan.token, name.as_deref(), since, &mut self.body);
        self.send_body(socket);
    }

    /// Takes one frame.
    pub(super) fn hear<P: Play>(&mut self, format: Format, socket: Socket, frame: &[u8], play: &mut P) {
        for heard in centrifuge::hear(format, frame) {
            // What the last message made of the connection may be its end.
            let Some(connection) = self.connections.get(socket) else { return };
            let (stage, member) = (connection.stage, connection.member);
            match (heard, stage) {
                (_, Stage::Gone | Stage::Leaving) => return,
                (Ok(Heard::Delivery(message)), _) => play.message(self, socket, member, message),
                (Ok(Heard::Ping), _) if self.wants_pongs => self.pong(format, socket),
                (Ok(Heard::Connected { wants_pongs }), Stage::Joining) => {
                    self.wants_pongs = wants_pongs;
                    if play.subscription(self, member).is_none() {
                        self.opened(socket, play);
                    }
                }
                (Ok(Heard::Subscribed(result)), Stage::Joining) => {
                    play.subscribed(self, member, &result);
                    for publication in &result.publications {
                        play.message(self, socket, member, centrifuge::message_in(publication.data));
                    }
                    self.opened(socket, play);
                }
                (Ok(Heard::Published), _) => play.answered(self, member),
                (Ok(Heard::Refused { is_publication: true, why }), _) => {
                    self.tally.messages.refused += 1;
                    self.tally.reason(why, 1);
                    play.answered(self, member);
                }
                (Ok(Heard::Refused { why, .. } | Heard::Ended(why)), _) => {
                    return self.give_up(socket, stage, why, play);
                }
                (Err(error), _) => {
                    return self.give_up(socket, stage, format!("not understood: {error}"), play);
                }
                (Ok(Heard::Ping | Heard::Connected { .. } | Heard::Subscribed(_) | Heard::Other), _) => {}
            }
        }
    }

    fn pong(&mut self, format: Format, socket: Socket) {
        self.body.clear();
        self.body.extend_from_slice(format.empty_message());
        self.send_body(socket);
        self.tally.connects.pings += 1;
    }

    /// Ends a connection that is of no more use.
    fn give_up<P: Play>(&mut self, socket: Socket, stage: Stage, why: String, play: &mut P) {
        let Some(member) = self.connections.get(socket).map(|connection| connection.member) else { return };
        self.send_close(socket, Some((CloseCode::Normal, "")));
        self.abandon(socket, CloseWhen::Flushed);
        if stage != Stage::Closing {
            self.lost(stage, member, why, play);
        }
    }
}
