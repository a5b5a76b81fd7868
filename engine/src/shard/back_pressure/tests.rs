//! Three shards on simulated kernels, one of which gets no turn: messages of the others for it stay within a bound, and
//! arrive when it runs again.

use crate::simulation::{
    cluster::Cluster,
    scripted::{ScriptedClient, post_head},
};

const BUFFERS: u32 = 16;
const BUFFER_BYTES: usize = 512;
const SLOTS: u32 = 48;
const PIPE_BYTES: usize = 2048;

const MAILBOX_MESSAGES_MAX: usize = 8;
const MAILBOX_BYTES_MAX: u64 = 1 << 20;

/// The capacity of one receive buffer, one mailbox and one outbox, in commands of forty bytes to each of two other shards.
const OUTBOX_MESSAGES_MAX: usize = 2 * (BUFFER_BYTES / 40 + 3 * MAILBOX_MESSAGES_MAX);

/// The shard that clients publish on.
const NEAR: usize = 0;
/// The owner of the channel.
const HOME: usize = 1;
/// The shard that does not keep up.
const SLOW: usize = 2;

fn cluster_of_three() -> Cluster {
    let mut cluster = Cluster::of(3)
        .config(|config| config.http_stream.enabled = true)
        .room(SLOTS, BUFFERS, BUFFER_BYTES)
        .pipe_bytes(PIPE_BYTES)
        .mailboxes(MAILBOX_MESSAGES_MAX, MAILBOX_BYTES_MAX)
        .outbox(OUTBOX_MESSAGES_MAX)
        .start();
    cluster.check = |cluster, core| {
        let throttled = &cluster.shard(core).throttled;
        assert!(throttled.requests.len() <= 2 * SLOTS as usize, "dead requests are forgotten");
    };
    cluster
}

/// Asks the near shard for a session of the slow one.
fn ask(cluster: &Cluster) -> ScriptedClient {
    let session = format!("2.0.{}", "0".repeat(32));
    let mut client = cluster.open(NEAR);
    client.post("/emulation", &format!(r#"{{"session":"{session}","node":"node","data":"{{}}"}}"#));
    client
}

#[test]
fn clients_of_one_core_wait_where_a_second_one_passes_on_what_they_publish_to_a_slow_third() {
    let mut cluster = cluster_of_three();
    let channel = cluster.channel_of(HOME);
    let mut listener = cluster.connected(SLOW, "");
    listener.say(&format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#));
    cluster.run_until_heard(&mut listener, r#""subscribe":{"#);
    let mut publishers: Vec<_> = (0..10).map(|_| cluster.connected(NEAR, "")).collect();

    let mut said = 0;
    for _ in 0..2_000 {
        for publisher in &mut publishers {
            if publisher.waiting_bytes() < 4096 {
                said += 1;
                let publish = format!(r#""publish":{{"channel":"{channel}","data":"m{said:06}"}}"#);
                publisher.say(&format!(r#"{{"id":{},{publish}}}"#, said + 2));
            }
            publisher.step();
        }
        cluster.round(&[NEAR, HOME]);
    }
    let acknowledged = |publishers: &[ScriptedClient]| -> usize {
        publishers.iter().map(|publisher| publisher.count(r#""publish":{}"#)).sum()
    };
    let before = acknowledged(&publishers);
    assert!(publishers.iter().all(|publisher| publisher.waiting_bytes() > 1_000), "all of them wait");

    for _ in 0..4_000 {
        publishers.iter_mut().for_each(ScriptedClient::step);
        listener.step();
        cluster.round_of_all();
    }
    assert!(before < said && acknowledged(&publishers) == said, "who waited goes on");
    for number in 1..=said {
        assert_eq!(listener.count(&format!("\"m{number:06}\"")), 1, "message {number} is heard once");
    }
}

#[test]
fn requests_for_a_core_that_does_not_keep_up_wait_before_anything_is_done_about_them() {
    let mut cluster = cluster_of_three();
    for _ in 0..1_000 {
        let mut client = ask(&cluster);
        for _ in 0..4 {
            client.step();
            cluster.round(&[NEAR, HOME]);
        }
        assert_eq!(client.heard(), "");
        client.peer.reset();
    }
    let mut client = ask(&cluster);
    for _ in 0..20 {
        client.step();
        cluster.round(&[NEAR, HOME]);
    }
    assert_eq!(client.heard(), "", "it is neither answered nor refused");
    let mut neighbor = cluster.open(NEAR);
    neighbor.send(b"GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n");
    for _ in 0..20 {
        neighbor.step();
        cluster.round(&[NEAR, HOME]);
    }
    assert!(neighbor.heard().starts_with("HTTP/1.1 404"), "who needs no other core does not wait");
    cluster.run_until_heard(&mut client, "HTTP/1.1 404");
}

#[test]
fn a_shard_that_is_gone_keeps_nobody_waiting() {
    let mut cluster = cluster_of_three();
    let mut clients = Vec::new();
    while !cluster.shared.is_congested() {
        let mut client = ask(&cluster);
        client.write();
        clients.push(client);
        (0..3).for_each(|_| cluster.round(&[NEAR, HOME]));
    }
    cluster.drop_shard(NEAR);
    assert!(!cluster.shared.is_congested());
}

#[test]
fn a_request_that_is_coming_is_not_taken_up_in_the_place_of_an_earlier_one_that_was_held() {
    let mut cluster = cluster_of_three();
    let mut client = cluster.open(NEAR);
    let (first_half, second_half) = (r#"{"id":1,"#, r#""connect":{}}"#);
    let length = first_half.len() + second_half.len();
    client.send(post_head("/connection/http_stream", length).as_bytes());
    client.send(first_half.as_bytes());
    cluster.run_until_idle(&mut [&mut client]);
    // The list still holds a request that was resumed when earlier answers were flushed.
    let socket = cluster.shard(NEAR).conns.table.sockets().next().expect("it is connected");
    cluster.shard(NEAR).throttled.requests.push_back(socket);
    cluster.run_until_idle(&mut [&mut client]);
    assert_eq!(client.heard(), "");
    client.send(second_half.as_bytes());
    cluster.run_until_heard(&mut client, r#""connect":{"client""#);
}
