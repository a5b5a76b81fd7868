//! Slow readers: what becomes of clients that stop reading, by the policy of their namespace.
//!
//! In:  publications, to one that reads and one that does not.
//! Out: every one of them to the first; to the second what its policy says, with a count of what is missing; or its end.

use holdfast_testkit::{
    Daemon,
    client::{Client, SECRET},
    eventually,
    peer::Peer,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const PAD_BYTES: usize = 8_000;
const BATCH: u64 = 32;
const BATCHES_MAX: u64 = 2_000;

fn start(client: &str) -> Daemon {
    Daemon::start_on_one_core(&format!(
        "[client]\nping_interval = '1h'\ntoken.hmac_secret_key = '{SECRET}'\n{client}\n\
         [http_api]\ninsecure = true\n\
         [channel.without_namespace]\nallow_subscribe_for_client = true\n\
         [[channel.namespaces]]\nname = 'oldest'\nallow_subscribe_for_client = true\n\
         slow_readers = 'drop_oldest'\nslow_reader_queue = 4\n\
         [[channel.namespaces]]\nname = 'latest'\nallow_subscribe_for_client = true\n\
         slow_readers = 'keep_latest'\nallow_tags_filter = true"
    ))
}

/// A client for which the kernel keeps little.
fn narrow(daemon: &Daemon) -> Client {
    let peer = Peer::connect_with_receive_buffer(4096, daemon).upgraded("/connection/websocket");
    Client::over(peer, "slow")
}

/// Numbered publications into channels, as many into each.
struct Publisher<'d> {
    daemon: &'d Daemon,
    channels: &'d [&'d str],
    published: u64,
}

impl Publisher<'_> {
    fn publish(&mut self) {
        for channel in self.channels {
            let publish = |n| json!({ "publish": { "channel": channel, "data": { "n": n, "pad": "x".repeat(PAD_BYTES) } } });
            let commands: Vec<Value> = (1..=BATCH).map(|n| publish(self.published + n)).collect();
            let body = json!({ "commands": commands }).to_string();
            let (head, answer) = self.daemon.request("POST", "/api/batch", "", &body);
            assert!(head.starts_with("HTTP/1.1 200") && !answer.contains("error"), "{answer}");
        }
        self.published += BATCH;
    }

    /// Publishes, with a neighbor that reads all of it, until something has come to pass.
    fn publish_until(&mut self, neighbor: &mut Client, mut is_so: impl FnMut(&Daemon) -> bool) {
        let mut heard = vec![self.published; self.channels.len()];
        for _ in 0..BATCHES_MAX {
            self.publish();
            while heard.iter().any(|&heard| heard < self.published) {
                let push = neighbor.push();
                let at = self
                    .channels
                    .iter()
                    .position(|channel| push["channel"] == *channel)
                    .expect("one of ours");
                heard[at] += 1;
                assert_eq!(push["pub"]["data"]["n"], heard[at], "the neighbor misses nothing");
                assert!(push["pub"].get("tags").is_none());
            }
            if is_so(self.daemon) {
                return;
            }
        }
        panic!("{} publications were not enough", self.published);
    }
}

fn neighbor(daemon: &Daemon, channels: &[&str]) -> Client {
    let mut neighbor = Client::connect(daemon, "n");
    for channel in channels {
        neighbor.subscribe(channel);
    }
    neighbor
}

fn left_out(daemon: &Daemon, policy: &str) -> u64 {
    daemon.metric("holdfast_publications_left_out_total", &[("policy", policy)])
}

fn cut(daemon: &Daemon, limit: &str) -> u64 {
    daemon.metric("holdfast_slow_reader_disconnects_total", &[("limit", limit)])
}

/// Reads up to the newest publication of every channel; every gap must be as long as is said. Answers with how many are
/// missing.
fn read_to(client: &mut Client, channels: &[&str], newest: u64) -> u64 {
    let mut heard = vec![0; channels.len()];
    let mut missing = 0;
    while heard.iter().any(|&heard| heard < newest) {
        let push = client.push();
        let at = channels.iter().position(|channel| push["channel"] == *channel).expect("one of ours");
        let told = push["pub"]["tags"]["holdfast-left-out"]
            .as_str()
            .map_or(0, |count| count.parse().expect("a number"));
        let n = push["pub"]["data"]["n"].as_u64().expect("a number");
        assert_eq!(
            n,
            heard[at] + told + 1,
            "a gap of {} in {}, told {told}",
            n - heard[at] - 1,
            channels[at]
        );
        assert_eq!(push["pub"].get("offset"), None, "what may be missing has no offset");
        heard[at] = n;
        missing += told;
    }
    missing
}

#[test]
fn a_slow_reader_loses_the_oldest_or_all_but_the_latest_and_is_told_how_many() {
    for (policy, channels) in
        [("drop_oldest", ["oldest:a", "oldest:b"]), ("keep_latest", ["latest:a", "latest:b"])]
    {
        let daemon = start("");
        let mut slow = narrow(&daemon);
        for channel in channels {
            slow.subscribe(channel);
        }
        let mut neighbor = neighbor(&daemon, &channels);
        let mut publisher = Publisher { daemon: &daemon, channels: &channels, published: 0 };
        publisher.publish_until(&mut neighbor, |daemon| left_out(daemon, policy) > 500);
        assert_eq!(daemon.metric("holdfast_slow_readers", &[]), 1);
        let waits = daemon.metric("holdfast_slow_reader_bytes", &[]);
        assert!(waits < 512 * 1024, "{policy}: {waits} bytes wait");

        let missing = read_to(&mut slow, &channels, publisher.published);
        assert_eq!(missing, left_out(&daemon, policy), "{policy}");
        eventually("nobody is slow", || daemon.metric("holdfast_slow_reader_bytes", &[]) == 0);
        // From here on it keeps up, and nothing is left out.
        publisher.publish();
        for channel in channels {
            for n in publisher.published - BATCH + 1..=publisher.published {
                let push = slow.push();
                assert_eq!((&push["channel"], &push["pub"]["data"]["n"]), (&json!(channel), &json!(n)));
            }
        }
        daemon.stop();
    }
}

#[test]
fn a_filter_goes_before_the_policy_and_an_ended_subscription_takes_what_waits_with_it() {
    let daemon = start("");
    let mut slow = narrow(&daemon);
    let filter = json!({ "channel": "latest:a", "tf": { "op": "", "key": "k", "cmp": "nex" } });
    slow.command("subscribe", &filter);
    let mut neighbor = neighbor(&daemon, &["latest:a"]);
    let mut publisher = Publisher { daemon: &daemon, channels: &["latest:a"], published: 0 };
    publisher.publish_until(&mut neighbor, |daemon| left_out(daemon, "keep_latest") > 100);
    let tagged = json!({ "channel": "latest:a", "data": { "n": 0 }, "tags": { "k": "v" } });
    daemon.request("POST", "/api/publish", "", &tagged.to_string());
    assert_eq!(neighbor.push()["pub"]["data"]["n"], 0);
    assert_eq!(read_to(&mut slow, &["latest:a"], publisher.published), left_out(&daemon, "keep_latest"));
    publisher.publish_until(&mut neighbor, |daemon| daemon.metric("holdfast_slow_readers", &[]) == 1);
    slow.command("unsubscribe", &json!({ "channel": "latest:a" }));
    eventually("nothing waits", || daemon.metric("holdfast_slow_reader_bytes", &[]) == 0);
    daemon.signal(Signal::TERM);
}

#[test]
fn a_slow_reader_of_a_channel_without_gaps_is_closed_with_3008() {
    // What a channel publishes in a turn is joined, up to 64 KiB, and counts as one message.
    for (limit, bytes_max) in [
        ("queue_max_size = '128KiB'", 2 << 20),
        ("queue_max_size = '64MiB'\nqueue_max_messages = 40", 4 << 20),
    ] {
        let daemon = start(limit);
        let mut slow = narrow(&daemon);
        slow.subscribe("news");
        let mut neighbor = neighbor(&daemon, &["news"]);
        let mut publisher = Publisher { daemon: &daemon, channels: &["news"], published: 0 };
        publisher.publish_until(&mut neighbor, |daemon| cut(daemon, "queue") > 0);
        assert!(daemon.metric("holdfast_slow_reader_bytes", &[]) < bytes_max, "{limit}");
        let mut heard = 0;
        let code = slow.read_to_close(|push| {
            heard += 1;
            assert_eq!(push["pub"]["data"]["n"], heard, "without a gap up to the end");
        });
        assert_eq!(code, 3008);
        assert_eq!((cut(&daemon, "queue"), cut(&daemon, "budget")), (1, 0), "{limit}");
        daemon.await_closes("slow", 1);
        daemon.stop();
    }
}

#[test]
fn where_all_slow_readers_together_are_too_much_the_worst_goes_first() {
    const BUDGET: u64 = 2 << 20;
    let daemon = start("queue_max_size = '64MiB'\nqueue_budget = '2MiB'");
    let (mut worse, mut better) = (narrow(&daemon), narrow(&daemon));
    worse.subscribe("x");
    worse.subscribe("y");
    better.subscribe("x");
    let mut neighbor = neighbor(&daemon, &["x", "y"]);
    let mut publisher = Publisher { daemon: &daemon, channels: &["x", "y"], published: 0 };
    publisher.publish_until(&mut neighbor, |daemon| {
        assert!(daemon.metric("holdfast_slow_reader_bytes", &[]) < BUDGET + (1 << 20));
        cut(daemon, "budget") > 0
    });
    daemon.await_closes("slow", 1);
    assert_eq!(cut(&daemon, "budget"), 1);
    // The other one is still there, and has lost nothing.
    assert_eq!(read_to(&mut better, &["x"], publisher.published), 0);
    drop(worse);
    daemon.stop();
}
