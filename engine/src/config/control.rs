//! Control: the options of the services on the control port.
//!
//! Out: the checked sections `http_api`, `admin` and `node`.
//!
//! Health and metrics have no options: they are always served.

use super::definition::section;
use super::kinds::{boolean, choice, list_of, parsed, size, text};
use super::secret::Secret;

section! {
    /// The server API, for the application's backend: `POST /api/{method}` on the control port.
    pub(crate) struct HttpApiConfig {
        /// Turns the API off: every call gets 404.
        "disabled" => pub disabled: bool = boolean(false);
        /// Key that each call must carry, in `X-API-Key: KEY`, `Authorization: apikey KEY` or `?api_key=KEY`. If no
        /// key is configured, every call gets 401, unless `http_api.insecure` is set.
        "key" => pub key: Secret = parsed("text", "text", "").secret();
        /// Further keys that are valid beside `http_api.key`: to replace a key without a gap, or to give each backend
        /// its own.
        "keys" => pub more_keys: Vec<Secret>
            = list_of(parsed("text", "text", "").also("not empty", |key: &Secret| !key.expose().is_empty())).secret();
        /// Accepts calls without a key. Then anyone who reaches the control port can publish and disconnect. To keep web
        /// pages from calling the API through a visitor's browser, a call must then have `Content-Type:
        /// application/json` and no `Origin` of another host, and its `Host` must be an IP address, `localhost` or
        /// one of `http_api.allowed_hosts`.
        "insecure" => pub insecure: bool = boolean(false);
        /// Host names by which the API may be called if `http_api.insecure` is set, beside IP addresses and
        /// `localhost`: the names of the service, such as `holdfast.internal`.
        "allowed_hosts" => pub allowed_hosts: Vec<String> = list_of(text(""));
        /// Form of an error answer. `default` answers status 200 with `{"error":…}`; `transport` answers a matching
        /// HTTP status. A call can choose `transport` itself with the header `X-Centrifugo-Error-Mode`.
        "error_mode" => pub error_mode: ApiErrorMode = choice("default", ApiErrorMode::NAMES);
        /// Longest body of a call. A longer one gets 413. A broadcast to 40,000 channels with names of 24 bytes has
        /// 1.1 MB. The daemon lowers this value to an eighth of `http_api.memory_budget`.
        /// Worst case: four times this while a call is under way.
        "request_body_limit" => pub request_body_bytes_max: u64 = size("16MiB", "1KiB", "1GiB");
        /// Longest answer. A call with a longer answer gets error 106. In a batch, the commands after the one that
        /// reaches the limit are not executed, and each gets error 106. The daemon lowers this value to a quarter of
        /// `http_api.memory_budget`.
        /// Worst case: twice this while a call is under way.
        "response_body_limit" => pub response_body_bytes_max: u64 = size("16MiB", "1KiB", "1GiB");
        /// Memory for the bodies and answers of all calls under way. When it is full, a call gets 503 with
        /// `Retry-After`. The daemon lowers this value to fit limited memory: see [memory](memory.md).
        /// Worst case: this.
        "memory_budget" => pub memory_budget_bytes: u64 = size("256MiB", "1MiB", "16TiB");
    }

    /// The try-out page at `/` of the control port: a small chat that connects as any other client does. It knows no
    /// key and gives no rights, so it asks for no password. `client.allowed_origins` must allow its origin; if it
    /// does not, the page says so.
    pub(crate) struct AdminConfig {
        /// Serves the page.
        "enabled" => pub enabled: bool = boolean(false);
    }

    /// The name of this node.
    pub(crate) struct NodeConfig {
        /// Name of this node in the API's `info`. If empty, the host name and the client port.
        "name" => pub name: String = text("");
    }
}

impl HttpApiConfig {
    /// All valid keys. If there is none, every call is refused unless `insecure` is set.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        let key = Some(self.key.expose()).filter(|key| !key.is_empty());
        key.into_iter().chain(self.more_keys.iter().map(Secret::expose))
    }
}

/// The form of an API error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ApiErrorMode {
    /// Status 200, with the error in the body.
    Body,
    /// A matching HTTP status, with the error in the body.
    Transport,
}

impl ApiErrorMode {
    const NAMES: &[(&str, Self)] = &[("default", Self::Body), ("transport", Self::Transport)];
}
