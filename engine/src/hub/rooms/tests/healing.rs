//! Healing: what was missed is read, and delivered in order.

use super::*;

#[test]
fn a_gap_is_read_and_what_came_after_it_waits() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.hear_at("e", 9);
    bench.hear_at("e", 10);
    assert_eq!(bench.told(), ["6 \"p6\""]);
    assert_eq!(bench.reads(), ["read from 6"]);
    bench.answer_read("e", 9, &[6, 7, 8, 9]);
    assert_eq!(bench.told(), ["7 \"p7\"", "8 \"p8\"", "9 \"p9\"", "10 \"p10\""]);
    bench.hear_at("e", 11);
    assert_eq!(bench.told(), ["11 \"p11\""]);
    assert!(bench.reads().is_empty());
}

#[test]
fn what_was_read_before_it_is_heard_is_delivered_once() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 7);
    bench.answer_read("e", 9, &[5, 6, 7, 8, 9]);
    assert_eq!(bench.told().len(), 4);
    (8..=10).for_each(|offset| bench.hear_at("e", offset));
    assert_eq!(bench.told(), ["10 \"p10\""]);
    assert_eq!(bench.reads(), ["read from 5"]);
}

#[test]
fn a_gap_that_grows_while_it_is_read_is_read_again() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 7);
    bench.hear_at("e", 12);
    assert_eq!(bench.reads(), ["read from 5"]);
    bench.answer_read("e", 7, &[5, 6, 7]);
    assert_eq!(bench.told(), ["6 \"p6\"", "7 \"p7\""]);
    assert_eq!(bench.reads(), ["read from 7"]);
    bench.answer_read("e", 12, &[7, 8, 9, 10, 11, 12]);
    assert_eq!(bench.told().len(), 5);
    assert!(bench.reads().is_empty());
}

#[test]
fn where_messages_were_dropped_the_history_is_read() {
    let mut bench = Bench::live_at(5);
    bench.lag();
    assert_eq!(bench.reads(), ["read from 5"]);
    bench.answer_read("e", 7, &[5, 6, 7]);
    assert_eq!(bench.told(), ["6 \"p6\"", "7 \"p7\""]);
}

#[test]
fn what_was_dropped_while_the_first_read_was_on_its_way_is_read_too() {
    let mut bench = Bench::new();
    bench.subscribe(1, None);
    bench.confirm();
    bench.lag();
    assert_eq!(bench.reads(), ["read the position"]);
    bench.answer_read("e", 5, &[]);
    assert_eq!(bench.reads(), ["read from 5"]);
    bench.answer_read("e", 6, &[5, 6]);
    assert_eq!(bench.told(), ["1 is in at 5 of e", "6 \"p6\""]);
}

#[test]
fn a_connection_that_was_lost_and_is_back_costs_subscribers_nothing() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.told();
    bench.confirm();
    assert_eq!(bench.reads(), ["read from 6"]);
    bench.hear_at("e", 9);
    assert!(bench.told().is_empty());
    bench.answer_read("e", 9, &[6, 7, 8, 9]);
    assert_eq!(bench.told(), ["7 \"p7\"", "8 \"p8\"", "9 \"p9\""]);
    bench.confirm();
    bench.answer_read("e", 9, &[9]);
    assert!(bench.told().is_empty());
}

#[test]
fn what_is_heard_after_a_lost_connection_waits_until_it_is_known_what_it_follows() {
    let mut bench = Bench::live_at(5);
    bench.confirm();
    bench.hear_at("e", 6);
    assert!(bench.told().is_empty());
    bench.answer_read_from("e", 6, Some(5), &[5, 6]);
    assert_eq!(bench.told(), ["6 \"p6\""]);
}

#[test]
fn a_read_that_was_asked_for_before_the_connection_was_lost_proves_nothing() {
    let mut bench = Bench::live_at(5);
    bench.lag();
    bench.confirm();
    bench.hear_at("e", 8);
    bench.subscribe(2, since("e", 2));
    assert_eq!(bench.reads(), ["read from 5"]);
    bench.answer_read("e", 6, &[5, 6]);
    assert!(bench.told().is_empty());
    assert_eq!(bench.reads(), ["read from 3, urgent"], "one read for all");
    bench.answer_read("e", 8, &[3, 4, 5, 6, 7, 8]);
    assert_eq!(
        bench.told(),
        ["6 \"p6\"", "7 \"p7\"", "8 \"p8\"", "2 is in at 8 of e, recovers [3, 4, 5, 6, 7, 8]"]
    );
}

#[test]
fn a_channel_that_is_confirmed_twice_while_it_is_first_read_is_read_twice_one_after_the_other() {
    let mut bench = Bench::new();
    bench.subscribe(1, None);
    bench.confirm();
    bench.confirm();
    assert_eq!(bench.reads(), ["read the position"]);
    bench.answer_read("e", 5, &[]);
    assert!(bench.told().is_empty());
    assert_eq!(bench.reads(), ["read the position"]);
    bench.answer_read("e", 6, &[]);
    assert_eq!(bench.told(), ["1 is in at 6 of e"]);
}

#[test]
fn where_the_history_is_too_short_subscribers_are_told_and_the_room_goes_on_from_the_top() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 20);
    bench.hear_at("e", 21);
    bench.answer_read_from("e", 20, Some(6), &[18, 19, 20]);
    assert_eq!(bench.told(), ["position lost", "21 \"p21\""]);
    bench.subscribe(2, since("e", 18));
    assert_eq!(bench.told(), ["2 is in at 21 of e, recovers [19, 20, 21]"]);
}

#[test]
fn a_history_that_was_removed_and_cannot_fill_a_gap_is_told() {
    let mut bench = Bench::live_at(5);
    bench.lag();
    bench.answer_read_from("e", 8, Some(6), &[]);
    assert_eq!(bench.told(), ["position lost"]);
    bench.hear_at("e", 9);
    assert_eq!(bench.told(), ["9 \"p9\""]);
}

#[test]
fn another_life_of_the_channel_is_told_and_followed() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("f", 1);
    bench.hear_at("f", 2);
    assert_eq!(bench.reads(), ["read from 1"]);
    bench.answer_read("f", 1, &[1]);
    assert_eq!(bench.told(), ["position lost", "2 \"p2\""]);
    assert!(bench.reads().is_empty());
    bench.hear_at("f", 3);
    assert_eq!(bench.told(), ["3 \"p3\""]);
}

#[test]
fn a_read_that_is_older_than_the_new_life_is_followed_by_another_one() {
    let mut bench = Bench::new();
    bench.subscribe(1, None);
    bench.confirm();
    bench.reads();
    bench.hear_at("f", 1);
    bench.answer_read("e", 5, &[]);
    assert_eq!(bench.told(), ["1 is in at 5 of e"]);
    assert_eq!(bench.reads(), ["read from 1"]);
    bench.answer_read("f", 1, &[1]);
    assert_eq!(bench.told(), ["position lost"]);
}

#[test]
fn a_late_message_of_an_earlier_life_is_read_after_once_and_forgotten() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("old", 90);
    assert_eq!(bench.reads(), ["read from 1"]);
    bench.answer_read_from("e", 5, Some(1), &[4, 5]);
    assert!(bench.reads().is_empty() && bench.told().is_empty());
    bench.hear_at("e", 6);
    assert_eq!(bench.told(), ["6 \"p6\""]);
}

#[test]
fn a_channel_of_which_nothing_is_heard_is_asked_for_its_position_and_what_was_missed_is_read() {
    let mut bench = Bench::live_at(5);
    bench.pass_ms(20_000);
    assert!(bench.reads().is_empty());
    bench.pass_ms(12_000);
    assert_eq!(bench.reads(), ["read from 5"]);
    bench.answer_read("e", 6, &[5, 6]);
    assert_eq!(bench.told(), ["6 \"p6\""]);
    bench.pass_ms(12_000);
    assert!(bench.reads().is_empty(), "it is known to be right");
}

#[test]
fn more_than_can_be_held_is_read_again() {
    let mut bench = Bench::live_at(5).with(ChannelPolicy { history_size: 5_000, ..POLICY });
    bench.subscribe(2, None);
    bench.told();
    (7..=2_000).for_each(|offset| bench.hear_at("e", offset));
    assert_eq!(bench.reads(), ["read from 5"]);
    bench.answer_read("e", 7, &[5, 6, 7]);
    assert_eq!(bench.told().len(), 1 + 1_024);
    assert_eq!(bench.reads(), ["read from 1030"]);
    let rest: Vec<u64> = (1_030..=2_000).collect();
    bench.answer_read("e", 2_000, &rest);
    assert_eq!(bench.told().len(), rest.len() - 1);
    assert!(bench.reads().is_empty());
}
