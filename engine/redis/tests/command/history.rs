//! History: reading, removing, and what a failover took back.

use std::time::Duration;

use holdfast_redis::command::{Commands, Direction, Failure, HistoryRead, Range, Repair, Top};
use holdfast_testkit::redis::Server;

use crate::house::{connect, kept, publish};

const DAY: Duration = Duration::from_secs(86_400);

async fn read(commands: &Commands, from: Option<u64>, limit: Option<u32>, direction: Direction) -> Vec<u64> {
    let read =
        HistoryRead { channel: "c".into(), range: Some(Range { from, limit, direction }), meta_ttl: DAY };
    let history = commands.history(read).await.unwrap();
    assert_eq!(history.top.offset, 15);
    history
        .entries
        .iter()
        .map(|entry| {
            assert_eq!(entry.payload, crate::house::payload(&entry.offset.to_string()));
            entry.offset
        })
        .collect()
}

#[tokio::test]
async fn a_history_is_read_from_both_ends_and_from_within() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    for n in 1..=15 {
        publish(&commands, kept("c", &n.to_string())).await.unwrap();
    }
    let (forward, backward) = (Direction::Forward, Direction::Backward);
    assert_eq!(read(&commands, None, None, forward).await, (6..=15).collect::<Vec<_>>());
    assert_eq!(read(&commands, None, None, backward).await, (6..=15).rev().collect::<Vec<_>>());
    assert_eq!(read(&commands, Some(8), Some(3), forward).await, [8, 9, 10]);
    assert_eq!(read(&commands, Some(8), Some(2), backward).await, [8, 7]);
    assert_eq!(read(&commands, Some(1), Some(2), forward).await, [6, 7]);
    assert_eq!(read(&commands, Some(16), None, forward).await, [0_u64; 0]);
    assert_eq!(read(&commands, None, Some(0), forward).await, [0_u64; 0]);
    assert_eq!(server.client().ask(&[b"TTL", b"p.stream.meta.c"]), "86400");
}

#[tokio::test]
async fn a_channel_that_nobody_published_in_gets_an_epoch_that_stays() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    assert_eq!(commands.top("c").await, Ok(None));
    let read = HistoryRead { channel: "c".into(), range: None, meta_ttl: Duration::ZERO };
    let first = commands.history(read.clone()).await.unwrap();
    assert_eq!((first.top.offset, first.top.epoch.len(), first.entries.len()), (0, 8, 0));
    assert_eq!(commands.history(read).await.unwrap(), first);
    assert_eq!(commands.top("c").await, Ok(Some(first.top.clone())));
    assert_eq!(server.client().ask(&[b"TTL", b"p.stream.meta.c"]), "-1");
    assert_eq!(publish(&commands, kept("c", "x")).await.unwrap().epoch, first.top.epoch);
}

#[tokio::test]
async fn removing_a_history_leaves_its_top() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    let first = publish(&commands, kept("c", "x")).await.unwrap();
    commands.remove_history("c").await.unwrap();
    assert_eq!(server.client().ask(&[b"KEYS", b"*"]), "p.stream.meta.c");
    assert_eq!(commands.top("c").await, Ok(Some(Top { offset: 1, epoch: first.epoch.clone() })));
    let second = publish(&commands, kept("c", "x")).await.unwrap();
    assert_eq!((second.offset, second.epoch), (2, first.epoch));
}

/// CLUSTER 5.3: whoever knows more than Redis begins a new epoch, and of many only the first.
#[tokio::test]
async fn where_offsets_went_back_one_new_epoch_begins() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    for _ in 0..9 {
        publish(&commands, kept("c", "x")).await.unwrap();
    }
    let top = commands.top("c").await.unwrap().unwrap();
    let known = |offset| Top { offset, epoch: top.epoch.clone() };
    let fine = Repair { top: top.clone(), is_begun: false };
    assert_eq!(commands.repair("c", &known(9), DAY).await, Ok(fine.clone()));
    assert_eq!(commands.repair("c", &Top { offset: 99, epoch: "another".into() }, DAY).await, Ok(fine));
    // Larger as a number, though not as text.
    let begun = commands.repair("c", &known(10), DAY).await.unwrap();
    assert!(begun.is_begun && begun.top.offset == 0 && begun.top.epoch != top.epoch);
    let second = commands.repair("c", &known(12), DAY).await.unwrap();
    assert_eq!(second, Repair { is_begun: false, ..begun.clone() });
    assert_eq!(server.client().ask(&[b"EXISTS", b"p.stream.c"]), "0");
    let next = publish(&commands, kept("c", "x")).await.unwrap();
    assert_eq!((next.offset, next.epoch), (1, begun.top.epoch));
}

#[tokio::test]
async fn a_key_of_another_type_is_an_error_and_no_harm() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    server.client().ask(&[b"SET", b"p.stream.meta.c", b"x"]);
    let read = HistoryRead { channel: "c".into(), range: None, meta_ttl: DAY };
    let failure = commands.history(read).await.unwrap_err();
    assert!(matches!(&failure, Failure::Denied(answer) if answer.contains("WRONGTYPE")), "{failure:?}");
    assert_eq!(commands.top("d").await, Ok(None));
}
