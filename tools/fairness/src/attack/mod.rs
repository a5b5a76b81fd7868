//! Attack: many clients that use one path as hard as they can.
//!
//! In:  a path and a number of attackers.
//! Out: work for the daemon; how much of it was asked for.
//!
//! What an attacker sends is made beforehand and sent in large pieces without waiting for answers, which are read and
//! thrown away: an attack has to be cheap for who makes it, or it would measure the attackers.

mod floods;
mod requests;
mod slow;
mod visits;
mod wire;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle, sleep},
    time::Duration,
};

use serde::{Serialize, Serializer};

use crate::{cpus, link::Target};

/// A path and how it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Small messages to `/echo`.
    Raw,
    /// Messages to all over `/broadcast`.
    Broadcast,
    /// Publications over WebSockets, whose replies are not awaited.
    WebSocket,
    /// Costly commands over WebSockets: history, presence, subscribing and unsubscribing.
    Commands,
    /// Streams of events that are opened and broken off.
    Sse,
    /// HTTP streams that are opened and broken off.
    Stream,
    /// Polls that publish, in one session after the other.
    Poll,
    /// Publications by `/emulation`.
    Emulation,
    /// Publications by the server API.
    Api,
    /// TLS handshakes that are begun and broken off, when the daemon has done its part.
    Tls,
    /// Clients that connect with forged tokens.
    BadTokens,
    /// Clients that come, subscribe, recover and break off, all at once.
    Storm,
    /// Clients that read nothing.
    SlowReaders,
}

impl Attack {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Raw,
        Self::Broadcast,
        Self::WebSocket,
        Self::Commands,
        Self::Sse,
        Self::Stream,
        Self::Poll,
        Self::Emulation,
        Self::Api,
        Self::Tls,
        Self::BadTokens,
        Self::Storm,
        Self::SlowReaders,
    ];

    /// What it is called on the command line and in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Broadcast => "broadcast",
            Self::WebSocket => "websocket",
            Self::Commands => "commands",
            Self::Sse => "sse",
            Self::Stream => "stream",
            Self::Poll => "poll",
            Self::Emulation => "emulation",
            Self::Api => "api",
            Self::Tls => "tls-handshakes",
            Self::BadTokens => "bad-tokens",
            Self::Storm => "storm",
            Self::SlowReaders => "slow-readers",
        }
    }

    /// True exactly when clients speak TLS.
    pub(crate) const fn is_tls(self) -> bool {
        matches!(self, Self::Tls)
    }

    /// What one attacker does, once or for as long as its connection lasts.
    fn turn(self) -> fn(&Order<'_>) -> std::io::Result<()> {
        match self {
            Self::Raw => floods::raw,
            Self::Broadcast => floods::broadcast,
            Self::WebSocket => floods::publications,
            Self::Commands => floods::commands,
            Self::Sse => visits::sse,
            Self::Stream => visits::stream,
            Self::Poll => requests::polls,
            Self::Emulation => requests::emulation,
            Self::Api => requests::api,
            Self::Tls => visits::tls,
            Self::BadTokens => visits::bad_token,
            Self::Storm => visits::storm,
            Self::SlowReaders => slow::reads_nothing,
        }
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Attack {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What an attacker is told.
struct Order<'a> {
    target: &'a Target,
    /// Its number.
    number: usize,
    common: &'a Common,
}

impl Order<'_> {
    /// True exactly when the attack goes on.
    fn goes_on(&self) -> bool {
        !self.common.is_over.load(Ordering::Relaxed)
    }

    /// Notes why the daemon wants no more of an attacker.
    fn heard(&self, what: &str) {
        *self.common.heard.lock().expect("nobody panics with it").entry(what.to_owned()).or_default() += 1;
    }

    fn did(&self, operations: u64) {
        self.common.done.fetch_add(operations, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Common {
    is_over: AtomicBool,
    done: AtomicU64,
    heard: Mutex<BTreeMap<String, u64>>,
}

/// Attackers at work; they stop when this is dropped.
#[derive(Debug)]
pub struct Attackers {
    common: Arc<Common>,
    threads: Vec<JoinHandle<()>>,
}

impl Attackers {
    /// Starts so many.
    #[must_use]
    pub fn start(attack: Attack, target: &Target, count: usize) -> Self {
        let common = Arc::new(Common::default());
        let start = |number| {
            let (target, common) = (target.clone(), Arc::clone(&common));
            thread::spawn(move || {
                cpus::go_last();
                let order = Order { target: &target, number, common: &common };
                while order.goes_on() {
                    // A refusal is an answer too, and who was refused tries again.
                    if let Err(error) = attack.turn()(&order)
                        && order.goes_on()
                    {
                        order.heard(&error.to_string());
                        sleep(Duration::from_millis(2));
                    }
                }
            })
        };
        Self { threads: (0..count).map(start).collect(), common }
    }

    /// How much has been asked for: messages, requests, handshakes.
    pub(crate) fn done(&self) -> u64 {
        self.common.done.load(Ordering::Relaxed)
    }

    /// Why the daemon wanted no more of attackers, and how often; they tried again.
    pub(crate) fn heard(&self) -> BTreeMap<String, u64> {
        self.common.heard.lock().expect("nobody panics with it").clone()
    }

    /// Ends the attack, and waits for that.
    pub fn end(mut self) {
        self.common.is_over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().expect("an attacker does not panic"));
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        self.common.is_over.store(true, Ordering::Relaxed);
    }
}
