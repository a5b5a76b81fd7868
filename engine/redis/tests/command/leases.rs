//! Leases: how many connections a user may have, over all nodes.

use holdfast_redis::{
    command::{LeaseLimit, Leased},
    layout::Mode,
};
use holdfast_testkit::redis::Server;

use crate::house::{connect, options, up};

const TWO: LeaseLimit = LeaseLimit { most: 2, is_oldest_evicted: false };

fn named(leases: &[&str]) -> Vec<String> {
    leases.iter().map(|&lease| lease.to_owned()).collect()
}

#[tokio::test]
async fn a_user_gets_as_many_leases_as_it_may_and_one_more_when_one_is_free() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    for lease in ["n1/a", "n2/b", "n1/a"] {
        assert_eq!(commands.take_lease("ann", lease, TWO).await, Ok(Leased::Taken(vec![])));
    }
    let full = Ok(Leased::Full(named(&["n1/a", "n2/b"])));
    assert_eq!(commands.take_lease("ann", "n1/c", TWO).await, full);
    assert_eq!(commands.take_lease("bob", "n1/d", TWO).await, Ok(Leased::Taken(vec![])));
    assert_eq!(commands.free_leases("ann", &named(&["n1/a", "n9/z"])).await, Ok(1));
    assert_eq!(commands.take_lease("ann", "n1/c", TWO).await, Ok(Leased::Taken(vec![])));
    let mut client = server.client();
    assert_eq!(client.ask(&[b"ZRANGE", b"p.hf.leases.ann", b"0", b"-1"]), "n2/b n1/c");
    assert_eq!(client.ask(&[b"ZCARD", b"p.hf.leases.expire.ann"]), "2");
    let ttl: u64 = client.ask(&[b"TTL", b"p.hf.leases.ann"]).parse().unwrap();
    assert!((890..=900).contains(&ttl), "{ttl}");
    commands.free_leases("ann", &named(&["n2/b", "n1/c"])).await.unwrap();
    commands.free_leases("bob", &named(&["n1/d"])).await.unwrap();
    assert_eq!(client.ask(&[b"DBSIZE"]), "0");
}

#[tokio::test]
async fn the_oldest_leases_make_room_where_they_are_to() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    for lease in ["a", "b", "c"] {
        commands.take_lease("ann", lease, LeaseLimit { most: 3, is_oldest_evicted: true }).await.unwrap();
    }
    let two = LeaseLimit { is_oldest_evicted: true, ..TWO };
    assert_eq!(commands.take_lease("ann", "d", two).await, Ok(Leased::Taken(named(&["a", "b"]))));
    assert_eq!(commands.take_lease("ann", "e", two).await, Ok(Leased::Taken(named(&["c"]))));
}

#[tokio::test]
async fn what_has_ended_is_not_counted_and_what_was_lost_is_counted_again() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    commands.take_lease("ann", "a", TWO).await.unwrap();
    commands.take_lease("ann", "b", TWO).await.unwrap();
    let mut client = server.client();
    client.ask(&[b"ZADD", b"p.hf.leases.expire.ann", b"1", b"a"]);
    assert_eq!(commands.take_lease("ann", "c", TWO).await, Ok(Leased::Taken(vec![])));
    client.ask(&[b"FLUSHALL"]);
    assert_eq!(commands.keep_leases("ann", &named(&["b", "c"])).await, Ok(2));
    assert_eq!(commands.keep_leases("ann", &named(&["b", "c"])).await, Ok(0));
    assert_eq!(commands.take_lease("ann", "d", TWO).await, Ok(Leased::Full(named(&["b", "c"]))));
    let many: Vec<String> = (0..1_200).map(|number| number.to_string()).collect();
    assert_eq!(commands.keep_leases("bob", &many).await, Ok(1_200));
    assert_eq!(commands.free_leases("bob", &many).await, Ok(1_200));
}

#[tokio::test]
async fn in_a_cluster_a_users_leases_are_in_one_slot() {
    let Some(server) = Server::start(&["--cluster-enabled", "yes"]) else { return };
    let mut client = server.client();
    client.ask(&[b"CLUSTER", b"ADDSLOTSRANGE", b"0", b"16383"]);
    while !client.ask(&[b"CLUSTER", b"INFO"]).contains("cluster_state:ok") {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let commands = up(options(&server), Mode::Cluster).await;
    assert_eq!(commands.take_lease("ann", "a", TWO).await, Ok(Leased::Taken(vec![])));
    assert_eq!(client.ask(&[b"EXISTS", b"p.hf.leases.{ann}", b"p.hf.leases.expire.{ann}"]), "2");
    assert!(commands.take_lease("}ann", "a", TWO).await.is_err());
}
