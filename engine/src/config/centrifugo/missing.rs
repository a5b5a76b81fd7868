//! Missing: an option of Centrifugo that Holdfast does not have, and the values that request nothing.
//!
//! In:  the value of such an option.
//! Out: whether it requests anything beyond the default.

use serde_json::Value;

use crate::config::units::parse_duration_ms;

/// An option, or a whole section, of Centrifugo v6 that Holdfast does not have.
pub(super) struct Missing {
    /// The full path of an option or of a whole section. Options of namespaces are listed under
    /// `channel.without_namespace` and `rpc.without_namespace`, options of proxies under `rpc.proxy`.
    pub(super) path: &'static str,
    pub(super) dormant: Dormant,
    /// What to do about it, or why it has no effect, as a clause.
    pub(super) advice: &'static str,
}

/// The values with which a missing option requests nothing.
pub(super) enum Dormant {
    /// An empty value (`false`, 0, `""`, …), or this value, which is its default in Centrifugo.
    At(&'static str),
    /// Only this value: an empty one has another meaning.
    Only(&'static str),
    /// A section in which `enabled` is not true.
    Off,
    /// Any value: it has no effect here, or only other options use it, and those are refused.
    Always,
}

/// Requests nothing if it is empty: `false`, 0, `""` or an empty list.
pub(super) const EMPTY: Dormant = Dormant::At("");

pub(super) const fn at(default: &'static str) -> Dormant {
    Dormant::At(default)
}

pub(super) const fn missing(path: &'static str, dormant: Dormant, advice: &'static str) -> Missing {
    Missing { path, dormant, advice }
}

impl Missing {
    /// True exactly when this value requests nothing.
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

/// True exactly when `value` means the same as `default`; `"60s"` equals `"1m0s"`.
fn is(value: &Value, default: &str) -> bool {
    let same_time = |text| parse_duration_ms(text).is_ok_and(|ms| parse_duration_ms(default) == Ok(ms));
    value.as_str().is_some_and(|text| text == default || same_time(text))
}
