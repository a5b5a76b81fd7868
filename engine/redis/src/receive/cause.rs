//! Cause: why a connection to Redis came to an end, or did not come about.
//!
//! In:  errors of every stage.
//! Out: a kind, which is counted, and words for an operator.

use std::io;

use bytes::Bytes;

use super::resp::ProtocolError;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The name has no address, or nobody answered for it.
    #[error("the host name was not resolved: {0}")]
    Resolve(io::Error),
    /// No address took the connection.
    #[error("no connection came about: {0}")]
    Connect(io::Error),
    /// The TLS handshake failed: often a certificate for another name, or a server without TLS.
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
    /// User or password is wrong, or missing, or this user may do nothing here.
    #[error("Redis does not let us in: {0}")]
    Authentication(String),
    /// It still reads its data, or it lost its master.
    #[error("Redis is not ready: {0}")]
    NotReady(String),
    /// `ROLE` says something else: a failover went by, or this is the wrong address.
    #[error("this Redis is no master, but {0}")]
    NotMaster(String),
    /// Some step before the connection counts as up was answered otherwise than Redis does.
    #[error("Redis answered {step} with {answer}")]
    Handshake {
        /// The command.
        step: &'static str,
        /// The answer.
        answer: String,
    },
    /// A deadline of a step before the connection is up.
    #[error("{0} took too long")]
    Deadline(&'static str),
    /// The server closed it: a restart, `CLIENT KILL`, or its `client-output-buffer-limit pubsub`.
    #[error("Redis closed the connection (restart, CLIENT KILL, or client-output-buffer-limit pubsub?)")]
    Closed,
    /// The kernel gave it up.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// What came is not RESP, or beyond our limits.
    #[error("what came cannot be read: {0}")]
    Protocol(#[from] ProtocolError),
    /// A reply to nothing that was asked. From there on no reply can be told whose it is.
    #[error("a reply belongs to no command of ours: {0}")]
    Unasked(String),
    /// A command was not answered in time, though the connection lives.
    #[error("a subscription or PING was not answered")]
    Unanswered,
    /// Nothing came within the time of a probe.
    #[error("the connection fell silent: PING was not answered")]
    Silent,
    /// It answers, but what is published does not arrive: a demoted master, or a moved slot.
    #[error("the connection is deaf: a probe was published, and did not arrive")]
    Deaf,
    /// The server counts other subscriptions than those that it confirmed.
    #[error("Redis counts {theirs} subscriptions of this connection where it confirmed {ours}")]
    Miscounted {
        /// Confirmed ones.
        ours: usize,
        /// The server's number.
        theirs: i64,
    },
    /// The owner wants another one.
    #[error("a new connection was asked for")]
    Asked,
    /// The owner wants none any more.
    #[error("the link was stopped")]
    Stopped,
    /// A bug of ours. The link goes on with a new connection.
    #[error("the reader panicked; this is a bug, please report it")]
    Panicked,
}

/// How many kinds of [`Cause`] there are.
pub const CAUSES: usize = NAMES.len();

const NAMES: [&str; 19] = [
    "resolve",
    "connect",
    "tls",
    "authentication",
    "not_ready",
    "not_master",
    "handshake",
    "deadline",
    "closed",
    "broken",
    "protocol",
    "unasked",
    "unanswered",
    "silent",
    "deaf",
    "miscounted",
    "asked",
    "stopped",
    "panicked",
];

impl Cause {
    /// Of this kind, less than [`CAUSES`].
    pub fn index(&self) -> usize {
        match self {
            Self::Resolve(_) => 0,
            Self::Connect(_) => 1,
            Self::Tls(_) => 2,
            Self::Authentication(_) => 3,
            Self::NotReady(_) => 4,
            Self::NotMaster(_) => 5,
            Self::Handshake { .. } => 6,
            Self::Deadline(_) => 7,
            Self::Closed => 8,
            Self::Broken(_) => 9,
            Self::Protocol(_) => 10,
            Self::Unasked(_) => 11,
            Self::Unanswered => 12,
            Self::Silent => 13,
            Self::Deaf => 14,
            Self::Miscounted { .. } => 15,
            Self::Asked => 16,
            Self::Stopped => 17,
            Self::Panicked => 18,
        }
    }

    /// Its kind as a metric's label.
    pub fn name(&self) -> &'static str {
        Self::name_of(self.index())
    }

    /// The label of the kind with that index.
    ///
    /// # Panics
    ///
    /// Where it is not less than [`CAUSES`].
    pub fn name_of(index: usize) -> &'static str {
        NAMES[index]
    }

    /// What an error that Redis answered to `step` means.
    pub(super) fn of_answer(step: &'static str, error: &Bytes) -> Self {
        let answer = printable(error);
        match answer.split(' ').next().unwrap_or_default() {
            "WRONGPASS" | "NOAUTH" | "NOPERM" => Self::Authentication(answer),
            "LOADING" | "MASTERDOWN" | "BUSY" => Self::NotReady(answer),
            // Redis before 6: `ERR invalid password`, `ERR Client sent AUTH, but no password is set`.
            "ERR" if step == "AUTH" || answer.contains("AUTH") => Self::Authentication(answer),
            _ => Self::Handshake { step, answer },
        }
    }
}

/// What a server wrote, fit for a log: at most 200 characters, none of which moves a cursor.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().take(200).map(|char| if char.is_control() { '?' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_answers_at_the_door_is_told_apart() {
        let name =
            |step, text: &'static str| Cause::of_answer(step, &Bytes::from_static(text.as_bytes())).name();
        assert_eq!(name("HELLO", "WRONGPASS invalid username-password pair"), "authentication");
        assert_eq!(
            name("HELLO", "NOAUTH HELLO must be called with the client already authenticated"),
            "authentication"
        );
        assert_eq!(name("AUTH", "ERR invalid password"), "authentication");
        assert_eq!(name("PING", "LOADING Redis is loading the dataset in memory"), "not_ready");
        assert_eq!(name("ROLE", "ERR unknown command"), "handshake");
    }

    #[test]
    fn a_server_cannot_write_into_the_log_what_it_likes() {
        assert_eq!(printable(b"a\r\n\x1b[2Jb\xff"), "a???[2Jb\u{fffd}");
        assert_eq!(printable(&[b'a'; 1000]).len(), 200);
    }
}
