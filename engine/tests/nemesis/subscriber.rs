//! Subscriber: a client that knows what must come next.
//!
//! In:  what the daemon tells it.
//! Out: its positions; to the oracle, what it saw and every promise that was broken to it.
//!
//! In a channel the next publication has the next offset. Who comes back gets all that was missed, or is told that its
//! position is lost, which may be so only where it is.

use std::{
    collections::HashMap,
    fmt::Display,
    thread::sleep,
    time::{Duration, Instant},
};

use holdfast_testkit::PATIENCE;
use serde_json::{Value, json};

use crate::{
    oracle::{Content, Life, Oracle, lock},
    transport::{Heard, Kind, Transport},
    world::{CHANNELS, Moment, RECOVERY_MAX, World},
};

/// How many channels each is in.
const CHANNELS_EACH: usize = 2;
/// Between two attempts to come.
const AGAIN: Duration = Duration::from_millis(50);

/// Where a subscriber is in a channel.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    pub(crate) life: Life,
    pub(crate) offset: u64,
    /// When it was told of this life.
    since: Moment,
}

/// By channel.
pub(crate) type Positions = HashMap<&'static str, Position>;

struct Subscriber<'w> {
    world: &'w World,
    number: usize,
    name: String,
    channels: Vec<&'static str>,
}

/// Is a subscriber until it is over.
pub(crate) fn live(world: &World, number: usize, kind: Kind) {
    let channels = (0..CHANNELS_EACH).map(|at| CHANNELS[(number + at) % CHANNELS.len()]).collect();
    let subscriber = Subscriber { world, number, name: format!("subscriber {number} ({kind:?})"), channels };
    let mut positions = Positions::new();
    let mut alone_since = None;
    while !world.is_over() {
        let began = world.moment();
        let was_up = world.is_up();
        let commands = subscriber.commands(&positions);
        match Transport::open(kind, world.address(), &commands) {
            Ok(transport) => {
                alone_since = None;
                subscriber.listen(transport, &mut positions, &began);
            }
            Err(error) => {
                let is_answer = error.kind() == std::io::ErrorKind::Other;
                if was_up && world.is_up() && !world.has_stopped_since(&began) && !is_answer {
                    subscriber.broken(format_args!("cannot connect to a daemon that is there: {error}"));
                }
                let since = *alone_since.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    subscriber.broken(format_args!("is not let in: {error}"));
                    alone_since = None;
                }
            }
        }
        sleep(AGAIN);
    }
}

impl Subscriber<'_> {
    fn broken(&self, what: impl Display) {
        self.world.oracle.broken(format!("{}: {what}", self.name));
    }

    /// To connect, and to subscribe from where it is.
    fn commands(&self, positions: &Positions) -> Vec<Value> {
        let mut commands = vec![json!({ "id": 1, "connect": { "token": self.world.token(&self.name) } })];
        for (at, channel) in self.channels.iter().enumerate() {
            let mut subscribe = json!({ "channel": channel });
            if let Some(Position { life, offset, .. }) = positions.get(channel) {
                subscribe =
                    json!({ "channel": channel, "recover": true, "epoch": life.epoch, "offset": offset });
            }
            commands.push(json!({ "id": at + 2, "subscribe": subscribe }));
        }
        commands
    }

    /// Hears what comes over one connection, to its end.
    fn listen(&self, mut transport: Transport, positions: &mut Positions, began: &Moment) {
        let mut heard_last = Instant::now();
        let mut was_slow = false;
        while !self.world.is_over() {
            while self.world.is_slow(self.number) {
                (was_slow, heard_last) = (true, Instant::now());
                sleep(AGAIN);
            }
            match transport.next() {
                Heard::Nothing if heard_last.elapsed() < PATIENCE => {}
                Heard::Nothing => {
                    return self.broken("hears nothing, not even a ping");
                }
                Heard::Message(message) => {
                    heard_last = Instant::now();
                    if !self.hear(&message, positions, began) {
                        return;
                    }
                    *lock(&self.world.positions[self.number]) = positions.clone();
                }
                // Who does not read is not told why it was cut at a stop.
                Heard::Cut(_) if was_slow && self.world.has_stopped_since(began) => return,
                end => return self.world.judge_end(&self.name, began, &end),
            }
        }
    }

    /// False where the connection is of no use any more.
    fn hear(&self, message: &Value, positions: &mut Positions, began: &Moment) -> bool {
        if let Some(code) = message["error"]["code"].as_u64() {
            // Both are temporary, and a client comes back.
            if !matches!(code, 100 | 111) {
                self.broken(format_args!("is refused: {message}"));
            }
            return false;
        }
        let push = &message["push"];
        if let Some(answer) = message.get("subscribe") {
            let at = message["id"].as_u64().and_then(|id| usize::try_from(id).ok()).unwrap_or(0);
            match at.checked_sub(2).and_then(|at| self.channels.get(at)) {
                Some(channel) => self.subscribed(channel, answer, positions, began),
                None => self.broken(format_args!("has a reply that it did not ask for: {message}")),
            }
        } else if let Some(publication) = push.get("pub") {
            let channel = push["channel"].as_str().unwrap_or_default();
            match self.channels.iter().find(|ours| **ours == channel).and_then(|ours| positions.get_mut(ours))
            {
                Some(position) => follow(&self.world.oracle, &self.name, publication, position),
                None => self.broken(format_args!("hears of a channel that it is not in: {push}")),
            }
        } else if push.get("unsubscribe").is_some() {
            // It is told, and comes back.
            return false;
        }
        true
    }

    /// Takes the answer to a subscription.
    fn subscribed(&self, channel: &'static str, answer: &Value, positions: &mut Positions, began: &Moment) {
        let epoch = answer["epoch"].as_str().unwrap_or_default().to_owned();
        let life = Life { channel: channel.to_owned(), epoch };
        let offset = answer["offset"].as_u64().unwrap_or(0);
        let told = Position { life, offset, since: began.clone() };
        let Some(known) = positions.get_mut(channel) else {
            positions.insert(channel, told);
            return;
        };
        if answer["was_recovering"] != true {
            self.broken(format_args!("asks to recover, and is not told of it: {answer}"));
        }
        if answer["recovered"] == true {
            if known.life != told.life {
                self.broken(format_args!("recovers {:?} from {:?}", told.life, known.life));
            }
            for publication in answer["publications"].as_array().into_iter().flatten() {
                follow(&self.world.oracle, &self.name, publication, known);
            }
            return;
        }
        let missed = told.offset.saturating_sub(known.offset);
        if known.life == told.life && missed <= RECOVERY_MAX {
            self.broken(format_args!(
                "in {:?}: {missed} after {} are said to be lost",
                told.life, known.offset
            ));
        }
        if known.life != told.life && !self.world.has_stopped_since(&known.since) {
            self.broken(format_args!("the same daemon has {:?} and {:?}", known.life, told.life));
        }
        *known = told;
    }
}

/// Takes the next publication.
fn follow(oracle: &Oracle, who: &str, publication: &Value, position: &mut Position) {
    let offset = publication["offset"].as_u64().unwrap_or(0);
    if offset != position.offset + 1 {
        let (life, at) = (&position.life, position.offset);
        oracle.broken(format!("{who}: in {life:?}: {offset} comes after {at}"));
    }
    position.offset = offset;
    match Content::of(&publication["data"]) {
        Some(content) => oracle.saw(who, &position.life, offset, content),
        None => oracle.broken(format!("{who} hears what nobody published: {publication}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many promises are broken where this is what comes, as offset and number.
    fn broken_by(publications: &[(u64, u64)]) -> usize {
        let oracle = Oracle::default();
        let life = Life { channel: "c".to_owned(), epoch: "e".to_owned() };
        // Another subscriber has heard the numbers at their own offsets.
        (1..5).for_each(|number| oracle.saw("another", &life, number, Content { by: 1, number }));
        let mut position = Position { life, offset: 0, since: Moment::default() };
        for (offset, number) in publications {
            let data = Content { by: 1, number: *number }.data(3);
            follow(&oracle, "one", &json!({ "offset": offset, "data": data }), &mut position);
        }
        oracle.verdict().len()
    }

    #[test]
    fn a_gap_a_repeat_and_what_others_did_not_hear_so_break_a_promise() {
        assert_eq!(broken_by(&[(1, 1), (2, 2), (3, 3)]), 0);
        assert_eq!(broken_by(&[(1, 1), (3, 3)]), 1, "a gap");
        assert_eq!(broken_by(&[(1, 1), (1, 1)]), 1, "a repeat");
        // It is neither what is there nor where it is.
        assert_eq!(broken_by(&[(1, 1), (2, 3)]), 2, "another one");
        assert_eq!(broken_by(&[(1, 1), (2, 2), (3, 2)]), 2, "one of them twice");
    }
}
