//! Publish: a batch as one script call, or as a pipeline, and what comes back.
//!
//! In:  publications of one batch.
//! Out: keys and arguments of `publish.lua`; one result for each publication, in order.
//!
//! No I/O, no clock.

use std::time::Duration;

use bytes::Bytes;
use fred::types::{Key, Value};

use super::{
    answer::Published,
    failure::Failure,
    lanes::{Ask, Keep, Publication},
    value::{array, list, number, text},
};
use crate::layout::Layout;

/// Keys and arguments of one call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) keys: Vec<Key>,
    pub(super) arguments: Vec<Bytes>,
}

/// The call for these publications. `epoch` becomes that of channels without one.
pub(super) fn call(layout: &Layout, epoch: String, idempotency: Duration, asks: &[Ask]) -> Call {
    let command = if layout.is_sharded() { "SPUBLISH" } else { "PUBLISH" };
    let mut call =
        Call { keys: Vec::with_capacity(3 * asks.len()), arguments: Vec::with_capacity(2 + 10 * asks.len()) };
    call.arguments.extend([Bytes::from_static(command.as_bytes()), epoch.into()]);
    for ask in asks {
        append(layout, idempotency, &ask.publication, &mut call);
    }
    call
}

fn append(layout: &Layout, idempotency: Duration, publication: &Publication, call: &mut Call) {
    let Publication { channel, payload, keep, idempotency_key, is_sent } = publication;
    if keep.is_some() {
        call.keys.extend([layout.stream(channel).into(), layout.meta(channel).into()]);
    }
    if let Some(key) = idempotency_key {
        call.keys.push(layout.result(channel, key).into());
    }
    let result_ttl = idempotency_key.as_ref().map(|_| seconds(idempotency).max(1));
    let sent = if *is_sent { layout.channel(channel).into() } else { Bytes::new() };
    call.arguments.extend([
        Bytes::from_static(if keep.is_some() { b"h" } else { b"" }),
        payload.clone(),
        sent,
        result_ttl.map_or_else(Bytes::new, decimal),
    ]);
    match keep {
        None => call.arguments.extend([const { Bytes::new() }; 6]),
        Some(Keep { size, ttl, meta_ttl, is_delta, version }) => call.arguments.extend([
            decimal((*size).max(1).into()),
            decimal(seconds(*ttl).max(1)),
            decimal(seconds(*meta_ttl)),
            version.as_ref().map_or_else(|| Bytes::from_static(b"0"), |version| decimal(version.number)),
            version.as_ref().map_or_else(Bytes::new, |version| version.epoch.clone().into()),
            Bytes::from_static(if *is_delta { b"1" } else { b"0" }),
        ]),
    }
}

/// What the script says of `count` publications.
pub(super) fn results(
    reply: Value,
    count: usize,
) -> Result<impl Iterator<Item = Result<Published, Failure>>, Failure> {
    let replies = list(reply)?;
    if replies.len() != count {
        return Err(Failure::Garbled);
    }
    Ok(replies.into_iter().map(result))
}

fn result(reply: Value) -> Result<Published, Failure> {
    let fields = list(reply)?;
    if fields.len() == 1 {
        let [message] = array(Value::Array(fields))?;
        return Err(Failure::Denied(text(message)?));
    }
    let [offset, epoch, is_cached, is_suppressed] = array(Value::Array(fields))?;
    Ok(Published {
        offset: number(offset)?,
        epoch: text(epoch)?,
        is_cached: number(is_cached)? == 1,
        is_suppressed: number(is_suppressed)? == 1,
    })
}

/// Whole seconds; the rest counts as one more, so that nothing ends early.
pub(super) fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

pub(super) fn decimal(number: u64) -> Bytes {
    number.to_string().into()
}

/// 8 random letters, as Centrifugo makes them: a life of a history that has never been before.
pub(super) fn fresh_epoch() -> String {
    use rand::Rng as _;
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut random = rand::rng();
    (0..8).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{
        command::{Version, answer::Answer},
        layout::{Mode, Partitions},
    };

    fn ask(keep: Option<Keep>, key: Option<&str>, is_sent: bool) -> Ask {
        let publication = Publication {
            channel: "news".into(),
            payload: Bytes::from_static(b"\x22\x02{}"),
            keep,
            idempotency_key: key.map(str::to_owned),
            is_sent,
        };
        Ask { publication, answer: Answer::new(|_| {}), at: Instant::now() }
    }

    #[test]
    fn a_batch_becomes_one_call_whose_keys_are_all_declared() {
        let keep = Keep {
            size: 100,
            ttl: Duration::from_millis(1_500),
            meta_ttl: Duration::ZERO,
            is_delta: true,
            version: Some(Version { number: u64::MAX, epoch: "v".into() }),
        };
        let layout = Layout::new("p", Mode::Partitioned(Partitions::numbered(16).unwrap())).unwrap();
        let asks = [ask(Some(keep), None, true), ask(None, Some("k"), false)];
        let call = call(&layout, "eeee".into(), Duration::from_secs(300), &asks);
        assert_eq!(
            call.keys,
            ["p.stream.{3}.news", "p.stream.meta.{3}.news", "p.result.{3}.news.k"].map(Key::from)
        );
        let arguments: Vec<&[u8]> = call.arguments.iter().map(|argument| &argument[..]).collect();
        let expected: [&[u8]; 22] = [
            b"SPUBLISH",
            b"eeee", // for all
            b"h",
            b"\x22\x02{}",
            b"p.client.{3}.news",
            b"",
            b"100",
            b"2",
            b"0",
            b"18446744073709551615",
            b"v",
            b"1",
            b"",
            b"\x22\x02{}",
            b"",
            b"300",
            b"",
            b"",
            b"",
            b"",
            b"",
            b"",
        ];
        assert_eq!(arguments, expected);
    }

    #[test]
    fn each_publication_has_its_own_result() {
        let reply = |fields: &[&'static str]| {
            Value::Array(fields.iter().map(|field| Value::from_static_str(field)).collect())
        };
        let replies = Value::Array(vec![
            reply(&["7", "abcd", "0", "0"]),
            reply(&["WRONGTYPE Operation"]),
            reply(&["7", "abcd", "1", "0"]),
            reply(&["7", "abcd", "0", "1"]),
            reply(&[]),
        ]);
        let results: Vec<_> = results(replies, 5).unwrap().collect();
        let published = Published { offset: 7, epoch: "abcd".into(), ..Published::default() };
        assert_eq!(
            results,
            [
                Ok(published.clone()),
                Err(Failure::Denied("WRONGTYPE Operation".into())),
                Ok(Published { is_cached: true, ..published.clone() }),
                Ok(Published { is_suppressed: true, ..published }),
                Err(Failure::Garbled),
            ]
        );
        assert!(super::results(Value::Array(vec![]), 1).is_err());
    }

    #[test]
    fn epochs_are_letters_and_differ() {
        let (one, other) = (fresh_epoch(), fresh_epoch());
        assert!(one.len() == 8 && one.bytes().all(|byte| byte.is_ascii_alphabetic()));
        assert_ne!(one, other);
    }
}
