//! Figures: what metrics say of rooms is what happened to them.

use super::*;
use crate::metrics::{Counters, Lost, Metric, Published, RoomState};

/// Metrics as anybody reads them.
fn published(bench: &Bench) -> impl Fn(Metric) -> u64 {
    let (mut counters, published) = (Counters::new(), Published::new());
    bench.rooms.report(&mut counters);
    counters.publish(&published);
    move |metric| published.get(metric)
}

/// Rooms that join, are live, and read.
fn states(bench: &Bench) -> [u64; 3] {
    let get = published(bench);
    [RoomState::Joining, RoomState::Live, RoomState::Reading].map(|state| get(Metric::Rooms(state)))
}

#[test]
fn a_room_is_counted_in_the_state_that_it_is_in_until_it_is_gone() {
    let mut bench = Bench::new();
    assert_eq!(states(&bench), [0, 0, 0]);
    bench.subscribe(1, None);
    assert_eq!(states(&bench), [1, 0, 0]);
    bench.confirm();
    assert_eq!(states(&bench), [1, 0, 0], "its position is not known");
    bench.answer_read("e", 5, &[]);
    assert_eq!(states(&bench), [0, 1, 0]);
    bench.lag();
    assert_eq!(states(&bench), [0, 0, 1]);
    bench.fail_read();
    assert_eq!(states(&bench), [0, 0, 1], "it reads again later");
    bench.unsubscribe(1, true);
    assert_eq!(states(&bench), [0, 0, 0]);
    let mut bench = Bench::new().with(ChannelPolicy { history_size: 0, history_ttl_ms: 0, ..POLICY });
    bench.subscribe(1, None);
    bench.confirm();
    assert_eq!(states(&bench), [0, 1, 0], "without a history there is nothing to read");
}

#[test]
fn what_was_missed_counts_as_healed_and_what_was_heard_does_not() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.hear_at("e", 9);
    bench.answer_read("e", 9, &[7, 8, 9]);
    // Nothing was missed.
    bench.lag();
    bench.answer_read_from("e", 9, Some(10), &[]);
    let get = published(&bench);
    assert_eq!((get(Metric::RoomHeals), get(Metric::RoomHealedPublications)), (1, 3));
    for (why, _) in Lost::ALL {
        assert_eq!(get(Metric::RoomLost(why)), 0);
    }
}

#[test]
fn what_cannot_be_healed_counts_by_its_reason() {
    let lost = |bench: &Bench| {
        let get = published(bench);
        [Lost::Epoch, Lost::History].map(|why| get(Metric::RoomLost(why)))
    };
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 30);
    bench.answer_read_from("e", 30, Some(6), &[28, 29, 30]);
    assert_eq!(lost(&bench), [0, 1]);
    bench.lag();
    bench.answer_read_from("f", 1, Some(31), &[]);
    assert_eq!(lost(&bench), [1, 1]);
}

#[test]
fn a_history_that_has_gone_back_counts_once_until_it_is_mended() {
    let mut bench = Bench::live_at(5);
    (6..=7).for_each(|offset| bench.hear_at("e", offset));
    (6..=9).for_each(|offset| bench.hear_at("e", offset));
    assert_eq!(published(&bench)(Metric::RoomOffsetsGoneBack), 1);
    bench.answer_read("f", 0, &[]);
    assert_eq!(published(&bench)(Metric::RoomLost(Lost::Epoch)), 1);
}

#[test]
fn messages_that_nobody_can_read_are_counted() {
    let mut bench = Bench::live_at(5);
    bench.hear(Bytes::from_static(b"__x__"));
    bench.hear(Bytes::from_static(b"\xff\xff"));
    bench.hear_at("e", 6);
    assert_eq!(published(&bench)(Metric::RoomMessagesUnreadable), 2);
}
