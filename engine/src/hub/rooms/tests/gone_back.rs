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
    assert_eq!(bench.reads(), ["read from 6"], "one question at a time");
    bench.answer_read("e", 6, &[6]);
    mend(&mut bench);
}

#[test]
fn a_top_below_what_was_known_when_it_was_asked_for() {
    let mut bench = Bench::live_at(5);
    bench.pass_ms(32_000);
    assert_eq!(bench.reads(), ["read from 5"]);
    bench.answer_read_from("e", 4, Some(5), &[]);
    mend(&mut bench);
}

#[test]
fn a_top_below_what_was_heard_and_never_read() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 9);
    assert_eq!(bench.reads(), ["read from 5"]);
    bench.answer_read("e", 5, &[5]);
    mend(&mut bench);
}

#[test]
fn a_top_below_what_was_heard_after_it_was_asked_for_is_only_old() {
    let mut bench = Bench::live_at(5);
    bench.pass_ms(32_000);
    assert_eq!(bench.reads(), ["read from 5"]);
    bench.hear_at("e", 6);
    bench.answer_read("e", 5, &[5]);
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
    assert_eq!(bench.told(), ["position lost"]);
    assert_eq!(bench.reads(), ["read from 1"], "another node began it, and what it has at 1 is not known");
    bench.answer_read("f", 1, &[1]);
    assert_eq!(bench.told(), ["2 \"p2\""]);
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
    assert_eq!(bench.reads(), ["repair e", "read from 9"]);
    bench.answer_read("e", 9, &[9]);
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
    bench.hear_at("e", 7);
    bench.subscribe(2, since("e", 6));
    bench.answer_read("", 0, &[]);
    assert_eq!(bench.told(), ["position lost"]);
    assert_eq!(bench.reads(), ["read from 1, urgent"]);
    bench.hear_at("e", 7);
    bench.answer_read_from("f", 0, Some(1), &[]);
    assert_eq!(bench.told(), ["2 is in at 0 of f, recovers nothing"]);
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
    bench.answer_read("e", 6, &[5, 6]);
    bench.confirm();
    bench.hear_at("e", 6);
    assert_eq!(bench.told(), ["6 \"p6\""]);
    assert_eq!(bench.reads(), ["read from 5", "read from 6"]);
    bench.answer_read("e", 6, &[6]);
    assert!(bench.reads().is_empty() && bench.told().is_empty());
}

/// The last publication of a room is read as another one: a failover lost it, and its offset was given out again.
fn answer_with_another_at_six(bench: &mut Bench, from: u64) {
    let entries = vec![(6, payload("\"other\"")), (7, payload("\"p7\""))];
    bench.answer_with("e", 7, Some(from), entries);
}

#[test]
fn another_publication_at_the_last_offset_where_messages_were_dropped() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.told();
    bench.lag();
    assert_eq!(bench.reads(), ["read from 6"]);
    answer_with_another_at_six(&mut bench, 6);
    mend(&mut bench);
}

#[test]
fn another_publication_at_the_last_offset_before_a_gap() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.hear_at("e", 8);
    bench.told();
    assert_eq!(bench.reads(), ["read from 6"]);
    let entries = vec![(6, payload("\"other\"")), (7, payload("\"p7\"")), (8, payload("\"p8\""))];
    bench.answer_with("e", 8, Some(6), entries);
    mend(&mut bench);
}

#[test]
fn another_publication_at_the_last_offset_where_the_top_is_as_it_was() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.told();
    bench.pass_ms(32_000);
    assert_eq!(bench.reads(), ["read from 6"]);
    bench.answer_with("e", 6, Some(6), vec![(6, payload("\"other\""))]);
    mend(&mut bench);
}

#[test]
fn another_publication_at_the_last_offset_seen_by_a_read_for_a_client() {
    for offset in [3, 7] {
        let mut bench = Bench::live_at(5);
        bench.hear_at("e", 6);
        bench.told();
        bench.subscribe(2, since("e", offset));
        let from = 6.min(offset + 1);
        assert_eq!(bench.reads(), [format!("read from {from}, urgent")]);
        answer_with_another_at_six(&mut bench, from);
        assert_eq!(bench.reads(), ["repair e"]);
        bench.answer_read("f", 0, &[]);
        assert_eq!(bench.told(), ["position lost", "2 is in at 0 of f, recovers nothing"]);
    }
}

#[test]
fn another_publication_at_the_last_offset_that_is_not_kept_here_any_more() {
    let forget: [fn(&mut Bench); 2] = [
        |bench| bench.broker(FromBroker::HistoryRemoved(CHANNEL.into())),
        |bench| bench.rooms.rooms.get_mut(CHANNEL).expect("it is there").drop_oldest(),
    ];
    for forget in forget {
        let mut bench = Bench::live_at(5);
        bench.hear_at("e", 6);
        bench.told();
        forget(&mut bench);
        bench.lag();
        assert_eq!(bench.reads(), ["read from 6"]);
        answer_with_another_at_six(&mut bench, 6);
        mend(&mut bench);
    }
}

#[test]
fn another_publication_at_the_offset_at_which_a_room_began() {
    let mut bench = Bench::new();
    bench.subscribe(1, None);
    bench.confirm();
    assert_eq!(bench.reads(), ["read the position"]);
    // The newest publication comes along, so that it is known again.
    bench.answer_with("e", 6, None, vec![(6, payload("\"p6\""))]);
    assert_eq!(bench.told(), ["1 is in at 6 of e"]);
    bench.lag();
    assert_eq!(bench.reads(), ["read from 6"]);
    answer_with_another_at_six(&mut bench, 6);
    mend(&mut bench);
}

#[test]
fn another_publication_at_the_offset_at_which_a_room_began_that_was_only_heard() {
    let mut bench = Bench::new();
    bench.subscribe(1, None);
    bench.confirm();
    bench.reads();
    bench.hear_at("e", 6);
    // The history was removed.
    bench.answer_with("e", 6, None, Vec::new());
    assert_eq!(bench.told(), ["1 is in at 6 of e"]);
    bench.lag();
    assert_eq!(bench.reads(), ["read from 6"]);
    answer_with_another_at_six(&mut bench, 6);
    mend(&mut bench);
}

#[test]
fn another_publication_is_heard_at_an_offset_that_was_read() {
    let mut bench = Bench::live_at(5);
    bench.lag();
    bench.reads();
    bench.answer_read("e", 7, &[5, 6, 7]);
    assert_eq!(bench.told(), ["6 \"p6\"", "7 \"p7\""]);
    bench.hear_at("e", 6);
    assert!(bench.reads().is_empty());
    bench.hear(frame("e", 7, "\"other\""));
    mend(&mut bench);
}

#[test]
fn another_publication_is_read_at_an_offset_that_was_heard() {
    let mut bench = Bench::live_at(5);
    bench.lag();
    bench.reads();
    bench.hear(frame("e", 7, "\"other\""));
    assert!(bench.told().is_empty(), "6 is missing");
    bench.answer_read("e", 7, &[5, 6, 7]);
    mend(&mut bench);
}

#[test]
fn where_redis_dropped_the_position_alone_what_it_still_has_of_the_earlier_life_reaches_nobody() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.told();
    bench.lag();
    bench.reads();
    bench.answer_read("f", 0, &[6]);
    assert_eq!(bench.told(), ["position lost"]);
    bench.lag();
    assert_eq!(bench.reads(), ["read from 1"]);
    bench.answer_read_from("f", 0, Some(1), &[1, 2, 6]);
    assert!(bench.told().is_empty());
    bench.hear_at("f", 1);
    assert_eq!(bench.told(), ["1 \"p1\""]);
}

#[test]
fn a_client_that_comes_before_the_new_life_begins_waits_for_it() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.hear_at("e", 6);
    bench.told();
    assert_eq!(bench.reads(), ["repair e"]);
    bench.subscribe(2, None);
    bench.subscribe(3, since("e", 5));
    assert!(bench.told().is_empty());
    bench.fail_read();
    assert_eq!(bench.told(), ["2 is refused with 100", "3 is refused with 100"]);
    bench.subscribe(4, since("", 5));
    assert_eq!(bench.reads(), ["repair e"], "it does not wait for the next attempt");
    bench.answer_read("f", 0, &[]);
    assert_eq!(bench.told(), ["position lost"]);
    assert_eq!(bench.reads(), ["read from 1, urgent"], "its position may be of the new life");
    bench.answer_read("f", 1, &[1]);
    assert_eq!(bench.told(), ["1 \"p1\"", "4 is in at 1 of f, recovers nothing"]);
}

#[test]
fn an_offset_that_is_heard_twice_of_an_epoch_that_is_not_known_yet() {
    let mut bench = Bench::live_at(5);
    (1..=3).for_each(|offset| bench.hear_at("f", offset));
    // Another failover, which lost all three.
    bench.hear(frame("f", 1, "\"other\""));
    assert_eq!(bench.reads(), ["read from 1"]);
    bench.answer_read_from("f", 0, Some(1), &[]);
    assert_eq!(bench.told(), ["position lost"]);
    assert_eq!(bench.reads(), ["repair f"]);
    bench.answer_read("g", 0, &[]);
    assert_eq!(bench.told(), ["position lost"]);
    bench.hear_at("g", 1);
    assert_eq!(bench.told(), ["1 \"p1\""]);
}

#[test]
fn an_epoch_that_had_ended_and_comes_back_with_less() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("f", 1);
    bench.reads();
    bench.answer_read("f", 1, &[1]);
    bench.lag();
    assert_eq!(bench.reads(), ["read from 1"]);
    // A replica that knew nothing of the new epoch, nor of all of the earlier one.
    bench.answer_read("e", 4, &[4]);
    assert_eq!(bench.told(), ["position lost"; 2]);
    assert_eq!(bench.reads(), ["repair e"]);
    bench.answer_read("g", 0, &[]);
    bench.hear_at("g", 1);
    assert_eq!(bench.told(), ["position lost", "1 \"p1\""]);
}

#[test]
fn an_epoch_that_had_gone_back_and_comes_back_itself() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.hear_at("e", 6);
    bench.told();
    mend(&mut bench);
    bench.lag();
    assert_eq!(bench.reads(), ["read from 1"]);
    // What is heard then may have been delivered before.
    bench.hear_at("e", 7);
    bench.answer_read("e", 6, &[1, 2, 3, 4, 5, 6]);
    assert_eq!(bench.told(), ["position lost"]);
    assert_eq!(bench.reads(), ["repair e"]);
    bench.answer_read("g", 0, &[]);
    assert_eq!(bench.told(), ["position lost"]);
}

#[test]
fn another_publication_at_the_last_offset_among_messages_that_were_dropped() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.told();
    bench.lag();
    // It would follow what was known; the other 6 was dropped.
    bench.hear_at("e", 7);
    assert!(bench.told().is_empty());
    assert_eq!(bench.reads(), ["read from 6"]);
    answer_with_another_at_six(&mut bench, 6);
    mend(&mut bench);
}

#[test]
fn another_publication_at_an_offset_that_was_first_read_without_it_and_then_heard() {
    let mut bench = Bench::live_at(5);
    bench.lag();
    bench.reads();
    // The history was removed.
    bench.answer_read_from("e", 6, Some(5), &[]);
    assert_eq!(bench.told(), ["position lost"]);
    bench.hear_at("e", 6);
    bench.lag();
    assert_eq!(bench.reads(), ["read from 6"]);
    answer_with_another_at_six(&mut bench, 6);
    mend(&mut bench);
}

#[test]
fn another_publication_at_the_last_offset_seen_by_a_read_that_is_older_than_the_connection() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.told();
    bench.lag();
    bench.confirm();
    assert_eq!(bench.reads(), ["read from 6"]);
    answer_with_another_at_six(&mut bench, 6);
    assert_eq!(bench.reads(), ["repair e"]);
    assert!(bench.told().is_empty());
    bench.answer_read("f", 0, &[]);
    assert_eq!(bench.told(), ["position lost"]);
}

#[test]
fn another_publication_is_first_read_at_an_offset_that_was_heard_meanwhile() {
    let mut bench = Bench::new();
    bench.subscribe(1, None);
    bench.confirm();
    bench.reads();
    bench.hear(frame("e", 6, "\"other\""));
    bench.answer_with("e", 6, None, vec![(6, payload("\"p6\""))]);
    assert_eq!(bench.reads(), ["repair e"]);
    assert!(bench.told().is_empty());
    bench.answer_read("f", 0, &[]);
    assert_eq!(bench.told(), ["position lost", "1 is in at 0 of f"]);
}
