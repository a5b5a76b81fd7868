//! Framing: rejects requests to the control port whose end is ambiguous.
//!
//! In:  requests, as parsed by hyper.
//! Out: the same requests; or 400 or 501 and the end of the connection, if another parser could read them differently.
//!
//! hyper rejects most of these. If a request has both a length and a transfer coding, hyper uses the coding, as RFC
//! 9112 §6.3 says. It also drops a length after the coding, so this code cannot see it. Therefore no connection
//! continues after a transfer coding (§6.1).

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Passes a request to `next` if its end is not ambiguous.
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
        return Some((
            StatusCode::BAD_REQUEST,
            "send either Content-Length or Transfer-Encoding, not both\n",
        ));
    }
    let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
    (!is_chunked).then_some((StatusCode::NOT_IMPLEMENTED, "the only supported transfer coding is chunked\n"))
}
