//! Error: why a call of the server API failed.
//!
//! In:  an error code of the client protocol, and an explanation.
//! Out: the error in a reply; whether it also sets the status of the response.

use std::{borrow::Cow, fmt::Display};

use axum::http::StatusCode;
use holdfast_protocol::client::ErrorCode;
use serde::Serialize;

use crate::config::ApiErrorMode;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ApiError {
    pub(super) code: u32,
    pub(super) message: Cow<'static, str>,
    #[serde(skip)]
    pub(super) kind: Kind,
}

/// Whether an error sets the status of the response, in every error mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The status depends on the error mode.
    Plain,
    /// The body is not a request.
    Unreadable,
    /// There is no memory for the call now.
    Full,
}

impl ApiError {
    /// The request is wrong; the message says where.
    pub(super) fn bad_request(why: impl Display) -> Self {
        Self::of(ErrorCode::BAD_REQUEST, why, Kind::Plain)
    }

    /// The body is not JSON of the expected form.
    pub(super) fn unreadable(why: impl Display) -> Self {
        Self::of(ErrorCode::BAD_REQUEST, why, Kind::Unreadable)
    }

    /// A limit was exceeded.
    pub(super) fn limit(why: impl Display) -> Self {
        Self::of(ErrorCode::LIMIT_EXCEEDED, why, Kind::Plain)
    }

    /// There is no room now.
    pub(super) fn full(why: impl Display) -> Self {
        Self::of(ErrorCode::TOO_MANY_REQUESTS, why, Kind::Full)
    }

    /// It is done here, and other nodes were not told: Redis did not take it.
    pub(super) fn not_told(why: impl Display) -> Self {
        let why = format_args!("done on this node, but the other nodes were not told: {why}");
        Self::of(ErrorCode::INTERNAL, why, Kind::Plain)
    }

    fn of(code: ErrorCode, why: impl Display, kind: Kind) -> Self {
        let ErrorCode { code, message, .. } = code;
        Self { code, message: format!("{message}: {why}").into(), kind }
    }

    /// The message.
    pub(super) fn words(&self) -> &str {
        &self.message
    }

    pub(super) fn status(&self, mode: ApiErrorMode) -> StatusCode {
        match mode {
            _ if self.kind == Kind::Unreadable => StatusCode::BAD_REQUEST,
            _ if self.kind == Kind::Full => StatusCode::SERVICE_UNAVAILABLE,
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

    /// The complete reply: `{"error":…}`.
    pub(super) fn reply(&self) -> String {
        format!(r#"{{"error":{}}}"#, self.text())
    }

    /// The error alone: `{"code":…,"message":…}`.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| r#"{"code":100}"#.to_owned())
    }
}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> Self {
        Self { code: code.code, message: code.message.into(), kind: Kind::Plain }
    }
}
