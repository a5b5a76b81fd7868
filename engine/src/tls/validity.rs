//! Validity: the validity period of a listener's certificates.
//!
//! In:  a chain of certificates; the time.
//! Out: the seconds left, for metrics; a warning when the chain is not valid yet, expires soon or has expired.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::pki_types::CertificateDer;
use x509_parser::{parse_x509_certificate, time::ASN1Time};

use crate::config::Warning;

/// How long before its end a certificate causes a warning: this, or a fifth of its validity period if that is shorter.
const SOON_S: i64 = 14 * 24 * 3_600;

/// The period in which all certificates of a chain are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    from: ASN1Time,
    until: ASN1Time,
}

/// The end of each listener's validity period, in seconds since 1970; [`NONE`] without TLS.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) clients: AtomicI64,
    pub(crate) control: AtomicI64,
}

/// No certificate.
const NONE: i64 = i64::MAX;

impl Default for Ends {
    fn default() -> Self {
        Self { clients: AtomicI64::new(NONE), control: AtomicI64::new(NONE) }
    }
}

impl Ends {
    /// Each listener's name, with the seconds until its certificates expire; negative if they have expired.
    pub(crate) fn left_s(&self) -> impl Iterator<Item = (&'static str, i64)> {
        let now_s = now_s();
        let ends = [("clients", &self.clients), ("control", &self.control)];
        ends.map(|(name, end)| (name, end.load(Ordering::Relaxed)))
            .into_iter()
            .filter(|&(_, end)| end != NONE)
            .map(move |(name, end)| (name, end - now_s))
    }
}

impl Validity {
    /// `None` if no certificate can be parsed; rustls decides whether to use them.
    pub(crate) fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let each = chain.iter().filter_map(|certificate| {
            let (_, certificate) = parse_x509_certificate(certificate).ok()?;
            let validity = certificate.validity();
            Some(Self { from: validity.not_before, until: validity.not_after })
        });
        each.reduce(|all, one| Self { from: all.from.max(one.from), until: all.until.min(one.until) })
    }

    /// Stores the end for the metrics.
    pub(crate) fn publish(self, end: &AtomicI64) {
        end.store(self.until.timestamp(), Ordering::Relaxed);
    }

    /// The warning about it now, if any; `section` is the listener's.
    pub(crate) fn warning(self, section: &str) -> Option<Warning> {
        self.warning_at(section, now_s())
    }

    fn warning_at(self, section: &str, now_s: i64) -> Option<Warning> {
        let (from_s, until_s) = (self.from.timestamp(), self.until.timestamp());
        let soon_s = SOON_S.min((until_s - from_s) / 5);
        let found = if now_s >= until_s {
            format!("the certificate expired on {}, and clients refuse it", self.until)
        } else if now_s < from_s {
            format!("the certificate is not valid before {}, and clients refuse it", self.from)
        } else if until_s - now_s < soon_s {
            format!("the certificate expires in {} hours, on {}", (until_s - now_s) / 3_600, self.until)
        } else {
            return None;
        };
        let advice = "replace the file: the daemon reads it again when it changes";
        Some(Warning { key: format!("{section}.cert_pem"), found, advice: advice.to_owned() })
    }
}

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_warned_of_before_its_time_shortly_before_its_end_and_after_it() {
        let day = 24 * 3_600;
        let at = |s| ASN1Time::from_timestamp(s).unwrap();
        let found = |days: i64, now_s| {
            let validity = Validity { from: at(1_000), until: at(1_000 + days * day) };
            validity.warning_at("http_server.tls", now_s).map(|warning| warning.found)
        };
        for (days, now_s, expected) in [
            (90, 999, Some("not valid before")),
            (90, 1_000, None),
            (90, 1_000 + 75 * day, None),
            (90, 1_001 + 76 * day, Some("expires in 335 hours")),
            (90, 1_000 + 90 * day, Some("expired on")),
            // One that is renewed every few days is not always about to expire.
            (6, 1_000 + 4 * day, None),
            (6, 1_000 + 5 * day, Some("expires in 24 hours")),
        ] {
            let found = found(days, now_s);
            match expected {
                Some(part) => assert!(found.as_ref().is_some_and(|found| found.contains(part)), "{found:?}"),
                None => assert_eq!(found, None, "{days} {now_s}"),
            }
        }
    }
}
