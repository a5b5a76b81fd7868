//! Presence: who is told to be present, and for how long; and what is left when all have gone.

use super::*;

#[test]
fn a_client_is_told_to_be_present_is_refreshed_in_time_and_told_to_be_absent() {
    let mut bench = Bench::live_at(5);
    assert_eq!(bench.wants(), ["1 is present", "1 joins"]);
    bench.subscribe(2, None);
    bench.wants();
    for _ in 0..4 {
        bench.pass_ms(PRESENCE_MS / 2);
        let wants = bench.wants();
        assert!(wants.contains(&"2 are still present".to_owned()), "{wants:?}");
        bench.answer_read("e", 5, &[]);
    }
    bench.unsubscribe(1, false);
    assert_eq!(bench.wants(), ["1 is absent", "1 leaves"]);
    bench.pass_ms(PRESENCE_MS / 2);
    assert!(bench.wants().contains(&"1 are still present".to_owned()));
}

#[test]
fn a_client_whose_info_changes_is_told_again_if_it_is_present() {
    let mut bench = Bench::live_at(5);
    bench.wants();
    for client in [1, 9] {
        bench.handle(ToOwner::Renew { channel: CHANNEL.into(), info: info(client) });
    }
    assert_eq!(bench.wants(), ["1 is present"]);
}

#[test]
fn a_client_that_leaves_while_it_waits_was_never_there() {
    let mut bench = Bench::new();
    bench.subscribe(1, None);
    bench.subscribe(2, None);
    bench.unsubscribe(1, false);
    bench.confirm();
    bench.answer_read("e", 5, &[]);
    assert_eq!(bench.told(), ["2 is in at 5 of e"]);
    assert_eq!(bench.wants(), ["want", "read the position", "2 is present", "2 joins"]);
}

#[test]
fn a_client_that_leaves_while_it_waits_for_older_publications_was_never_there() {
    let mut bench = Bench::live_at(5);
    bench.wants();
    bench.subscribe(2, since("e", 3));
    bench.unsubscribe(2, false);
    assert_eq!(bench.wants(), ["read from 4, urgent"]);
    bench.answer_read("e", 5, &[4, 5]);
    assert!(bench.told().is_empty() && bench.wants().is_empty());
}

#[test]
fn one_that_is_refused_leaves_no_trace() {
    let mut bench = Bench::new();
    bench.subscribe(1, None);
    bench.broker(FromBroker::Refused(vec![CHANNEL.into()]));
    bench.handle(ToOwner::Unsubscribe {
        channel: CHANNEL.into(),
        shard: ShardId::FIRST,
        info: None,
        shows: SHOWS,
        was_last: true,
    });
    assert_eq!(bench.wants(), ["want", "unwant"]);
    assert_eq!(bench.rooms.len(), 0);
}

#[test]
fn nothing_is_left_when_the_last_one_has_left() {
    let mut bench = Bench::live_at(5);
    bench.hear_at("e", 6);
    bench.hear_at("e", 8);
    bench.subscribe(2, since("e", 3));
    assert!(bench.bytes().0 > 0 && bench.bytes().1 > 0);
    bench.unsubscribe(1, false);
    bench.wants();
    let key = bench.key();
    bench.unsubscribe(2, true);
    assert_eq!(bench.wants(), ["unwant"]);
    assert_eq!(bench.rooms.len(), 0);
    bench.told();
    // What is answered late finds nobody.
    bench.broker(FromBroker::Read(key, None));
    bench.hear_at("e", 9);
    bench.confirm();
    assert!(bench.told().is_empty() && bench.wants().is_empty());
    bench.pass_ms(PRESENCE_MS);
    assert_eq!(bench.bytes(), (0, 0));
}

#[test]
fn an_answer_to_an_earlier_room_of_the_channel_is_not_taken_for_one_to_this() {
    let mut bench = Bench::new();
    bench.subscribe(1, None);
    bench.confirm();
    let earlier = bench.key();
    bench.unsubscribe(1, true);
    bench.subscribe(2, None);
    bench.confirm();
    let top = Position { offset: 9, epoch: "e".into() };
    let read = || ReadResult { top: top.clone(), from: None, entries: Vec::new() };
    bench.broker(FromBroker::Read(earlier, Some(read())));
    assert!(bench.told().is_empty());
    bench.broker(FromBroker::Read(bench.key(), Some(read())));
    assert_eq!(bench.told(), ["2 is in at 9 of e"]);
}

#[test]
fn a_shard_without_subscribers_is_posted_nothing_and_its_waiting_clients_are_forgotten() {
    let mut bench = Bench::live_at(5);
    let other = ShardId::new(1);
    let anonymous = |client| Subscribe { shard: other, info: None, ..subscribe(client, since("e", 3)) };
    bench.handle(ToOwner::Subscribe(Box::new(anonymous(2))));
    bench.hear_at("e", 6);
    assert_eq!(bench.told().len(), 2, "both shards have one");
    let channel = CHANNEL.into();
    bench.handle(ToOwner::Unsubscribe { channel, shard: other, info: None, shows: SHOWS, was_last: true });
    bench.answer_read("e", 6, &[4, 5, 6]);
    assert!(bench.told().is_empty());
    bench.hear_at("e", 7);
    assert_eq!(bench.told().len(), 1);
}

#[test]
fn a_client_that_is_refused_while_it_leaves_was_never_there() {
    for shows in [SHOWS, PresenceFlags { presence: false, join_leave: true }] {
        let mut bench = Bench::live_at(5);
        let recover = since("old", 3).map(|recover| Recover { rejects_loss: true, ..recover });
        let refused = Subscribe { shows, ..subscribe(2, recover) };
        bench.wants();
        bench.handle(ToOwner::Subscribe(Box::new(refused)));
        // Its leave was on its way when it was refused: it does not know that yet.
        let (channel, shard) = (CHANNEL.into(), ShardId::FIRST);
        let info = Some(info(2));
        bench.handle(ToOwner::Unsubscribe { channel, shard, info, shows, was_last: false });
        assert_eq!(bench.told(), ["2 is refused with 112"]);
        assert!(bench.wants().is_empty());
    }
}

#[test]
fn a_client_whose_join_is_announced_without_presence_leaves_once_and_costs_memory_until_then() {
    let shows = PresenceFlags { presence: false, join_leave: true };
    let mut bench = Bench::live_at(5);
    bench.wants();
    let before = bench.bytes();
    bench.handle(ToOwner::Subscribe(Box::new(Subscribe { shows, ..subscribe(2, None) })));
    assert_eq!(bench.wants(), ["2 joins"]);
    assert!(bench.bytes().1 > before.1);
    for expected in [vec!["2 leaves"], vec![]] {
        let (channel, shard) = (CHANNEL.into(), ShardId::FIRST);
        let info = Some(info(2));
        bench.handle(ToOwner::Unsubscribe { channel, shard, info, shows, was_last: false });
        assert_eq!(bench.wants(), expected);
    }
    assert_eq!(bench.bytes(), before);
}
