//! A client's session, step by step: what it is told, and what is kept for it.
//!
//! `connect`, `subscribe` and `refresh` are about answers that come late, or not at all; `queue` about clients that are sent,
//! or send, too much; `codes` has every code of the protocol's lists with what leads to it.

mod codes;
mod connect;
mod queue;
mod refresh;
mod subscribe;

use holdfast_protocol::client::{ErrorCode, Format};
use holdfast_ring::Socket;
use serde_json::{Value, json};

use crate::{
    conn::deflate::Deflate,
    ids::ClientKey,
    session::client::{Client, Clients, Transport},
};

/// The reply to a refused command.
fn error(id: u32, code: ErrorCode) -> Value {
    let mut error = json!({"code": code.code, "message": code.message});
    if code.temporary {
        error["temporary"] = true.into();
    }
    json!({"id": id, "error": error})
}

/// What a client sends to subscribe.
fn subscribe(id: u32, channel: &str) -> Value {
    json!({"id": id, "subscribe": {"channel": channel}})
}

/// What it sends to publish.
fn publish(id: u32, channel: &str, data: &str) -> Value {
    json!({"id": id, "publish": {"channel": channel, "data": data}})
}

/// What subscribers hear of what an anonymous client publishes, where no history is kept.
fn published(channel: &str, data: &str) -> Value {
    let info = json!({"client": "*", "user": ""});
    json!({"push": {"channel": channel, "pub": {"data": data, "info": info}}})
}

fn insert(clients: &mut Clients, random: u8) -> (ClientKey, uuid::Uuid) {
    let link = Transport::WebSocket {
        socket: Socket::new(holdfast_ring::Descriptor::new(0, 0), 0),
        has_native_pings: false,
        deflate: Deflate::Off,
    };
    let key = clients.insert(link, Format::Json, [random; 16], "".into());
    (key, clients.get(key).unwrap().id)
}

#[test]
fn a_client_is_found_by_its_id_and_nobody_by_another_one() {
    let mut clients = Clients::new([7; 32]);
    let all: Vec<_> = (0..=255).map(|random| insert(&mut clients, random)).collect();
    for &(key, id) in &all {
        assert_eq!((clients.find(id), id.get_version_num()), (Some(key), 4));
        let mut other = id.into_bytes();
        other[0] ^= 1;
        assert_eq!(clients.find(uuid::Uuid::from_bytes(other)), None);
    }
    let (first, id) = all[0];
    clients.remove(first);
    assert_eq!(clients.find(id), None);
    let (again, next_id) = insert(&mut clients, 9);
    assert_eq!((again.place, clients.find(next_id)), (first.place, Some(again)));
    assert_eq!(clients.find(id), None, "another client has its place");
}

#[test]
fn ids_do_not_show_places() {
    let ids = [1, 2].map(|secret| insert(&mut Clients::new([secret; 32]), 3).1);
    assert_ne!(ids[0].as_bytes()[12..], ids[1].as_bytes()[12..]);
    assert_eq!(ids[0].as_bytes()[..12], ids[1].as_bytes()[..12]);
}

#[test]
fn a_client_is_small() {
    assert!(size_of::<Client>() <= 128, "{} bytes", size_of::<Client>());
}
