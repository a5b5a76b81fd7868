//! Failures: Redis does not answer, refuses, or says what nobody can read.

use super::*;

#[test]
fn a_first_read_that_fails_is_told_to_those_who_wait_and_repeated() {
    let mut bench = Bench::new();
    bench.subscribe(1, None);
    bench.subscribe(2, since("e", 3));
    bench.confirm();
    assert_eq!(bench.reads(), ["read from 3, urgent"]);
    bench.fail_read();
    assert_eq!(bench.told(), ["1 is refused with 100", "2 is refused with 100"]);
    bench.subscribe(3, None);
    bench.pass_ms(900);
    assert!(bench.reads().is_empty() && bench.told().is_empty());
    bench.pass_ms(1_200);
    assert_eq!(bench.reads(), ["read from 3, urgent"]);
    bench.answer_read("e", 4, &[3, 4]);
    assert_eq!(bench.told(), ["3 is in at 4 of e"]);
}

#[test]
fn a_room_that_cannot_read_what_it_missed_delivers_nothing_newer_until_it_can() {
    let mut bench = Bench::live_at(5);
    bench.subscribe(2, since("e", 2));
    bench.hear_at("e", 8);
    assert_eq!(bench.reads(), ["read from 3, urgent"]);
    bench.fail_read();
    bench.hear_at("e", 9);
    assert_eq!(bench.told(), ["2 is refused with 100"]);
    bench.subscribe(3, None);
    assert_eq!(bench.told(), ["3 is in at 5 of e"], "it is right as of its position");
    bench.pass_ms(2_100);
    assert_eq!(bench.reads(), ["read from 3"]);
    bench.answer_read("e", 9, &[3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(bench.told(), ["6 \"p6\"", "7 \"p7\"", "8 \"p8\"", "9 \"p9\""]);
}

#[test]
fn a_client_that_needs_a_read_does_not_wait_for_the_next_attempt() {
    let mut bench = Bench::live_at(5);
    bench.lag();
    bench.fail_read();
    bench.reads();
    bench.subscribe(2, since("e", 2));
    assert_eq!(bench.reads(), ["read from 3, urgent"]);
    bench.answer_read("e", 6, &[3, 4, 5, 6]);
    assert_eq!(bench.told(), ["6 \"p6\"", "2 is in at 6 of e, recovers [3, 4, 5, 6]"]);
}

#[test]
fn a_channel_that_redis_refuses_is_refused_to_those_who_wait_and_to_nobody_else() {
    let refuse = |bench: &mut Bench| bench.broker(FromBroker::Refused(vec![CHANNEL.into()]));
    let mut bench = Bench::new();
    bench.subscribe(1, None);
    refuse(&mut bench);
    assert_eq!(bench.told(), ["1 is refused with 100"]);
    bench.subscribe(2, None);
    bench.confirm();
    bench.answer_read("e", 5, &[]);
    bench.told();
    refuse(&mut bench);
    assert!(bench.told().is_empty());
}

#[test]
fn a_channel_that_is_not_heard_within_five_seconds_is_refused() {
    let mut bench = Bench::new();
    bench.subscribe(1, None);
    bench.pass_ms(4_900);
    assert!(bench.told().is_empty());
    bench.pass_ms(200);
    assert_eq!(bench.told(), ["1 is refused with 100"]);
    bench.subscribe(2, None);
    bench.pass_ms(4_900);
    assert!(bench.told().is_empty(), "everybody has as long");
    bench.confirm();
    bench.answer_read("e", 5, &[]);
    assert_eq!(bench.told(), ["2 is in at 5 of e"]);
}

#[test]
fn what_is_no_frame_reaches_nobody_and_breaks_nothing() {
    let mut bench = Bench::live_at(5);
    let largest = format!("__p1:{}:e__", u64::MAX);
    for garbage in
        [&b"__"[..], b"__x", b"\xff\xff", b"__p1:6:e__\xff", b"__p1::e__", b"__j__\xff", b"__d1:1:e:9:"]
    {
        bench.hear(Bytes::copy_from_slice(garbage));
    }
    assert!(bench.told().is_empty() && bench.reads().is_empty());
    bench.hear_at("e", 6);
    assert_eq!(bench.told(), ["6 \"p6\""]);
    bench.hear(Bytes::from(largest));
    assert_eq!(bench.reads(), ["read from 6"]);
    bench.hear_at("x", 0);
    bench.answer_read_from("e", 6, Some(6), &[6]);
    assert_eq!(bench.reads(), ["repair e"], "somebody says that there was more");
}

#[test]
fn entries_that_cannot_be_read_are_as_good_as_gone() {
    let mut bench = Bench::live_at(5);
    bench.lag();
    let entries = vec![(6, Bytes::from_static(b"\xff")), (7, payload("\"p7\""))];
    bench.answer_with("e", 7, Some(6), entries);
    assert_eq!(bench.told(), ["position lost"]);
    bench.subscribe(2, since("e", 6));
    assert_eq!(bench.told(), ["2 is in at 7 of e, recovers [7]"]);
}

#[test]
fn what_the_broker_does_not_take_is_refused_unless_the_rooms_need_it() {
    let mut bench = Bench::live_at(5);
    bench.subscribe(2, None);
    bench.told();
    bench.lag();
    bench.handle(ToOwner::Publish(Box::new(publish(CHANNEL, "", "\"x\""))));
    let question = ChannelQuery::PresenceStats;
    let answer_to = publish(CHANNEL, "", "").answer_to.expect("it has one");
    bench.handle(ToOwner::Ask { channel: CHANNEL.into(), question, answer_to });
    let refused = bench.rooms.take_for_broker();
    bench.unsubscribe(2, false);
    bench.rooms.put_back(refused, &mut bench.posts);
    assert_eq!(bench.told(), ["answered with 100"; 2]);
    let wants = bench.wants();
    assert_eq!(wants, ["1 is present", "2 is present", "read from 5", "2 is absent", "2 leaves"]);
}

#[test]
fn a_question_about_what_a_channel_does_not_have_is_answered_here() {
    let mut bench = Bench::new().with(ChannelPolicy { history_size: 0, presence: false, ..POLICY });
    for question in [ChannelQuery::PresenceStats, ChannelQuery::RemoveHistory] {
        let answer_to = publish(CHANNEL, "", "").answer_to.expect("it has one");
        bench.handle(ToOwner::Ask { channel: CHANNEL.into(), question, answer_to });
    }
    assert_eq!(bench.told(), ["answered with 108"; 2]);
    assert!(bench.wants().is_empty());
}

#[test]
fn a_publication_that_reached_no_other_node_reaches_this_one() {
    let mut bench = Bench::new().with(ChannelPolicy { history_size: 0, ..POLICY });
    bench.subscribe(1, None);
    bench.confirm();
    bench.told();
    bench.broker(FromBroker::Undelivered(Box::new(publish(CHANNEL, "", "\"x\""))));
    assert_eq!(bench.told(), ["answered", "plain \"x\""]);
}
