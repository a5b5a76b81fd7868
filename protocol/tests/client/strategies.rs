//! Messages at random: every kind, with any of their fields set.

use std::borrow::Cow;

use holdfast_protocol::client::command::{
    ConnectRequest, HistoryRequest, PublishRequest, RpcRequest, SendRequest, SubscribeRequest,
};
use holdfast_protocol::client::filter::FilterNode;
use holdfast_protocol::client::push::{Presence, SubscribePush, UnsubscribePush};
use holdfast_protocol::client::reply::{HistoryResult, PresenceResult, SubscribeResult};
use holdfast_protocol::client::{
    ClientError, ClientInfo, FromClient, FromServer, Map, Payload, Publication, Push, PushBody, Reply,
    ReplyResult, Request, StreamPosition,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::support::{command, every_command, every_reply, reply};

type Text = Cow<'static, str>;

pub(crate) fn text() -> impl Strategy<Value = Text> {
    "(\\PC|[\"\\\\\\n\\x00]){0,12}".prop_map(Cow::Owned)
}

/// JSON that stays as it is on the way through a line.
fn payload() -> impl Strategy<Value = Payload<'static>> {
    let all =
        [&b""[..], b"{}", b"null", b"\"a\\n\"", b"[1,{\"a\":-2.5e3}]", b"{\"push\":{}}", b"\"\xc3\xa9\""];
    select(all.map(Payload::new).to_vec())
}

fn map<V: std::fmt::Debug + 'static>(
    value: impl Strategy<Value = V> + 'static,
) -> BoxedStrategy<Map<'static, V>> {
    option::of((text(), value)).prop_map(Map::from_iter).boxed()
}

fn filter() -> impl Strategy<Value = FilterNode<'static>> {
    let leaf = (text(), text(), text(), vec(text(), 0..3)).prop_map(|(key, cmp, val, vals)| FilterNode {
        key,
        cmp,
        val,
        vals,
        ..FilterNode::default()
    });
    leaf.prop_recursive(4, 12, 3, |node| {
        (text(), vec(node, 0..3)).prop_map(|(op, nodes)| FilterNode { op, nodes, ..FilterNode::default() })
    })
}

fn subscribe() -> impl Strategy<Value = SubscribeRequest<'static>> {
    let flags = any::<[bool; 4]>();
    (text(), text(), text(), any::<u64>(), payload(), flags, option::of(filter()), any::<i64>()).prop_map(
        |(channel, token, epoch, offset, data, [recover, positioned, recoverable, join_leave], tf, flag)| {
            #[expect(clippy::cast_possible_truncation, reason = "any number will do")]
            let kind = flag as i32;
            let (delta, tf) = (epoch.clone(), tf.map(Box::new));
            SubscribeRequest {
                channel,
                token,
                recover,
                epoch,
                offset,
                data,
                positioned,
                recoverable,
                join_leave,
                delta,
                tf,
                flag,
                kind,
            }
        },
    )
}

fn connect() -> impl Strategy<Value = ConnectRequest<'static>> {
    (text(), payload(), map(subscribe()), text(), map(text()), any::<i64>()).prop_map(
        |(token, data, subs, name, headers, flag)| ConnectRequest {
            token,
            data,
            subs,
            version: name.clone(),
            name,
            headers,
            flag,
        },
    )
}

fn history() -> impl Strategy<Value = HistoryRequest<'static>> {
    let since =
        option::of((any::<u64>(), text()).prop_map(|(offset, epoch)| StreamPosition { offset, epoch }));
    (text(), any::<i32>(), since, any::<bool>()).prop_map(|(channel, limit, since, reverse)| HistoryRequest {
        channel,
        limit,
        since,
        reverse,
    })
}

pub(crate) fn from_client() -> impl Strategy<Value = FromClient<'static>> {
    let request = prop_oneof![
        connect().prop_map(Request::Connect),
        subscribe().prop_map(Request::Subscribe),
        (text(), payload()).prop_map(|(channel, data)| Request::Publish(PublishRequest {
            channel,
            data,
            ..PublishRequest::default()
        })),
        history().prop_map(Request::History),
        payload().prop_map(|data| Request::Send(SendRequest { data })),
        (text(), payload()).prop_map(|(method, data)| Request::Rpc(RpcRequest { data, method })),
    ];
    prop_oneof![
        3 => (any::<u32>(), request).prop_map(|(id, request)| command(id, request)),
        1 => select(every_command()),
    ]
}

fn info() -> impl Strategy<Value = ClientInfo<'static>> {
    (text(), text(), payload(), payload()).prop_map(|(user, client, conn_info, chan_info)| ClientInfo {
        user,
        client,
        conn_info,
        chan_info,
    })
}

fn publication() -> impl Strategy<Value = Publication<'static>> {
    (payload(), option::of(info()), any::<u64>(), map(text()), any::<bool>(), any::<i64>(), text()).prop_map(
        |(data, info, offset, tags, delta, time, channel)| Publication {
            data,
            info,
            offset,
            tags,
            delta,
            time,
            channel,
        },
    )
}

fn result() -> impl Strategy<Value = ReplyResult<'static>> {
    let subscribe =
        (vec(publication(), 0..3), text(), any::<u64>(), payload(), any::<[bool; 3]>(), any::<u32>());
    let subscribe =
        subscribe.prop_map(|(publications, epoch, offset, data, [recovered, delta, expires], ttl)| {
            let rest = SubscribeResult::default();
            SubscribeResult { publications, epoch, offset, data, recovered, delta, expires, ttl, ..rest }
        });
    let history = (vec(publication(), 0..3), text(), any::<u64>())
        .prop_map(|(publications, epoch, offset)| HistoryResult { publications, epoch, offset });
    let presence = map(info()).prop_map(|presence| PresenceResult { presence });
    prop_oneof![
        subscribe.prop_map(ReplyResult::Subscribe),
        history.prop_map(ReplyResult::History),
        presence.prop_map(ReplyResult::Presence),
    ]
}

fn body() -> impl Strategy<Value = PushBody<'static>> {
    let subscribe = (any::<bool>(), text(), any::<u64>(), any::<bool>(), payload()).prop_map(
        |(recoverable, epoch, offset, positioned, data)| SubscribePush {
            recoverable,
            epoch,
            offset,
            positioned,
            data,
        },
    );
    prop_oneof![
        4 => publication().prop_map(PushBody::Publication),
        1 => option::of(info()).prop_map(|info| PushBody::Join(Presence { info })),
        1 => subscribe.prop_map(PushBody::Subscribe),
        1 => (any::<u32>(), text())
            .prop_map(|(code, reason)| PushBody::Unsubscribe(UnsubscribePush { code, reason })),
    ]
}

pub(crate) fn from_server() -> impl Strategy<Value = FromServer<'static>> {
    let error = (any::<u32>(), text(), any::<bool>()).prop_map(|(code, message, temporary)| ClientError {
        code,
        message,
        temporary,
    });
    prop_oneof![
        2 => (any::<u32>(), result()).prop_map(|(id, result)| reply(id, result)),
        1 => (any::<u32>(), error).prop_map(|(id, error)| FromServer::Reply(Reply { id, result: Err(error) })),
        3 => (any::<i64>(), text(), body())
            .prop_map(|(id, channel, body)| FromServer::Push(Push { id, channel, body })),
        1 => select(every_reply()),
    ]
}
