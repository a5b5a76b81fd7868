//! `holdfast token`, as an operator sees it.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    process::Output,
    str, thread,
    time::{SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

const SECRET: (&str, &str) = ("HOLDFAST_CLIENT_TOKEN_HMAC_SECRET_KEY", "a secret of the operator");

fn holdfast(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    holdfast_testkit::command()
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("output is UTF-8")
}

/// What a command prints that succeeds.
fn answer(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = holdfast(arguments, variables);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    text(&output.stdout).trim_end().to_owned()
}

/// What a command says that fails. It prints nothing else, and above all no secret.
fn refusal(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = holdfast(arguments, variables);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let said = text(&output.stderr).to_owned();
    assert!(!said.contains(SECRET.1), "{said}");
    said
}

fn claims(token: &str) -> Value {
    let claims = BASE64URL_NOPAD.decode(token.split('.').nth(1).expect("three parts").as_bytes());
    serde_json::from_slice(&claims.expect("base64url")).expect("JSON")
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

#[test]
fn a_connection_token_is_made_and_checked() {
    let made = answer(
        &[
            "token",
            "gen",
            "--user",
            "42",
            "--ttl",
            "10m",
            "--channels",
            "news,user:42",
            "--info",
            r#"{"a":1}"#,
        ],
        &[SECRET],
    );
    let said = claims(&made);
    assert_eq!(said["sub"], "42");
    assert_eq!(said["channels"], json!(["news", "user:42"]));
    assert_eq!(said["info"], json!({"a": 1}));
    let left_s = said["exp"].as_u64().expect("a time") - now_s();
    assert!((590..=600).contains(&left_s), "{left_s}");
    let checked = answer(&["token", "check", &made], &[SECRET]);
    assert!(
        checked.starts_with("ok: a connection token of the user \"42\", to be refreshed within "),
        "{checked}"
    );
    assert!(checked.contains("\"user:42\"") && !checked.contains(SECRET.1), "{checked}");
}

#[test]
fn a_subscription_token_is_made_and_checked_with_its_own_secret_where_there_is_one() {
    let own = [
        SECRET,
        ("HOLDFAST_CLIENT_SUBSCRIPTION_TOKEN_ENABLED", "true"),
        ("HOLDFAST_CLIENT_SUBSCRIPTION_TOKEN_HMAC_SECRET_KEY", "another secret"),
    ];
    let arguments = ["token", "sub", "--user", "42", "--channel", "$news", "--ttl", "0"];
    for variables in [&own[..1], &own] {
        let made = answer(&arguments, variables);
        assert_eq!((&claims(&made)["channel"], &claims(&made)["exp"]), (&json!("$news"), &Value::Null));
        let checked = answer(&["token", "check", &made], variables);
        assert!(
            checked.starts_with("ok: a subscription token of the user \"42\", which never has to be"),
            "{checked}"
        );
    }
    let made = answer(&arguments, &own);
    assert!(refusal(&["token", "check", &made], &[SECRET]).contains("the signature does not match"));
}

#[test]
fn a_refused_token_says_why_and_exits_with_1() {
    let made = answer(&["token", "gen", "--user", "42"], &[SECRET]);
    let other = [("HOLDFAST_CLIENT_TOKEN_HMAC_SECRET_KEY", "changed")];
    let said = refusal(&["token", "check", &made], &other);
    assert_eq!(said, "holdfast: the token is refused: the signature does not match\n");
    assert!(refusal(&["token", "check", &made], &[]).contains("there is no key for algorithm HS256"));
    assert!(refusal(&["token", "check", "nonsense"], &[SECRET]).contains("header, claims and signature"));
    let audience = [SECRET, ("HOLDFAST_CLIENT_TOKEN_AUDIENCE", "chat")];
    assert!(refusal(&["token", "check", &made], &audience).contains("the audience (aud) does not match"));
}

#[test]
fn a_token_is_made_so_that_the_configuration_accepts_it() {
    let strict = [
        SECRET,
        ("HOLDFAST_CLIENT_TOKEN_AUDIENCE", "chat"),
        ("HOLDFAST_CLIENT_TOKEN_ISSUER_REGEX", "^id-[0-9]$"),
        ("HOLDFAST_CLIENT_TOKEN_USER_ID_CLAIM", "user_id"),
    ];
    assert!(refusal(&["token", "gen", "--user", "42"], &strict).contains("give one with --issuer"));
    let made = answer(&["token", "gen", "--user", "42", "--issuer", "id-1"], &strict);
    let said = claims(&made);
    assert_eq!(
        (&said["aud"], &said["iss"], &said["user_id"]),
        (&json!("chat"), &json!("id-1"), &json!("42"))
    );
}

#[test]
fn without_a_secret_no_token_is_made() {
    let said = refusal(&["token", "gen", "--user", "42"], &[]);
    assert!(said.contains("client.token.hmac_secret_key is not set"), "{said}");
    let endpoint = [SECRET, ("HOLDFAST_CLIENT_TOKEN_JWKS_PUBLIC_ENDPOINT", "https://id.test/jwks")];
    assert!(refusal(&["token", "gen", "--user", "42"], &endpoint).contains("jwks_public_endpoint"));
}

#[test]
fn where_keys_come_from_an_endpoint_a_check_fetches_them() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the check connects");
        let mut head = [0; 1024];
        let length = stream.read(&mut head).expect("it asks");
        assert!(head[..length].starts_with(b"GET /jwks HTTP/1.1\r\n"));
        let document = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{document}", document.len());
        stream.write_all(answer.as_bytes()).expect("it reads");
    });
    let endpoint = format!("http://{address}/jwks");
    let variables = [("HOLDFAST_CLIENT_TOKEN_JWKS_PUBLIC_ENDPOINT", endpoint.as_str())];
    let encode = |json: &str| BASE64URL_NOPAD.encode(json.as_bytes());
    let token = format!("{}.{}.AAAA", encode(r#"{"alg":"EdDSA","kid":"b"}"#), encode("{}"));
    let said = refusal(&["token", "check", &token], &variables);
    assert_eq!(said, "holdfast: the token is refused: the key \"b\" is not known\n");
    server.join().expect("it was asked once");
    let unreachable = refusal(&["token", "check", &token], &variables);
    assert!(unreachable.contains(&endpoint) && unreachable.contains("refused"), "{unreachable}");
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    for arguments in [
        &["token", "gen"][..],
        &["token", "sub", "--user", "42"],
        &["token", "gen", "--user", "42", "--ttl", "10"],
        &["token", "gen", "--user", "42", "--info", "{"],
        &["token", "check"],
    ] {
        assert_eq!(holdfast(arguments, &[SECRET]).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn wrong_options_are_refused_and_secrets_are_never_shown() {
    let said = refusal(
        &["config", "check"],
        &[
            ("HOLDFAST_CLIENT_TOKEN_RSA_PUBLIC_KEY", "nonsense"),
            ("HOLDFAST_CLIENT_TOKEN_AUDIENCE_REGEX", "("),
            ("HOLDFAST_CLIENT_TOKEN_JWKS_PUBLIC_ENDPOINT", "https://{{tenant}}.test/"),
            ("HOLDFAST_CLIENT_SUBSCRIPTION_TOKEN_USER_ID_CLAIM", "user id"),
        ],
    );
    for part in [
        "4 errors",
        "client.token.rsa_public_key",
        "client.token.audience_regex",
        "give one endpoint",
        "client.subscription_token.user_id_claim",
    ] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    let both = [("HOLDFAST_CLIENT_TOKEN_ISSUER", "a"), ("HOLDFAST_CLIENT_TOKEN_ISSUER_REGEX", "b")];
    assert!(refusal(&["config", "check"], &both).contains("it is set together with client.token.issuer"));
    let shown = answer(&["config", "check"], &[SECRET]);
    assert!(
        shown.contains("client.token.hmac_secret_key = \"(secret)\"") && !shown.contains(SECRET.1),
        "{shown}"
    );
}
