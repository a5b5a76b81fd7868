//! Publisher: publications whose acknowledgments the oracle is told.
//!
//! In:  the world.
//! Out: publications by the server API and by a client, at a pace, one after the other.

use std::{
    io,
    thread::sleep,
    time::{Duration, Instant},
};

use holdfast_testkit::PATIENCE;
use serde_json::json;

use crate::{
    api::{Api, is_silence},
    oracle::{Content, Life},
    transport::{Heard, Kind, Transport},
    world::{CHANNELS, World},
};

const PACE: Duration = Duration::from_millis(4);
const PAD_BYTES: [usize; 4] = [10, 120, 900, 3_000];
/// The daemon may be unable to take one for now.
const TEMPORARY: u64 = 100;

/// Publishes by the server API until it is over. `by` is its number.
pub(crate) fn by_api(world: &World, by: u64) {
    let mut number = 0;
    while world.is_publishing() {
        // Nobody is there between two daemons.
        let Some(mut api) = world.control().and_then(|control| Api::connect(control).ok()) else {
            sleep(PACE);
            continue;
        };
        while world.is_publishing() {
            number += 1;
            let content = Content { by, number };
            if let Err(error) = publish(world, &mut api, content) {
                if is_silence(&error) {
                    world.oracle.broken(format!("publisher {by}: the server API does not answer: {error}"));
                }
                break;
            }
            sleep(PACE);
        }
    }
}

/// Publishes one. An error is the end of the connection: then nobody knows what became of it.
fn publish(world: &World, api: &mut Api, content: Content) -> io::Result<()> {
    let pick = usize::try_from(content.by + content.number).unwrap_or_default();
    let channel = CHANNELS[pick % CHANNELS.len()];
    let data = content.data(PAD_BYTES[pick % PAD_BYTES.len()]);
    match api.call("publish", &json!({ "channel": channel, "data": data }))? {
        Ok(result) => {
            let (Some(epoch), Some(offset)) = (result["epoch"].as_str(), result["offset"].as_u64()) else {
                world.oracle.broken(format!("an acknowledgment without a position: {result}"));
                return Ok(());
            };
            let life = Life { channel: channel.to_owned(), epoch: epoch.to_owned() };
            world.oracle.acknowledged(&life, content, Some(offset));
        }
        Err(TEMPORARY) => {}
        Err(code) => world.oracle.broken(format!("a publication by the server API has error {code}")),
    }
    Ok(())
}

/// Publishes over WebSocket until it is over, and waits for each reply.
pub(crate) fn by_client(world: &World, by: u64) {
    let mut number = 0;
    while world.is_publishing() {
        let _ = publish_on(world, by, &mut number);
        sleep(PACE);
    }
}

/// Publishes over one connection, to its end.
fn publish_on(world: &World, by: u64, number: &mut u64) -> Option<()> {
    let channel = CHANNELS[0];
    let commands = [
        json!({ "id": 1, "connect": { "token": world.token("publisher") } }),
        json!({ "id": 2, "subscribe": { "channel": channel } }),
    ];
    let began = world.moment();
    let mut transport = Transport::open(Kind::WebSocket, world.address(), &commands).ok()?;
    let mut life = None;
    let (mut asked, mut since) = (None, Instant::now());
    loop {
        if !world.is_publishing() {
            return None;
        }
        if let (Some(_), None) = (&life, &asked) {
            sleep(PACE);
            *number += 1;
            let content = Content { by, number: *number };
            let publish = json!({ "channel": channel, "data": content.data(PAD_BYTES[1]) });
            transport.send(&json!({ "id": *number + 10, "publish": publish })).ok()?;
            (asked, since) = (Some(content), Instant::now());
        }
        let message = match transport.next() {
            Heard::Message(message) => message,
            Heard::Nothing => {
                if since.elapsed() > PATIENCE {
                    world.oracle.broken(format!("publisher {by}: a publication over WebSocket has no reply"));
                    return None;
                }
                continue;
            }
            end => {
                world.judge_end(&format!("publisher {by}"), &began, &end);
                return None;
            }
        };
        if message["id"] == 2 {
            let epoch = message["subscribe"]["epoch"].as_str()?;
            life = Some(Life { channel: channel.to_owned(), epoch: epoch.to_owned() });
        }
        if let (Some(content), Some(life)) = (asked, &life)
            && message["id"] == content.number + 10
        {
            asked = None;
            match message["error"]["code"].as_u64() {
                None => world.oracle.acknowledged(life, content, None),
                // Internal, or too much at once: both are temporary.
                Some(100 | 111) => {}
                Some(code) => world.oracle.broken(format!("a client's publication has error {code}")),
            }
        }
    }
}
