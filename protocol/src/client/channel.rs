//! Channel names: `namespace:rest`, `$private`, `rest#user1,user2`.
//!
//! In:  a name, as a client or the server API gives it.
//! Out: its parts, borrowed; or why it cannot be a name.
//!
//! What a namespace allows is the configuration's matter, whether a token is needed the session's.

/// The longest name, in bytes, unless configured otherwise.
pub const CHANNEL_BYTES_MAX: usize = 255;

/// A name, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel<'a> {
    /// The whole name.
    pub name: &'a str,
    /// What stands before the first `:`, without the `$`; `None` without a `:`.
    pub namespace: Option<&'a str>,
    /// True exactly when the name begins with `$`: a token is needed.
    pub is_private: bool,
    /// What stands after the last `#`; `None` without a `#`.
    users: Option<&'a str>,
}

/// Why a name is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// Nothing there.
    #[error("the channel's name is empty")]
    Empty,
    /// Our limit.
    #[error("the channel's name has {bytes} bytes, {bytes_max} are allowed")]
    TooLong {
        /// The length of the name.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

impl<'a> Channel<'a> {
    /// Takes a name of at most `bytes_max` bytes apart.
    pub fn parse(name: &'a str, bytes_max: usize) -> Result<Self, ChannelError> {
        if name.is_empty() {
            return Err(ChannelError::Empty);
        }
        if name.len() > bytes_max {
            return Err(ChannelError::TooLong { bytes: name.len(), bytes_max });
        }
        let public = name.strip_prefix('$');
        Ok(Self {
            name,
            namespace: public.unwrap_or(name).split_once(':').map(|(namespace, _)| namespace),
            is_private: public.is_some(),
            users: name.rsplit_once('#').map(|(_, users)| users),
        })
    }

    /// True exactly when the name says who may listen.
    pub const fn is_user_limited(&self) -> bool {
        self.users.is_some()
    }

    /// True exactly when the name does not forbid it to `user`. An anonymous user, who has an empty name, is
    /// never among those named.
    pub fn admits(&self, user: &str) -> bool {
        self.users.is_none_or(|users| !user.is_empty() && users.split(',').any(|named| named == user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Channel<'_> {
        Channel::parse(name, CHANNEL_BYTES_MAX).unwrap()
    }

    #[test]
    fn a_plain_name_is_public_and_in_no_namespace() {
        let channel = parse("news");
        assert_eq!((channel.namespace, channel.is_private, channel.is_user_limited()), (None, false, false));
        assert!(channel.admits("") && channel.admits("42"));
    }

    #[test]
    fn the_namespace_ends_at_the_first_colon_and_has_no_dollar() {
        assert_eq!(parse("chat:room:1").namespace, Some("chat"));
        assert_eq!(parse("$chat:room").namespace, Some("chat"));
        assert_eq!(parse(":room").namespace, Some(""));
        assert!(parse("$chat:room").is_private && parse("$").is_private && !parse("a$").is_private);
    }

    #[test]
    fn only_the_users_named_after_the_last_hash_may_listen() {
        let channel = parse("dialog:x#1#42,43");
        assert!(channel.is_user_limited());
        assert!(channel.admits("42") && channel.admits("43"));
        assert!(
            !channel.admits("1") && !channel.admits("4") && !channel.admits("42,43") && !channel.admits("")
        );
    }

    #[test]
    fn nobody_is_named_by_an_empty_list() {
        assert!(!parse("x#").admits("") && !parse("x#,1").admits("") && parse("x#,1").admits("1"));
    }

    #[test]
    fn empty_and_long_names_are_refused() {
        assert_eq!(Channel::parse("", 255), Err(ChannelError::Empty));
        let long = "x".repeat(256);
        assert_eq!(Channel::parse(&long, 255), Err(ChannelError::TooLong { bytes: 256, bytes_max: 255 }));
        assert!(Channel::parse(&long[1..], 255).is_ok());
    }
}
