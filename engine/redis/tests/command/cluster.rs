//! A Redis Cluster of three masters, in both ways of naming.

use futures_util::future::join_all;
use holdfast_redis::{
    command::{CommandOptions, Commands, Direction, HistoryRead, Joined, Range, Servers, Who},
    layout::{Layout, Mode, Partitions},
};
use holdfast_testkit::redis::Server;

use crate::house::{address, begin, kept, plain, publish, soon, up};

const SLOTS: [(u16, u16); 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];

async fn connect(nodes: &[Server; 3], mode: Mode) -> Commands {
    up(CommandOptions::new(Servers::Cluster(vec![address(&nodes[0])])), mode).await
}

/// The node that has a key's slot.
fn node<'a>(nodes: &'a [Server; 3], layout: &Layout, channel: &str) -> &'a Server {
    let slot = layout.slot(channel);
    &nodes[SLOTS.iter().position(|(from, to)| (*from..=*to).contains(&slot)).unwrap()]
}

async fn everything_works(nodes: &[Server; 3], commands: &Commands) {
    let channels: Vec<String> = (0..60).map(|n| format!("channel:{n}")).collect();
    let all = channels.iter().flat_map(|channel| [channel; 5]);
    let published = join_all(all.map(|channel| publish(commands, kept(channel, "x")))).await;
    for (n, published) in published.into_iter().enumerate() {
        assert_eq!(published.unwrap().offset, n as u64 % 5 + 1);
    }
    let layout = commands.layout();
    for channel in &channels {
        let stream = layout.stream(channel);
        let entries = node(nodes, layout, channel).client().ask(&[b"XLEN", stream.as_bytes()]);
        assert_eq!(entries, "5", "{stream} is where its slot is");
        let range = Some(Range { from: Some(4), limit: None, direction: Direction::Forward });
        let read = HistoryRead { channel: channel.clone(), range, meta_ttl: std::time::Duration::ZERO };
        assert_eq!(commands.history(read).await.unwrap().entries.len(), 2);
        let who = Who { client: "k".into(), user: "u".into() };
        commands.add_presence(channel, &[Joined { who: who.clone(), info: "i".into() }]).await.unwrap();
        assert_eq!(commands.refresh_presence(channel, &[who]).await, Ok(vec![]));
        assert_eq!(commands.presence(channel).await.unwrap().len(), 1);
    }
    let sizes: Vec<u64> = commands.numbers().batches.to_vec();
    println!("batches {sizes:?}");
    publish(commands, kept("}x", "x")).await.unwrap_err();
}

#[tokio::test]
async fn a_cluster_keeps_a_channel_where_its_name_says() {
    let Some(nodes) = Server::cluster_of(SLOTS) else { return };
    let commands = connect(&nodes, Mode::Cluster).await;
    let mut subscriber = nodes[2].client();
    subscriber.ask(&[b"SUBSCRIBE", b"p.client.{news}"]);
    let published = publish(&commands, kept("news", "{}")).await.unwrap();
    assert_eq!(
        subscriber.answer(),
        format!("message p.client.{{news}} __p1:1:{}__\"\u{2}{{}}", published.epoch),
        "every node of a cluster hears classic pub/sub"
    );
    publish(&commands, plain("news", "[]")).await.unwrap();
    assert_eq!(subscriber.answer(), "message p.client.{news} \"\u{2}[]");
    everything_works(&nodes, &commands).await;
}

#[tokio::test]
async fn a_partitioned_cluster_sends_to_the_node_of_the_partition() {
    let Some(nodes) = Server::cluster_of(SLOTS) else { return };
    let mode = Mode::Partitioned(Partitions::spread(16).unwrap());
    let commands = connect(&nodes, mode).await;
    let mut subscriber = node(&nodes, commands.layout(), "news").client();
    assert_eq!(subscriber.ask(&[b"SSUBSCRIBE", b"p.client.{arf}.news"]), "ssubscribe p.client.{arf}.news 1");
    let published = publish(&commands, kept("news", "{}")).await.unwrap();
    assert_eq!(
        subscriber.answer(),
        format!("smessage p.client.{{arf}}.news __p1:1:{}__\"\u{2}{{}}", published.epoch)
    );
    publish(&commands, plain("news", "[]")).await.unwrap();
    assert_eq!(subscriber.answer(), "smessage p.client.{arf}.news \"\u{2}[]");
    everything_works(&nodes, &commands).await;
}

/// CLUSTER failure 8, the publishing side: a slot that moved is found by MOVED.
#[tokio::test]
async fn a_slot_that_moves_is_followed() {
    let Some(nodes) = Server::cluster_of(SLOTS) else { return };
    let commands = connect(&nodes, Mode::Cluster).await;
    let layout = commands.layout().clone();
    let channel = "moving";
    let slot = layout.slot(channel).to_string();
    let from = SLOTS.iter().position(|(from, to)| (*from..=*to).contains(&layout.slot(channel))).unwrap();
    let to = (from + 1) % 3;
    publish(&commands, plain(channel, "x")).await.unwrap();
    let id = nodes[to].client().ask(&[b"CLUSTER", b"MYID"]);
    for node in [&nodes[to], &nodes[from], &nodes[(from + 2) % 3]] {
        assert_eq!(
            node.client().ask(&[b"CLUSTER", b"SETSLOT", slot.as_bytes(), b"NODE", id.as_bytes()]),
            "OK"
        );
    }
    let mut failures = 0;
    while publish(&commands, kept(channel, "x")).await.is_err() {
        failures += 1;
        assert!(failures < 50, "it is found");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    println!("{failures} failed meanwhile");
    assert_eq!(nodes[to].client().ask(&[b"XLEN", layout.stream(channel).as_bytes()]), "1");
}

#[tokio::test]
async fn who_begins_before_the_cluster_does_is_up_once_it_is_there() {
    let Some(mut nodes) = Server::cluster() else { return };
    nodes.iter_mut().for_each(Server::end);
    let options = CommandOptions::new(Servers::Cluster(nodes.iter().map(address).collect()));
    let (commands, driver) = begin(options, Mode::Cluster);
    tokio::spawn(driver.run());
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(commands.down().is_some());
    nodes.iter_mut().for_each(Server::restart);
    soon(commands.up()).await.unwrap();
    publish(&commands, plain("news", "x")).await.unwrap();
}
