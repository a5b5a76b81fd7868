//! World: a daemon, those who use it, and what is known of its lives.
//!
//! In:  a schedule.
//! Out: the promises that were broken while it happened, and when all had come to rest.

use std::{
    env, fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, sleep},
};

use holdfast_fairness::{API_KEY, SECRET};
use holdfast_testkit::{Daemon, Launch, app::App, comes_to_pass};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    api::Api,
    history,
    nemeses::clock::FakeClock,
    oracle::{Content, Life, Oracle, lock},
    publisher,
    schedule::{Schedule, Step},
    subscriber::{self, Positions},
    transport::{Heard, Kind},
    watch,
};

/// The channels of the oracle.
pub(crate) const CHANNELS: [&str; 4] = ["news:a", "news:b", "news:c", "news:d"];
/// `client.recovery_max_publication_limit`.
pub(crate) const RECOVERY_MAX: u64 = 2_000;
const SUBSCRIBERS: [Kind; 16] = [
    Kind::WebSocket,
    Kind::NarrowWebSocket,
    Kind::WebSocket,
    Kind::NarrowWebSocket,
    Kind::Sse,
    Kind::Sse,
    Kind::Stream,
    Kind::Stream,
    Kind::Poll,
    Kind::Poll,
    Kind::WebSocket,
    Kind::WebSocket,
    Kind::WebSocket,
    Kind::WebSocket,
    Kind::WebSocket,
    Kind::WebSocket,
];
/// Who publishes by the server API; numbers below this are theirs.
const API_PUBLISHERS: u64 = 3;
const CLIENT_PUBLISHER: u64 = 10;
const LAST_PUBLISHER: u64 = 20;
/// Codes with which a client that did nothing wrong may be sent away, and comes back: it is slow, or its state is lost.
const FAIR_CODES: [u64; 2] = [3008, 3010];

/// Which lives were over. One that was ending at that moment is not: whoever came to it then is cut off later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    stops: u64,
    crashes: u64,
}

/// How many lives ended in one way.
#[derive(Debug, Default)]
struct Ends {
    begun: AtomicU64,
    over: AtomicU64,
}

impl Ends {
    fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    fn finish(&self) {
        self.over.fetch_add(1, Ordering::Relaxed);
    }

    fn over(&self) -> u64 {
        self.over.load(Ordering::Relaxed)
    }

    /// True exactly when more have begun than were over.
    fn any_since(&self, over: u64) -> bool {
        self.begun.load(Ordering::Relaxed) != over
    }
}

/// The world.
pub(crate) struct World {
    pub(crate) oracle: Oracle,
    pub(crate) app: App,
    pub(crate) clock: Option<FakeClock>,
    /// The daemon that takes new clients; none between two.
    daemon: Mutex<Option<Daemon>>,
    control: Mutex<Option<SocketAddr>>,
    address: SocketAddr,
    config: String,
    /// A shard of the daemon dies once this is there.
    fault: PathBuf,
    stops: Ends,
    crashes: Ends,
    is_publishing: AtomicBool,
    is_over: AtomicBool,
    /// By subscriber.
    pub(crate) positions: Vec<Mutex<Positions>>,
    slow: Vec<AtomicBool>,
}

/// Ends the world when it is dropped, so that no thread is left where one fails.
struct End<'w>(&'w World);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.is_publishing.store(false, Ordering::Relaxed);
        self.0.is_over.store(true, Ordering::Relaxed);
        self.0.slow.iter().for_each(|slow| slow.store(false, Ordering::Relaxed));
    }
}

impl World {
    pub(crate) fn start() -> Self {
        let app = App::start();
        app.answer("/rpc", &json!({ "result": { "data": "yes" } }));
        let config = format!(
            "[client]\nping_interval = '4s'\npong_timeout = '3s'\ntoken.hmac_secret_key = '{SECRET}'\n\
             recovery_max_publication_limit = {RECOVERY_MAX}\n\
             [http_api]\nkey = '{API_KEY}'\n\
             [echo]\nenabled = true\n[broadcast]\nenabled = true\n\
             [sse]\nenabled = true\n[http_stream]\nenabled = true\n[poll]\nenabled = true\nwait = '2s'\n\
             [rpc.proxy]\nendpoint = '{}'\ntimeout = '500ms'\n[rpc.without_namespace]\nproxy_enabled = true\n\
             [channel.without_namespace]\nallow_subscribe_for_client = true\nallow_publish_for_client = true\n\
             [[channel.namespaces]]\nname = 'news'\nallow_subscribe_for_client = true\n\
             allow_publish_for_client = true\nforce_recovery = true\nhistory_size = 200000\nhistory_ttl = '1h'\n\
             [[channel.namespaces]]\nname = 'kept'\nallow_subscribe_for_client = true\n\
             allow_publish_for_client = true\nallow_history_for_client = true\nallow_presence_for_client = true\n\
             presence = true\nforce_recovery = true\nhistory_size = 100\nhistory_ttl = '10m'\n\
             [shutdown]\ntimeout = '2s'",
            app.url("/rpc")
        );
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let mut world = Self {
            oracle: Oracle::default(),
            app,
            clock: FakeClock::find(&folder),
            daemon: Mutex::default(),
            control: Mutex::default(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            config,
            fault: folder.join(format!("nemesis-{}.fault", std::process::id())),
            stops: Ends::default(),
            crashes: Ends::default(),
            is_publishing: AtomicBool::new(true),
            is_over: AtomicBool::new(false),
            positions: SUBSCRIBERS.iter().map(|_| Mutex::default()).collect(),
            slow: SUBSCRIBERS.iter().map(|_| AtomicBool::new(false)).collect(),
        };
        let daemon = world.launch(None);
        world.address = daemon.address();
        world.take_over(daemon);
        world
    }

    fn launch(&self, listen: Option<SocketAddr>) -> Daemon {
        let _ = fs::remove_file(&self.fault);
        let mut environment =
            vec![("FAULT_FOR_TESTS", format!("shard-0,serving,panic,{}", self.fault.display()))];
        environment.extend(self.clock.iter().flat_map(FakeClock::environment));
        Daemon::launch(&self.config, Launch { listen, environment, is_to_fail: true, ..Launch::default() })
    }

    fn take_over(&self, daemon: Daemon) {
        *lock(&self.control) = Some(daemon.control());
        *lock(&self.daemon) = Some(daemon);
    }

    /// Lets all of it happen. Answers with the promises that were broken.
    pub(crate) fn live(&self, schedule: &Schedule) -> Vec<String> {
        thread::scope(|scope| {
            let end = End(self);
            for (number, kind) in SUBSCRIBERS.into_iter().enumerate() {
                scope.spawn(move || subscriber::live(self, number, kind));
            }
            for by in 0..API_PUBLISHERS {
                scope.spawn(move || publisher::by_api(self, by));
            }
            scope.spawn(|| publisher::by_client(self, CLIENT_PUBLISHER));
            scope.spawn(|| watch::watch(self));
            schedule.steps.iter().for_each(|step| self.take(step));
            self.is_publishing.store(false, Ordering::Relaxed);
            self.come_to_rest();
            self.stop();
            drop(end);
        });
        println!("{} publications acknowledged", self.oracle.count());
        self.oracle.verdict()
    }

    fn take(&self, step: &Step) {
        sleep(step.after);
        let names: Vec<_> = step.nemeses.iter().map(|(nemesis, seed)| nemesis.name(*seed)).collect();
        println!("{} for {:.1} s", names.join(", "), step.lasts.as_secs_f64());
        thread::scope(|scope| {
            for (nemesis, seed) in &step.nemeses {
                scope.spawn(|| nemesis.come(self, *seed, step.lasts));
            }
        });
    }

    /// Everybody has everything that was acknowledged, and so have the histories.
    fn come_to_rest(&self) {
        let control = self.control().expect("a daemon is there at the end");
        let last: Vec<(&str, Life, u64)> = CHANNELS.map(|channel| self.publish_last(control, channel)).into();
        history::check(control, &self.oracle);
        let lacks = |positions: &Mutex<Positions>| -> Vec<String> {
            let positions = lock(positions);
            let lacking = last.iter().filter_map(|(channel, life, offset)| {
                let known = positions.get(channel)?;
                (known.life != *life || known.offset < *offset)
                    .then(|| format!("{:?} {} rather than {:?} {offset}", known.life, known.offset, life))
            });
            lacking.collect()
        };
        let all_lack =
            || self.positions.iter().map(lacks).enumerate().filter(|(_, lacking)| !lacking.is_empty());
        if !comes_to_pass(|| all_lack().next().is_none()) {
            for (number, lacking) in all_lack() {
                let kind = SUBSCRIBERS[number];
                self.oracle
                    .broken(format!("subscriber {number} ({kind:?}) is left at {}", lacking.join(", ")));
            }
        }
    }

    /// Publishes what comes after everything else; answers with where it is.
    fn publish_last(&self, control: SocketAddr, channel: &'static str) -> (&'static str, Life, u64) {
        let content = Content { by: LAST_PUBLISHER, number: 0 };
        let mut place = None;
        let is_taken = comes_to_pass(|| {
            let request = json!({ "channel": channel, "data": content.data(0) });
            let answer = Api::connect(control).and_then(|mut api| api.call("publish", &request));
            place = answer.ok().and_then(Result::ok);
            place.is_some()
        });
        assert!(is_taken, "the server API takes no publication when all has come to rest");
        let place = place.expect("it is taken");
        let epoch = place["epoch"].as_str().expect("there is a history").to_owned();
        let life = Life { channel: channel.to_owned(), epoch };
        let offset = place["offset"].as_u64().expect("it has an offset");
        self.oracle.acknowledged(&life, content, Some(offset));
        (channel, life, offset)
    }

    /// Tells the daemon to stop, and expects that it does.
    fn stop(&self) {
        let Some(daemon) = self.leave() else { return };
        self.stops.begin();
        self.expect_stop(daemon);
        self.stops.finish();
    }

    fn expect_stop(&self, mut daemon: Daemon) {
        daemon.signal(Signal::TERM);
        let (code, log) = daemon.end();
        if code != Some(0) || log.contains("panicked") {
            self.oracle.broken(format!("a stop ends with {code:?}:\n{log}"));
        }
    }

    /// From here on nobody is there.
    fn leave(&self) -> Option<Daemon> {
        *lock(&self.control) = None;
        lock(&self.daemon).take()
    }

    /// A stop, and a start on the same port.
    pub(crate) fn restart(&self) {
        if let Some(control) = self.control() {
            history::check(control, &self.oracle);
        }
        self.stop();
        self.take_over(self.launch(Some(self.address)));
    }

    /// A daemon takes the port of another one, which then stops.
    pub(crate) fn hand_over(&self) {
        let next = self.launch(Some(self.address));
        let old = lock(&self.daemon).take();
        self.take_over(next);
        self.stops.begin();
        if let Some(old) = old {
            self.expect_stop(old);
        }
        self.stops.finish();
    }

    /// The daemon dies without a word, and another one is started.
    pub(crate) fn crash(&self) {
        let Some(daemon) = self.leave() else { return };
        self.crashes.begin();
        daemon.signal(Signal::KILL);
        daemon.wait();
        self.crashes.finish();
        self.take_over(self.launch(Some(self.address)));
    }

    /// One of its shards fails: all of the daemon ends, by itself, and another one is started.
    pub(crate) fn lose_a_shard(&self) {
        let Some(mut daemon) = self.leave() else { return };
        self.crashes.begin();
        fs::write(&self.fault, "").expect("it can be made");
        let (code, log) = daemon.end();
        self.crashes.finish();
        if code != Some(70) {
            self.oracle.broken(format!("with a shard that failed the daemon ends with {code:?}:\n{log}"));
        }
        self.take_over(self.launch(Some(self.address)));
    }

    /// Sends a signal to the daemon that is there.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(daemon) = &*lock(&self.daemon) {
            daemon.signal(signal);
        }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the server API is, where a daemon is there.
    pub(crate) fn control(&self) -> Option<SocketAddr> {
        *lock(&self.control)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.control().is_some()
    }

    /// True exactly when publishers are to stop.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// True exactly while publishers publish.
    pub(crate) fn is_publishing(&self) -> bool {
        self.is_publishing.load(Ordering::Relaxed)
    }

    /// A token of a user, without an end.
    pub(crate) fn token(&self, user: &str) -> String {
        holdfast_fairness::token(user)
    }

    /// Which lives are over.
    pub(crate) fn moment(&self) -> Moment {
        Moment { stops: self.stops.over(), crashes: self.crashes.over() }
    }

    /// True exactly when a daemon has ended, or was told to, since then.
    pub(crate) fn has_stopped_since(&self, moment: &Moment) -> bool {
        self.stops.any_since(moment.stops) || self.crashes.any_since(moment.crashes)
    }

    /// True exactly while a subscriber is not to read.
    pub(crate) fn is_slow(&self, subscriber: usize) -> bool {
        self.slow[subscriber].load(Ordering::Relaxed)
    }

    /// From here on some subscriber reads nothing, or reads again.
    pub(crate) fn set_slow(&self, subscriber: usize, is_slow: bool) {
        self.slow[subscriber].store(is_slow && !self.is_over(), Ordering::Relaxed);
    }

    /// Whether a connection that began then may end so.
    pub(crate) fn judge_end(&self, who: &str, began: &Moment, end: &Heard) {
        let now = self.moment();
        let (is_fair, how) = match end {
            Heard::Message(_) | Heard::Nothing => return,
            Heard::Closed(code, reason) => {
                let is_fair = match code {
                    3001 => self.stops.any_since(began.stops),
                    404 => self.has_stopped_since(began),
                    code => FAIR_CODES.contains(code) && !reason.is_empty(),
                };
                (is_fair, format!("with {code} ({reason})"))
            }
            Heard::Cut(how) => (self.crashes.any_since(began.crashes), format!("without a word ({how})")),
            Heard::Refused(how) => {
                (self.has_stopped_since(began), format!("by a daemon that takes nobody ({how})"))
            }
        };
        if !is_fair {
            self.oracle.broken(format!("{who} is sent away {how}; when it came {began:?}, now {now:?}"));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.fault);
    }
}
