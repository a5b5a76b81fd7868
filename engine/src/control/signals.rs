//! Signals: which signals end the daemon, and which do not though they would end most processes.
//!
//! In:  SIGTERM and SIGINT; SIGHUP; all other signals that can be sent to a process without a fault.
//! Out: the graceful stop; reloaded certificates (`tls`); or only a line in the log.
//!
//! SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS and SIGTRAP report faults, and end the process.

use std::ops::RangeInclusive;

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals without a meaning here; by default each would end the process (signal(7)).
const MEANINGLESS: [(Number, &str); 11] = [
    (Number::QUIT, "SIGQUIT"),
    (Number::USR1, "SIGUSR1"),
    (Number::USR2, "SIGUSR2"),
    (Number::ALARM, "SIGALRM"),
    (Number::STKFLT, "SIGSTKFLT"),
    (Number::XCPU, "SIGXCPU"),
    (Number::XFSZ, "SIGXFSZ"),
    (Number::VTALARM, "SIGVTALRM"),
    (Number::PROF, "SIGPROF"),
    (Number::IO, "SIGIO"),
    (Number::POWER, "SIGPWR"),
];

/// The real-time signals. The C library keeps 32 and 33 for itself.
const REAL_TIME: RangeInclusive<i32> = 34..=64;

/// The signals watched from the start.
pub(super) struct Signals {
    pub(super) terminate: Signal,
    pub(super) interrupt: Signal,
    hangup: Signal,
    meaningless: Vec<(Signal, &'static str)>,
}

impl Signals {
    /// From here on none of them ends the process by default.
    ///
    /// # Errors
    /// Signals cannot be watched.
    pub(super) fn watch() -> anyhow::Result<Self> {
        let watch = |kind| signal(kind).context("cannot watch signals");
        let real_time = REAL_TIME.map(|number| (number, "a real-time signal"));
        let meaningless =
            MEANINGLESS.map(|(number, name)| (number.as_raw(), name)).into_iter().chain(real_time);
        Ok(Self {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
            hangup: watch(SignalKind::hangup())?,
            meaningless: meaningless
                .map(|(number, name)| Ok((watch(SignalKind::from_raw(number))?, name)))
                .collect::<anyhow::Result<_>>()?,
        })
    }

    /// The signals that end the daemon, and the others.
    pub(super) fn split(self) -> ((Signal, Signal), Others) {
        ((self.terminate, self.interrupt), Others { hangup: self.hangup, meaningless: self.meaningless })
    }
}

/// Signals that do not end the daemon.
pub(super) struct Others {
    hangup: Signal,
    meaningless: Vec<(Signal, &'static str)>,
}

/// Logs each signal that has no effect. `has_files` is true exactly when SIGHUP reloads certificates.
pub(super) async fn tell(others: Others, has_files: bool) {
    let Others { mut hangup, meaningless } = others;
    let comings = meaningless.into_iter().map(|(signal, name)| {
        stream::unfold(signal, move |mut signal| async move {
            signal.recv().await?;
            Some((name, signal))
        })
        .boxed()
    });
    let mut comings = stream::select_all(comings);
    loop {
        tokio::select! {
            Some(name) = comings.next() => {
                tracing::info!(event = name, "the daemon ignores this signal; SIGTERM and SIGINT stop it, and SIGHUP reads the certificates again");
            }
            Some(()) = hangup.recv() => if has_files {
                tracing::info!(event = "SIGHUP", "the certificates are read again; all other options stay as they are until a restart");
            } else {
                tracing::info!(event = "SIGHUP", "nothing is reloaded: TLS is off, and all other options stay as they are until a restart");
            },
            else => return,
        }
    }
}
