//! Bounds: memory follows the live state, regardless of history.

use super::*;

#[test]
fn over_the_budget_the_oldest_publications_go_and_offsets_go_on() {
    let mut bench = Bench::new(2_000);
    for _ in 0..8 {
        bench.publish("c", "");
        bench.publish("d", "");
        assert!(bench.bytes(Budget::History) <= 2_000);
    }
    let (kept, position) = bench.history("d");
    assert_eq!(position.offset, 8);
    assert!((1..8).contains(&kept), "{kept}");
    let of_c = bench.history("c").0;
    assert!(of_c == kept || of_c + 1 == kept, "age decides, not the channel: {of_c} and {kept}");
}

#[test]
fn when_half_of_very_much_has_to_go_it_goes_over_many_turns() {
    const KEPT: u32 = 60_000;
    let mut bench = Bench::new(24 << 20).with(ChannelPolicy { history_ttl_ms: 3_600_000, ..POLICY });
    for at in 0..KEPT {
        bench.publish(&format!("c{}", at / 10), &format!("k{at}"));
    }
    let most = bench.bytes(Budget::History);
    let mut ledger = Ledger::new(BudgetLimits::all(1 << 20), 1);
    for budget in [Budget::History, Budget::Channels] {
        ledger.charge(budget, usize::try_from(bench.bytes(budget)).unwrap());
    }
    bench.ledger = ledger;
    let mut turns: u64 = 0;
    while bench.homes.is_due(bench.now) || turns == 0 {
        bench.homes.tend(bench.now, &mut bench.ledger);
        turns += 1;
    }
    println!("{most} bytes of {KEPT} publications went in {turns} turns");
    assert!(turns >= u64::from(KEPT) * 8 / 10 / keep::SHED_MAX as u64, "{turns} turns");
    assert!(bench.bytes(Budget::History) <= 1 << 20 && bench.bytes(Budget::Channels) <= 1 << 20);
}

#[test]
fn publications_that_have_expired_take_nothing_however_long_an_older_one_lives() {
    let mut bench = Bench::new(1 << 30);
    let short = bench.policy;
    bench.policy.history_ttl_ms = 720 * 3_600_000;
    bench.publish("old", "");
    bench.policy = short;
    let mut most = 0;
    for at in 0..200_000_u32 {
        if at % 100 == 0 {
            bench.pass_to(at / 100);
            most = most.max(bench.bytes(Budget::History) + bench.bytes(Budget::Channels));
        }
        bench.publish(&format!("short-{}", at % 50), "");
    }
    println!("{most} bytes at most");
    assert!(most < 600_000, "{most} bytes for 500 publications in 51 channels");
    assert_eq!(bench.history("old").0, 1);
}

#[test]
fn a_channel_that_lives_again_and_again_waits_once_for_its_end() {
    let mut bench = Bench::new(1 << 30);
    bench.publish("c", "");
    bench.pass_to(0);
    let first = bench.bytes(Budget::Channels);
    for at in 1..20_000 {
        // It has lost its publications each time.
        bench.pass_to(at * 25);
        bench.publish("c", "");
    }
    bench.pass_to(20_000 * 25 - 10);
    assert!(bench.bytes(Budget::Channels) <= first, "{} bytes", bench.bytes(Budget::Channels));
}

#[test]
fn what_a_burst_of_channels_leaves_is_given_back() {
    let mut bench = Bench::new(1 << 30);
    for at in 0..20_000 {
        bench.publish(&format!("burst-{at}"), "k");
    }
    bench.publish("stays", "");
    assert!(bench.bytes(Budget::Channels) > 3_000_000);
    bench.policy.history_ttl_ms = 720 * 3_600_000;
    bench.publish("stays", "");
    bench.pass_to(7_000);
    assert_eq!(bench.homes.len(), 1);
    assert!(bench.bytes(Budget::Channels) < 8_000, "{} bytes", bench.bytes(Budget::Channels));
    assert_eq!(bench.history("stays").0, 2, "numbered again, it is still found");
    bench.pass_to(u32::MAX);
    assert!(Budget::ALL.into_iter().all(|(budget, _)| bench.bytes(budget) == 0));
}

#[test]
fn over_the_budget_the_oldest_keys_are_forgotten() {
    let mut bench = Bench::new(60_000);
    for at in 0..2_000 {
        bench.now = Tick(at);
        bench.publish("c", &format!("key-{at}"));
        assert!(bench.bytes(Budget::Channels) <= 60_000);
    }
    let offset =
        |bench: &mut Bench, at: u32| bench.publish("c", &format!("key-{at}")).expect("it is kept").offset;
    assert_eq!(offset(&mut bench, 1_999), 2_000, "a repetition");
    assert_eq!(offset(&mut bench, 1_900), 1_901, "a repetition");
    assert_eq!(offset(&mut bench, 0), 2_001, "published again");
}

#[test]
fn the_base_of_deltas_counts_as_a_publication_and_goes_with_the_oldest() {
    let policy = ChannelPolicy { history_size: 0, delta: true, ..POLICY };
    let mut bench = Bench::new(100_000).with(policy);
    for at in 0..100 {
        let channel = format!("c-{at}");
        bench.subscribe(&channel, None);
        let data = Data::checked(Bytes::from(vec![b'1'; 4_000]));
        bench.handle(ToOwner::Publish(Box::new(Publish { data, ..publish(&channel, "") })));
        bench.posts.clear();
        assert!(bench.bytes(Budget::History) <= 100_000);
    }
    assert!(bench.bytes(Budget::History) > 80_000);
    (0..100).for_each(|at| bench.unsubscribe(&format!("c-{at}")));
    bench.pass_to(1);
    assert_eq!((bench.bytes(Budget::History), bench.bytes(Budget::Channels)), (0, 0));
}
