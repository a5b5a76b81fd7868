//! Server: what INFO, ROLE, CONFIG and CLUSTER say, taken apart.
//!
//! In:  answers.
//! Out: the few facts in them that matter to a node.
//!
//! No I/O, no clock.

use std::collections::BTreeMap;

use super::answer::{Answer, garbled};
use crate::receive::connection::Address;

/// The answer to INFO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info(BTreeMap<String, String>);

impl Info {
    /// Of lines `key:value`.
    pub fn of(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Self(fields.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect())
    }

    /// A field in words.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// A field that is a number.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.text(key)?.parse().ok()
    }

    /// Its program and version: `Redis`, `7.0.15`. Valkey calls itself Redis 7.2.4, too.
    pub fn version(&self) -> Option<(&'static str, &str)> {
        match self.text("valkey_version") {
            Some(version) => Some(("Valkey", version)),
            None => self.text("redis_version").map(|version| ("Redis", version)),
        }
    }
}

/// The answer to ROLE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// With so many replicas connected.
    Primary {
        /// How many.
        replicas: usize,
    },
    /// Of another server.
    Replica {
        /// Which.
        of: Address,
    },
    /// Something else, as `sentinel`.
    Other(String),
}

impl Role {
    pub(super) fn of(answer: Answer) -> Result<Self, String> {
        let mut parts = answer.list()?.into_iter();
        let mut next = || parts.next().ok_or_else(garbled);
        Ok(match next()?.text()?.as_str() {
            "master" => {
                next()?;
                Self::Primary { replicas: next()?.list()?.len() }
            }
            "slave" => {
                let host = next()?.text()?;
                let port = u16::try_from(next()?.number()?).map_err(|_| garbled())?;
                Self::Replica { of: Address { host, port } }
            }
            other => Self::Other(other.to_owned()),
        })
    }
}

/// How much may wait for a client before it is cut off; 0 for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimit {
    /// At once.
    pub hard_bytes: u64,
    /// If it waits for `soft_s`.
    pub soft_bytes: u64,
    /// For how long.
    pub soft_s: u64,
}

impl OutputLimit {
    /// That of a class of clients, of the setting `client-output-buffer-limit`: `normal 0 0 0 … pubsub 33554432 8388608 60`.
    pub fn of(class: &str, setting: &str) -> Option<Self> {
        let mut words = setting.split_whitespace().skip_while(|word| *word != class).skip(1);
        let mut next = || words.next()?.parse().ok();
        Some(Self { hard_bytes: next()?, soft_bytes: next()?, soft_s: next()? })
    }
}

/// The answer to CLUSTER INFO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterState {
    /// True exactly when it serves.
    pub is_ok: bool,
    /// Slots that a primary has which answers; of 16,384.
    pub slots_ok: u64,
}

impl ClusterState {
    pub(super) fn of(text: &str) -> Self {
        let info = Info::of(text);
        Self {
            is_ok: info.text("cluster_state") == Some("ok"),
            slots_ok: info.number("cluster_slots_ok").unwrap_or_default(),
        }
    }
}

/// Of `[[from, to, [host, port, …], replica …], …]`.
pub(super) fn primaries(answer: Answer, own_host: &str) -> Result<Vec<Address>, String> {
    let mut primaries = Vec::new();
    for range in answer.list()? {
        let server = range.list()?.into_iter().nth(2).ok_or_else(garbled)?;
        let mut parts = server.list()?.into_iter();
        let (host, port) = parts.next().zip(parts.next()).ok_or_else(garbled)?;
        let host = match host {
            Answer::Nothing => own_host.to_owned(),
            host => Some(host.text()?).filter(|host| !host.is_empty()).unwrap_or_else(|| own_host.to_owned()),
        };
        let port = u16::try_from(port.number()?).map_err(|_| garbled())?;
        let address = Address { host, port };
        if !primaries.contains(&address) {
            primaries.push(address);
        }
    }
    Ok(primaries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Answer {
        Answer::Text(text.into())
    }

    fn list(of: impl IntoIterator<Item = Answer>) -> Answer {
        Answer::List(of.into_iter().collect())
    }

    #[test]
    fn what_a_server_says_of_itself_is_taken_apart() {
        let info = Info::of("# Server\r\nredis_version:7.0.15\r\nmaxmemory:100\r\n");
        assert_eq!((info.version(), info.number("maxmemory")), (Some(("Redis", "7.0.15")), Some(100)));
        assert_eq!(info.number("redis_version"), None);
        let valkey = Info::of("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n");
        assert_eq!(valkey.version(), Some(("Valkey", "9.1.2")));
        let limit =
            OutputLimit::of("pubsub", "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60");
        assert_eq!(limit, Some(OutputLimit { hard_bytes: 32 << 20, soft_bytes: 8 << 20, soft_s: 60 }));
        assert_eq!(OutputLimit::of("pubsub", "normal 0 0 0"), None);
        let state = ClusterState::of("cluster_state:fail\r\ncluster_slots_ok:12288\r\n");
        assert_eq!(state, ClusterState { is_ok: false, slots_ok: 12_288 });
    }

    #[test]
    fn roles_are_told_apart() {
        let replica = list([text("127.0.0.1"), text("6380"), text("12")]);
        let primary = list([text("master"), Answer::Number(12), list([replica])]);
        assert_eq!(Role::of(primary), Ok(Role::Primary { replicas: 1 }));
        let of = Address { host: "a.test".into(), port: 6379 };
        let replica = list([text("slave"), text("a.test"), Answer::Number(6379), text("connected")]);
        assert_eq!(Role::of(replica), Ok(Role::Replica { of }));
        assert_eq!(Role::of(list([text("sentinel"), list([])])), Ok(Role::Other("sentinel".into())));
        assert!(Role::of(list([text("master")])).is_err() && Role::of(list([])).is_err());
    }

    #[test]
    fn each_primary_is_named_once_and_one_without_a_name_is_where_the_asked_one_is() {
        let server = |host, port| list([host, Answer::Number(port), text("id")]);
        let range = |from, server| list([Answer::Number(from), Answer::Number(from + 9), server]);
        let slots = list([
            range(0, server(text("a"), 1)),
            range(10, server(text(""), 2)),
            range(20, server(text("a"), 1)),
            range(30, server(Answer::Nothing, 3)),
        ]);
        let shown: Vec<_> = primaries(slots, "own").unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a:1", "own:2", "own:3"]);
        assert!(primaries(list([list([])]), "own").is_err());
    }
}
