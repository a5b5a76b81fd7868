//! The description against the router: every route of one is a path of the other.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let refused = read_body(never).await.expect_err("nothing came");
    assert_eq!(refused.status(), StatusCode::REQUEST_TIMEOUT);
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
