//! Reload: reads certificates again while the daemon runs.
//!
//! In:  SIGHUP; files that have changed.
//! Out: a new configuration; or a line in the log, and the old configuration stays in force.

use std::{
    fs, io,
    sync::{Arc, atomic::AtomicI64},
    time::{Duration, SystemTime},
};

use rustls::ServerConfig;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{pem, secured};
use crate::config::TlsConfig;

/// How often files are checked.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The modification time and length of each file; `None` for one that cannot be read.
type Stamp = Vec<Option<(SystemTime, u64)>>;

/// Sends every new configuration over `renewed`, and stores the end of its certificates in `end`. `section` is the name of
/// the listener's section.
///
/// # Errors
/// SIGHUP cannot be watched.
pub(crate) async fn run(
    config: TlsConfig,
    section: &'static str,
    end: &AtomicI64,
    renewed: watch::Sender<Arc<ServerConfig>>,
) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = stamp(&config);
    loop {
        let was_asked = tokio::select! {
            _ = hangup.recv() => true,
            _ = ticks.tick() => false,
        };
        let now = stamp(&config);
        if !was_asked && now == known {
            continue;
        }
        known = now;
        match secured(&config, section) {
            Ok(Some(secured)) => {
                // There is no receiver left: the daemon stops.
                if renewed.send(secured.config).is_err() {
                    return Ok(());
                }
                tracing::info!(section, "the certificates were read again");
                if let Some(validity) = secured.validity {
                    validity.publish(end);
                    if let Some(warning) = validity.warning(section) {
                        tracing::warn!(section, "{warning}");
                    }
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(
                    section,
                    error = format!("{error:#}"),
                    "cannot read the certificates again: the current ones stay in use; mend the files and send SIGHUP"
                );
            }
        }
    }
}

fn stamp(config: &TlsConfig) -> Stamp {
    let sources = [&config.cert_pem, config.key_pem.expose(), &config.client_ca_pem];
    let paths = sources.into_iter().filter_map(|source| pem::path(source));
    paths.map(|path| fs::metadata(path).and_then(|file| Ok((file.modified()?, file.len()))).ok()).collect()
}
