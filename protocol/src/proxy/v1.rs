//! Version 1: one line of text (§2.1).
//!
//! In:  bytes that begin like it.
//! Out: the source, and the line's length.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use super::{ProxyError, Source, V1_BYTES_MAX};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Source, usize)>, ProxyError> {
    let within = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() >= V1_BYTES_MAX {
            Err(ProxyError::TooLong { max: V1_BYTES_MAX })
        } else {
            Ok(None)
        };
    };
    let line = str::from_utf8(&within[SIGNATURE.len()..end]).map_err(|_| ProxyError::Malformed)?;
    let source = match line.split_once(' ') {
        Some(("TCP4", rest)) => addresses::<Ipv4Addr>(rest)?,
        Some(("TCP6", rest)) => addresses::<Ipv6Addr>(rest)?,
        // Whatever follows is to be ignored.
        Some(("UNKNOWN", _)) => Source::Proxy,
        None if line == "UNKNOWN" => Source::Proxy,
        _ => return Err(ProxyError::Malformed),
    };
    Ok(Some((source, end + 2)))
}

/// Source address, destination address, source port, destination port, and nothing else.
fn addresses<A: FromStr + Into<IpAddr>>(text: &str) -> Result<Source, ProxyError> {
    let mut words = text.split(' ');
    let mut next = || words.next().ok_or(ProxyError::Malformed);
    let mut address = || next()?.parse::<A>().map_err(|_| ProxyError::Malformed);
    let (client, _here) = (address()?, address()?);
    let (client_port, _port) = (port(next()?)?, port(next()?)?);
    if words.next().is_some() {
        return Err(ProxyError::Malformed);
    }
    Ok(Source::Client(SocketAddr::new(client.into(), client_port)))
}

/// Decimal digits without leading zeros.
fn port(text: &str) -> Result<u16, ProxyError> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain).ok_or(ProxyError::Malformed)
}
