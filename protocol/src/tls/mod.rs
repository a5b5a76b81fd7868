//! TLS over whatever carries bytes (RFC 8446, RFC 5246), by rustls.
//!
//! In:  what a connection has received; plaintext to send; a configuration of rustls.
//! Out: plaintext; what is to be sent.
//!
//! A [`TlsStream`] holds keys, and a record only while that has come in part. Plaintext and ciphertext go through
//! buffers of the caller, so an idle connection owns none. Certificates, their validity and tickets are rustls's
//! business, which reads the time for them itself.

mod side;
mod stream;

pub use side::{ClientSide, ServerSide, Side};
pub use stream::{Progress, TlsError, TlsStream};
