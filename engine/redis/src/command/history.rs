//! History: what a channel keeps, and where its top is.
//!
//! In:  a channel, a range.
//! Out: its top, and publications, both of one moment.
//!
//! Reading is HMGET and XRANGE between MULTI and EXEC: as atomic as a script, at a fifth of its cost to Redis.

use std::time::Duration;

use bytes::Bytes;
use fred::{
    error::Error,
    interfaces::{
        HashesInterface as _, KeysInterface as _, StreamsInterface as _, TransactionInterface as _,
    },
    types::Value,
};

use super::{
    commands::{Commands, Shared},
    failure::Failure,
    publish::{decimal, fresh_epoch, seconds},
    value::{array, bytes, list, number, optional, text},
};
use crate::scripts::REPAIR;

/// Where a history ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Top {
    /// Of the newest publication that ever was; 0 where there was none.
    pub offset: u64,
    /// Which life of the history it is.
    pub epoch: String,
}

/// In which order publications are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The oldest first.
    Forward,
    /// The newest first.
    Backward,
}

/// Which publications are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// From this offset on, itself included: upwards where forward, downwards where backward. None: from the end at
    /// which the direction begins.
    pub from: Option<u64>,
    /// At most so many. None: all that the channel keeps.
    pub limit: Option<u32>,
    /// The order.
    pub direction: Direction,
}

/// What is to be read of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRead {
    /// The channel.
    pub channel: String,
    /// None: its top alone.
    pub range: Option<Range>,
    /// Epoch and top offset are forgotten so long after this, in whole seconds; zero: never.
    pub meta_ttl: Duration,
}

/// A publication that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub offset: u64,
    /// The Protobuf message `Publication`, whose own offset may be 0.
    pub payload: Bytes,
}

/// What a channel keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// Where it ends.
    pub top: Top,
    /// What was asked for, in that order.
    pub entries: Vec<Entry>,
}

/// What became of an offset that had gone back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The history's top now.
    pub top: Top,
    /// True exactly when this call began a new epoch; false where another node did, or nothing had gone back.
    pub is_begun: bool,
}

impl Commands {
    /// Reads a channel's top and publications; a channel without an epoch gets one.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn history(&self, read: HistoryRead) -> Result<History, Failure> {
        let shared = &self.shared;
        shared.layout.check(&read.channel)?;
        parse(shared.ask(transact(shared, &read)).await?, &read)
    }

    /// Where a channel's history ends; none where it has no epoch. Many of these at a time go in one write.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn top(&self, channel: &str) -> Result<Option<Top>, Failure> {
        let shared = &self.shared;
        shared.layout.check(channel)?;
        let client = shared.client();
        let read = client.hmget::<Value, _, _>(shared.layout.meta(channel), vec!["e", "s"]);
        let [epoch, offset] = array(shared.ask(read).await?)?;
        let Some(epoch) = optional(epoch, text)? else { return Ok(None) };
        Ok(Some(Top { epoch, offset: optional(offset, number)?.unwrap_or_default() }))
    }

    /// Forgets what a channel keeps; its epoch and top stay.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn remove_history(&self, channel: &str) -> Result<(), Failure> {
        let shared = &self.shared;
        shared.layout.check(channel)?;
        let client = shared.client();
        shared.ask(client.del::<Value, _>(shared.layout.stream(channel))).await.map(drop)
    }

    /// Begins a new epoch if the history ends before `known`, which some node has seen: a failover lost what was
    /// acknowledged, and would give its offsets out again. Of many nodes that ask, one begins it.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn repair(&self, channel: &str, known: &Top, meta_ttl: Duration) -> Result<Repair, Failure> {
        let shared = &self.shared;
        shared.layout.check(channel)?;
        let keys = vec![shared.layout.stream(channel).into(), shared.layout.meta(channel).into()];
        let arguments = vec![
            known.epoch.clone().into(),
            decimal(known.offset),
            fresh_epoch().into(),
            decimal(seconds(meta_ttl)),
        ];
        let [offset, epoch, is_begun] = array(shared.ask(shared.run(&REPAIR, keys, arguments)).await?)?;
        let top = Top { offset: number(offset)?, epoch: text(epoch)? };
        Ok(Repair { top, is_begun: number(is_begun)? == 1 })
    }
}

/// HSETNX, HMGET, EXPIRE, XRANGE, all at one moment.
async fn transact(shared: &Shared, read: &HistoryRead) -> Result<Value, Error> {
    let (meta, stream) = (shared.layout.meta(&read.channel), shared.layout.stream(&read.channel));
    let transaction = shared.client().multi();
    // Each is queued in memory; EXEC sends all of them.
    let () = transaction.hsetnx(&meta, "e", fresh_epoch()).await?;
    let () = transaction.hmget(&meta, vec!["e", "s"]).await?;
    if !read.meta_ttl.is_zero() {
        let ttl = i64::try_from(seconds(read.meta_ttl)).unwrap_or(i64::MAX);
        let () = transaction.expire(&meta, ttl, None).await?;
    }
    if let Some(Range { from, limit, direction }) = read.range {
        let limit = limit.map(u64::from);
        let from = from.map(|offset| offset.to_string());
        match direction {
            Direction::Forward => {
                let from = from.unwrap_or_else(|| "-".to_owned());
                let () = transaction.xrange(&stream, from, "+", limit).await?;
            }
            Direction::Backward => {
                let from = from.unwrap_or_else(|| "+".to_owned());
                let () = transaction.xrevrange(&stream, from, "-", limit).await?;
            }
        }
    }
    transaction.exec(true).await
}

fn parse(reply: Value, read: &HistoryRead) -> Result<History, Failure> {
    let mut replies = list(reply)?.into_iter();
    let [epoch, offset] = array(replies.nth(1).unwrap_or(Value::Null))?;
    let top = Top { epoch: text(epoch)?, offset: optional(offset, number)?.unwrap_or_default() };
    let mut entries = Vec::new();
    if read.range.is_some() {
        for entry in list(replies.next_back().unwrap_or(Value::Null))? {
            entries.extend(parse_entry(entry)?);
        }
    }
    Ok(History { top, entries })
}

/// `OFFSET-0`, and a list of fields of which `d` is one. An entry without it is nobody's, and left out.
fn parse_entry(entry: Value) -> Result<Option<Entry>, Failure> {
    let [id, fields] = array(entry)?;
    let id = text(id)?;
    let offset = id.split('-').next().and_then(|offset| offset.parse().ok()).ok_or(Failure::Garbled)?;
    let mut fields = list(fields)?.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        if bytes(name)? == "d" {
            return Ok(Some(Entry { offset, payload: bytes(value)? }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&'static str]) -> Value {
        Value::Array(texts.iter().map(|text| Value::from_static_str(text)).collect())
    }

    fn read(range: Option<Range>) -> HistoryRead {
        HistoryRead { channel: "c".into(), range, meta_ttl: Duration::from_secs(1) }
    }

    const ALL: Range = Range { from: None, limit: None, direction: Direction::Forward };

    #[test]
    fn a_reply_is_taken_apart() {
        let entry = Value::Array(vec![Value::from_static_str("7-0"), texts(&["x", "y", "d", "payload"])]);
        let reply = Value::Array(vec![
            Value::Integer(0),
            texts(&["epoch", "7"]),
            Value::Integer(1),
            Value::Array(vec![entry]),
        ]);
        let history = parse(reply, &read(Some(ALL))).unwrap();
        assert_eq!(history.top, Top { offset: 7, epoch: "epoch".into() });
        assert_eq!(history.entries, [Entry { offset: 7, payload: Bytes::from_static(b"payload") }]);
        let fresh = Value::Array(vec![
            Value::Integer(1),
            Value::Array(vec![Value::from_static_str("epoch"), Value::Null]),
            Value::Integer(1),
        ]);
        assert_eq!(parse(fresh, &read(None)).unwrap().top.offset, 0);
    }

    #[test]
    fn a_reply_of_another_shape_is_an_error() {
        for reply in [
            Value::Null,
            Value::Array(vec![]),
            Value::Array(vec![Value::Integer(1), Value::Null]),
            Value::Array(vec![Value::Integer(1), texts(&["e", "x"])]),
            Value::Array(vec![Value::Integer(1), texts(&["e", "1"]), texts(&["e"])]),
        ] {
            assert_eq!(parse(reply, &read(Some(ALL))), Err(Failure::Garbled));
        }
    }
}
