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

const ITS_PREFIX: &str = "CENTRIFUGO_";

/// True exactly when Centrifugo would read this variable. Those that Kubernetes makes for a service of its name
/// (`CENTRIFUGO_SERVICE_HOST`, `CENTRIFUGO_PORT_8000_TCP`) are not, nor those kept for use in its files.
pub(super) fn is_its_variable(name: &str) -> bool {
    let others = ["PORT", "SERVICE_", "VAR_"];
    name.strip_prefix(ITS_PREFIX).is_some_and(|rest| !others.iter().any(|start| rest.starts_with(start)))
}

/// What such a variable is called behind the daemon's name.
pub(super) fn own_part(name: &str) -> Option<&str> {
    name.strip_prefix(ITS_PREFIX)
}
