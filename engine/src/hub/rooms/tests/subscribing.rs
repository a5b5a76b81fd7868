//! Subscribing: what a subscriber costs Redis, and what it is answered.

use super::*;

#[test]
fn the_first_subscriber_waits_until_the_channel_is_heard_and_its_position_is_read() {
    let mut bench = Bench::new();
    bench.subscribe(1, None);
    assert_eq!(bench.wants(), ["want"]);
    assert!(bench.told().is_empty());
    bench.confirm();
    assert_eq!(bench.wants(), ["read the position"]);
    assert!(bench.told().is_empty());
    bench.answer_read("e", 7, &[]);
    assert_eq!(bench.told(), ["1 is in at 7 of e"]);
    assert_eq!(bench.wants(), ["1 is present", "1 joins"]);
}

#[test]
fn a_second_subscriber_asks_redis_nothing() {
    let mut bench = Bench::live_at(7);
    bench.wants();
    bench.subscribe(2, None);
    assert_eq!(bench.told(), ["2 is in at 7 of e"]);
    assert_eq!(bench.wants(), ["2 is present", "2 joins"]);
}

#[test]
fn what_is_published_between_the_subscription_and_the_read_is_delivered_once() {
    let mut bench = Bench::new();
    bench.subscribe(1, since("e", 5));
    bench.confirm();
    assert_eq!(bench.reads(), ["read from 5, urgent"]);
    (7..=9).for_each(|offset| bench.hear_at("e", offset));
    assert!(bench.told().is_empty());
    bench.answer_read("e", 8, &[5, 6, 7, 8]);
    assert_eq!(bench.told(), ["1 is in at 8 of e, recovers [6, 7, 8]", "9 \"p9\""]);
    assert!(bench.reads().is_empty());
}

#[test]
fn a_client_recovers_what_is_kept_here_without_a_read() {
    let mut bench = Bench::live_at(5);
    (6..=8).for_each(|offset| bench.hear_at("e", offset));
    bench.told();
    bench.subscribe(2, since("e", 6));
    bench.subscribe(3, since("e", 8));
    assert_eq!(bench.told(), ["2 is in at 8 of e, recovers [7, 8]", "3 is in at 8 of e, recovers []"]);
    assert!(bench.reads().is_empty());
}

#[test]
fn older_publications_are_read_once_for_all_who_wait_and_then_kept() {
    let mut bench = Bench::live_at(8);
    bench.subscribe(2, since("e", 5));
    bench.subscribe(3, since("e", 5));
    bench.subscribe(4, None);
    assert_eq!(bench.told(), ["4 is in at 8 of e"], "it needs nothing");
    assert_eq!(bench.reads(), ["read from 6, urgent"]);
    bench.answer_read("e", 8, &[6, 7, 8]);
    let recovered = ["2 is in at 8 of e, recovers [6, 7, 8]", "3 is in at 8 of e, recovers [6, 7, 8]"];
    assert_eq!(bench.told(), recovered);
    bench.subscribe(5, since("e", 6));
    assert_eq!(bench.told(), ["5 is in at 8 of e, recovers [7, 8]"]);
    assert!(bench.reads().is_empty());
    bench.pass_ms(1_000);
    bench.subscribe(6, since("e", 6));
    assert_eq!(
        bench.told(),
        ["6 is in at 8 of e, recovers [7, 8]"],
        "they are kept as long as Redis keeps them"
    );
}

#[test]
fn a_client_that_waits_for_older_ones_is_not_answered_by_a_read_that_has_none() {
    let mut bench = Bench::live_at(8);
    bench.pass_ms(40_000);
    assert_eq!(bench.reads(), ["read from 8"]);
    bench.subscribe(2, since("e", 5));
    bench.answer_read("e", 9, &[8, 9]);
    assert_eq!(bench.told(), ["9 \"p9\""]);
    assert_eq!(bench.reads(), ["read from 6, urgent"]);
    bench.answer_read("e", 9, &[6, 7, 8, 9]);
    assert_eq!(bench.told(), ["2 is in at 9 of e, recovers [6, 7, 8, 9]"]);
}

#[test]
fn a_client_that_is_ahead_of_this_node_makes_it_read_and_proves_nothing() {
    let mut bench = Bench::live_at(8);
    bench.subscribe(2, since("e", 9));
    assert_eq!(bench.reads(), ["read from 8, urgent"]);
    bench.answer_read("e", 9, &[8, 9]);
    assert_eq!(bench.told(), ["9 \"p9\"", "2 is in at 9 of e, recovers []"]);
    bench.subscribe(3, since("e", 1_000));
    assert_eq!(bench.reads(), ["read from 9, urgent"]);
    bench.answer_read("e", 9, &[9]);
    assert_eq!(bench.told(), ["3 is in at 9 of e, recovers nothing"]);
    assert!(bench.reads().is_empty());
}

#[test]
fn no_position_of_a_client_is_too_large() {
    let mut bench = Bench::new();
    bench.subscribe(1, since("e", u64::MAX));
    bench.confirm();
    assert_eq!(bench.reads(), [format!("read from {}, urgent", u64::MAX)]);
    bench.answer_read_from("e", 3, Some(u64::MAX), &[]);
    assert_eq!(bench.reads(), ["read from 3, urgent"], "what is at the position is not known yet");
    bench.answer_read("e", 3, &[3]);
    bench.subscribe(2, since("other", u64::MAX));
    bench.subscribe(3, since("", u64::MAX));
    bench.answer_read("e", 3, &[3]);
    assert_eq!(bench.told().len(), 3);
    bench.hear_at("e", 4);
    bench.reads();
    bench.told();
    bench.subscribe(4, since("e", 3));
    assert_eq!(bench.told(), ["4 is in at 4 of e, recovers [4]"], "nothing has to be read for it");
}

#[test]
fn a_client_of_an_older_life_of_the_channel_is_told_at_once_that_nothing_is_recovered() {
    let mut bench = Bench::live_at(3);
    bench.subscribe(2, since("old", 9));
    assert_eq!(bench.told(), ["2 is in at 3 of e, recovers nothing"]);
    let recover = since("old", 9).map(|recover| Recover { rejects_loss: true, ..recover });
    bench.subscribe(3, recover);
    assert_eq!(bench.told(), ["3 is refused with 112"]);
    assert!(bench.reads().is_empty());
}

#[test]
fn who_wants_the_newest_publication_alone_gets_it_from_here_or_from_redis() {
    let cache = || since("", 0).map(|recover| Recover { cache: true, limit: 1, ..recover });
    let mut bench = Bench::live_at(8);
    bench.subscribe(2, cache());
    assert_eq!(bench.reads(), ["read from 1, urgent"]);
    bench.answer_read_from("e", 8, Some(1), &[7, 8]);
    bench.subscribe(3, cache());
    assert_eq!(bench.told(), ["2 is in at 8 of e, recovers [8]", "3 is in at 8 of e, recovers [8]"]);
    assert!(bench.reads().is_empty());
}

#[test]
fn an_answer_that_is_too_long_now_comes_back_and_the_client_is_seen_when_it_is_repeated() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.wants();
    bench.told();
    let bytes = AnswerBytes { now_max: 1, max: usize::MAX };
    bench.subscribe(2, since("e", 5).map(|recover| Recover { bytes, ..recover }));
    let Some((_, FromOwner::TooLongNow { mut question, .. })) = bench.posts.pop() else {
        panic!("it is too long")
    };
    assert!(bench.wants().is_empty(), "nobody sees it yet");
    bench.unsubscribe(2, false);
    assert!(bench.wants().is_empty(), "nor that it leaves");
    question.allow_long_answer();
    bench.handle(*question);
    assert_eq!(bench.told(), ["2 is in at 6 of e, recovers [6]"]);
    assert_eq!(bench.wants(), ["2 is present", "2 joins"]);
    bench.unsubscribe(2, false);
    assert_eq!(bench.wants(), ["2 is absent", "2 leaves"]);
}

#[test]
fn without_a_history_it_is_enough_that_the_channel_is_heard() {
    let mut bench = Bench::new().with(ChannelPolicy { history_size: 0, ..POLICY });
    bench.subscribe(1, None);
    bench.hear(payload("\"early\""));
    assert!(bench.told().is_empty());
    bench.confirm();
    assert_eq!(bench.told(), ["1 is in"]);
    bench.hear(payload("\"x\""));
    bench.hear_at("e", 5);
    assert_eq!(bench.told(), ["plain \"x\"", "plain \"p5\""], "another node keeps a history of it");
    bench.subscribe(2, None);
    assert_eq!(bench.told(), ["2 is in"]);
    assert!(bench.reads().is_empty());
}

#[test]
fn a_channel_gets_a_history_when_its_options_change() {
    let mut bench = Bench::new().with(ChannelPolicy { history_size: 0, ..POLICY });
    bench.subscribe(1, None);
    bench.confirm();
    bench.told();
    bench.policy = POLICY;
    bench.subscribe(2, None);
    assert_eq!(bench.reads(), ["read the position"]);
    bench.answer_read("e", 4, &[]);
    assert_eq!(bench.told(), ["2 is in at 4 of e"]);
}

#[test]
fn publications_without_history_go_past_the_position_of_a_channel_that_has_one() {
    let mut bench = Bench::live_at(5);
    bench.hear(payload("\"x\""));
    bench.hear_at("e", 6);
    assert_eq!(bench.told(), ["plain \"x\"", "6 \"p6\""]);
}

#[test]
fn joins_and_leaves_of_other_nodes_reach_everybody_here() {
    let mut bench = Bench::live_at(5);
    let mut client = BytesMut::new();
    holdfast_redis::publication::encode_client_info(&info(9).client_info(), &mut client);
    for frame in [Frame::Join { info: &client }, Frame::Leave { info: &client }] {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        bench.hear(bytes.freeze());
    }
    assert_eq!(bench.told(), ["join or leave"; 2]);
}
