//! Burst: the application publishes in batches, without pause.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    api::{Api, is_silence},
    oracle::{Content, Life},
    world::{CHANNELS, World},
};

const BATCH: u64 = 64;
const PAD_BYTES: usize = 1_000;
/// Histories keep all of it: at most so many publications, 32 MB.
const BATCHES_MAX: u64 = 400;

pub(super) fn come(world: &World, seed: u64, lasts: Duration) {
    // Each burst is a publisher of its own.
    let by = 1_000 + seed % (1 << 40);
    let began = Instant::now();
    let mut api = None;
    for batch in 0..BATCHES_MAX {
        if began.elapsed() > lasts {
            return;
        }
        if api.is_none() {
            api = world.control().and_then(|control| Api::connect(control).ok());
        }
        let Some(connected) = &mut api else { continue };
        let contents: Vec<Content> =
            (0..BATCH).map(|number| Content { by, number: batch * BATCH + number }).collect();
        let channel = CHANNELS[usize::try_from(batch % CHANNELS.len() as u64).expect("it is small")];
        let publish =
            |content: &Content| json!({ "publish": { "channel": channel, "data": content.data(PAD_BYTES) } });
        let commands: Vec<Value> = contents.iter().map(publish).collect();
        match connected.call("batch", &json!({ "commands": commands })) {
            Ok(Ok(answer)) => acknowledge(world, channel, &contents, &answer),
            Ok(Err(_)) => {}
            Err(error) => {
                if is_silence(&error) {
                    world.oracle.broken(format!("the server API does not answer a batch: {error}"));
                }
                api = None;
            }
        }
    }
}

fn acknowledge(world: &World, channel: &str, contents: &[Content], answer: &Value) {
    let replies = answer["replies"].as_array().cloned().unwrap_or_default();
    if replies.len() != contents.len() {
        world.oracle.broken(format!("a batch of {} has {} replies", contents.len(), replies.len()));
    }
    for (content, reply) in contents.iter().zip(replies) {
        let result = &reply["publish"];
        if let (Some(epoch), Some(offset)) = (result["epoch"].as_str(), result["offset"].as_u64()) {
            let life = Life { channel: channel.to_owned(), epoch: epoch.to_owned() };
            world.oracle.acknowledged(&life, *content, Some(offset));
        }
    }
}
