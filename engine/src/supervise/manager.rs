//! Manager: notifies the service manager (sd_notify(3)).
//!
//! In:  `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` of the environment; the state of the daemon.
//! Out: `READY=1`, `STOPPING=1`, `STATUS=…`; `WATCHDOG=1` while all parts beat.
//!
//! Without a service manager this costs nothing. One that does not read delays the caller only briefly.

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

/// Keep-alives within the manager's timeout.
const WATCHDOG_PARTS: u32 = 3;

/// The timeout for one notification.
const SEND_MAX: Duration = Duration::from_millis(200);

/// The connection to the service manager.
#[derive(Debug)]
pub(crate) struct Manager {
    is_there: bool,
    watchdog_every: Option<Duration>,
    /// When the last keep-alive was sent.
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

    /// Clients are being disconnected.
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

    /// Sends the status if it has changed.
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

/// The manager's address: a path, or a name in the abstract namespace after an `@`.
fn address() -> Option<io::Result<SocketAddr>> {
    let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
    Some(match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        path => SocketAddr::from_pathname(OsStr::from_bytes(path)),
    })
}

/// The manager's timeout for keep-alives of this process (sd_watchdog_enabled(3)).
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
