//! Value: kinds of values that options, requests and tokens have, whoever wrote them.
//!
//! In:  texts.
//! Out: checked values; texts as they may be shown (`masked`).

pub(crate) mod masked;
pub(crate) mod object;
pub(crate) mod origin;
mod regular_expression;
mod url;
mod wildcard;

pub(crate) use self::wildcard::Wildcard;
pub(crate) use self::{regular_expression::RegularExpression, url::HttpUrl};
