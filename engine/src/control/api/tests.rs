//! Tests of bodies, answers and their memory. Compares the OpenAPI description with the router.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::mesh::MailboxLimits;

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let refused = read_body(&room(1 << 20), never).await.expect_err("must time out");
    assert_eq!(refused.status(), StatusCode::REQUEST_TIMEOUT);
}

/// A room with this budget, in bytes.
fn room(budget_bytes: u64) -> Arc<Room> {
    let tables = crate::limits::Tables::new(1, 0);
    let budgets = crate::memory::BudgetLimits::all(budget_bytes);
    let limits = MailboxLimits { messages_max: 1, bytes_max: 1 << 20 };
    let shared = Shared::new(Vec::new(), limits, 7, tables, budgets);
    Arc::new(Room::new(&Config::default().options.http_api, Arc::new(shared)))
}

fn used(room: &Room) -> u64 {
    room.used()
}

#[tokio::test]
async fn a_body_has_a_limit_and_where_calls_have_all_their_memory_another_one_is_refused_for_now() {
    let room = room(80_000);
    let read = async |bytes: usize| read_body(&room, Body::from(vec![b' '; bytes])).await;
    assert_eq!(room.body_bytes_max, 10_000);
    let long = read(10_001).await.expect_err("must be too long");
    assert_eq!(long.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(used(&room), 0);
    let first = read(10_000).await.expect("there is room");
    let second = read(10_000).await.expect("there is room");
    let full = read(1_000).await.expect_err("must be full");
    assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(full.headers().contains_key(header::RETRY_AFTER));
    drop(first);
    read(1_000).await.expect("there is room again");
    drop(second);
    assert_eq!(used(&room), 0);
}

#[test]
fn an_answer_is_held_to_its_limit_and_to_the_memory_of_all() {
    let room = room(40_000);
    assert_eq!(room.answer_bytes_max, 10_000);
    let write = |bytes: usize| answer::reply("result", &"x".repeat(bytes), room.hold());
    let text = write(9_000).unwrap();
    assert_eq!((&text.as_bytes()[..12], text.len()), (&b"{\"result\":\"x"[..], 9_000 + 13));
    assert!(used(&room) >= 9_013);
    let error = write(10_000).unwrap_err();
    assert!(
        error.code == 106 && error.reply().contains("10000 bytes (http_api.response_body_limit)"),
        "{error:?}"
    );
    let others: Vec<_> = std::iter::from_fn(|| write(9_000).ok()).collect();
    assert!((2..=4).contains(&others.len()), "{}", others.len());
    assert_eq!(write(9_000).unwrap_err().code, 111);
    let sent = text.into_bytes();
    drop(others);
    assert!(used(&room) >= 9_013, "until it has gone out");
    drop(sent);
    assert_eq!(used(&room), 0);
}

#[test]
fn the_description_has_every_method_and_no_other() {
    let description: Value = serde_json::from_str(OPENAPI).unwrap();
    let described: BTreeSet<&str> =
        description["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let methods = Method::ALL.iter().map(|(name, _)| format!("/api/{name}"));
    let others = ["/api", "/api/batch", "/api/openapi.json"].map(str::to_owned);
    let routes: BTreeSet<String> = methods.chain(others).collect();
    assert_eq!(described, routes.iter().map(String::as_str).collect());

    let schemas = &description["components"]["schemas"];
    let names: BTreeSet<&str> = Method::ALL.iter().map(|(name, _)| *name).collect();
    let in_batch =
        schemas["BatchRequest"]["properties"]["commands"]["items"]["properties"].as_object().unwrap();
    assert_eq!(in_batch.keys().map(String::as_str).collect::<BTreeSet<_>>(), names);
    let named = schemas["NamedRequest"]["properties"]["method"]["enum"].as_array().unwrap();
    assert_eq!(named.iter().filter_map(Value::as_str).collect::<BTreeSet<_>>(), names);
}
