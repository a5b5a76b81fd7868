//! Centrifugo: the options of Centrifugo v6 that Holdfast does not have.
//!
//! In:  the full path and the value of a key that is not an option of Holdfast; or the name of an environment variable.
//! Out: whether Centrifugo v6 has this key, whether its value requests a missing feature, and what to do instead.
//!
//! A file for Centrifugo v6 must load unless it requests a missing feature. Keys that repeat a default, sections that
//! are off, and options of features that are off are ignored silently. Options without effect here, such as buffer
//! sizes and options of Centrifugo PRO, are ignored with a warning. Everything else is an error: an operator who
//! requests TLS or a proxy must not get a daemon without it.

mod list;
mod missing;
mod older;
mod passed;
#[cfg(test)]
mod tests;

use list::MISSING;
use missing::Missing;
pub(super) use older::older;
use passed::PASSED;
use serde_json::Value;

/// The judgment of a key that is not an option of Holdfast.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not a key of Centrifugo either.
    Unknown,
    /// A section of Centrifugo: judge each of its keys.
    Section,
    /// A key of Centrifugo whose value requests nothing.
    Dormant,
    /// A key of Centrifugo or Centrifugo PRO that has no effect here, with the reason.
    PassedOver(&'static str),
    /// A key of Centrifugo that Holdfast does not support, with advice.
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

/// Maps an option of any namespace to its entry in the lists: `channel.namespaces[3].map` becomes
/// `channel.without_namespace.map`.
fn in_any_namespace(path: &str) -> String {
    for section in ["channel", "rpc"] {
        let rest = path.strip_prefix(section).and_then(|rest| rest.strip_prefix(".namespaces["));
        if let Some((_, option)) = rest.and_then(|rest| rest.split_once("].")) {
            return format!("{section}.without_namespace.{option}");
        }
    }
    path.to_owned()
}

/// Maps an option of any proxy to its entry in the lists: `client.proxy.connect.grpc` becomes `rpc.proxy.grpc`.
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

const ITS_PREFIX: &str = "CENTRIFUGO_";

/// True exactly when Centrifugo would read this variable as an option. This excludes variables that Kubernetes sets for
/// a service named `centrifugo` (`CENTRIFUGO_SERVICE_HOST`, `CENTRIFUGO_PORT_8000_TCP`), and variables that files
/// reference (`CENTRIFUGO_VAR_…`).
pub(super) fn is_its_variable(name: &str) -> bool {
    let others = ["PORT", "SERVICE_", "VAR_"];
    name.strip_prefix(ITS_PREFIX).is_some_and(|rest| !others.iter().any(|start| rest.starts_with(start)))
}

/// The name of such a variable without the prefix.
pub(super) fn own_part(name: &str) -> Option<&str> {
    name.strip_prefix(ITS_PREFIX)
}
