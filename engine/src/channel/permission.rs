//! Permission: decides what a user may do in a channel.
//!
//! In:  a resolved name; a user (empty: anonymous); whether the client has a token or a subscription.
//! Out: permission, or the error for the reply; and the features of a subscription.
//!
//! This module verifies no tokens: `has_token` is true exactly when a token for this user, client and channel was
//! verified.

use holdfast_protocol::client::ErrorCode;

use super::{Overrides, PresenceFlags, Resolved, SubscriptionFlags};

impl Resolved<'_> {
    /// # Errors
    /// 103.
    pub(crate) fn may_subscribe(&self, user: &str, has_token: bool) -> Result<(), ErrorCode> {
        let options = self.options;
        let limited = options.allow_user_limited_channels && self.channel.is_user_limited();
        permit(if has_token {
            true
        } else if self.channel.is_private {
            false
        } else if limited {
            self.channel.admits(user)
        } else {
            options.allow_subscribe_for_client && (!user.is_empty() || options.allow_subscribe_for_anonymous)
        })
    }

    /// # Errors
    /// 103.
    pub(crate) fn may_publish(&self, user: &str, is_subscribed: bool) -> Result<(), ErrorCode> {
        let options = self.options;
        permit(open(
            user,
            is_subscribed,
            options.allow_publish_for_client,
            options.allow_publish_for_subscriber,
            options.allow_publish_for_anonymous,
        ))
    }

    /// # Errors
    /// 108 if no history is kept, otherwise 103.
    pub(crate) fn may_history(&self, user: &str, is_subscribed: bool) -> Result<(), ErrorCode> {
        if !self.keeps_history() {
            return Err(ErrorCode::NOT_AVAILABLE);
        }
        permit(self.history_is_open(user, is_subscribed))
    }

    /// For `presence` and `presence_stats`.
    ///
    /// # Errors
    /// 108 if presence is off, otherwise 103.
    pub(crate) fn may_presence(&self, user: &str, is_subscribed: bool) -> Result<(), ErrorCode> {
        if !self.options.presence {
            return Err(ErrorCode::NOT_AVAILABLE);
        }
        permit(self.presence_is_open(user, is_subscribed))
    }

    fn grant_each(&self, user: &str, asked: SubscriptionFlags) -> SubscriptionFlags {
        let options = self.options;
        let history_is_open = self.history_is_open(user, true);
        let positioned =
            options.force_positioning || asked.positioned && (options.allow_positioning || history_is_open);
        let recoverable =
            options.force_recovery || asked.recoverable && (options.allow_recovery || history_is_open);
        let join_leave =
            options.force_push_join_leave || asked.join_leave && self.presence_is_open(user, true);
        SubscriptionFlags {
            positioned: self.keeps_history() && positioned,
            recoverable: self.keeps_history() && recoverable,
            join_leave: options.join_leave && join_leave,
        }
    }

    /// The features of a subscription: the permitted part of `asked`, and the features that the options force, with the
    /// overrides of a token or the backend. Without history, neither positioning nor recovery is granted: a client
    /// could otherwise mistake a gap for a complete stream.
    pub(crate) fn grant_with(
        &self,
        user: &str,
        asked: SubscriptionFlags,
        overrides: &Overrides,
    ) -> SubscriptionFlags {
        let granted = self.grant_each(user, asked);
        let extras = SubscriptionFlags {
            positioned: self.keeps_history() && overrides.force_positioning.unwrap_or(granted.positioned),
            recoverable: self.keeps_history() && overrides.force_recovery.unwrap_or(granted.recoverable),
            join_leave: overrides.force_push_join_leave.unwrap_or(granted.join_leave),
        };
        extras.with_position()
    }

    /// Where other clients see the subscriber.
    pub(crate) fn shows(&self, overrides: &Overrides) -> PresenceFlags {
        PresenceFlags {
            presence: overrides.presence.unwrap_or(self.options.presence),
            join_leave: overrides.join_leave.unwrap_or(self.options.join_leave),
        }
    }

    /// True exactly when the backend decides whether a client without a token may subscribe.
    pub(crate) fn is_subscribe_proxied(&self) -> bool {
        let is_limited = self.options.allow_user_limited_channels && self.channel.is_user_limited();
        self.options.is_subscribe_proxied && !self.channel.is_private && !is_limited
    }

    /// True exactly when the channel keeps publications.
    pub(crate) const fn keeps_history(&self) -> bool {
        self.options.history_publications_max > 0 && self.options.history_ttl_ms > 0
    }

    fn history_is_open(&self, user: &str, is_subscribed: bool) -> bool {
        let options = self.options;
        open(
            user,
            is_subscribed,
            options.allow_history_for_client,
            options.allow_history_for_subscriber,
            options.allow_history_for_anonymous,
        )
    }

    fn presence_is_open(&self, user: &str, is_subscribed: bool) -> bool {
        let options = self.options;
        open(
            user,
            is_subscribed,
            options.allow_presence_for_client,
            options.allow_presence_for_subscriber,
            options.allow_presence_for_anonymous,
        )
    }
}

/// The rule shared by publishing, history and presence. `for_anonymous` alone grants nothing: it extends the other two
/// options to anonymous users.
const fn open(
    user: &str,
    is_subscribed: bool,
    for_client: bool,
    for_subscriber: bool,
    for_anonymous: bool,
) -> bool {
    (for_client || for_subscriber && is_subscribed) && (for_anonymous || !user.is_empty())
}

fn permit(allowed: bool) -> Result<(), ErrorCode> {
    if allowed { Ok(()) } else { Err(ErrorCode::PERMISSION_DENIED) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, NamespaceOptions};
    use holdfast_protocol::client::channel::Channel;

    const USERS: [&str; 2] = ["", "42"];
    const BOTH: [bool; 2] = [false, true];

    fn closed() -> NamespaceOptions {
        Config::default().options.channel.without_namespace
    }

    fn resolved<'a>(name: &'a str, options: &'a NamespaceOptions) -> Resolved<'a> {
        Resolved { channel: Channel::parse(name, 255).unwrap(), options }
    }

    fn code(answer: Result<(), ErrorCode>) -> u32 {
        answer.map_or_else(|error| error.code, |()| 0)
    }

    /// All eight combinations of three options.
    fn switches() -> impl Iterator<Item = [bool; 3]> {
        (0..8u8).map(|bits| [bits & 1 != 0, bits & 2 != 0, bits & 4 != 0])
    }

    /// For each setting of the three options (client, subscriber, anonymous): the expected permission of an anonymous
    /// user, an anonymous subscriber, a user, and a subscribed user. Written as a table, so that the test does not
    /// repeat the rule.
    const OPEN: [([bool; 3], [bool; 4]); 8] = [
        ([false, false, false], [false, false, false, false]),
        ([true, false, false], [false, false, true, true]),
        ([false, true, false], [false, false, false, true]),
        ([true, true, false], [false, false, true, true]),
        ([false, false, true], [false, false, false, false]),
        ([true, false, true], [true, true, true, true]),
        ([false, true, true], [false, true, false, true]),
        ([true, true, true], [true, true, true, true]),
    ];

    fn check_open(
        question: impl Fn(&Resolved<'_>, &str, bool) -> Result<(), ErrorCode>,
        set: impl Fn(&mut NamespaceOptions, [bool; 3]),
    ) {
        for (switches, row) in OPEN {
            let mut options = closed();
            (options.presence, options.history_publications_max, options.history_ttl_ms) = (true, 1, 1);
            set(&mut options, switches);
            let cases = [("", false), ("", true), ("42", false), ("42", true)];
            for ((user, is_subscribed), allowed) in cases.into_iter().zip(row) {
                let answer = code(question(&resolved("news", &options), user, is_subscribed));
                assert_eq!(answer, if allowed { 0 } else { 103 }, "{switches:?} {user:?} {is_subscribed}");
            }
        }
    }

    #[test]
    fn publishing_is_open_to_whom_the_options_name() {
        check_open(
            |channel, user, is_subscribed| channel.may_publish(user, is_subscribed),
            |options, [client, subscriber, anonymous]| {
                options.allow_publish_for_client = client;
                options.allow_publish_for_subscriber = subscriber;
                options.allow_publish_for_anonymous = anonymous;
            },
        );
    }

    #[test]
    fn history_is_open_to_whom_the_options_name() {
        check_open(
            |channel, user, is_subscribed| channel.may_history(user, is_subscribed),
            |options, [client, subscriber, anonymous]| {
                options.allow_history_for_client = client;
                options.allow_history_for_subscriber = subscriber;
                options.allow_history_for_anonymous = anonymous;
            },
        );
    }

    #[test]
    fn presence_is_open_to_whom_the_options_name() {
        check_open(
            |channel, user, is_subscribed| channel.may_presence(user, is_subscribed),
            |options, [client, subscriber, anonymous]| {
                options.allow_presence_for_client = client;
                options.allow_presence_for_subscriber = subscriber;
                options.allow_presence_for_anonymous = anonymous;
            },
        );
    }

    #[test]
    fn what_is_switched_off_is_not_available_whoever_asks() {
        for [client, subscriber, anonymous] in switches() {
            let mut options = closed();
            options.allow_history_for_client = client;
            options.allow_presence_for_client = client;
            options.allow_history_for_subscriber = subscriber;
            options.allow_presence_for_subscriber = subscriber;
            options.allow_history_for_anonymous = anonymous;
            options.allow_presence_for_anonymous = anonymous;
            for (user, is_subscribed) in USERS.into_iter().flat_map(|user| BOTH.map(|b| (user, b))) {
                let channel = resolved("news", &options);
                assert_eq!(code(channel.may_history(user, is_subscribed)), 108);
                assert_eq!(code(channel.may_presence(user, is_subscribed)), 108);
            }
        }
    }

    /// Channel name, then one row each for the anonymous user, user 42 and user 43: may the user subscribe if the
    /// options allow (nobody; clients; clients and anonymous users)? User-limited channels are on. With a token
    /// everyone may subscribe: each case checks that too.
    const SUBSCRIBE: [(&str, [[bool; 3]; 3]); 7] = [
        ("news", [[false, false, true], [false, true, true], [false, true, true]]),
        ("$news", [[false, false, false], [false, false, false], [false, false, false]]),
        ("news#42", [[false, false, false], [true, true, true], [false, false, false]]),
        ("news#42,43", [[false, false, false], [true, true, true], [true, true, true]]),
        ("news#", [[false, false, false], [false, false, false], [false, false, false]]),
        ("news#43#42", [[false, false, false], [true, true, true], [false, false, false]]),
        ("$news#42", [[false, false, false], [false, false, false], [false, false, false]]),
    ];

    #[test]
    fn subscribing_needs_a_token_or_a_permission_or_a_name_in_the_channel() {
        let levels = [(false, false), (true, false), (true, true)];
        for (name, rows) in SUBSCRIBE {
            for (user, row) in ["", "42", "43"].into_iter().zip(rows) {
                for ((client, anonymous), allowed) in levels.into_iter().zip(row) {
                    let mut options = closed();
                    options.allow_user_limited_channels = true;
                    options.allow_subscribe_for_client = client;
                    options.allow_subscribe_for_anonymous = anonymous;
                    let channel = resolved(name, &options);
                    let expected = if allowed { 0 } else { 103 };
                    assert_eq!(
                        code(channel.may_subscribe(user, false)),
                        expected,
                        "{name} {user:?} {client} {anonymous}"
                    );
                    assert_eq!(code(channel.may_subscribe(user, true)), 0, "{name} {user:?} with a token");
                }
            }
        }
    }

    #[test]
    fn anonymous_alone_opens_no_channel() {
        let options = NamespaceOptions { allow_subscribe_for_anonymous: true, ..closed() };
        assert_eq!(code(resolved("news", &options).may_subscribe("", false)), 103);
    }

    #[test]
    fn a_hash_is_a_letter_where_user_limited_channels_are_off() {
        let options = NamespaceOptions { allow_subscribe_for_client: true, ..closed() };
        assert_eq!(code(resolved("news#43", &options).may_subscribe("42", false)), 0);
        assert_eq!(code(resolved("news#42", &closed()).may_subscribe("42", false)), 103);
    }

    const ALL: SubscriptionFlags =
        SubscriptionFlags { positioned: true, recoverable: true, join_leave: true };
    const NONE: SubscriptionFlags =
        SubscriptionFlags { positioned: false, recoverable: false, join_leave: false };

    fn with_history() -> NamespaceOptions {
        NamespaceOptions { history_publications_max: 10, history_ttl_ms: 60_000, ..closed() }
    }

    #[test]
    fn extras_are_granted_when_asked_for_and_allowed() {
        let options = NamespaceOptions { allow_positioning: true, ..with_history() };
        let channel = resolved("news", &options);
        assert_eq!(
            channel.grant_with("42", ALL, &Overrides::default()),
            SubscriptionFlags { positioned: true, ..NONE }
        );
        assert_eq!(channel.grant_with("42", NONE, &Overrides::default()), NONE);
        let options = NamespaceOptions { allow_recovery: true, ..with_history() };
        let recoverable = SubscriptionFlags { positioned: true, recoverable: true, ..NONE };
        assert_eq!(
            resolved("news", &options).grant_with("", ALL, &Overrides::default()),
            recoverable,
            "who recovers is positioned"
        );
    }

    #[test]
    fn extras_that_are_forced_need_no_asking() {
        let options = NamespaceOptions {
            force_positioning: true,
            force_recovery: true,
            join_leave: true,
            force_push_join_leave: true,
            ..with_history()
        };
        assert_eq!(resolved("news", &options).grant_with("", NONE, &Overrides::default()), ALL);
    }

    #[test]
    fn who_may_read_history_may_recover_and_who_may_see_presence_hears_who_comes_and_goes() {
        let options = NamespaceOptions {
            join_leave: true,
            allow_history_for_subscriber: true,
            allow_presence_for_subscriber: true,
            ..with_history()
        };
        assert_eq!(resolved("news", &options).grant_with("42", ALL, &Overrides::default()), ALL);
        assert_eq!(resolved("news", &options).grant_with("", ALL, &Overrides::default()), NONE);
        let silent = NamespaceOptions { join_leave: false, ..options };
        assert_eq!(
            resolved("news", &silent).grant_with("42", ALL, &Overrides::default()),
            SubscriptionFlags { join_leave: false, ..ALL }
        );
    }

    #[test]
    fn nothing_can_be_recovered_without_history() {
        let options = NamespaceOptions { force_positioning: true, allow_recovery: true, ..closed() };
        assert_eq!(resolved("news", &options).grant_with("42", ALL, &Overrides::default()), NONE);
    }
}
