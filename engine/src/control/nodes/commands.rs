//! Commands: what is done to clients, as nodes say it to each other.
//!
//! In:  a call of the server API; a message of another node.
//! Out: the message for other nodes; the command for this node's shards.
//!
//! Messages are Centrifugo's. A subscription goes out with the options that it has here, resolved, as Centrifugo does it.
//! Left out on the way in: codes and reasons of an unsubscribe (it is 2000 here), `reconnect` of older nodes (the code says
//! it), and messages with a label filter, which would select too many. No I/O.

use std::borrow::Cow;

use bytes::Bytes;
use holdfast_protocol::client::{DisconnectCode, UnsubscribeCode};
use holdfast_redis::control::message::{Body, Disconnect, Refresh, Since, Subscribe, Unsubscribe};
use uuid::Uuid;

use crate::{
    channel::{Channels, Overrides, SubscriptionFlags},
    session::calls::{ClientCommand, ClientSelector, SubscribeCommand},
    time::UnixSeconds,
};

/// Whom a command is for, as a caller named him.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::control) struct Addressee<'a> {
    /// `None`: any user. Empty: the anonymous one.
    pub(in crate::control) user: Option<&'a str>,
    pub(in crate::control) client: &'a str,
    pub(in crate::control) session: &'a str,
}

/// The message for a command. `None` if its channel does not exist.
pub(in crate::control) fn body_of<'a>(
    to: Addressee<'a>,
    command: &'a ClientCommand,
    channels: &Channels,
) -> Option<Body<'a>> {
    let (user, all_users) = (Cow::Borrowed(to.user.unwrap_or_default()), to.user.is_none());
    let (client, session) = (Cow::Borrowed(to.client), Cow::Borrowed(to.session));
    Some(match command {
        ClientCommand::Subscribe(command) => {
            let SubscribeCommand { channel, chan_info, data, expires_at, since, overrides } = command;
            let resolved = channels.resolve_trusted(channel).ok()?;
            let shows = resolved.shows(overrides);
            let extras = resolved.grant_with("", SubscriptionFlags::default(), overrides);
            Body::Subscribe(Subscribe {
                user,
                client,
                session,
                all_users,
                channel: Cow::Borrowed(channel),
                emit_presence: shows.presence,
                emit_join_leave: shows.join_leave,
                push_join_leave: extras.join_leave,
                position: extras.positioned,
                recover: extras.recoverable,
                expire_at: UnixSeconds::to_field(*expires_at),
                channel_info: chan_info.as_deref().unwrap_or_default(),
                data: data.as_deref().unwrap_or_default(),
                recover_since: since
                    .as_ref()
                    .map(|(offset, epoch)| Since { offset: *offset, epoch: Cow::Borrowed(epoch) }),
                ..Subscribe::default()
            })
        }
        ClientCommand::Unsubscribe { channel } => Body::Unsubscribe(Unsubscribe {
            user,
            client,
            session,
            all_users,
            channel: Cow::Borrowed(channel.as_deref().unwrap_or_default()),
            code: UnsubscribeCode::SERVER.code,
            reason: Cow::Borrowed(UnsubscribeCode::SERVER.reason),
            ..Unsubscribe::default()
        }),
        ClientCommand::Disconnect { code, reason, except } => Body::Disconnect(Disconnect {
            user,
            client,
            session,
            all_users,
            code: (*code).into(),
            reason: Cow::Borrowed(reason),
            whitelist: except.iter().map(|client| Cow::Owned(client.to_string())).collect(),
            ..Disconnect::default()
        }),
        ClientCommand::Refresh { expires_at, info } => Body::Refresh(Refresh {
            user,
            client,
            session,
            all_users,
            expire_at: UnixSeconds::to_field(*expires_at),
            info: info.as_deref().unwrap_or_default(),
            ..Refresh::default()
        }),
        ClientCommand::Expire => {
            Body::Refresh(Refresh { user, client, session, all_users, expired: true, ..Refresh::default() })
        }
    })
}

/// The command in a message, and for whom it is. `None` if it is none, or can select nobody here.
pub(super) fn command_of(body: &Body<'_>) -> Option<(ClientSelector, ClientCommand)> {
    let bytes = |bytes: &[u8]| (!bytes.is_empty()).then(|| Bytes::copy_from_slice(bytes));
    let (user, all_users, client, session, filter) = match body {
        Body::Subscribe(of) => (&of.user, of.all_users, &of.client, &of.session, of.label_filter),
        Body::Unsubscribe(of) => (&of.user, of.all_users, &of.client, &of.session, of.label_filter),
        Body::Disconnect(of) => (&of.user, of.all_users, &of.client, &of.session, of.label_filter),
        Body::Refresh(of) => (&of.user, of.all_users, &of.client, &of.session, of.label_filter),
        _ => return None,
    };
    let whom = selector(user, all_users, client, session).filter(|_| filter.is_empty())?;
    let command = match body {
        Body::Subscribe(of) => ClientCommand::Subscribe(SubscribeCommand {
            channel: (*of.channel).into(),
            chan_info: bytes(of.channel_info),
            data: bytes(of.data),
            expires_at: UnixSeconds::from_field(of.expire_at),
            since: of.recover_since.as_ref().map(|since| (since.offset, (*since.epoch).into())),
            overrides: Overrides {
                presence: Some(of.emit_presence),
                join_leave: Some(of.emit_join_leave),
                force_push_join_leave: Some(of.push_join_leave),
                force_positioning: Some(of.position),
                force_recovery: Some(of.recover),
            },
        }),
        Body::Unsubscribe(of) => {
            ClientCommand::Unsubscribe { channel: (!of.channel.is_empty()).then(|| (*of.channel).into()) }
        }
        Body::Disconnect(of) => {
            let default = DisconnectCode::FORCE_DISCONNECT;
            let code = u16::try_from(of.code).ok().filter(|code| (3000..=4999).contains(code));
            let (code, reason) = code.map_or((default.code, default.reason), |code| (code, &*of.reason));
            let except = of.whitelist.iter().filter_map(|client| client.parse().ok()).collect();
            ClientCommand::Disconnect { code, reason: reason.into(), except }
        }
        Body::Refresh(of) if of.expired => ClientCommand::Expire,
        Body::Refresh(of) => {
            ClientCommand::Refresh { expires_at: UnixSeconds::from_field(of.expire_at), info: bytes(of.info) }
        }
        _ => return None,
    };
    Some((whom, command))
}

/// A session has the same id as its client. Nobody is selected by nothing: a message that lost its user is not for all.
fn selector(user: &str, all_users: bool, client: &str, session: &str) -> Option<ClientSelector> {
    let user = (!all_users || !user.is_empty()).then(|| user.into());
    let mut named = [client, session].into_iter().filter(|id| !id.is_empty());
    let client = match named.next() {
        Some(first) if named.all(|other| other == first) => Some(first.parse::<Uuid>().ok()?),
        Some(_) => return None,
        None => None,
    };
    (user.is_some() || client.is_some()).then_some(ClientSelector { user, client })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn there_and_back(to: Addressee<'_>, command: &ClientCommand) -> Option<(ClientSelector, ClientCommand)> {
        let mut config = Config::default();
        config.options.channel.without_namespace.presence = true;
        command_of(&body_of(to, command, &Channels::new(&config.channel))?)
    }

    #[test]
    fn a_command_is_the_same_on_the_other_node() {
        let ann = Addressee { user: Some("ann"), ..Addressee::default() };
        let disconnect =
            ClientCommand::Disconnect { code: 4001, reason: "r".into(), except: vec![Uuid::from_u128(7)] };
        let (whom, read) = there_and_back(ann, &disconnect).unwrap();
        assert_eq!((whom.user.as_deref(), whom.client), (Some("ann"), None));
        assert_eq!(format!("{read:?}"), format!("{disconnect:?}"));
        for command in [
            ClientCommand::Unsubscribe { channel: None },
            ClientCommand::Unsubscribe { channel: Some("news".into()) },
            ClientCommand::Refresh { expires_at: UnixSeconds::new(7), info: Some(Bytes::from_static(b"{}")) },
            ClientCommand::Refresh { expires_at: None, info: None },
            ClientCommand::Expire,
        ] {
            let (_, read) = there_and_back(ann, &command).unwrap();
            assert_eq!(format!("{read:?}"), format!("{command:?}"));
        }
    }

    #[test]
    fn a_subscription_has_the_options_of_the_node_that_makes_it() {
        let command = SubscribeCommand {
            channel: "news".into(),
            chan_info: None,
            data: Some(Bytes::from_static(b"1")),
            expires_at: UnixSeconds::new(9),
            since: Some((4, "e".into())),
            overrides: Overrides { join_leave: Some(true), ..Overrides::default() },
        };
        let ann = Addressee { user: Some("ann"), ..Addressee::default() };
        let (_, read) = there_and_back(ann, &ClientCommand::Subscribe(command)).unwrap();
        let ClientCommand::Subscribe(read) = read else { panic!("{read:?}") };
        assert_eq!(
            (&*read.channel, read.expires_at, read.since),
            ("news", UnixSeconds::new(9), Some((4, "e".into())))
        );
        let Overrides { presence, join_leave, force_recovery, .. } = read.overrides;
        assert_eq!((presence, join_leave, force_recovery), (Some(true), Some(true), Some(false)));
    }

    #[test]
    fn nobody_is_meant_by_a_message_that_names_nobody() {
        let id = Uuid::from_u128(1).to_string();
        let of = |user: &str, all, client: &str| selector(user, all, client, "");
        assert!(of("", true, "").is_none());
        assert!(of("ann", false, "of another kind").is_none());
        assert_eq!(of("", false, "").unwrap().user.as_deref(), Some(""));
        assert_eq!(of("ann", true, "").unwrap().user.as_deref(), Some("ann"));
        let one = of("", true, &id).unwrap();
        assert_eq!((one.user, one.client), (None, Some(Uuid::from_u128(1))));
        assert!(selector("", true, &id, &Uuid::from_u128(2).to_string()).is_none());
        let filtered = Disconnect { user: "ann".into(), label_filter: b"x", ..Disconnect::default() };
        assert!(command_of(&Body::Disconnect(filtered)).is_none());
        let unknown = Disconnect { user: "ann".into(), code: 7, ..Disconnect::default() };
        let (_, command) = command_of(&Body::Disconnect(unknown)).unwrap();
        assert!(matches!(command, ClientCommand::Disconnect { code: 3503, .. }));
    }
}
