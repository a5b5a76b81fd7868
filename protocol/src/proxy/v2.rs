//! Version 2: a binary header (§2.2).
//!
//! ```text
//! 12 bytes signature │ version, command │ family, transport │ length of the rest │ addresses │ extensions
//!                    │ 4 bits    4 bits │ 4 bits     4 bits │ 16 bits            │           │ skipped
//! ```
//!
//! In:  bytes that begin like it.
//! Out: the source, and the header's length.

use std::net::SocketAddr;

use super::{ProxyError, Source, V2_BYTES_MAX};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

const FIXED_BYTES: usize = 16;

pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Source, usize)>, ProxyError> {
    let Some(&[version_command, family, length_high, length_low]) = bytes.get(SIGNATURE.len()..FIXED_BYTES)
    else {
        return Ok(None);
    };
    let version = version_command >> 4;
    if version != 2 {
        return Err(ProxyError::UnknownVersion(version));
    }
    let bytes_in_all = FIXED_BYTES + usize::from(u16::from_be_bytes([length_high, length_low]));
    if bytes_in_all > V2_BYTES_MAX {
        return Err(ProxyError::TooLong { max: V2_BYTES_MAX });
    }
    let Some(rest) = bytes.get(FIXED_BYTES..bytes_in_all) else { return Ok(None) };
    let source = match (version_command & 0x0f, family) {
        // LOCAL: the rest is to be skipped, whatever it says.
        (0, _) => Source::Proxy,
        // TCP over IPv4: two addresses of 4 bytes, two ports.
        (1, 0x11) => Source::Client(client::<4>(rest, 8)?),
        // TCP over IPv6: two addresses of 16 bytes, two ports.
        (1, 0x21) => Source::Client(client::<16>(rest, 32)?),
        // Not specified, or a Unix socket: no address of the network.
        (1, 0x00 | 0x31) => Source::Proxy,
        (1, family) => return Err(ProxyError::UnknownFamily(family)),
        (command, _) => return Err(ProxyError::UnknownCommand(command)),
    };
    Ok(Some((source, bytes_in_all)))
}

/// The source address, of `N` bytes, and its port, which comes after both addresses.
fn client<const N: usize>(rest: &[u8], port_at: usize) -> Result<SocketAddr, ProxyError>
where
    std::net::IpAddr: From<[u8; N]>,
{
    let both_ports = rest.get(port_at..port_at + 4).ok_or(ProxyError::TooShort)?;
    let address = rest.first_chunk::<N>().ok_or(ProxyError::TooShort)?;
    Ok(SocketAddr::new((*address).into(), u16::from_be_bytes([both_ports[0], both_ports[1]])))
}
