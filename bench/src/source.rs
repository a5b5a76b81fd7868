//! Source: the addresses that connections come from.
//!
//! In:  addresses and blocks (CIDR), or nothing.
//! Out: for each connection, the address to bind, or none where the system chooses.
//!
//! One address has at most 64,511 ports towards one server, by default 28,232 (`net.ipv4.ip_local_port_range`), and a
//! port that just closed rests for a minute. On the loopback net every address of 127.0.0.0/8 is this machine's, so
//! spreading over it costs nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Addresses used of a loopback net: 100,000 connections are 25 an address, and a port is found at the first try.
const LOOPBACK_ADDRESSES: u32 = 4096;

/// A run of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceBlock {
    first: IpAddr,
    count: u32,
}

impl SourceBlock {
    fn at(&self, index: u32) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() + index)),
            IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() + u128::from(index))),
        }
    }
}

impl FromStr for SourceBlock {
    type Err = String;

    /// Reads `"10.0.0.7"` or `"10.0.0.0/24"`. A block's network and broadcast addresses are left out; of a block of
    /// more than 2^24 addresses the first 2^24 are used.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is neither an address nor a block such as \"10.0.0.0/24\"");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let Some(prefix) = prefix else { return Ok(Self { first: address, count: 1 }) };
        let prefix: u32 = prefix.parse().map_err(|_| wrong())?;
        let host_bits = if address.is_ipv4() { 32u32 } else { 128 }.checked_sub(prefix).ok_or_else(wrong)?;
        let addresses = 1u32 << host_bits.min(24);
        // RFC 3021: a /31 (and a single address) has neither a network nor a broadcast address.
        let edge = u32::from(host_bits > 1);
        let first = match address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(
                (v4.to_bits() & u32::MAX.checked_shl(host_bits).unwrap_or(0)) + edge,
            )),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(
                (v6.to_bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0)) + u128::from(edge),
            )),
        };
        Ok(Self { first, count: addresses - 2 * edge })
    }
}

/// The addresses of a run, in turn.
#[derive(Clone, Debug)]
pub struct Sources {
    blocks: Vec<SourceBlock>,
    total: u64,
    seed: u64,
}

impl Sources {
    /// The given blocks; or, when there are none, a part of 127.0.0.0/8 for a target on it, else the system's choice.
    ///
    /// # Errors
    /// A sentence when a block is not of the target's address family.
    pub fn new(mut blocks: Vec<SourceBlock>, target: IpAddr, seed: u64) -> Result<Self, String> {
        if blocks.is_empty() && target.is_loopback() && target.is_ipv4() {
            // From 127.1.0.1 on: clear of 127.0.0.1, where servers live.
            blocks.push(SourceBlock {
                first: IpAddr::V4(Ipv4Addr::new(127, 1, 0, 1)),
                count: LOOPBACK_ADDRESSES,
            });
        }
        if let Some(odd) = blocks.iter().find(|block| block.first.is_ipv4() != target.is_ipv4()) {
            return Err(format!(
                "the source {} and the target {target} are of different families",
                odd.first
            ));
        }
        let total = blocks.iter().map(|block| u64::from(block.count)).sum();
        Ok(Self { blocks, total, seed })
    }

    /// The address for connection number `ordinal`; none when the system chooses.
    pub fn pick(&self, ordinal: u64) -> Option<IpAddr> {
        let mut index = ordinal.wrapping_add(self.seed).checked_rem(self.total)?;
        for block in &self.blocks {
            match u32::try_from(index) {
                Ok(at) if at < block.count => return Some(block.at(at)),
                _ => index -= u64::from(block.count),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> SourceBlock {
        text.parse().expect(text)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn a_block_leaves_out_its_network_and_broadcast_addresses() {
        let block = block("10.0.0.77/24");
        assert_eq!((block.at(0), block.at(253), block.count), (ip("10.0.0.1"), ip("10.0.0.254"), 254));
    }

    #[test]
    fn the_smallest_and_the_largest_blocks_work() {
        assert_eq!(block("10.0.0.7/32"), block("10.0.0.7"));
        assert_eq!(block("10.0.0.7/31").count, 2);
        assert_eq!(block("fd00::/64").count, (1 << 24) - 2);
        assert_eq!(block("0.0.0.0/0").at(0), ip("0.0.0.1"));
        for wrong in ["10.0.0.0/33", "fd00::/129", "host", "10.0.0.0/x"] {
            assert!(wrong.parse::<SourceBlock>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn blocks_are_used_one_after_the_other_and_then_again() {
        let sources =
            Sources::new(vec![block("10.0.0.1"), block("10.0.1.0/30")], ip("10.9.9.9"), 0).expect("fits");
        let picked: Vec<_> = (0..4).map(|n| sources.pick(n).expect("given").to_string()).collect();
        assert_eq!(picked, ["10.0.0.1", "10.0.1.1", "10.0.1.2", "10.0.0.1"]);
    }

    #[test]
    fn a_loopback_target_is_met_from_many_addresses_and_another_from_the_systems() {
        let near = Sources::new(vec![], ip("127.0.0.1"), 1).expect("fits");
        assert_ne!(near.pick(0), near.pick(1));
        assert!(near.pick(5000).is_some_and(|address| address.is_loopback()));
        assert_eq!(Sources::new(vec![], ip("10.0.0.1"), 1).expect("fits").pick(0), None);
        assert_eq!(Sources::new(vec![], ip("::1"), 1).expect("fits").pick(0), None);
        assert!(Sources::new(vec![block("::1")], ip("10.0.0.1"), 1).is_err());
    }
}
