//! PROXY protocol, versions 1 and 2: how a proxy says whom it speaks for.
//!
//! In:  what a connection has sent so far, from its first byte.
//! Out: the client's address and the header's length; "need more"; or why this is no such header.
//!
//! Whether the header may be believed is the caller's to know: anybody can send one. Nothing is allocated, and nothing
//! kept between calls. Source of the rules: "The PROXY protocol, versions 1 & 2", W. Tarreau, haproxy.org.

mod v1;
mod v2;

use std::net::SocketAddr;

/// The longest header of version 1, its line end included (§2.1).
pub const V1_BYTES_MAX: usize = 107;

/// The longest header of version 2 that is read: with every address family, and 320 bytes of extensions (§2.2 asks
/// receivers for that much).
pub const V2_BYTES_MAX: usize = 536;

/// The longest header.
pub const HEADER_BYTES_MAX: usize = V2_BYTES_MAX;

/// Whom a proxy speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A client at this address.
    Client(SocketAddr),
    /// Itself (a health check), or it does not know: the connection's own address is the right one.
    Proxy,
}

/// Why bytes are not a PROXY header. Always the proxy's fault, or its operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Neither version's first bytes.
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    /// §2.1: the line does not end within [`V1_BYTES_MAX`]; §2.2: more was announced than [`V2_BYTES_MAX`].
    #[error("the PROXY header is longer than {max} bytes")]
    TooLong {
        /// The limit, in bytes.
        max: usize,
    },
    /// §2.1: not `PROXY TCP4|TCP6|UNKNOWN`, two addresses, two ports, each after one space.
    #[error("the PROXY header of version 1 is malformed")]
    Malformed,
    /// §2.2: the upper half of byte 13.
    #[error("version {0} of the PROXY protocol does not exist")]
    UnknownVersion(u8),
    /// §2.2: the lower half of byte 13.
    #[error("command {0} of the PROXY protocol is not known")]
    UnknownCommand(u8),
    /// §2.2: byte 14 names no family of stream sockets.
    #[error("address family {0:#04x} of the PROXY protocol is not one of streams")]
    UnknownFamily(u8),
    /// §2.2: the announced length does not hold the family's addresses.
    #[error("the PROXY header is too short for its addresses")]
    TooShort,
}

/// Reads the header at the front of `bytes`; the number is its length. `None` asks for more bytes. What can no longer
/// become a header is refused at once.
///
/// # Errors
/// Where no header begins here.
pub fn parse_header(bytes: &[u8]) -> Result<Option<(Source, usize)>, ProxyError> {
    if begins_with(bytes, v2::SIGNATURE) {
        v2::parse(bytes)
    } else if begins_with(bytes, v1::SIGNATURE) {
        v1::parse(bytes)
    } else {
        Err(ProxyError::Missing)
    }
}

/// True exactly when `bytes` begin with `signature`, or are the beginning of it.
fn begins_with(bytes: &[u8], signature: &[u8]) -> bool {
    let common = bytes.len().min(signature.len());
    bytes[..common] == signature[..common]
}
