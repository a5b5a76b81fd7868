//! Missing: an option of Centrifugo that is none here, and when it asks for nothing.
//!
//! In:  a value that is written there.
//! Out: whether it says anything but what holds without it.

use serde_json::Value;

use crate::config::units::parse_duration_ms;

/// An option, or a whole section, of Centrifugo v6 that Holdfast does not have.
pub(super) struct Missing {
    /// Its full path; what is beneath it is included. Options of namespaces stand at `channel.without_namespace` and
    /// `rpc.without_namespace`, those of proxies at `rpc.proxy`.
    pub(super) path: &'static str,
    pub(super) dormant: Dormant,
    /// What to do about it, or why nothing is, as a clause.
    pub(super) advice: &'static str,
}

/// When a missing option asks for nothing.
pub(super) enum Dormant {
    /// While its value is empty (`false`, 0, `""`, …) or this, its default in Centrifugo.
    At(&'static str),
    /// While its value is this: an empty one says something else.
    Only(&'static str),
    /// While `enabled` in the section is not true.
    Off,
    /// Always: other options make use of it, and those are refused, or it changes nothing here.
    Always,
}

/// The default is empty: `false`, 0, `""` or an empty list.
pub(super) const EMPTY: Dormant = Dormant::At("");

pub(super) const fn at(default: &'static str) -> Dormant {
    Dormant::At(default)
}

pub(super) const fn missing(path: &'static str, dormant: Dormant, advice: &'static str) -> Missing {
    Missing { path, dormant, advice }
}

impl Missing {
    /// True exactly when what is written there changes nothing.
    pub(super) fn asks_nothing(&self, value: &Value) -> bool {
        match self.dormant {
            Dormant::At(default) => is_empty(value) || is(value, default),
            Dormant::Only(default) => is(value, default),
            Dormant::Off => value.is_object() && value.get("enabled").is_none_or(is_empty),
            Dormant::Always => true,
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || parse_duration_ms(text) == Ok(0),
        Value::Array(list) => list.is_empty(),
        Value::Object(table) => table.values().all(is_empty),
    }
}

/// True exactly when `value` says the same as `default`; `"60s"` is `"1m0s"`.
fn is(value: &Value, default: &str) -> bool {
    let same_time = |text| parse_duration_ms(text).is_ok_and(|ms| parse_duration_ms(default) == Ok(ms));
    value.as_str().is_some_and(|text| text == default || same_time(text))
}
