//! Answer: builds the responses to calls.
//!
//! In:  results and errors.
//! Out: JSON bodies, with the status that the caller's error mode requires.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Serialize;

use super::{
    error::{ApiError, Kind},
    room::Hold,
    text::Text,
};
use crate::config::ApiErrorMode;

/// `Retry-After`, in seconds, if there was no room.
const RETRY_AFTER_S: &str = "1";

/// The outcome of a call: its complete reply, with the result under `result` or under the method's name.
pub(super) type Outcome = Result<Text, ApiError>;

/// How expensive a result is to serialize.
pub(super) trait Weight {
    /// The size of the result, in items of a few hundred bytes.
    fn weight(&self) -> usize {
        0
    }

    /// Takes the memory already reserved for the result's text.
    fn take_hold(&mut self) -> Option<Hold> {
        None
    }
}

/// A result without content.
#[derive(Debug, Serialize)]
pub(super) struct Empty {}

impl Weight for Empty {}

/// Builds the reply, with the result under this name.
pub(super) fn reply(name: &str, result: &impl Serialize, hold: Hold) -> Outcome {
    let mut text = Text::new(hold);
    text.push(b"{\"")?;
    text.push(name.as_bytes())?;
    text.push(b"\":")?;
    text.push_json(result)?;
    text.push(b"}")?;
    Ok(text)
}

/// Builds the response to one call.
pub(super) fn respond(outcome: Outcome, mode: ApiErrorMode) -> Response {
    match outcome {
        Ok(text) => json(StatusCode::OK, text.into_bytes()),
        Err(error) => {
            let body = match mode {
                ApiErrorMode::Body => error.reply(),
                // The status already marks the response as an error.
                ApiErrorMode::Transport => error.text(),
            };
            let mut response = json(error.status(mode), body.into());
            if error.kind == Kind::Full {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
            }
            response
        }
    }
}

/// Builds the response to a request that is not executed.
pub(super) fn refuse(status: StatusCode, error: ApiError) -> Response {
    let mut response = respond(Err(error), ApiErrorMode::Body);
    *response.status_mut() = status;
    response
}

pub(super) fn json(status: StatusCode, body: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_what_is_wrong_only_where_the_caller_asked_for_it() {
        for (code, status) in
            [(100, 500), (102, 404), (104, 404), (107, 400), (108, 400), (112, 416), (113, 409)]
        {
            let error = ApiError { code, message: "".into(), kind: Kind::Plain };
            assert_eq!(error.status(ApiErrorMode::Transport), status, "{code}");
            assert_eq!(error.status(ApiErrorMode::Body), 200, "{code}");
        }
        assert_eq!(ApiError::unreadable("no JSON").status(ApiErrorMode::Body), 400);
        assert_eq!(ApiError::full("no room").status(ApiErrorMode::Body), 503);
    }
}
