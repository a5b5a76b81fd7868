//! Answers that are too long: beside others, or in any case.

use super::*;
use crate::{
    channel::PresenceFlags,
    ids::{ShardId, Ticket},
};

const SEEN: PresenceFlags = PresenceFlags { presence: true, join_leave: true };

fn bench() -> Bench {
    let mut bench = Bench::new(1 << 20).with(ChannelPolicy { presence: true, ..POLICY });
    for _ in 0..5 {
        bench.publish("c", "");
    }
    bench
}

fn info(client: &str) -> Arc<Info> {
    Arc::new(Info { client: client.into(), ..Info::default() })
}

/// Recovers the whole channel, with this limit of the answer.
fn recovers(bytes: AnswerBytes, client: &str) -> ToOwner {
    let recover = Recover {
        offset: 0,
        epoch: "".into(),
        limit: 100,
        cache: false,
        filter: None,
        rejects_loss: false,
        bytes,
    };
    ToOwner::Subscribe(Box::new(Subscribe {
        channel: "c".into(),
        shard: ShardId::FIRST,
        client: CLIENT,
        ticket: Ticket::default(),
        command: Some(COMMAND),
        is_read: true,
        recover: Some(recover),
        wants_position: true,
        info: Some(info(client)),
        shows: SEEN,
        data: None,
    }))
}

fn leaves(client: &str) -> ToOwner {
    ToOwner::Unsubscribe {
        channel: "c".into(),
        shard: ShardId::FIRST,
        info: Some(info(client)),
        shows: SEEN,
        was_last: false,
    }
}

fn ask(question: ChannelQuery) -> ToOwner {
    let answer_to =
        AnswerTo::Client { shard: ShardId::FIRST, client: CLIENT, command: COMMAND, is_read: true };
    ToOwner::Ask { channel: "c".into(), question, answer_to }
}

/// The messages that a message causes.
fn said(bench: &mut Bench, message: ToOwner) -> Vec<FromOwner> {
    bench.handle(message);
    std::mem::take(&mut bench.posts).into_iter().map(|(_, said)| said).collect()
}

/// The query that came back.
fn back(said: &mut Vec<FromOwner>) -> ToOwner {
    match (said.pop(), said.len()) {
        (Some(FromOwner::TooLongNow { client: CLIENT, question }), 0) => *question,
        other => panic!("it comes back, not {other:?}"),
    }
}

fn stats(bench: &mut Bench) -> usize {
    match said(bench, ask(ChannelQuery::PresenceStats)).pop() {
        Some(FromOwner::Answered { outcome: Ok(Answer::PresenceStats { clients, .. }), .. }) => clients,
        other => panic!("not {other:?}"),
    }
}

#[test]
fn a_question_whose_answer_is_too_long_now_comes_back_and_is_answered_when_it_is_alone() {
    let mut bench = bench();
    said(&mut bench, recovers(AnswerBytes::ANY, "someone"));
    let bytes = AnswerBytes { now_max: 10, max: 10_000 };
    let page = Page { limit: 100, since: None, reverse: false, bytes };
    for question in [ChannelQuery::History(page), ChannelQuery::Presence(bytes)] {
        let mut again = back(&mut said(&mut bench, ask(question)));
        again.allow_long_answer();
        let answer = said(&mut bench, again).pop();
        assert!(
            matches!(&answer, Some(FromOwner::Answered { outcome: Ok(_), is_read: true, .. })),
            "{answer:?}"
        );
    }
}

#[test]
fn who_recovers_too_much_for_now_comes_and_goes_unseen_until_it_is_subscribed() {
    let mut bench = bench();
    let bytes = AnswerBytes { now_max: 10, max: 10_000 };
    let mut again = back(&mut said(&mut bench, recovers(bytes, "late")));
    assert_eq!(stats(&mut bench), 0);
    again.allow_long_answer();
    let answers = said(&mut bench, again);
    assert!(
        matches!(&answers[..], [FromOwner::Subscribed(subscribed), FromOwner::Deliver(_)]
            if subscribed.recovered.as_ref().is_some_and(|missed| missed.len() == 5)),
        "the answer, and then its join: {answers:?}"
    );
    assert_eq!(stats(&mut bench), 1);
    assert_eq!(said(&mut bench, leaves("late")).len(), 1, "its leave is told");

    back(&mut said(&mut bench, recovers(bytes, "gone")));
    assert!(said(&mut bench, leaves("gone")).is_empty(), "nobody was told that it came");
    assert_eq!(stats(&mut bench), 0);
    assert!(bench.homes.unseen.0.is_empty());
}

#[test]
fn what_is_too_long_in_any_case_is_refused_cut_or_lost() {
    let mut bench = bench();
    let one = bench.history("c").0;
    assert_eq!(one, 5);
    said(&mut bench, recovers(AnswerBytes::ANY, "someone"));
    let bytes = AnswerBytes { now_max: 10, max: 10 };
    let presence = said(&mut bench, ask(ChannelQuery::Presence(bytes))).pop();
    let code = ErrorCode::LIMIT_EXCEEDED;
    assert!(
        matches!(&presence, Some(FromOwner::Answered { outcome: Err(error), .. }) if *error == code),
        "{presence:?}"
    );
    let Some(FromOwner::Subscribed(subscribed)) =
        said(&mut bench, recovers(bytes, "other")).into_iter().next()
    else {
        panic!("a subscriber is answered")
    };
    assert!(subscribed.was_recovering && subscribed.recovered.is_none() && subscribed.position.is_some());
    let bytes = AnswerBytes { now_max: 10_000, max: 10 };
    let page = Page { limit: 100, since: None, reverse: true, bytes };
    match said(&mut bench, ask(ChannelQuery::History(page))).pop() {
        Some(FromOwner::Answered { outcome: Ok(Answer::History { publications, .. }), .. }) => {
            assert_eq!(publications.iter().map(|stored| stored.offset).collect::<Vec<_>>(), [5]);
        }
        other => panic!("not {other:?}"),
    }
}
