//! Framing: where a request of the control port ends.
//!
//! In:  requests, as hyper has read them.
//! Out: the same; or 400, 501, and the end of the connection, where others could read them otherwise.
//!
//! hyper refuses most of that by itself. Of a length beside a transfer coding it takes the coding, as RFC 9112 §6.3 says,
//! and drops a length that comes later; so nobody can tell here, and no connection goes on after a transfer coding (§6.1).

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Has `next` answer a request whose end is beyond doubt.
pub(super) async fn check(request: Request, next: Next) -> Response {
    let has_coding = request.headers().contains_key(header::TRANSFER_ENCODING);
    let mut response = match fault(request.headers()) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    if has_coding {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn fault(headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next()?;
    if headers.contains_key(header::CONTENT_LENGTH) {
        return Some((StatusCode::BAD_REQUEST, "send Content-Length or Transfer-Encoding, not both\n"));
    }
    let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
    (!is_chunked).then_some((StatusCode::NOT_IMPLEMENTED, "the one transfer coding here is chunked\n"))
}
