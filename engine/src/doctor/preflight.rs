//! Preflight: reads the files that the configuration names, before the daemon opens anything.
//!
//! In:  a checked configuration.
//! Out: the TLS of both listeners, or every fault in their files; warnings.
//!
//! `serve`, `config check` and `doctor` all use it, so that none of them accepts what another refuses.

use std::{env, fmt};

use crate::{
    config::{Config, TlsConfig, Warning},
    http_client,
    tls::{self, CLIENT_TLS, CONTROL_TLS, Secured},
};

/// What the daemon starts with.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) clients: Option<Secured>,
    pub(crate) control: Option<Secured>,
    warnings: Vec<Warning>,
}

/// Everything that keeps the daemon from starting, in sentences for the operator.
#[derive(Debug)]
pub(crate) struct Faults(Vec<String>);

impl Faults {
    /// One by one.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Faults {}

impl Prepared {
    /// Reads all files.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn new(config: &Config) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let mut secure = |options: &TlsConfig, section: &str| {
            tls::secured(options, section).unwrap_or_else(|error| {
                faults.push(format!("{error:#}"));
                None
            })
        };
        let clients = secure(&config.http_server.tls, CLIENT_TLS);
        let control = secure(&config.http_server.internal_tls, CONTROL_TLS);
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        let mut warnings = Vec::new();
        for (secured, section) in [(&clients, CLIENT_TLS), (&control, CONTROL_TLS)] {
            let validity = secured.as_ref().and_then(|secured| secured.validity);
            warnings.extend(validity.and_then(|validity| validity.warning(section)));
        }
        warnings.extend(no_authorities(config));
        Ok(Self { clients, control, warnings })
    }

    /// What is allowed, and likely not wanted; beside what the configuration itself is warned of.
    pub(crate) fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

/// Warns if servers cannot be authenticated in calls by `https`.
fn no_authorities(config: &Config) -> Option<Warning> {
    if !config.calls_by_https() {
        return None;
    }
    let (roots, errors) = http_client::authorities();
    let is_named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().find(|name| env::var_os(name).is_some());
    let found = match (roots.is_empty(), is_named) {
        (true, _) => "no certificate authority was found: calls to https backends will fail",
        (false, Some(_)) if !errors.is_empty() => "cannot read some certificate authorities",
        _ => return None,
    };
    let found = if errors.is_empty() { found.to_owned() } else { format!("{found} ({})", errors.join("; ")) };
    Some(Warning {
        key: is_named.unwrap_or("SSL_CERT_FILE").to_owned(),
        found,
        advice: "install the package ca-certificates, or name a file with authorities".to_owned(),
    })
}
