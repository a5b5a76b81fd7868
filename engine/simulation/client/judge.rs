//! Judge: what a client is told unasked, and whether that had to be: for an expiry, or a wish of the server API.
//!
//! In:  pushes about subscriptions and expiries; codes of last words; a look at rest.
//! Out: a panic, where something happens to the wrong one or for no reason, or does not happen.

use std::time::Duration;

use holdfast_protocol::client::{
    DisconnectCode, ErrorCode, UnsubscribeCode,
    push::{RefreshPush, SubscribePush, UnsubscribePush},
};

use super::{
    Client,
    lease::Lease,
    link::Link,
    session::{Asked, Position, Subscription},
};
use crate::simulation::{
    actor::StepContext,
    config::{channels, keeps_history},
    oracle::{Hearing, Oracle},
    wishes::{Wish, Wished},
};

/// How long a ping may take to its client, and the pong, which may be a request, back through the narrowest pipe.
const PONG_MAX: Duration = Duration::from_secs(3);

impl Client {
    /// True exactly when there is a reason for these last words that others do not know.
    pub(super) fn has_excuse(&self, code: u16, scene: &StepContext<'_>) -> bool {
        if self.is_witness {
            return false;
        }
        let mut wishes = self.wishes(scene.ledger);
        if code == DisconnectCode::EXPIRED.code {
            let grace_s = scene.terms.grace_s();
            let mut asked = self.session.asked_leases(None);
            self.session.lease.may_be_over(grace_s, scene)
                || asked.any(|(_, lease)| lease.may_be_late(scene))
                || wishes.any(|(_, wish)| match wish.wished {
                    Wished::Expire => true,
                    Wished::Refresh { until_s } => {
                        Lease::given(until_s, wish.since, false).may_be_late(scene)
                    }
                    _ => false,
                })
        } else if code == DisconnectCode::SUBSCRIPTION_EXPIRED.code {
            let grace_s = scene.terms.sub_grace_s();
            wishes.any(|(_, wish)| match wish.wished {
                Wished::Subscribe { until_s, .. } => {
                    Lease::given(until_s, wish.since, false).may_be_over(grace_s, scene)
                }
                _ => false,
            })
        } else if code == DisconnectCode::BAD_REQUEST.code {
            // It has refreshed what the server has made anew meanwhile.
            self.session.asked.values().any(
                |asked| matches!(asked, Asked::SubRefresh { channel, .. } if self.may_be_subscribed(channel, scene.ledger)),
            )
        } else {
            wishes.any(|(_, wish)| wish.wished == Wished::Disconnect { code })
        }
    }

    /// True exactly when time has passed in which its last words may have waited for too long, and there are reasons for some.
    pub(super) fn may_end_mute(&self, scene: &StepContext<'_>) -> bool {
        let codes = [DisconnectCode::EXPIRED, DisconnectCode::SUBSCRIPTION_EXPIRED].map(|code| code.code);
        let is_sent_away = |wish: &Wish| matches!(wish.wished, Wished::Disconnect { .. });
        let is_limited = !self.session.user.is_empty();
        scene.terms.expires
            && (is_limited
                || codes.iter().any(|code| self.has_excuse(*code, scene))
                || self.wishes(scene.ledger).any(|(_, wish)| is_sent_away(wish)))
    }

    /// A command is refused.
    pub(super) fn hear_error(&mut self, asked: &Asked, code: u32, scene: &mut StepContext<'_>) {
        let late = [ErrorCode::TOKEN_EXPIRED.code, ErrorCode::EXPIRED.code];
        let is_explained = match asked {
            Asked::Connect(lease) | Asked::Refresh(lease) => late.contains(&code) && lease.may_be_late(scene),
            Asked::Subscribe { channel, lease, .. } if code == ErrorCode::INTERNAL.code => {
                self.session.given_up.insert(channel);
                lease.may_be_over(scene.terms.sub_grace_s(), scene)
                    || self.may_be_unsubscribed(channel, scene.ledger)
            }
            Asked::Subscribe { channel, .. } if code == ErrorCode::ALREADY_SUBSCRIBED.code => {
                self.may_be_subscribed(channel, scene.ledger)
            }
            Asked::Subscribe { lease, .. } => late.contains(&code) && lease.may_be_late(scene),
            Asked::SubscribeAgain(channel) if code == ErrorCode::INTERNAL.code => {
                self.session.given_up.insert(channel);
                self.may_be_unsubscribed(channel, scene.ledger)
            }
            Asked::SubscribeAgain(_) => code == ErrorCode::ALREADY_SUBSCRIBED.code,
            Asked::SubRefresh { channel, at, .. } if code == ErrorCode::PERMISSION_DENIED.code => {
                self.session.subscriptions.get(channel).is_none_or(|of| of.since > *at)
            }
            Asked::SubRefresh { lease, .. } => code == ErrorCode::EXPIRED.code && lease.may_be_late(scene),
            _ => false,
        };
        assert!(is_explained, "{asked:?} is refused with {code}");
        if matches!(asked, Asked::Connect(_)) {
            self.connect_again(scene);
        }
    }

    pub(super) fn hear_unsubscribe(
        &mut self,
        channel: &str,
        push: &UnsubscribePush<'_>,
        scene: &mut StepContext<'_>,
    ) {
        let channel = known(channel);
        let is_wished = self.may_be_unsubscribed(channel, scene.ledger);
        let subscription = self.session.subscriptions.remove(channel);
        let is_explained = match (&subscription, push.code) {
            (Some(_), code) if code == UnsubscribeCode::SERVER.code => is_wished,
            (Some(of), code) if code == UnsubscribeCode::EXPIRED.code => {
                let mut asked = self.session.asked_leases(Some(channel));
                let is_over = of.lease.may_be_over(scene.terms.sub_grace_s(), scene);
                !of.is_server_side && (is_over || asked.any(|(_, lease)| lease.may_be_late(scene)))
            }
            // It was about to begin.
            (None, _) => {
                self.session.given_up.remove(channel)
                    || (is_wished && self.may_be_subscribed(channel, scene.ledger))
            }
            _ => false,
        };
        let name = self.name();
        assert!(is_explained, "{name}: {channel} ends with {push:?}, it was {subscription:?}");
        self.session.ended.insert(channel, scene.ledger.now());
    }

    /// The server has subscribed it.
    pub(super) fn hear_subscribe(
        &mut self,
        channel: &str,
        push: &SubscribePush<'_>,
        scene: &mut StepContext<'_>,
    ) {
        let channel = known(channel);
        let wishes = self.wishes(scene.ledger).filter_map(|(_, wish)| match wish.wished {
            Wished::Subscribe { channel: of, until_s } if of == channel => Some((until_s, wish.since)),
            _ => None,
        });
        let wishes: Vec<_> = wishes.collect();
        let (until_s, since) = *wishes.first().expect("nobody is subscribed unasked");
        let is_unsure = wishes.iter().any(|(other_s, _)| *other_s != until_s);
        let subscription = Subscription {
            since: scene.ledger.now(),
            hearing: Hearing::default(),
            lease: Lease::given(until_s, since, is_unsure),
            is_server_side: true,
            ..Subscription::default()
        };
        let last = self.session.subscriptions.insert(channel, subscription);
        assert!(last.is_none(), "{channel} is subscribed once");
        assert_eq!(push.recoverable, keeps_history(channel), "{channel} has what was wished");
        if keeps_history(channel) {
            let position = Position { epoch: push.epoch.to_string(), offset: push.offset };
            self.positions.insert(channel, position);
        }
    }

    /// The server has another end for its session.
    pub(super) fn hear_refresh(&mut self, push: &RefreshPush, scene: &StepContext<'_>) {
        let told = self.wishes(scene.ledger).filter_map(|(number, wish)| match wish.wished {
            Wished::Refresh { until_s } => {
                let lease = Lease::given(until_s, wish.since, false);
                let is_new = !self.session.fulfilled.contains(&number);
                let is_told = lease.is_told(push.expires, push.ttl, scene);
                (is_new && is_told).then_some((!self.must_know(wish), number, lease))
            }
            _ => None,
        });
        let mut told: Vec<_> = told.collect();
        // Of those that look alike, what it must be told comes first.
        told.sort_by_key(|(may_be_untold, number, _)| (*may_be_untold, *number));
        let (_, number, lease) = *told.first().expect("nobody is refreshed unasked");
        let is_unsure = told.iter().any(|(.., other)| other.term.until_s != lease.term.until_s);
        self.session.fulfilled.insert(number);
        self.session.lease = Lease::given(lease.term.until_s, lease.since, is_unsure);
    }

    /// Everything has come to rest, and it lives: whatever was wished of it has happened.
    pub(super) fn judge_wishes(&self, ledger: &Oracle) {
        if self.is_witness {
            return;
        }
        let name = self.name();
        let session = &self.session;
        for (number, wish) in self.wishes(ledger) {
            if !self.must_know(wish) {
                continue;
            }
            let is_done = match wish.wished {
                Wished::Disconnect { .. } | Wished::Expire => false,
                Wished::Refresh { .. } => session.fulfilled.contains(&number),
                Wished::Subscribe { channel, until_s: 0 } => {
                    let has_ended = session.ended.get(channel).is_some_and(|at| *at > wish.at);
                    has_ended || session.subscriptions.contains_key(channel)
                }
                // It may have come too late.
                Wished::Subscribe { .. } => true,
                Wished::Unsubscribe { channel } => {
                    let mut meant =
                        session.subscriptions.iter().filter(|(of, _)| channel.is_none_or(|it| it == **of));
                    meant.all(|(_, subscription)| subscription.since > wish.at)
                }
            };
            assert!(is_done, "{name}, client {}: {wish:?} is fulfilled", session.client);
        }
    }

    /// Nothing that it has ought to have ended.
    pub(super) fn judge_overdue(&self, calm_since: Duration, scene: &StepContext<'_>) {
        let terms = scene.terms;
        let interval = match self.link {
            // Sessions of polls are looked at with each.
            Some(Link::Poll(_)) => terms.poll_wait(),
            // There is no ping while a pong is awaited.
            _ => terms.ping_interval() + PONG_MAX,
        };
        // A shard that was late pings less often.
        let interval = if scene.ledger.has_jumped { 2 * interval } else { interval };
        let session = &self.session;
        // Who has lost a pong is not pinged again, and who has lost a refresh may have done it.
        if session.fate.has_lost_words {
            return;
        }
        let name = self.name();
        let is_overdue = session.lease.is_overdue(terms.grace_s(), interval, calm_since, scene);
        assert!(!is_overdue, "{name} outlives its session: {:?}", session.lease);
        for (channel, subscription) in session.certain() {
            let is_overdue = subscription.lease.is_overdue(terms.sub_grace_s(), interval, calm_since, scene);
            assert!(!is_overdue, "{name} outlives its subscription to {channel}: {:?}", subscription.lease);
        }
    }

    /// True exactly when the daemon has it, and had it when the client was connected.
    fn must_know(&self, wish: &Wish) -> bool {
        wish.is_everywhere && wish.at > self.session.connected_at
    }

    fn wishes<'w>(&'w self, ledger: &'w Oracle) -> impl Iterator<Item = (usize, &'w Wish)> {
        ledger.wishes.of(&self.session.client, self.session.user)
    }

    /// True exactly when the server API may have ended a subscription of it.
    fn may_be_unsubscribed(&self, channel: &str, ledger: &Oracle) -> bool {
        let is_it = |wish: &Wish| match wish.wished {
            Wished::Unsubscribe { channel: of } => of.is_none_or(|of| of == channel),
            _ => false,
        };
        self.wishes(ledger).any(|(_, wish)| is_it(wish))
    }

    /// The same for making one.
    fn may_be_subscribed(&self, channel: &str, ledger: &Oracle) -> bool {
        let is_it =
            |wish: &Wish| matches!(wish.wished, Wished::Subscribe { channel: of, .. } if of == channel);
        self.wishes(ledger).any(|(_, wish)| is_it(wish))
    }

    /// True exactly when what was a second subscribe may have made a subscription.
    pub(super) fn may_subscribe_again(&self, channel: &str, ledger: &Oracle) -> bool {
        self.may_be_unsubscribed(channel, ledger)
    }
}

fn known(channel: &str) -> &'static str {
    channels().find(|known| *known == channel).expect("channels are those that we know")
}
