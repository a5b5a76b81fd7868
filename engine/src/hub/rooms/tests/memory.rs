//! Memory: what is kept, for how long, and what goes first when there is too much.

use super::*;

#[test]
fn over_the_budget_the_oldest_publications_go_and_a_later_recovery_reads_them_again() {
    let mut bench = Bench::with_budget(20_000).with(ChannelPolicy { history_size: 100, ..POLICY });
    bench.subscribe(1, None);
    bench.confirm();
    bench.answer_read("e", 0, &[]);
    for offset in 1..=50 {
        bench.hear(frame("e", offset, &format!("\"{}\"", "x".repeat(1_000))));
    }
    assert!(bench.rooms.is_due(bench.now));
    bench.pass_ms(50);
    assert!(bench.bytes().0 <= 20_000 && bench.bytes().0 > 10_000);
    bench.reads();
    bench.told();
    bench.subscribe(2, since("e", 45));
    assert_eq!(bench.told(), ["2 is in at 50 of e, recovers [46, 47, 48, 49, 50]"]);
    bench.subscribe(3, since("e", 10));
    assert_eq!(bench.reads(), ["read from 11, urgent"]);
    let all = (11..=50).map(|offset| (offset, payload(&format!("\"{}\"", "x".repeat(1_000)))));
    let all = all.collect();
    bench.answer_with("e", 50, Some(11), all);
    let told = bench.told();
    assert!(told[0].starts_with("3 is in at 50 of e, recovers [11, 12"), "{told:?}");
    bench.pass_ms(50);
    assert!(bench.bytes().0 <= 20_000);
}

#[test]
fn the_bases_of_patches_go_when_there_is_too_much() {
    let mut bench = Bench::with_budget(20_000);
    bench.policy = ChannelPolicy { history_size: 0, delta: true, delta_publish: true, ..POLICY };
    for room in 0..10 {
        let channel: Arc<str> = format!("c-{room}").into();
        let subscribe = Subscribe { channel: Arc::clone(&channel), ..subscribe(1, None) };
        bench.handle(ToOwner::Subscribe(Box::new(subscribe)));
        bench.broker(FromBroker::Confirmed(vec![Arc::clone(&channel)]));
        let frame = payload(&format!("\"{}\"", "x".repeat(4_000)));
        bench.broker(FromBroker::Messages(vec![Received { channel, frame }]));
    }
    bench.pass_ms(50);
    assert!(bench.bytes().0 <= 20_000, "{}", bench.bytes().0);
}

#[test]
fn where_all_channels_are_in_use_a_new_one_is_refused_and_the_others_go_on() {
    let mut bench = Bench::with_budget(40_000);
    let name = |at: u32| Arc::<str>::from(format!("c-{at}"));
    let mut taken = 0_usize;
    for at in 0..1_000 {
        bench.handle(ToOwner::Subscribe(Box::new(Subscribe { channel: name(at), ..subscribe(1, None) })));
        if bench.told() == ["1 is refused with 106"] {
            break;
        }
        taken += 1;
    }
    assert!((10..900).contains(&taken), "{taken}");
    assert_eq!(bench.rooms.len(), taken);
    bench.handle(ToOwner::Subscribe(Box::new(Subscribe { channel: name(3), ..subscribe(2, None) })));
    assert!(bench.told().is_empty(), "it waits");
}

#[test]
fn publications_are_kept_as_long_as_redis_keeps_them_and_the_position_longer() {
    let mut bench = Bench::live_at(5).with(ChannelPolicy { history_ttl_ms: 10_000, ..POLICY });
    bench.subscribe(2, None);
    bench.hear_at("e", 6);
    bench.told();
    bench.pass_ms(9_000);
    bench.subscribe(3, since("e", 5));
    bench.pass_ms(2_000);
    assert_eq!(bench.bytes().0, 0);
    bench.subscribe(4, since("e", 5));
    bench.subscribe(5, since("e", 6));
    assert_eq!(
        bench.told(),
        [
            "3 is in at 6 of e, recovers [6]",
            "4 is in at 6 of e, recovers nothing",
            "5 is in at 6 of e, recovers []"
        ]
    );
}

#[test]
fn a_history_that_was_removed_is_forgotten_and_what_came_since_is_read() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.broker(FromBroker::HistoryRemoved(CHANNEL.into()));
    assert_eq!(bench.bytes().0, 0);
    bench.hear_at("e", 7);
    bench.told();
    bench.subscribe(2, since("e", 6));
    assert_eq!(bench.told(), ["2 is in at 7 of e, recovers [7]"]);
    bench.reads();
    bench.subscribe(3, since("e", 5));
    assert_eq!(bench.reads(), ["read from 6, urgent"], "Redis may have got it since");
    bench.answer_read_from("e", 7, Some(6), &[7]);
    assert_eq!(bench.told(), ["3 is in at 7 of e, recovers nothing"]);
}

#[test]
fn channels_that_come_and_go_leave_nothing_in_the_orders() {
    let mut bench = Bench::new();
    bench.subscribe(1, None);
    bench.confirm();
    bench.answer_read("e", 5, &[]);
    for at in 0..2_000 {
        let channel: Arc<str> = format!("c-{at}").into();
        let subscribe = Subscribe { channel: Arc::clone(&channel), ..subscribe(1, since("e", 0)) };
        bench.handle(ToOwner::Subscribe(Box::new(subscribe)));
        bench.broker(FromBroker::Confirmed(vec![Arc::clone(&channel)]));
        let key = bench.rooms.rooms[&channel].key.clone();
        let top = Position { offset: 1, epoch: "e".into() };
        let read = ReadResult { top, from: Some(1), entries: vec![(1, payload("1"))] };
        bench.broker(FromBroker::Read(key, Some(read)));
        let (shard, shows) = (ShardId::FIRST, SHOWS);
        bench.handle(ToOwner::Unsubscribe { channel, shard, info: Some(info(1)), shows, was_last: true });
        bench.rooms.take_for_broker();
        bench.posts.clear();
        bench.rooms.tend(bench.now, &mut bench.ledger, &mut bench.posts);
        assert!(
            bench.rooms.ages.len() <= ENTRIES_PER_ROOM_MAX && bench.rooms.due.len() <= ENTRIES_PER_ROOM_MAX
        );
    }
    assert!(bench.bytes().1 < 20_000);
    bench.unsubscribe(1, true);
    bench.pass_ms(50);
    assert_eq!(bench.bytes(), (0, 0));
}
