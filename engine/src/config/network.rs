//! Network: a range of IP addresses in CIDR notation.
//!
//! In:  `192.0.2.0/24`, `2001:db8::/32`, or a single address.
//! Out: the range; IPv4-mapped IPv6 becomes IPv4.

use ipnet::{IpNet, Ipv4Net};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A network in CIDR notation (RFC 4632, RFC 4291 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network(IpNet);

impl Network {
    /// Its first and its last address.
    pub(crate) fn bounds(self) -> (IpAddr, IpAddr) {
        (self.0.network(), self.0.broadcast())
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let net: IpNet = match text.parse::<IpAddr>() {
            Ok(address) => address.into(),
            Err(_) => text.parse().map_err(|_| "it is neither an address nor a network".to_owned())?,
        };
        if net.addr() != net.network() {
            return Err(format!("it has bits beyond the prefix; did you mean {}?", net.trunc()));
        }
        Ok(Self(canonical(net)))
    }
}

/// Turns IPv4-mapped networks into IPv4: `::ffff:192.0.2.0/120` is `192.0.2.0/24`.
fn canonical(net: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    match (net.addr().to_canonical(), net.prefix_len().checked_sub(MAPPED_BITS)) {
        (IpAddr::V4(address), Some(bits)) if net.addr().is_ipv6() => {
            Ipv4Net::new(address, bits).map_or(net, IpNet::V4)
        }
        _ => net,
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The first address of the network with a prefix of `bits` that contains an IPv6 address.
pub(crate) fn ipv6_network(address: Ipv6Addr, bits: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(u32::from(128 - bits.min(128))).unwrap_or(0);
    (address.to_bits() & mask).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        text.parse::<Network>().map(|network| network.to_string())
    }

    #[test]
    fn a_network_is_a_range_or_one_address() {
        assert_eq!(read("192.0.2.0/24").unwrap(), "192.0.2.0/24");
        assert_eq!(read("192.0.2.1").unwrap(), "192.0.2.1/32");
        assert_eq!(read("2001:db8::1").unwrap(), "2001:db8::1/128");
        assert_eq!(read("::ffff:192.0.2.0/120").unwrap(), "192.0.2.0/24");
        assert_eq!(read("::/0").unwrap(), "::/0");
        let (first, last) = "10.0.0.0/8".parse::<Network>().unwrap().bounds();
        assert_eq!((first.to_string(), last.to_string()), ("10.0.0.0".into(), "10.255.255.255".into()));
    }

    #[test]
    fn what_is_none_is_refused_with_what_may_be_meant() {
        for text in ["", "localhost", "192.0.2.0/33", "192.0.2/24", "2001:db8::/129"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read("192.0.2.1/24").unwrap_err().contains("192.0.2.0/24"));
    }

    #[test]
    fn an_address_is_cut_to_its_network() {
        let address = "2001:db8:1:2:3::4".parse().unwrap();
        assert_eq!(ipv6_network(address, 64).to_string(), "2001:db8:1:2::");
        assert_eq!(ipv6_network(address, 0).to_string(), "::");
        assert_eq!(ipv6_network(address, 128), address);
    }
}
