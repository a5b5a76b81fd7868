//! HTTP/1.1, as much of it as a connection needs before it becomes something else.
//!
//! In:  the first bytes of a connection.
//! Out: a request head, a refusal that knows its own answer, or a response to write.
//!
//! No request body is ever read here, and no connection is kept alive for a second request after a refusal.

mod head;
mod refusal;
mod response;

pub use head::{HEADERS_CEILING, HeadLimits, RequestHead, Version};
pub use refusal::Refusal;
pub(crate) use response::write_header;
pub use response::{Response, Status};
