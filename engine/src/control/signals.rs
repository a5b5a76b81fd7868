//! Signals: stops the daemon on some signals, and ignores others that end a process by default.
//!
//! In:  SIGTERM and SIGINT; SIGHUP; all other signals that a process can get without a fault of its own.
//! Out: the graceful stop; reloaded certificates (`tls`); or only a log line.
//!
//! SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS and SIGTRAP report faults, and end the process.

use std::ops::RangeInclusive;

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that the daemon ignores; by default, each ends the process (signal(7)).
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

/// The real-time signals. The C library reserves 32 and 33.
const REAL_TIME: RangeInclusive<i32> = 34..=64;

/// All handled signals.
pub(super) struct Signals {
    pub(super) terminate: Signal,
    pub(super) interrupt: Signal,
    hangup: Signal,
    meaningless: Vec<(Signal, &'static str)>,
}

impl Signals {
    /// Starts handling the signals. From here on, none of them ends the process by default.
    ///
    /// # Errors
    /// The signal handlers cannot be installed.
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

    /// Separates the signals that stop the daemon from the others.
    pub(super) fn split(self) -> ((Signal, Signal), Others) {
        ((self.terminate, self.interrupt), Others { hangup: self.hangup, meaningless: self.meaningless })
    }
}

/// Signals that do not stop the daemon.
pub(super) struct Others {
    hangup: Signal,
    meaningless: Vec<(Signal, &'static str)>,
}

/// Logs each of these signals. `has_files` is true exactly when SIGHUP reloads certificates.
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
