//! Description: `/api/openapi.json` against the running daemon.
//!
//! In:  every path, example and schema of the description.
//! Out: a failure where the daemon does otherwise.
//!
//! The schemas use a small part of JSON Schema; anything else in them fails the test.

use holdfast_testkit::Daemon;
use serde_json::{Map, Value};

use super::{KEY, daemon, daemon_with, post};

#[test]
fn every_example_of_the_description_is_taken_and_answered_as_described() {
    let daemon = daemon();
    let description = read(&daemon);
    let paths = description["paths"].as_object().expect("it has paths");
    for (path, operations) in paths {
        let Some(operation) = operations.get("post") else { continue };
        if path == "/api/drain" {
            // It ends the daemon: it comes last.
            continue;
        }
        let content = &operation["requestBody"]["content"]["application/json"];
        check(&description, &content["schema"], &content["example"], path);
        let (status, answer) = post(&daemon, path, KEY, &content["example"].to_string());
        assert_eq!(status, 200, "{path}: {answer}");
        check(&description, response(operation, "200"), &answer, path);
        let expected = if path == "/api/rpc" { "error" } else { "result" };
        assert!(path == "/api/batch" || answer.get(expected).is_some(), "{path}: {answer}");
    }
    let (status, answer) = post(&daemon, "/api/drain", KEY, "{}");
    assert_eq!(status, 200, "{answer}");
    check(&description, response(&paths["/api/drain"]["post"], "200"), &answer, "/api/drain");
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn every_path_of_the_description_knows_its_methods_and_no_other() {
    let daemon = daemon();
    let description = read(&daemon);
    for (path, operations) in description["paths"].as_object().expect("it has paths") {
        for method in ["GET", "PUT", "DELETE", "POST"] {
            let is_known = operations.get(method.to_lowercase()).is_some();
            if path == "/api/drain" && is_known {
                // It would end the daemon; the first test shows that it is there.
                continue;
            }
            let (head, _) = daemon.request(method, path, KEY, "{}");
            assert_eq!(!head.starts_with("HTTP/1.1 405 "), is_known, "{method} {path}: {head}");
        }
    }
    daemon.stop();
}

#[test]
fn refusals_are_answered_as_described() {
    let daemon = daemon();
    let description = read(&daemon);
    let small = daemon_with("key = 'k'\nmemory_budget = '1MiB'\nrequest_body_limit = '8KiB'");
    let long = " ".repeat((8 << 10) + 1);
    for (status, fields, body) in [("400", KEY, "{"), ("401", "", "{}"), ("413", KEY, &long)] {
        let (got, answer) = post(&small, "/api/publish", fields, body);
        assert_eq!(got.to_string(), status);
        let operation = &description["paths"]["/api/publish"]["post"];
        let described = &operation["responses"][status];
        let described = resolve(&description, described);
        check(&description, &described["content"]["application/json"]["schema"], &answer, status);
    }
    small.stop();
    daemon.stop();
}

fn read(daemon: &Daemon) -> Value {
    let (head, body) = daemon.ask("/api/openapi.json");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let description: Value = serde_json::from_str(&body).expect("it is JSON");
    assert_eq!(description["openapi"], "3.1.0");
    description
}

fn response<'a>(operation: &'a Value, status: &str) -> &'a Value {
    &operation["responses"][status]["content"]["application/json"]["schema"]
}

/// What stands where a reference points to.
fn resolve<'a>(description: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(path) => description.pointer(&path[1..]).unwrap_or_else(|| panic!("{path} points nowhere")),
        None => value,
    }
}

/// Fails where a value is not as its schema says, or has a field that its schema does not name.
fn check(description: &Value, schema: &Value, value: &Value, at: &str) {
    let schema = resolve(description, schema).as_object().unwrap_or_else(|| panic!("no schema at {at}"));
    let of_type = match schema.get("type").and_then(Value::as_str) {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some(other) => panic!("{other} at {at} is not expected"),
        None => true,
    };
    assert!(of_type, "{at}: {value} is not of {schema:?}");
    if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
        assert!(choices.contains(value), "{at}: {value}");
    }
    if let Some(minimum) = schema.get("minimum").and_then(Value::as_i64) {
        assert!(value.as_i64().is_some_and(|value| value >= minimum), "{at}: {value}");
    }
    for item in value.as_array().into_iter().flatten() {
        check(description, &schema["items"], item, at);
    }
    if let Some(fields) = value.as_object() {
        check_fields(description, schema, fields, at);
    }
}

fn check_fields(description: &Value, schema: &Map<String, Value>, fields: &Map<String, Value>, at: &str) {
    for required in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        assert!(fields.contains_key(required.as_str().expect("a name")), "{at} lacks {required}");
    }
    let named = schema.get("properties").and_then(Value::as_object);
    let others = schema.get("additionalProperties");
    if named.is_none() && others.is_none() {
        return;
    }
    for (name, field) in fields {
        let schema = named.and_then(|named| named.get(name)).or(others);
        let schema = schema.unwrap_or_else(|| panic!("{at}: {name} is not described"));
        check(description, schema, field, &format!("{at}/{name}"));
    }
}
