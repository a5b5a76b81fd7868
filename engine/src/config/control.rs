//! Control: the options of what the control port offers.
//!
//! Out: the checked sections `http_api`, `admin` and `node`.
//!
//! Health and metrics have no options: they are always served.

use super::definition::section;
use super::kinds::{boolean, choice, list_of, parsed, size, text};
use super::secret::Secret;

section! {
    /// The server API, for the application's backend: `POST /api/{method}` on the control port, nowhere else.
    pub struct HttpApiConfig {
        /// True exactly when the API is answered 404.
        "disabled" => pub disabled: bool = boolean(false);
        /// The key that a call must carry, in `X-API-Key`, or as `Authorization: apikey KEY`, or in `?api_key=`.
        /// Without any key every call is answered 401, unless `http_api.insecure`.
        "key" => pub key: Secret = parsed("text", "text", "").secret();
        /// Keys that are good beside `http_api.key`: to change keys without a gap, or to give each backend its own.
        "keys" => pub more_keys: Vec<Secret>
            = list_of(parsed("text", "text", "").also("not empty", |key: &Secret| !key.expose().is_empty())).secret();
        /// True exactly when calls need no key. Whoever reaches the control port can then publish and disconnect. So that
        /// no web page does it through its visitors' browsers, a call must then say `Content-Type: application/json`, have
        /// no `Origin` of another host, and name in `Host` an IP address, `localhost`, or one of `http_api.allowed_hosts`.
        "insecure" => pub insecure: bool = boolean(false);
        /// Names by which the API may be called where `http_api.insecure` is set, beside IP addresses and `localhost`:
        /// the names of the service, as `holdfast.internal`.
        "allowed_hosts" => pub allowed_hosts: Vec<String> = list_of(text(""));
        /// What a refused call is answered: with `default` 200 and `{"error":…}`, with `transport` an HTTP status that
        /// fits. A call can ask for `transport` itself, with the header `X-Centrifugo-Error-Mode`.
        "error_mode" => pub error_mode: ApiErrorMode = choice("default", ApiErrorMode::NAMES);
        /// The longest body of a call; a longer one is answered 413. A broadcast to 40,000 channels with names of 24 bytes
        /// has 1.1 MB. An eighth of `http_api.memory_budget` is the most.
        /// Worst case: four times this while a call is under way.
        "request_body_limit" => pub request_body_bytes_max: u64 = size("16MiB", "1KiB", "1GiB");
        /// The longest answer; a call that would have a longer one is answered with error 106. In a batch the commands
        /// after the one that reaches it are not done, and each is answered so. A quarter of `http_api.memory_budget` is
        /// the most.
        /// Worst case: twice this while a call is under way.
        "response_body_limit" => pub response_body_bytes_max: u64 = size("16MiB", "1KiB", "1GiB");
        /// Memory for the bodies and answers of all calls that are under way; where it is full, a call is answered 503
        /// with `Retry-After`. Less where memory is limited: see [memory](memory.md).
        /// Worst case: this.
        "memory_budget" => pub memory_budget_bytes: u64 = size("256MiB", "1MiB", "16TiB");
    }

    /// The try-out page at `/` of the control port: a small chat that connects as any client would. It knows no key,
    /// gives no rights, and so asks for no password. Its origin must be among `client.allowed_origins`; where it is not,
    /// the page says so.
    pub struct AdminConfig {
        /// True exactly when the page is served.
        "enabled" => pub enabled: bool = boolean(false);
    }

    /// What this node calls itself.
    pub struct NodeConfig {
        /// Its name in the API's `info`. Empty: the host's name and the client port.
        "name" => pub name: String = text("");
    }
}

impl HttpApiConfig {
    /// Every key that is good. None: no call is, unless `insecure`.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let key = Some(self.key.expose()).filter(|key| !key.is_empty());
        key.into_iter().chain(self.more_keys.iter().map(Secret::expose))
    }
}

/// What a refused API call is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiErrorMode {
    /// Status 200, the error in the body.
    Body,
    /// A status that fits, and the error in the body.
    Transport,
}

impl ApiErrorMode {
    const NAMES: &[(&str, Self)] = &[("default", Self::Body), ("transport", Self::Transport)];
}
