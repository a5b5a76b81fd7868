//! Positions: what returning clients are told, and what is kept for them.

use super::*;

#[test]
fn reading_a_channel_that_nobody_published_to_keeps_nothing_and_says_the_same_each_time() {
    let mut bench = Bench::new(1 << 20);
    let (_, position) = bench.history("quiet");
    assert_eq!(position.offset, 0);
    assert_eq!(bench.history("quiet"), (0, position.clone()));
    let subscribed = bench.subscribe("quiet", Some(&position));
    assert_eq!(subscribed.position, Some(position.clone()));
    assert_eq!(subscribed.recovered.map(|missed| missed.len()), Some(0));
    assert_eq!(bench.homes.len(), 1, "somebody is subscribed");
    bench.unsubscribe("quiet");
    bench.pass_to(1);
    assert_eq!((bench.homes.len(), bench.bytes(Budget::Channels)), (0, 0));
    assert_eq!(bench.history("quiet"), (0, position));
}

#[test]
fn a_reader_that_stood_at_offset_0_recovers_what_was_published_first() {
    let mut bench = Bench::new(1 << 20);
    let (_, position) = bench.history("c");
    let published = bench.publish("c", "").expect("it is kept");
    assert_eq!(published.epoch, position.epoch, "the first publication takes the epoch over");
    bench.publish("c", "");
    let subscribed = bench.subscribe("c", Some(&position));
    assert_eq!(subscribed.recovered.map(|missed| missed.len()), Some(2));
    let since = Some((0, (*position.epoch).into()));
    assert_eq!(bench.history_since("c", since).map(|(count, _)| count), Ok(2));
}

#[test]
fn when_a_position_has_expired_nobody_recovers_from_it_nor_from_before_it() {
    let mut bench = Bench::new(1 << 20);
    let (_, before) = bench.history("c");
    let published = bench.publish("c", "").expect("it is kept");
    // A lifetime of 60 s is 1,200 ticks.
    bench.pass_to(1_300);
    assert_eq!((bench.homes.len(), bench.bytes(Budget::Channels)), (0, 0));
    let lost = |bench: &mut Bench, position: &Position| {
        let recovered = bench.subscribe("c", Some(position)).recovered;
        bench.unsubscribe("c");
        let since = Some((position.offset, (*position.epoch).into()));
        recovered.is_none() && bench.history_since("c", since) == Err(ErrorCode::UNRECOVERABLE_POSITION)
    };
    assert!(lost(&mut bench, &before) && lost(&mut bench, &published));
    let again = bench.publish("c", "").expect("it is kept");
    assert_ne!(again.epoch, published.epoch);
    assert!(lost(&mut bench, &before) && lost(&mut bench, &published));
}

#[test]
fn subscribers_keep_the_position_alive_and_those_who_leave_have_its_whole_life_to_come_back() {
    let mut bench = Bench::new(1 << 20);
    let published = bench.publish("c", "").expect("it is kept");
    bench.subscribe("c", None);
    bench.pass_to(5_000);
    bench.unsubscribe("c");
    bench.pass_to(6_100);
    assert_eq!(bench.subscribe("c", Some(&published)).recovered.map(|missed| missed.len()), Some(0));
    bench.unsubscribe("c");
    bench.pass_to(7_400);
    assert_eq!(bench.homes.len(), 0);
}

#[test]
fn a_quiet_channel_with_a_subscriber_keeps_its_epoch_whatever_others_lose() {
    let mut bench = Bench::new(1 << 30);
    let position = bench.subscribe("quiet", None).position.expect("it has one");
    // Enough positions are dropped that some probably share the epoch, and more.
    for at in 0..50_000 {
        bench.publish(&format!("gone-{at}"), "");
    }
    bench.pass_to(1_300);
    assert_eq!(bench.homes.len(), 1);
    assert_eq!(bench.publish("quiet", "").map(|published| published.epoch), Some(position.epoch));
}

#[test]
fn over_the_budget_the_position_that_was_not_used_for_longest_goes_and_is_told_to_be_lost() {
    let mut bench = Bench::new(40_000);
    let mut positions = Vec::new();
    for at in 0..400 {
        bench.now = Tick(at);
        positions.push(bench.publish(&format!("c-{at}"), "").expect("it is kept"));
        // One is used all the time, another has a subscriber.
        bench.history("c-0");
        if at == 1 {
            bench.subscribe("c-1", None);
        }
        assert!(bench.bytes(Budget::Channels) <= 40_000 && bench.bytes(Budget::History) <= 40_000);
    }
    assert!(bench.homes.len() > 50);
    let recovers = |bench: &mut Bench, at: usize| {
        bench.subscribe(&format!("c-{at}"), Some(&positions[at])).recovered.is_some()
    };
    assert!(recovers(&mut bench, 0) && recovers(&mut bench, 1) && recovers(&mut bench, 399));
    assert!(!recovers(&mut bench, 2) && !recovers(&mut bench, 200));
}

#[test]
fn a_cache_whose_newest_publication_was_given_up_for_others_claims_to_know_nothing() {
    let mut bench = Bench::new(40_000);
    let first = bench.publish("c", "").expect("it is kept");
    // A subscriber keeps the position alive, while publications of other channels use up the budget.
    bench.subscribe("c", None);
    let recovered = |bench: &mut Bench, offset| {
        let recover = Recover { offset, cache: true, ..recover(&first) };
        bench.subscribe_from("c", Some(recover)).recovered.map(|missed| missed.len())
    };
    assert_eq!(recovered(&mut bench, 0), Some(1));
    bench.fill_history();
    assert_eq!(bench.history("c").0, 0);
    assert_eq!(recovered(&mut bench, 0), None);
    assert_eq!(recovered(&mut bench, 1), Some(0), "it has what there was");
}

#[test]
fn where_all_channels_are_in_use_a_new_one_is_refused_and_the_others_go_on() {
    let mut bench = Bench::new(40_000);
    let taken =
        (0..1_000).take_while(|at| bench.subscribe(&format!("c-{at}"), None).refused.is_none()).count();
    assert!((50..900).contains(&taken), "{taken}");
    assert_eq!(bench.homes.len(), taken);
    assert_eq!(bench.try_publish("new", ""), Err(ErrorCode::LIMIT_EXCEEDED));
    bench.policy.history_size = 0;
    assert_eq!(bench.try_publish("new", ""), Ok(None), "what is not kept needs no room");
    bench.policy = POLICY;
    assert_eq!(bench.publish("c-7", "").map(|position| position.offset), Some(1));
    assert!(bench.subscribe("c-7", None).refused.is_none());
    (0..10).for_each(|at| bench.unsubscribe(&format!("c-{at}")));
    assert!(bench.subscribe("new", None).refused.is_none());
}
