//! History: what was acknowledged must be in it.
//!
//! In:  a daemon's server API.
//! Out: broken promises: what is missing, what is at another place than others saw it, gaps.

use std::{collections::HashSet, net::SocketAddr};

use serde_json::json;

use crate::{
    api::Api,
    oracle::{Content, Life, Oracle},
    world::CHANNELS,
};

/// So many publications are asked for at a time.
const PAGE: usize = 500;

/// Looks whether everything that has been acknowledged is in the histories.
pub(crate) fn check(control: SocketAddr, oracle: &Oracle) {
    for channel in CHANNELS {
        if let Err(error) = check_channel(control, oracle, channel) {
            oracle.broken(format!("the history of {channel} cannot be read: {error}"));
        }
    }
}

fn check_channel(control: SocketAddr, oracle: &Oracle, channel: &str) -> Result<(), String> {
    let mut api = Api::connect(control).map_err(|error| error.to_string())?;
    let mut ask = |request| match api.call("history", &request) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(code)) => Err(format!("error {code}")),
        Err(error) => Err(error.to_string()),
    };
    let position = ask(json!({ "channel": channel, "limit": 0 }))?;
    let epoch = position["epoch"].as_str().unwrap_or_default().to_owned();
    let life = Life { channel: channel.to_owned(), epoch };
    // What is acknowledged from here on may come later.
    let (acknowledged, newest) = oracle.acknowledged_in(&life);
    let mut there = HashSet::new();
    let mut offset = 0;
    loop {
        let since = json!({ "offset": offset, "epoch": life.epoch });
        let page = ask(json!({ "channel": channel, "limit": PAGE, "since": since }))?;
        let publications = page["publications"].as_array().cloned().unwrap_or_default();
        if publications.is_empty() {
            break;
        }
        for publication in publications {
            offset += 1;
            let Some(content) = Content::of(&publication["data"]) else {
                return Err(format!("at {offset} there is {publication}"));
            };
            if publication["offset"].as_u64() != Some(offset) {
                return Err(format!("a gap at {offset}: {publication}"));
            }
            oracle.saw("the history", &life, offset, content);
            there.insert(content);
        }
    }
    let missing = acknowledged.iter().filter(|content| !there.contains(content)).count();
    if missing > 0 || offset < newest {
        return Err(format!(
            "{missing} of {} acknowledged publications are missing; it ends at {offset}, {newest} was acknowledged",
            acknowledged.len()
        ));
    }
    Ok(())
}
