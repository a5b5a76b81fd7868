//! Rights: what a user may not do of what a node does.
//!
//! In:  the names of a deployment, and what of it is used.
//! Out: what is lacking, and the server's words.
//!
//! Redis checks commands, keys and channels when it takes a command into a transaction. So all of them go into one that
//! begins with a command which no server knows: it cannot be executed any more, and nothing is changed. `ACL DRYRUN` would
//! need a right that such users seldom have.

use super::{Look, answer::Answer};
use crate::layout::Layout;

/// Spoils a transaction.
const UNKNOWN: &str = "HOLDFAST.UNKNOWN";

/// A channel of which there is nothing.
const CHANNEL: &str = "holdfast-doctor";

/// What of a deployment is used.
#[derive(Debug, Clone, Copy)]
pub struct Use<'a> {
    /// The names.
    pub layout: &'a Layout,
    /// True exactly when users are counted beside clients.
    pub are_users_counted: bool,
    /// True exactly when presence ends by HEXPIRE.
    pub is_presence_by_field: bool,
    /// True exactly when users have a limited number of connections.
    pub are_connections_limited: bool,
    /// True exactly when publications wait for replicas.
    pub are_replicas_awaited: bool,
}

/// What is lacking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// This command.
    Command(String),
    /// This key, or all of the deployment.
    Key(String),
    /// This pub/sub channel.
    Channel(String),
    /// The server does not know this command: it is too old, or a proxy, or has renamed it.
    Unknown(String),
}

/// A command as it is tried.
struct Trial {
    words: Vec<String>,
    /// The key or channel that it is tried with.
    name: String,
}

impl Look {
    /// What the user that is logged in may not do of what a node does. Nothing is done.
    ///
    /// # Errors
    ///
    /// It cannot be tried, in words.
    pub async fn lacks(&mut self, of: Use<'_>) -> Result<Vec<Lack>, String> {
        if let Err(words) = self.ask(&["MULTI"]).await {
            return lack(&words, "multi", "").map_or(Err(words), |lack| Ok(vec![lack]));
        }
        if self.ask(&[UNKNOWN]).await.is_ok() {
            // Some proxy. What follows would be executed.
            return Err(
                "what is between this machine and Redis takes transactions as they are not meant".to_owned()
            );
        }
        let mut lacks = Vec::new();
        for Trial { words, name } in trials(of) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            match self.ask(&words).await {
                Ok(Answer::Text(queued)) if queued == "QUEUED" => {}
                Ok(_) => return Err(super::answer::garbled()),
                Err(refusal) => match lack(&refusal, &words[0].to_lowercase(), &name) {
                    Some(lack) if !lacks.contains(&lack) => lacks.push(lack),
                    Some(_) => {}
                    // The slot is another server's, which says that the rest was in order.
                    None if refusal.starts_with("MOVED") => {}
                    None => return Err(refusal),
                },
            }
        }
        match self.ask(&["EXEC"]).await {
            Ok(_) => return Err(super::answer::garbled()),
            Err(words) if words.starts_with("EXECABORT") => {}
            // Where it may not be run, the transaction ends with the connection.
            Err(words) => lacks.extend(lack(&words, "exec", "")),
        }
        Ok(lacks)
    }
}

/// True exactly when the server does not know the command.
pub(super) fn is_unknown(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    words.starts_with("err unknown command") || words.starts_with("err unknown subcommand")
}

/// What an error is about. The words are those of Redis 6 to 8 and Valkey 9.
fn lack(words: &str, command: &str, name: &str) -> Option<Lack> {
    if is_unknown(words) {
        return Some(Lack::Unknown(command.to_owned()));
    }
    if !words.starts_with("NOPERM") {
        return None;
    }
    Some(if words.contains("to run the") {
        Lack::Command(command.to_owned())
    } else if words.contains("channel") {
        Lack::Channel(name.to_owned())
    } else if words.contains("key") {
        Lack::Key(name.to_owned())
    } else {
        Lack::Command(command.to_owned())
    })
}

/// All that a node does, with names as it would have them.
fn trials(of: Use<'_>) -> Vec<Trial> {
    let Use {
        layout,
        are_users_counted,
        is_presence_by_field,
        are_connections_limited,
        are_replicas_awaited,
    } = of;
    let (stream, meta, result) =
        (layout.stream(CHANNEL), layout.meta(CHANNEL), layout.result(CHANNEL, "key"));
    let (data, expire) = (layout.presence(CHANNEL), layout.presence_expire(CHANNEL));
    let mut trials = Vec::new();
    let mut on = |name: &str, command: &str| {
        // `?` stands for the name.
        let words = command.split(' ').map(|word| if word == "?" { name } else { word });
        trials.push(Trial { words: words.map(str::to_owned).collect(), name: name.to_owned() });
    };
    // Without SCRIPT LOAD, scripts go by their text.
    for command in ["PING", "TIME", "ROLE"] {
        on("", command);
    }
    for command in ["EVAL return 1 ?", "EVALSHA 0123456789012345678901234567890123456789 1 ?"] {
        on(&stream, command);
    }
    for command in ["XADD ? MAXLEN 1 1 d x", "XRANGE ? - +", "XREVRANGE ? + -", "EXPIRE ? 1", "DEL ?"] {
        on(&stream, command);
    }
    for command in
        ["HSETNX ? e x", "HMGET ? e s", "HGET ? e", "HSET ? e x", "HINCRBY ? s 1", "HDEL ? v", "EXPIRE ? 1"]
    {
        on(&meta, command);
    }
    for command in ["HMGET ? e s", "HSET ? e x", "EXPIRE ? 1"] {
        on(&result, command);
    }
    for command in ["HSET ? c x", "HDEL ? c", "HGETALL ?", "HLEN ?", "EXPIRE ? 1"] {
        on(&data, command);
    }
    if is_presence_by_field {
        on(&data, "HEXPIRE ? 1 FIELDS 1 c");
    }
    for command in ["ZADD ? 1 c", "ZREM ? c", "ZRANGEBYSCORE ? -inf 0 LIMIT 0 1", "ZMSCORE ? c", "EXPIRE ? 1"]
    {
        on(&expire, command);
    }
    if are_users_counted {
        for command in ["HINCRBY ? u 1", "HDEL ? u", "HLEN ?", "EXPIRE ? 1"] {
            on(&layout.users(CHANNEL), command);
        }
        for command in ["ZADD ? 1 u", "ZREM ? u", "EXPIRE ? 1"] {
            on(&layout.users_expire(CHANNEL), command);
        }
    }
    if are_connections_limited {
        let commands = ["ZADD ? 1 l", "ZREM ? l", "ZCARD ?", "ZSCORE ? l", "ZRANGE ? 0 1", "PEXPIRE ? 1"];
        for command in commands {
            on(&layout.leases(CHANNEL), command);
        }
        for command in ["ZADD ? 1 l", "ZREM ? l", "ZRANGEBYSCORE ? -inf 0 LIMIT 0 1", "PEXPIRE ? 1"] {
            on(&layout.leases_expire(CHANNEL), command);
        }
    }
    if are_replicas_awaited {
        on("", "WAIT 0 1");
    }
    let client = layout.channel(CHANNEL);
    let sharded = layout.is_sharded();
    for command in if sharded {
        ["SPUBLISH ? x", "SSUBSCRIBE ?", "SUNSUBSCRIBE ?"]
    } else {
        ["PUBLISH ? x", "SUBSCRIBE ?", "UNSUBSCRIBE ?"]
    } {
        on(&client, command);
    }
    for name in [layout.control(), layout.node(CHANNEL), layout.probe(CHANNEL)] {
        for command in ["PUBLISH ? x", "SUBSCRIBE ?", "UNSUBSCRIBE ?"] {
            on(&name, command);
        }
    }
    trials
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{layout::Mode, scripts::ALL};

    fn all(are_users_counted: bool) -> Vec<Trial> {
        let layout = Layout::new("p", Mode::Plain).unwrap();
        trials(Use {
            layout: &layout,
            are_users_counted,
            is_presence_by_field: true,
            are_connections_limited: true,
            are_replicas_awaited: true,
        })
    }

    #[test]
    fn what_servers_of_several_versions_say_is_told_apart() {
        let lack = |words: &str| lack(words, "xadd", "p.stream.x");
        for words in [
            "NOPERM this user has no permissions to run the 'xadd' command or its subcommand",
            "NOPERM this user has no permissions to run the 'xadd' command",
            "NOPERM User key-user has no permissions to run the 'xadd' command",
        ] {
            assert_eq!(lack(words), Some(Lack::Command("xadd".into())), "{words}");
        }
        for words in [
            "NOPERM this user has no permissions to access one of the keys used as arguments",
            "NOPERM No permissions to access a key",
        ] {
            assert_eq!(lack(words), Some(Lack::Key("p.stream.x".into())), "{words}");
        }
        for words in [
            "NOPERM this user has no permissions to access one of the channels used as arguments",
            "NOPERM No permissions to access a channel",
        ] {
            assert_eq!(lack(words), Some(Lack::Channel("p.stream.x".into())), "{words}");
        }
        assert_eq!(lack("ERR unknown command 'XADD', with args"), Some(Lack::Unknown("xadd".into())));
        assert_eq!(lack("MOVED 1 a:1"), None);
    }

    #[test]
    fn every_command_of_the_scripts_is_tried() {
        let tried: Vec<String> = all(true).iter().map(|trial| trial.words[0].clone()).collect();
        for script in ALL {
            for (at, call) in script.text.match_indices("redis.call('") {
                let rest = &script.text[at + call.len()..];
                let command = rest.split('\'').next().unwrap();
                assert!(tried.iter().any(|tried| tried == command), "{command}");
            }
        }
    }

    #[test]
    fn names_are_below_the_prefix_and_each_command_has_its_own() {
        for trial in all(true) {
            assert!(trial.name.is_empty() || trial.name.starts_with("p."), "{}", trial.name);
            assert_eq!(trial.words.contains(&trial.name), !trial.name.is_empty());
        }
        assert!(all(false).len() < all(true).len());
    }
}
