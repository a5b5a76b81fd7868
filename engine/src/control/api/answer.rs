//! Answer: what a call is told.
//!
//! In:  results, and errors by their codes.
//! Out: JSON bodies, with a status that says as much as the caller asked for.

use std::{borrow::Cow, fmt::Display};

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use holdfast_protocol::client::ErrorCode;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::config::ApiErrorMode;

/// Why a call was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ApiError {
    pub(super) code: u32,
    message: Cow<'static, str>,
    /// True exactly when the body was not even a request: that is told in the status too, always.
    #[serde(skip)]
    is_unreadable: bool,
}

impl ApiError {
    /// The caller's fault, with words that help to find it.
    pub(super) fn bad_request(why: impl Display) -> Self {
        let ErrorCode { code, message, .. } = ErrorCode::BAD_REQUEST;
        Self { code, message: format!("{message}: {why}").into(), is_unreadable: false }
    }

    /// The body is not JSON of the right shape.
    pub(super) fn unreadable(why: impl Display) -> Self {
        Self { is_unreadable: true, ..Self::bad_request(why) }
    }

    fn status(&self, mode: ApiErrorMode) -> StatusCode {
        match mode {
            _ if self.is_unreadable => StatusCode::BAD_REQUEST,
            ApiErrorMode::Body => StatusCode::OK,
            ApiErrorMode::Transport => match self.code {
                101 => StatusCode::UNAUTHORIZED,
                102 | 104 => StatusCode::NOT_FOUND,
                103 => StatusCode::FORBIDDEN,
                106..=108 => StatusCode::BAD_REQUEST,
                111 => StatusCode::TOO_MANY_REQUESTS,
                112 => StatusCode::RANGE_NOT_SATISFIABLE,
                113 => StatusCode::CONFLICT,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }
}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> Self {
        Self { code: code.code, message: code.message.into(), is_unreadable: false }
    }
}

/// What came of a call: a result's JSON.
pub(super) type Outcome = Result<Box<RawValue>, ApiError>;

/// How much there is to write of a result.
pub(super) trait Weight {
    /// In items of some hundred bytes.
    fn weight(&self) -> usize {
        0
    }
}

/// A result with no content.
#[derive(Debug, Serialize)]
pub(super) struct Empty {}

impl Weight for Empty {}

/// One reply's content.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Said {
    Result(Box<RawValue>),
    Error(ApiError),
}

/// A reply by itself: `{"result":…}` or `{"error":…}`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reply<'a, T> {
    Result(&'a T),
    Error(&'a ApiError),
}

impl<'a, T> From<&'a Result<T, ApiError>> for Reply<'a, T> {
    fn from(outcome: &'a Result<T, ApiError>) -> Self {
        match outcome {
            Ok(result) => Self::Result(result),
            Err(error) => Self::Error(error),
        }
    }
}

/// A result as JSON.
pub(super) fn raw(result: &impl Serialize) -> Outcome {
    to_raw_value(result).map_err(|_| ErrorCode::INTERNAL.into())
}

/// The response to one call.
pub(super) fn respond(outcome: &Outcome, mode: ApiErrorMode) -> Response {
    let status = outcome.as_ref().map_or_else(|error| error.status(mode), |_| StatusCode::OK);
    match serde_json::to_string(&Reply::from(outcome)) {
        Ok(body) => json(status, body),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

pub(super) fn json(status: StatusCode, body: String) -> Response {
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
            let error = ApiError { code, message: "".into(), is_unreadable: false };
            assert_eq!(error.status(ApiErrorMode::Transport), status, "{code}");
            assert_eq!(error.status(ApiErrorMode::Body), 200, "{code}");
        }
        assert_eq!(ApiError::unreadable("no JSON").status(ApiErrorMode::Body), 400);
    }
}
