//! Tests that fetch keys from a real HTTP server, as from a JWKS endpoint.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{StatusCode, header},
    response::{IntoResponse, Redirect},
    routing::get,
};
use tokio::net::TcpListener;

use crate::{
    http_client::HttpClient,
    token::jwks::{DOCUMENT_BYTES_MAX, FetchError, Schedule, fetch},
    value::HttpUrl,
};

const DOCUMENT: &str = r#"{"keys":[
    {"kty":"EC","crv":"P-256","kid":"a","use":"sig","alg":"ES256",
     "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
    {"kty":"OKP","crv":"Ed25519","kid":"b","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    {"kty":"oct","kid":"c","k":"AAAA"}
]}"#;

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A body longer than the limit, without a Content-Length.
async fn endless() -> impl IntoResponse {
    let chunks =
        (0..=DOCUMENT_BYTES_MAX / 4096).map(|_| Ok::<_, Infallible>(Bytes::from_static(&[b' '; 4096])));
    Body::from_stream(futures_util::stream::iter(chunks))
}

async fn fetch_all(address: SocketAddr, path: &str) -> Result<usize, FetchError> {
    let endpoint: HttpUrl = format!("http://{address}{path}").parse().expect("an address");
    fetch(&HttpClient::new(), &endpoint).await.map(|fetched| fetched.keys.len())
}

#[tokio::test]
async fn the_usable_keys_of_a_document_are_fetched() {
    let content_type = [(header::CONTENT_TYPE, "application/jwk-set+json")];
    let address = serve(Router::new().route("/jwks", get(|| async move { (content_type, DOCUMENT) }))).await;
    assert_eq!(fetch_all(address, "/jwks").await.expect("keys"), 2);
    assert_eq!(fetch_all(address, "/jwks?tenant=1").await.expect("keys"), 2);
}

#[tokio::test]
async fn what_is_no_key_set_is_refused_with_a_reason() {
    let router = Router::new()
        .route("/gone", get(|| async { StatusCode::GONE }))
        .route("/moved", get(|| async { Redirect::temporary("https://elsewhere.test/jwks?key=hunter2") }))
        .route("/html", get(|| async { "<html>" }))
        .route("/none", get(|| async { r#"{"keys":[]}"# }))
        .route("/endless", get(endless));
    let address = serve(router).await;
    for (path, part) in [
        ("/gone", "answers 410 Gone"),
        ("/moved", "answers 307 Temporary Redirect, to https://elsewhere.test/jwks?***"),
        ("/html", "does not answer with a JSON Web Key Set"),
        ("/none", "no usable key"),
        ("/endless", "more than 1048576 bytes"),
    ] {
        let error = fetch_all(address, path).await.expect_err("no keys").to_string();
        assert!(error.contains(part) && error.starts_with("http://127.0.0.1"), "{path}: {error}");
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_says_why() {
    let closed =
        TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("it is bound");
    let error = fetch_all(closed, "/").await.expect_err("nobody listens").to_string();
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test]
async fn an_endpoint_that_speaks_no_tls_is_no_https_endpoint() {
    let address = serve(Router::new().route("/jwks", get(|| async { DOCUMENT }))).await;
    let endpoint: HttpUrl = format!("https://{address}/jwks").parse().expect("an address");
    let error = fetch(&HttpClient::new(), &endpoint).await.expect_err("no TLS");
    assert!(matches!(error, FetchError::Http { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_does_not_answer_is_given_up() {
    let slow = get(|| async {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        DOCUMENT
    });
    let address = serve(Router::new().route("/jwks", slow)).await;
    let error = fetch_all(address, "/jwks").await.expect_err("too slow").to_string();
    assert!(error.contains("no complete answer within 5000 ms"), "{error}");
}

#[tokio::test]
async fn how_long_keys_may_be_kept_is_taken_from_the_answer() {
    let with = |fields: &[(header::HeaderName, &'static str)]| {
        let fields = axum::http::HeaderMap::from_iter(
            fields.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value"))),
        );
        get(move || async move { (fields, DOCUMENT) })
    };
    let router = Router::new()
        .route("/silent", with(&[]))
        .route("/hour", with(&[(header::CACHE_CONTROL, "public, Max-Age=3600")]))
        .route("/aged", with(&[(header::CACHE_CONTROL, "max-age=\"100\""), (header::AGE, "90")]))
        .route("/stale", with(&[(header::CACHE_CONTROL, "max-age=10"), (header::AGE, "90")]))
        .route("/never", with(&[(header::CACHE_CONTROL, "max-age=3600, no-store")]))
        .route("/long", with(&[(header::CACHE_CONTROL, "max-age=18446744073709551615")]))
        .route("/odd", with(&[(header::CACHE_CONTROL, "max-age=-1, max-age")]));
    let address = serve(router).await;
    for (path, fresh_ms) in [
        ("/silent", None),
        ("/hour", Some(3_600_000)),
        ("/aged", Some(10_000)),
        ("/stale", Some(0)),
        ("/never", Some(0)),
        ("/long", Some(u64::MAX)),
        ("/odd", None),
    ] {
        let endpoint: HttpUrl = format!("http://{address}{path}").parse().expect("an address");
        let fetched = fetch(&HttpClient::new(), &endpoint).await.expect("keys");
        assert_eq!(fetched.fresh_ms, fresh_ms, "{path}");
    }
}

#[test]
fn an_endpoint_is_a_plain_address_and_its_query_is_not_shown() {
    for (good, shown) in [
        ("http://127.0.0.1:8080/jwks", "http://127.0.0.1:8080/jwks"),
        ("https://id.test/.well-known/jwks.json?key=hunter2", "https://id.test/.well-known/jwks.json?***"),
    ] {
        let endpoint: HttpUrl = good.parse().expect("an address");
        assert_eq!(endpoint.to_string(), shown);
        assert!(!format!("{endpoint:?}").contains("hunter2"));
        assert_eq!(endpoint.is_encrypted(), good.starts_with("https"));
    }
    for bad in
        ["", "/jwks", "id.test", "ftp://id.test/", "https://user:secret@id.test/", "https://{{tenant}}.test/"]
    {
        assert!(bad.parse::<HttpUrl>().is_err(), "{bad}");
    }
}

#[test]
fn an_endpoint_is_asked_when_keys_are_stale_and_for_unknown_keys_at_most_every_ten_seconds() {
    let mut schedule = Schedule::new(3_600_000, 7_200_000);
    assert_eq!((schedule.is_due(0), schedule.may_fetch_in(0)), (true, 0));
    schedule.began(1_000);
    schedule.ended(Ok(None));
    assert_eq!((schedule.is_due(10_999), schedule.may_fetch_in(10_999)), (false, 1));
    assert_eq!((schedule.is_due(11_000), schedule.may_fetch_in(11_000)), (false, 0));
    assert!(!schedule.is_due(3_600_999) && schedule.is_due(3_601_000));
    schedule.began(20_000);
    schedule.ended(Err(()));
    assert!(!schedule.is_due(29_999) && schedule.is_due(30_000), "what failed is tried again");
    for (fresh_ms, next_after_ms) in [(0, 60_000), (90_000, 90_000), (u64::MAX, 3_600_000)] {
        schedule.began(0);
        schedule.ended(Ok(Some(fresh_ms)));
        assert!(!schedule.is_due(next_after_ms - 1) && schedule.is_due(next_after_ms), "{fresh_ms}");
    }
}

#[test]
fn keys_end_once_when_they_are_too_old_and_not_while_they_are_renewed() {
    let mut schedule = Schedule::new(10_000, 60_000).stricter(Schedule::new(20_000, 50_000));
    assert!(!schedule.keys_end(u64::MAX), "there are none");
    schedule.began(1_000);
    schedule.ended(Ok(None));
    schedule.began(11_000);
    schedule.ended(Err(()));
    assert!(!schedule.keys_end(50_999) && schedule.keys_end(51_000));
    assert!(!schedule.keys_end(52_000), "they are gone");
    schedule.began(60_000);
    schedule.ended(Ok(None));
    assert!(!schedule.keys_end(109_999) && schedule.keys_end(110_000));
}
