//! Place: one server, as an operator reaches it.
//!
//! In:  its address, and how nodes connect to it.
//! Out: names for checks; commands for a shell and lines for a file that change it.

use holdfast_redis::receive::connection::{Address, ConnectionOptions};

use super::super::Check;

/// The user of who has no other name.
const DEFAULT_USER: &str = "default";

/// A server.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) connection: ConnectionOptions,
    /// What it is to the deployment: `redis`, `sentinel`.
    pub(super) what: &'static str,
}

impl Place {
    /// A server of the deployment at another address than that of `connection`.
    pub(super) fn of(what: &'static str, connection: &ConnectionOptions, address: &Address) -> Self {
        Self { connection: ConnectionOptions { address: address.clone(), ..connection.clone() }, what }
    }

    pub(super) fn address(&self) -> &Address {
        &self.connection.address
    }

    /// The user that nodes log in as.
    pub(super) fn user(&self) -> &str {
        let login = self.connection.credentials.as_ref();
        login.and_then(|login| login.user.as_deref()).unwrap_or(DEFAULT_USER)
    }

    /// A check of one of its properties.
    pub(super) fn check(&self, property: &str, found: String, needs: impl Into<String>) -> Check {
        Check::new(&format!("{} {} {property}", self.what, self.address()), found, needs)
    }

    /// A command of `redis-cli` by someone who may do everything.
    pub(super) fn cli(&self, command: &str) -> String {
        let Address { host, port } = self.address();
        let tls = if self.connection.tls.is_some() { " --tls" } else { "" };
        format!("`redis-cli -h {host} -p {port}{tls} {command}`")
    }

    /// The command and the line of redis.conf by which a setting changes.
    pub(super) fn set(&self, name: &str, value: &str) -> String {
        let quoted = if value.contains(' ') { format!("'{value}'") } else { value.to_owned() };
        format!("{}, and in redis.conf: {name} {value}", self.cli(&format!("CONFIG SET {name} {quoted}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_reach_the_server_and_say_no_password() {
        let mut connection = ConnectionOptions::new("redis.test", 6379);
        connection.credentials =
            Some(holdfast_redis::receive::connection::Credentials { user: None, password: "secret".into() });
        let address = Address { host: "other.test".into(), port: 7000 };
        let place = Place::of("redis", &connection, &address);
        assert_eq!(place.user(), "default");
        assert_eq!(place.check("role", "x".into(), "y").what, "redis other.test:7000 role");
        assert_eq!(
            place.set("appendonly", "yes"),
            "`redis-cli -h other.test -p 7000 CONFIG SET appendonly yes`, and in redis.conf: appendonly yes"
        );
        assert!(place.set("save", "60 1").contains("CONFIG SET save '60 1'`, and in redis.conf: save 60 1"));
    }
}
