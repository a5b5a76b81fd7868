//! Scenario: what a run does to the server.
//!
//! In:  flags that only one scenario has, checked.
//! Out: the scenario, its name, and where it publishes.

/// A scenario and what only it needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scenario {
    /// Keep connections open.
    Hold,
    /// Send on the first `busy` connections, each message comes back.
    Echo {
        /// How many connections talk.
        busy: u32,
        /// Messages a second in all; none: the next when the last came back.
        rate_per_s: Option<f64>,
    },
    /// Publish on the first `publishers` connections, each message goes to all.
    Broadcast {
        /// How many connections publish, in turn.
        publishers: u32,
        /// Messages a second in all.
        rate_per_s: f64,
        /// Messages in one write.
        burst: u32,
        /// True exactly when the server does not send a message to its publisher.
        sender_excluded: bool,
        /// The part of the connections that stop reading once they are open.
        stalled: f64,
    },
    /// Connect and leave.
    Churn {
        /// Arrivals a second.
        rate_per_s: f64,
        /// Arrivals in all; none: as many as fit the duration.
        total: Option<u32>,
        /// True exactly when each sends a message and waits for its echo.
        echo: bool,
    },
    /// All drop, all come back.
    Storm {
        /// Messages that were published to each channel meanwhile, for each client to recover.
        recover: u32,
    },
    /// Publish through the server API, whatever fails; who is cut off comes back and recovers.
    Failover {
        /// Messages a second in all.
        rate_per_s: f64,
    },
}

impl Scenario {
    /// Its name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Echo { .. } => "echo",
            Self::Broadcast { .. } => "broadcast",
            Self::Churn { .. } => "churn",
            Self::Storm { .. } => "storm",
            Self::Failover { .. } => "failover",
        }
    }
}

/// How to publish through a server's HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishApi {
    /// What the methods' names are appended to, after a slash: of each server, at least one.
    pub urls: Vec<String>,
    /// Shown with every call; empty for none.
    pub key: String,
    /// True exactly when each message goes to all channels at once.
    pub every_channel: bool,
}

impl PublishApi {
    /// Checks the addresses.
    ///
    /// # Errors
    /// A sentence that names the flag and what it may be.
    pub fn new(urls: &[String], key: Option<String>, every_channel: bool) -> Result<Self, String> {
        let urls = urls.iter().map(|url| Self::checked(url)).collect::<Result<_, _>>()?;
        Ok(Self { urls, key: key.unwrap_or_default(), every_channel })
    }

    fn checked(url: &str) -> Result<String, String> {
        let wrong = |why| Err(format!("--publish-api is {url:?}: {why}"));
        match url.split_once("://") {
            Some(("http", rest)) if rest.starts_with('/') || rest.is_empty() => wrong("it names no host"),
            Some(("http", rest)) if rest.contains(|c: char| !c.is_ascii_graphic() || "?#@".contains(c)) => {
                wrong("it is a plain http://host:port/api")
            }
            Some(("http", _)) => Ok(url.trim_end_matches('/').to_owned()),
            Some(("https", _)) => wrong("https:// (TLS) is not yet in this version"),
            _ => wrong("it looks like http://host:port/api"),
        }
    }
}
