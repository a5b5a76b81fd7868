//! Commands: the handle by which everybody asks one deployment of Redis.
//!
//! In:  asks, from any thread.
//! Out: answers; refusals at once where it is away or too much waits.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use fred::{
    clients::Client,
    error::Error,
    interfaces::{ClientLike as _, LuaInterface as _, PubsubInterface as _},
    types::{Key, Value},
};
use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};

use tracing::warn;

use super::{
    answer::{Answer, Published},
    breaker::{Breaker, Down},
    client::Current,
    counters::{Counters, Numbers},
    driver::Driver,
    failure::Failure,
    lanes::{Ask, LaneLimits, Lanes, Publication},
    options::{CommandOptions, Servers},
    value::number,
};
use crate::{
    layout::{Layout, Mode, fnv1a},
    receive::connection::Address,
    scripts::Script,
};

/// Lanes where there are no slots.
const LANES: u64 = 4_096;
/// Beyond the client library's own deadline, which is the one that is to count.
const GRACE: Duration = Duration::from_millis(200);

/// Everything that asks share with the driver.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) current: Current,
    pub(super) layout: Layout,
    pub(super) options: CommandOptions,
    pub(super) breaker: Breaker,
    pub(super) counters: Counters,
    /// Something waits that did not before.
    pub(super) wake: Notify,
    /// The last handle is gone, or said so.
    pub(super) stop: Notify,
    /// True exactly when presence ends by fields of hashes.
    pub(super) is_by_field: AtomicBool,
    lanes: Mutex<Lanes>,
}

impl Shared {
    /// The library's client as it is now.
    pub(super) fn client(&self) -> Client {
        self.current.get()
    }

    pub(super) fn lanes(&self) -> MutexGuard<'_, Lanes> {
        // Whoever panicked while he held it left whole lanes: nothing in there calls anybody.
        self.lanes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Counts what became of an ask, and what it means for those to come.
    pub(super) fn judge(&self, failure: &Failure) {
        self.counters.failed(failure);
        match failure {
            Failure::Late => self.breaker.timed_out(),
            failure if failure.is_of_wrong_primary() => self.breaker.open(Down::WrongPrimary),
            Failure::Denied(answer) => {
                warn!("Redis refused what it was asked to do: {answer}");
                self.breaker.answered();
            }
            _ => {}
        }
    }

    /// Asks Redis, unless the breaker is open.
    pub(super) async fn ask<T>(&self, command: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        let failure = match self.breaker.down() {
            Some(down) => Failure::Down(down),
            None => match self.ask_anyway(command).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            },
        };
        self.judge(&failure);
        Err(failure)
    }

    /// Asks Redis whether or not the breaker is open; counts no failure.
    pub(super) async fn ask_anyway<T>(
        &self,
        command: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        let start = Instant::now();
        let reply = match timeout(self.options.answer_within + GRACE, command).await {
            Ok(reply) => reply?,
            Err(_) => return Err(Failure::Late),
        };
        self.counters.round_trip(start.elapsed());
        self.counters.reads.fetch_add(1, Relaxed);
        self.breaker.answered();
        Ok(reply)
    }

    /// Runs a script, by its hash; by its text where Redis does not know it, which then has done nothing.
    pub(super) async fn run(
        &self,
        script: &'static Script,
        keys: Vec<Key>,
        arguments: Vec<Bytes>,
    ) -> Result<Value, Error> {
        let values: Vec<Value> = arguments.into_iter().map(Value::Bytes).collect();
        let client = self.client();
        match client.evalsha(script.sha1(), keys.clone(), values.clone()).await {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                self.counters.reloads.fetch_add(1, Relaxed);
                client.eval(script.text, keys, values).await
            }
            reply => reply,
        }
    }
}

/// The handle of one deployment. Clones are the same; when the last is dropped, the driver ends.
#[derive(Debug, Clone)]
pub struct Commands {
    pub(super) shared: Arc<Shared>,
    _stop: Arc<StopOnDrop>,
}

#[derive(Debug)]
struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.notify_one();
    }
}

/// A handle, and the driver behind it, which has to run on a tokio runtime for anything to be answered.
pub fn commands(options: CommandOptions, layout: Layout) -> (Commands, Driver) {
    let limits = LaneLimits {
        asks_max: options.asks_max,
        bytes_max: options.asks_bytes_max,
        batch_max: options.batch_max.max(1),
        batch_bytes_max: options.batch_bytes_max,
        under_way_max: options.under_way_max.max(1),
        gather: options.gather,
        is_slotted: matches!(options.servers, Servers::Cluster(_)),
    };
    let shared = Arc::new(Shared {
        current: Current::new(&options),
        breaker: Breaker::new(options.timeouts_max.max(1)),
        counters: Counters::default(),
        wake: Notify::new(),
        stop: Notify::new(),
        is_by_field: AtomicBool::new(false),
        lanes: Mutex::new(Lanes::new(limits)),
        layout,
        options,
    });
    let stop = Arc::new(StopOnDrop(shared.clone()));
    (Commands { shared: shared.clone(), _stop: stop }, Driver::new(shared))
}

impl Commands {
    /// Publishes; `answer` is told exactly once what became of it, at once where it is refused.
    ///
    /// Publications of one channel keep their order. Those that come within a millisecond while others are under way
    /// go together, at most 64.
    pub fn publish(&self, publication: Publication, answer: Answer) {
        let shared = &self.shared;
        let lane = match self.lane(&publication) {
            Ok(lane) => lane,
            Err(failure) => {
                shared.counters.failed(&failure);
                return answer.give(Err(failure));
            }
        };
        let pushed = shared.lanes().push(lane, Ask { publication, answer, at: Instant::now() });
        match pushed {
            None => shared.wake.notify_one(),
            Some(ask) => {
                shared.counters.failed(&Failure::Full);
                ask.answer.give(Err(Failure::Full));
            }
        }
        // The driver may have ended between the two looks at the breaker; nobody else would answer.
        if shared.breaker.down() == Some(Down::Stopped) {
            let asks = shared.lanes().drain(None);
            super::lanes::refuse(asks, &Failure::Down(Down::Stopped));
        }
    }

    /// Publishes, and waits for what becomes of it.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn published(&self, publication: Publication) -> Result<Published, Failure> {
        let (sender, receiver) = oneshot::channel();
        self.publish(publication, Answer::new(|result| drop(sender.send(result))));
        receiver.await.unwrap_or(Err(Failure::Down(Down::Stopped)))
    }

    /// The lane of a publication, or why it is refused.
    fn lane(&self, publication: &Publication) -> Result<u16, Failure> {
        let Shared { layout, options, breaker, .. } = &*self.shared;
        if let Some(down) = breaker.down() {
            return Err(Failure::Down(down));
        }
        layout.check(&publication.channel)?;
        if publication.payload.len() > options.payload_bytes_max {
            return Err(Failure::TooLarge);
        }
        Ok(match layout.mode() {
            Mode::Plain => u16::try_from(fnv1a(publication.channel.as_bytes()) % LANES).unwrap_or_default(),
            Mode::Cluster | Mode::Partitioned(_) => layout.slot(&publication.channel),
        })
    }

    /// Sends bytes to a pub/sub channel as they are, classic pub/sub: control messages and probes. Returns how many
    /// connections heard it; in a cluster, those of one node only.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn send(&self, pubsub_channel: String, bytes: Bytes) -> Result<u64, Failure> {
        let client = self.shared.client();
        number(self.shared.ask(client.publish::<Value, _, _>(pubsub_channel, bytes)).await?)
    }

    /// Sends a frame to those who are subscribed to a channel, and to no history: joins and leaves, or a probe to a service
    /// channel of a partition.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn send_sharded(&self, pubsub_channel: String, bytes: Bytes) -> Result<u64, Failure> {
        if !self.shared.layout.is_sharded() {
            return self.send(pubsub_channel, bytes).await;
        }
        let client = self.shared.client();
        number(self.shared.ask(client.spublish::<Value, _, _>(pubsub_channel, bytes)).await?)
    }

    /// The names of this deployment.
    pub fn layout(&self) -> &Layout {
        &self.shared.layout
    }

    /// The server that is asked, while one is: behind Sentinel, the primary. None in a cluster, which has several.
    pub fn server(&self) -> Option<Address> {
        let Shared { options, breaker, .. } = &*self.shared;
        if breaker.down().is_some() || matches!(options.servers, Servers::Cluster(_)) {
            return None;
        }
        let server = self.shared.client().active_connections().into_iter().next()?;
        Some(Address { host: server.host.to_string(), port: server.port })
    }

    /// Where this deployment is.
    pub fn servers(&self) -> &Servers {
        &self.shared.options.servers
    }

    /// Why nothing is asked at the moment; none where all is well.
    pub fn down(&self) -> Option<Down> {
        self.shared.breaker.down()
    }

    /// Comes back once Redis can be asked, or never will be.
    ///
    /// # Errors
    ///
    /// The driver ended.
    pub async fn up(&self) -> Result<(), Failure> {
        self.shared.breaker.until(|down| matches!(down, None | Some(Down::Stopped))).await;
        match self.down() {
            Some(Down::Stopped) => Err(Failure::Down(Down::Stopped)),
            _ => Ok(()),
        }
    }

    /// Ends the driver. What waits is answered by [`Down::Stopped`].
    pub fn stop(&self) {
        self.shared.stop.notify_one();
    }

    /// What happened so far.
    pub fn numbers(&self) -> Numbers {
        let Shared { counters, breaker, .. } = &*self.shared;
        counters.numbers(breaker.down(), breaker.opened(), self.shared.lanes().waiting())
    }
}
