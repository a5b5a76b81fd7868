//! Gone back: offsets that Redis gives out again, after a failover that lost what was acknowledged.

use super::*;

/// Redis has begun a new life of the channel.
fn mend(bench: &mut Bench) {
    assert_eq!(bench.reads(), ["repair e"]);
    assert!(bench.told().is_empty());
    bench.answer_read("f", 0, &[]);
    assert_eq!(bench.told(), ["position lost"]);
    bench.hear_at("f", 1);
    assert_eq!(bench.told(), ["1 \"p1\""]);
    assert!(bench.reads().is_empty());
}

#[test]
fn an_offset_that_is_heard_twice() {
    let mut bench = Bench::live_at(5);
    (6..=7).for_each(|offset| bench.hear_at("e", offset));
    bench.told();
    bench.hear_at("e", 6);
    bench.hear_at("e", 7);
    bench.hear_at("e", 8);
    mend(&mut bench);
}

#[test]
fn an_offset_that_is_heard_twice_while_a_read_is_under_way() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.told();
    bench.lag();
    bench.hear_at("e", 6);
    assert_eq!(bench.reads(), ["read from 7"], "one question at a time");
    bench.answer_read_from("e", 6, Some(7), &[]);
    mend(&mut bench);
}

#[test]
fn a_top_below_what_was_known_when_it_was_asked_for() {
    let mut bench = Bench::live_at(5);
    bench.pass_ms(32_000);
    assert_eq!(bench.reads(), ["read the position"]);
    bench.answer_read("e", 4, &[]);
    mend(&mut bench);
}

#[test]
fn a_top_below_what_was_heard_and_never_read() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 9);
    assert_eq!(bench.reads(), ["read from 6"]);
    bench.answer_read_from("e", 5, Some(6), &[]);
    mend(&mut bench);
}

#[test]
fn a_top_below_what_was_heard_after_it_was_asked_for_is_only_old() {
    let mut bench = Bench::live_at(5);
    bench.pass_ms(32_000);
    assert_eq!(bench.reads(), ["read the position"]);
    bench.hear_at("e", 6);
    bench.answer_read("e", 5, &[]);
    assert_eq!(bench.told(), ["6 \"p6\""]);
    assert!(bench.reads().is_empty());
}

#[test]
fn another_publication_at_the_last_offset_after_a_lost_connection() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.told();
    bench.confirm();
    // It would follow what was known.
    bench.hear_at("e", 7);
    assert_eq!(bench.reads(), ["read from 6"]);
    let entries = vec![(6, payload("\"other\"")), (7, payload("\"p7\""))];
    bench.answer_with("e", 7, Some(6), entries);
    mend(&mut bench);
}

#[test]
fn what_is_heard_until_the_new_life_begins_reaches_nobody() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.hear_at("e", 6);
    (7..10).for_each(|offset| bench.hear_at("e", offset));
    assert_eq!(bench.told(), ["6 \"p6\""]);
    bench.hear_at("f", 1);
    assert_eq!(bench.reads(), ["repair e"]);
    bench.answer_read("f", 1, &[]);
    bench.hear_at("f", 2);
    assert_eq!(bench.told(), ["position lost", "2 \"p2\""]);
}

#[test]
fn a_repair_that_fails_is_repeated() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.hear_at("e", 6);
    bench.told();
    assert_eq!(bench.reads(), ["repair e"]);
    bench.fail_read();
    bench.pass_ms(500);
    assert!(bench.reads().is_empty());
    bench.pass_ms(1_500);
    mend(&mut bench);
}

#[test]
fn a_repair_that_changes_nothing_is_told_all_the_same() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.hear_at("e", 6);
    bench.told();
    bench.answer_read("e", 9, &[]);
    assert_eq!(bench.told(), ["position lost"]);
    bench.hear_at("e", 10);
    assert_eq!(bench.told(), ["10 \"p10\""]);
}

#[test]
fn a_repair_of_what_redis_does_not_know_any_more_is_followed_by_a_read() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.hear_at("e", 6);
    bench.told();
    assert_eq!(bench.reads(), ["repair e"]);
    bench.answer_read("", 0, &[]);
    assert_eq!(bench.reads(), ["read from 1"]);
    bench.answer_read_from("f", 0, Some(1), &[]);
    assert_eq!(bench.told(), ["position lost"]);
}

#[test]
fn a_connection_that_is_lost_while_the_new_life_begins_makes_the_room_read_again() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.hear_at("e", 6);
    bench.told();
    bench.reads();
    bench.confirm();
    bench.answer_read("f", 0, &[]);
    assert_eq!(bench.reads(), ["read from 1"]);
    bench.answer_read("f", 2, &[1, 2]);
    assert_eq!(bench.told(), ["position lost", "1 \"p1\"", "2 \"p2\""]);
}

#[test]
fn an_answer_that_comes_before_the_news_that_the_channel_is_heard_again_is_no_proof() {
    let mut bench = Bench::live_at(5);
    bench.lag();
    bench.answer_read("e", 6, &[6]);
    bench.confirm();
    bench.hear_at("e", 6);
    assert_eq!(bench.told(), ["6 \"p6\""]);
    assert_eq!(bench.reads(), ["read from 6", "read from 6"]);
    bench.answer_read("e", 6, &[6]);
    assert!(bench.reads().is_empty() && bench.told().is_empty());
}
