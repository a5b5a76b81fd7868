//! Rust: the official SDK of crates.io, which moves its position on with what its application was given, and not before.
//!
//! Out: a failed test, where it finds anything else than it expects.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use centrifuge::{Client, ClientBuilder, Protocol, State, StreamPosition};
use holdfast_testkit::{
    Daemon, PATIENCE,
    client::{SECRET, token},
};
use serde_json::{Value, json};
use tokio::{
    runtime::Builder,
    time::{Instant, sleep},
};

/// The ways of this SDK to a daemon.
const WAYS: [(&str, Protocol); 4] = [
    ("ws", Protocol::Json),
    ("ws", Protocol::Protobuf),
    ("http", Protocol::Json),
    ("http", Protocol::Protobuf),
];

fn start() -> Daemon {
    Daemon::start(&format!(
        "[client]\ntoken.hmac_secret_key = '{SECRET}'\n[http_api]\ninsecure = true\n[http_stream]\nenabled = true\n\
         [channel.without_namespace]\nhistory_size = 10\nhistory_ttl = '10m'\nforce_recovery = true\n\
         allow_subscribe_for_client = true"
    ))
}

/// Has the server publish these numbers, one after the other.
fn publish(daemon: &Daemon, channel: &str, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let request = json!({ "channel": channel, "data": number }).to_string();
        let (_, answer) = daemon.request("POST", "/api/publish", "", &request);
        let answer: Value = serde_json::from_str(&answer).expect("an answer is JSON");
        assert_eq!(answer["result"]["offset"], number, "{answer}");
    }
}

/// A client that comes by one of the ways, in a hurry.
fn client(daemon: &Daemon, (scheme, protocol): (&str, Protocol), claims: &Value) -> ClientBuilder {
    let path = if scheme == "ws" { "websocket" } else { "http_stream" };
    Client::builder(format!("{scheme}://{}/connection/{path}", daemon.address()))
        .protocol(protocol)
        .token(token(claims))
        .min_reconnect_delay(Duration::from_millis(10))
        .max_reconnect_delay(Duration::from_millis(100))
}

/// Numbers that an application was given, and whether it was told that they follow one another.
#[derive(Clone, Default)]
struct Diary {
    numbers: Arc<Mutex<Vec<u64>>>,
    recoveries: Arc<Mutex<Vec<(bool, bool)>>>,
    /// The number with which the application has had enough; 0 for none.
    enough_at: Arc<AtomicU64>,
}

impl Diary {
    /// True exactly when the application disconnects.
    fn is_enough(&self, data: &[u8]) -> bool {
        let number = serde_json::from_slice(data).expect("a publication is a number");
        let mut numbers = self.numbers.lock().expect("nobody panics with it");
        numbers.push(number);
        self.enough_at.compare_exchange(number, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn subscribed(&self, was_recovering: bool, recovered: bool) {
        self.recoveries.lock().expect("nobody panics with it").push((was_recovering, recovered));
    }

    fn numbers(&self) -> Vec<u64> {
        self.numbers.lock().expect("nobody panics with it").clone()
    }
}

/// Waits until `is_so`.
async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "this never came to pass: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Misses seven publications, has enough in the middle of their recovery, and comes back.
async fn leave_in_the_middle(daemon: &Daemon, channel: &str, client: &Client, diary: &Diary) {
    client.connect().expect("it is not closed");
    publish(daemon, channel, [1]);
    eventually("the first has come", || diary.numbers() == [1]).await;
    client.disconnect();
    eventually("it is away", || client.state() == State::Disconnected).await;
    publish(daemon, channel, 2..=8);
    diary.enough_at.store(4, Ordering::Relaxed);
    client.connect().expect("it is not closed");
    eventually("it has had enough", || diary.numbers().contains(&4)).await;
    eventually("it is away again", || client.state() == State::Disconnected).await;
    client.connect().expect("it is not closed");
    eventually("the rest has come", || diary.numbers().contains(&8)).await;
    publish(daemon, channel, [9]);
    eventually("it goes on", || diary.numbers().contains(&9)).await;
    assert_eq!(diary.numbers(), (1..=9).collect::<Vec<_>>(), "{channel}: none is missing, none comes twice");
    let recoveries = diary.recoveries.lock().expect("nobody panics with it").clone();
    assert_eq!(recoveries, [(false, false), (true, true), (true, true)], "{channel}");
}

fn run(test: impl Future<Output = ()>) {
    Builder::new_current_thread().enable_all().build().expect("a runtime can be made").block_on(test);
}

#[test]
fn the_rust_sdk_gets_what_was_recovered_before_and_not_yet_delivered() {
    let daemon = start();
    run(async {
        for (at, way) in WAYS.into_iter().enumerate() {
            let channel = format!("own-{at}");
            let diary = Diary::default();
            let client = client(&daemon, way, &json!({ "sub": "ann" })).build().expect("it can be made");
            let (heard, told) = (diary.clone(), diary.clone());
            let subscription = client
                .new_subscription(&channel)
                .on_subscribed(move |_, event| told.subscribed(event.was_recovering, event.recovered))
                .on_publication(move |subscription, event| {
                    if heard.is_enough(&event.data) {
                        subscription.client().disconnect();
                    }
                })
                .build()
                .expect("it can be made");
            subscription.subscribe();
            client.connect().expect("it is not closed");
            subscription.ready(Some(PATIENCE)).await.expect("it is subscribed");
            leave_in_the_middle(&daemon, &channel, &client, &diary).await;
            client.close().await;
        }
    });
    daemon.stop();
}

#[test]
fn the_rust_sdk_gets_the_rest_of_a_recovery_of_the_servers_subscriptions_too() {
    let daemon = start();
    run(async {
        for (at, way) in WAYS.into_iter().enumerate() {
            let channel = format!("servers-{at}");
            let diary = Diary::default();
            let (heard, told) = (diary.clone(), diary.clone());
            let client = client(&daemon, way, &json!({ "sub": "ann", "channels": [channel] }))
                .on_subscribed(move |_, event| {
                    told.subscribed(event.info.was_recovering, event.info.recovered);
                })
                .on_publication(move |client, event| {
                    if heard.is_enough(&event.publication.data) {
                        client.disconnect();
                    }
                })
                .build()
                .expect("it can be made");
            client.connect().expect("it is not closed");
            client.ready(Some(PATIENCE)).await.expect("it is connected");
            leave_in_the_middle(&daemon, &channel, &client, &diary).await;
            client.close().await;
        }
    });
    daemon.stop();
}

#[test]
fn the_rust_sdk_has_its_application_load_its_state_where_that_cannot_be_recovered() {
    let daemon = start();
    run(async {
        for (at, way) in WAYS.into_iter().enumerate() {
            let channel = format!("state-{at}");
            let diary = Diary::default();
            let (heard, told) = (diary.clone(), diary.clone());
            let client = client(&daemon, way, &json!({ "sub": "ann" })).build().expect("it can be made");
            publish(&daemon, &channel, 1..=20);
            // The first state that is loaded is too old: publications after it have gone.
            let loaded = Arc::new(Mutex::new(vec![15, 3]));
            let states = Arc::clone(&loaded);
            let subscription = client
                .new_subscription(&channel)
                .get_state(move |_| {
                    let offset =
                        states.lock().expect("nobody panics with it").pop().expect("it is loaded twice");
                    async move { Ok(StreamPosition::new(offset, "")) }
                })
                .min_resubscribe_delay(Duration::from_millis(10))
                .max_resubscribe_delay(Duration::from_millis(50))
                .on_subscribed(move |_, event| told.subscribed(event.was_recovering, event.recovered))
                .on_publication(move |_, event| _ = heard.is_enough(&event.data))
                .build()
                .expect("it can be made");
            subscription.subscribe();
            client.connect().expect("it is not closed");
            eventually("what the state lacks has come", || diary.numbers().contains(&20)).await;
            assert_eq!(diary.numbers(), (16..=20).collect::<Vec<_>>());
            assert_eq!(*diary.recoveries.lock().expect("nobody panics with it"), [(true, true)]);
            assert!(loaded.lock().expect("nobody panics with it").is_empty());
            client.close().await;
        }
    });
    daemon.stop();
}
