//! HTTP/1.1, as much of it as an upgrade and the transports beside WebSocket need.
//!
//! In:  the bytes of a connection.
//! Out: a request head, its body, a refusal that knows its own answer, or a response to write.
//!
//! After a refusal no connection is kept alive: what follows it could be the rest of what was refused.

mod body;
mod forwarded;
mod head;
mod refusal;
mod response;

pub use body::Body;
pub use forwarded::{ForwardedField, client_address};
pub use head::{HEADERS_CEILING, HeadLimits, RequestHead, Version, list_separator};
pub use refusal::{Asked, Refusal};
pub(crate) use response::write_header;
pub use response::{Response, Status, StreamHead};

/// RFC 9110 §5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
