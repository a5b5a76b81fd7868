//! Manager: what the service manager is told (sd_notify(3)).
//!
//! In:  `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` of the environment; what the daemon does.
//! Out: `READY=1`, `STOPPING=1`, `STATUS=…`; `WATCHDOG=1` while all parts beat.
//!
//! Where there is no such manager this costs nothing, and one that does not read keeps nobody waiting for long.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process,
    time::Duration,
};

/// How often within the manager's time it is told.
const WATCHDOG_PARTS: u32 = 3;

/// How long the manager may take to read.
const SEND_MAX: Duration = Duration::from_millis(200);

/// The way to the service manager.
#[derive(Debug)]
pub(crate) struct Manager {
    is_there: bool,
    watchdog_every: Option<Duration>,
    /// When it was last told that all is well.
    fed: Option<Duration>,
    status: String,
}

impl Manager {
    pub(crate) fn find() -> Self {
        let watchdog_every = watchdog_within().map(|within| within / WATCHDOG_PARTS);
        Self { is_there: address().is_some(), watchdog_every, fed: None, status: String::new() }
    }

    /// Clients can connect.
    pub(crate) fn ready() {
        tell("READY=1");
    }

    /// Clients are sent away.
    pub(crate) fn stopping() {
        tell("STOPPING=1");
    }

    /// All parts beat.
    pub(super) fn all_is_well(&mut self, now: Duration) {
        if let Some(every) = self.watchdog_every
            && self.fed.is_none_or(|fed| now.saturating_sub(fed) >= every)
        {
            self.fed = Some(now);
            tell("WATCHDOG=1");
        }
    }

    /// What the daemon does, where that has changed.
    pub(super) fn status(&mut self, status: impl FnOnce() -> String) {
        if !self.is_there {
            return;
        }
        let status = status();
        if status != self.status {
            tell(&format!("STATUS={status}"));
            self.status = status;
        }
    }
}

/// Where the manager listens: a path, or a name in the abstract namespace after an `@`.
fn address() -> Option<io::Result<SocketAddr>> {
    let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
    Some(match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        path => SocketAddr::from_pathname(OsStr::from_bytes(path)),
    })
}

/// How long the manager waits for a sign of life of this process (sd_watchdog_enabled(3)).
fn watchdog_within() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
    number("WATCHDOG_USEC").filter(|&within| is_ours && within > 0).map(Duration::from_micros)
}

fn tell(what: &str) {
    let Some(address) = address() else { return };
    let told = address.and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_MAX))?;
        socket.send_to_addr(what.as_bytes(), &address)
    });
    if let Err(error) = told {
        tracing::warn!(%error, "cannot notify the service manager: it may restart the daemon; check NOTIFY_SOCKET");
    }
}
