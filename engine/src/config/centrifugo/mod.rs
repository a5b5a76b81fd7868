//! Centrifugo: what its v6 can be told and Holdfast cannot.
//!
//! In:  the full path of a key that is no option of ours, and its value; or the name of an environment variable.
//! Out: whether it is a key of Centrifugo v6, and then whether it asks for anything, and what to do instead.
//!
//! A file that Centrifugo v6 reads must load here as long as it asks for nothing that is missing: keys that only repeat
//! a default, sections that are switched off, and options of such features are passed over in silence; what changes
//! nothing here, as buffers and what only its PRO reads, with a warning. Everything else is refused, never ignored:
//! whoever asked for TLS or a proxy must not get a daemon without.

mod list;
mod older;
mod passed;
#[cfg(test)]
mod tests;

use super::source::ENVIRONMENT_PREFIX;
use super::units::parse_duration_ms;
use list::MISSING;
pub(super) use older::older;
use passed::PASSED;
use serde_json::Value;

/// An option, or a whole section, of Centrifugo v6 that Holdfast does not have.
struct Missing {
    /// Its full path; what is beneath it is included. Options of namespaces stand at `channel.without_namespace` and
    /// `rpc.without_namespace`, those of proxies at `rpc.proxy`.
    path: &'static str,
    dormant: Dormant,
    /// What to do about it, or why nothing is, as a clause.
    advice: &'static str,
}

/// When a missing option asks for nothing.
enum Dormant {
    /// While its value is empty (`false`, 0, `""`, …) or this, its default in Centrifugo.
    At(&'static str),
    /// While its value is this: an empty one says something else.
    Only(&'static str),
    /// While `enabled` in the section is not true.
    Off,
    /// Always: other options make use of it, and those are refused, or it changes nothing here.
    Always,
}

/// What a key that is no option of ours is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Centrifugo does not have it either.
    Unknown,
    /// A section of Centrifugo whose keys are to be judged one by one.
    Section,
    /// Centrifugo has it, and as it is written it asks for nothing.
    Dormant,
    /// Centrifugo or its PRO has it, and it changes nothing here; why.
    PassedOver(&'static str),
    /// Centrifugo has it and Holdfast does not; what to do.
    Unsupported(&'static str),
}

pub(super) fn judge(path: &str, value: &Value) -> Verdict {
    let path = in_any_proxy(&in_any_namespace(path));
    let find = |list: &'static [Missing]| list.iter().find(|missing| missing.path == path);
    if let Some(passed) = find(PASSED) {
        let asks = !passed.asks_nothing(value);
        return if asks { Verdict::PassedOver(passed.advice) } else { Verdict::Dormant };
    }
    let Some(missing) = find(MISSING) else {
        let beneath =
            |missing: &Missing| missing.path.strip_prefix(&path).is_some_and(|rest| rest.starts_with('.'));
        return if MISSING.iter().chain(PASSED).any(beneath) { Verdict::Section } else { Verdict::Unknown };
    };
    if missing.asks_nothing(value) { Verdict::Dormant } else { Verdict::Unsupported(missing.advice) }
}

impl Missing {
    fn asks_nothing(&self, value: &Value) -> bool {
        match self.dormant {
            Dormant::At(default) => is_empty(value) || is(value, default),
            Dormant::Only(default) => is(value, default),
            Dormant::Off => value.is_object() && value.get("enabled").is_none_or(is_empty),
            Dormant::Always => true,
        }
    }
}

/// `channel.namespaces[3].map` is the option `channel.without_namespace.map` of another namespace.
fn in_any_namespace(path: &str) -> String {
    for section in ["channel", "rpc"] {
        let rest = path.strip_prefix(section).and_then(|rest| rest.strip_prefix(".namespaces["));
        if let Some((_, option)) = rest.and_then(|rest| rest.split_once("].")) {
            return format!("{section}.without_namespace.{option}");
        }
    }
    path.to_owned()
}

/// `client.proxy.connect.grpc` is the option `rpc.proxy.grpc` of another proxy.
fn in_any_proxy(path: &str) -> String {
    const PROXIES: [&str; 5] = [
        "client.proxy.connect.",
        "client.proxy.refresh.",
        "channel.proxy.subscribe.",
        "channel.proxy.publish.",
        "channel.proxy.sub_refresh.",
    ];
    let option = PROXIES.iter().find_map(|proxy| path.strip_prefix(proxy));
    option.map_or_else(|| path.to_owned(), |option| format!("rpc.proxy.{option}"))
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

const ITS_PREFIX: &str = "CENTRIFUGO_";

/// True exactly when Centrifugo would read this variable. Those that Kubernetes makes for a service of its name
/// (`CENTRIFUGO_SERVICE_HOST`, `CENTRIFUGO_PORT_8000_TCP`) are not, nor those kept for use in its files.
pub(super) fn is_its_variable(name: &str) -> bool {
    let others = ["PORT", "SERVICE_", "VAR_"];
    name.strip_prefix(ITS_PREFIX).is_some_and(|rest| !others.iter().any(|start| rest.starts_with(start)))
}

/// The name that this variable of Centrifugo would have here.
pub(super) fn our_variable(name: &str) -> Option<String> {
    name.strip_prefix(ITS_PREFIX).map(|rest| format!("{ENVIRONMENT_PREFIX}{rest}"))
}
