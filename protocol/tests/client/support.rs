//! What several tests need: whole frames read and written in one call, and a message of each kind.

use std::borrow::Cow;

use bytes::BytesMut;
use holdfast_protocol::client::command::{
    ConnectRequest, HistoryRequest, PingRequest, PresenceRequest, PresenceStatsRequest, PublishRequest,
    RefreshRequest, RpcRequest, SendRequest, SubRefreshRequest, SubscribeRequest, UnsubscribeRequest,
};
use holdfast_protocol::client::filter::FilterNode;
use holdfast_protocol::client::push::{
    ConnectPush, DisconnectPush, MessagePush, Presence, RefreshPush, SubscribePush, UnsubscribePush,
};
use holdfast_protocol::client::reply::{
    ConnectResult, Done, HistoryResult, PresenceResult, PresenceStatsResult, RefreshResult, RpcResult,
    SubRefreshResult, SubscribeResult,
};
use holdfast_protocol::client::{
    ClientError, ClientInfo, Command, DecodeError, ErrorCode, Format, FromClient, FromServer, Map, Payload,
    Publication, Push, PushBody, Reply, ReplyResult, Request, StreamPosition, append_command, append_encoded,
    append_push, append_reply, decode_commands, decode_replies,
};

/// The messages of a frame of commands, or the first fault.
pub(crate) fn read_commands(format: Format, frame: &[u8]) -> Result<Vec<FromClient<'_>>, DecodeError> {
    decode_commands(format, frame).collect()
}

/// The messages of a frame of replies, or the first fault.
pub(crate) fn read_replies(format: Format, frame: &[u8]) -> Result<Vec<FromServer<'_>>, DecodeError> {
    decode_replies(format, frame).collect()
}

/// A frame of commands.
pub(crate) fn write_commands(format: Format, commands: &[FromClient<'_>]) -> BytesMut {
    let mut frame = BytesMut::new();
    for command in commands {
        match command {
            FromClient::Pong => append_encoded(format, &mut frame, format.empty_message()),
            FromClient::Command(command) => append_command(format, &mut frame, command),
        }
    }
    frame
}

/// A frame of replies.
pub(crate) fn write_replies(format: Format, replies: &[FromServer<'_>]) -> BytesMut {
    let mut frame = BytesMut::new();
    for reply in replies {
        match reply {
            FromServer::Ping => append_encoded(format, &mut frame, format.empty_message()),
            FromServer::Reply(reply) => append_reply(format, &mut frame, reply),
            FromServer::Push(push) => append_push(format, &mut frame, push),
        }
    }
    frame
}

pub(crate) fn command(id: u32, request: Request<'_>) -> FromClient<'_> {
    FromClient::Command(Command { id, request })
}

pub(crate) fn reply(id: u32, result: ReplyResult<'_>) -> FromServer<'_> {
    FromServer::Reply(Reply { id, result: Ok(result) })
}

pub(crate) fn push<'a>(channel: &'a str, body: PushBody<'a>) -> FromServer<'a> {
    FromServer::Push(Push { id: 0, channel: channel.into(), body })
}

const DATA: Payload<'static> = Payload::new("{\"text\":\"hé\",\"n\":[1,null]}".as_bytes());

/// A command of each kind, with every field set.
pub(crate) fn every_command() -> Vec<FromClient<'static>> {
    let leaf = FilterNode {
        key: "price".into(),
        cmp: "in".into(),
        vals: vec!["1".into(), "".into()],
        ..FilterNode::default()
    };
    let filter = FilterNode { op: "not".into(), nodes: vec![leaf], ..FilterNode::default() };
    let subscribe = SubscribeRequest {
        channel: "news".into(),
        token: "t".into(),
        recover: true,
        epoch: "e".into(),
        offset: u64::MAX,
        data: DATA,
        positioned: true,
        recoverable: true,
        join_leave: true,
        delta: "fossil".into(),
        tf: Some(Box::new(filter)),
        flag: -1,
        kind: 4,
    };
    let connect = ConnectRequest {
        token: "t".into(),
        data: DATA,
        subs: Map::from_iter([("news", subscribe.clone())]),
        name: "n".into(),
        version: "v".into(),
        headers: Map::from_iter([("k", "v".into())]),
        flag: 1,
    };
    let since = StreamPosition { offset: 5, epoch: "e".into() };
    let history = HistoryRequest { channel: "news".into(), limit: -1, since: Some(since), reverse: true };
    let channel = || Cow::Borrowed("news");
    let publish = PublishRequest { channel: channel(), data: DATA, kind: 1, key: "k".into(), removed: true };
    let sub_refresh = SubRefreshRequest { channel: channel(), token: "t".into(), kind: 2 };
    vec![
        command(1, Request::Connect(connect)),
        command(2, Request::Subscribe(subscribe)),
        command(3, Request::Unsubscribe(UnsubscribeRequest { channel: channel() })),
        command(4, Request::Publish(publish)),
        command(5, Request::Presence(PresenceRequest { channel: channel() })),
        command(6, Request::PresenceStats(PresenceStatsRequest { channel: channel() })),
        command(7, Request::History(history)),
        command(8, Request::Ping(PingRequest {})),
        command(0, Request::Send(SendRequest { data: DATA })),
        command(10, Request::Rpc(RpcRequest { data: DATA, method: "m".into() })),
        command(11, Request::Refresh(RefreshRequest { token: "t".into() })),
        command(u32::MAX, Request::SubRefresh(sub_refresh)),
        FromClient::Pong,
    ]
}

/// A reply and a push of each kind, with every field set.
pub(crate) fn every_reply() -> Vec<FromServer<'static>> {
    let info = ClientInfo { user: "42".into(), client: "c".into(), conn_info: DATA, chan_info: DATA };
    let publication = Publication {
        data: DATA,
        info: Some(info.clone()),
        offset: 9,
        tags: Map::from_iter([("k", "v".into())]),
        delta: true,
        time: 1_700_000_000_000,
        channel: "news".into(),
    };
    let bare = Publication { data: DATA, ..Publication::default() };
    let subscribe = SubscribeResult {
        expires: true,
        ttl: 60,
        recoverable: true,
        epoch: "e".into(),
        publications: vec![publication.clone(), bare.clone()],
        recovered: true,
        offset: 9,
        positioned: true,
        data: DATA,
        was_recovering: true,
        delta: true,
        id: 3,
    };
    let connect = ConnectResult {
        client: "c".into(),
        version: "v".into(),
        expires: true,
        ttl: 60,
        data: DATA,
        subs: Map::from_iter([("news", subscribe.clone())]),
        ping: 25,
        pong: true,
        session: "s".into(),
        node: "n".into(),
        time: 1,
    };
    let history = HistoryResult { publications: vec![publication.clone()], epoch: "e".into(), offset: 9 };
    let refresh = RefreshResult { client: "c".into(), version: "v".into(), expires: true, ttl: 60 };
    let presence = PresenceResult { presence: Map::from_iter([("c", info.clone())]) };
    let error = ClientError::from(ErrorCode::TOO_MANY_REQUESTS);
    let mut all = vec![
        FromServer::Ping,
        FromServer::Reply(Reply { id: 1, result: Err(error) }),
        reply(1, ReplyResult::Connect(connect.clone())),
        reply(2, ReplyResult::Subscribe(subscribe)),
        reply(3, ReplyResult::Unsubscribe(Done {})),
        reply(4, ReplyResult::Publish(Done {})),
        reply(5, ReplyResult::Presence(presence)),
        reply(6, ReplyResult::PresenceStats(PresenceStatsResult { num_clients: 3, num_users: 2 })),
        reply(7, ReplyResult::History(history)),
        reply(8, ReplyResult::Ping(Done {})),
        reply(10, ReplyResult::Rpc(RpcResult { data: DATA })),
        reply(11, ReplyResult::Refresh(refresh)),
        reply(12, ReplyResult::SubRefresh(SubRefreshResult { expires: true, ttl: 60 })),
    ];
    all.extend(every_push(publication, bare, info, connect));
    all
}

fn every_push(
    publication: Publication<'static>,
    bare: Publication<'static>,
    info: ClientInfo<'static>,
    connect: ConnectResult<'static>,
) -> [FromServer<'static>; 10] {
    let unsubscribe = UnsubscribePush { code: 2500, reason: "insufficient state".into() };
    let subscribe =
        SubscribePush { recoverable: true, epoch: "e".into(), offset: 9, positioned: true, data: DATA };
    let ConnectResult { client, version, expires, ttl, data, subs, ping, pong, session, node, time } =
        connect;
    let connect = ConnectPush { client, version, data, subs, expires, ttl, ping, pong, session, node, time };
    let disconnect = DisconnectPush { code: 3001, reason: "shutdown".into(), reconnect: true };
    [
        push("news", PushBody::Publication(publication)),
        push("news", PushBody::Publication(bare)),
        push("news", PushBody::Join(Presence { info: Some(info.clone()) })),
        push("news", PushBody::Leave(Presence { info: Some(info) })),
        push("news", PushBody::Unsubscribe(unsubscribe)),
        push("", PushBody::Message(MessagePush { data: DATA })),
        push("news", PushBody::Subscribe(subscribe)),
        push("", PushBody::Connect(connect)),
        push("", PushBody::Disconnect(disconnect)),
        FromServer::Push(Push {
            id: -7,
            channel: "".into(),
            body: PushBody::Refresh(RefreshPush { expires: true, ttl: 60 }),
        }),
    ]
}
