//! Networks: checks whether an address is in a set of networks.
//!
//! In:  the configured networks; addresses.
//! Out: yes or no, in logarithmic time.

use std::{cmp::Reverse, net::IpAddr};

use crate::config::Network;

/// Sorted, disjoint ranges of addresses. IPv4 and IPv6 are separate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Networks {
    /// First and last address of each range.
    ranges: Vec<(IpAddr, IpAddr)>,
}

impl Networks {
    pub(crate) fn new(networks: &[Network]) -> Self {
        let mut ranges: Vec<_> = networks.iter().map(|network| network.bounds()).collect();
        ranges.sort_unstable_by_key(|&(first, last)| (first, Reverse(last)));
        // Two networks are either disjoint, or one contains the other.
        ranges.dedup_by(|inner, outer| inner.1 <= outer.1);
        Self { ranges }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// True exactly when `address` is in one of the networks. An IPv4-mapped address is not allowed.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).is_some_and(|at| address <= self.ranges[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_the_networks_that_hold_it() {
        let networks = ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "2001:db8::/32", "10.0.0.0/24"];
        let networks = Networks::new(&networks.map(|network| network.parse().unwrap()));
        for (address, is_in) in [
            ("10.0.0.0", true),
            ("10.1.2.3", true),
            ("10.255.255.255", true),
            ("9.255.255.255", false),
            ("11.0.0.0", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("::a00:0", false),
        ] {
            assert_eq!(networks.contains(address.parse().unwrap()), is_in, "{address}");
        }
        assert!(!Networks::default().contains("10.0.0.0".parse().unwrap()));
    }
}
