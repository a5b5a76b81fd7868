//! LimitPolicy: the limits of the configuration, compiled for a shard.
//!
//! In:  the checked configuration.
//! Out: limits, and sets of networks; `None` if all limits are off.

use std::net::IpAddr;

use holdfast_protocol::http::ForwardedField;

use super::{decaying::Rate, networks::Networks};
use crate::config::{Config, FlowLimits, HostLimits, SubnetLimits, ipv6_network};

/// The limits of a shard.
#[derive(Clone, Debug)]
pub(crate) struct LimitPolicy {
    pub(crate) proxy_protocol: Networks,
    pub(crate) forwarded: Networks,
    pub(crate) forwarded_field: ForwardedField,
    pub(crate) allow: Networks,
    pub(crate) deny: Networks,
    pub(crate) exempt: Networks,
    /// True exactly when some rule needs addresses.
    pub(crate) needs_addresses: bool,
    pub(crate) daemon: Option<Rate>,
    pub(crate) address: Host,
    pub(crate) subnet: Host,
    pub(crate) ipv6_bits: u8,
    /// 0: IPv4 networks are not counted.
    pub(crate) ipv4_bits: u8,
    pub(crate) connection: Flow,
    pub(crate) user: Flow,
    pub(crate) penalty: Option<Penalty>,
    pub(crate) tracked_max: usize,
    /// The maximum message size: a connection may always send one message.
    pub(crate) message_bytes_max: u32,
}

/// The limits of an address. 0 means no limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Host {
    pub(crate) connections_max: u64,
    pub(crate) handshakes_max: u64,
    pub(crate) rate: Option<Rate>,
}

/// The limits on what a client sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Flow {
    pub(crate) commands: Option<Rate>,
    pub(crate) bytes: Option<Rate>,
}

/// When an address is refused, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Penalty {
    pub(crate) threshold: f32,
    pub(crate) fade_ms: f32,
    pub(crate) refuse_for_ms: u64,
    pub(crate) refuse_for_max_ms: u64,
    pub(crate) tracked_max: usize,
}

impl LimitPolicy {
    /// `None` if nothing is limited and no proxy is trusted.
    pub(crate) fn new(config: &Config) -> Option<Self> {
        let limits = &config.limits;
        let SubnetLimits { connections_max, connections_per_s, handshakes_max, ipv6_bits, ipv4_bits } =
            limits.subnet;
        let policy = Self {
            proxy_protocol: Networks::new(&config.http_server.proxy_protocol.trusted),
            forwarded: Networks::new(&config.http_server.forwarded.trusted),
            forwarded_field: config.http_server.forwarded.field,
            allow: Networks::new(&limits.allow),
            deny: Networks::new(&limits.deny),
            exempt: Networks::new(&limits.exempt),
            needs_addresses: false,
            daemon: Rate::new(config.client.connections_per_s),
            address: Host::new(&limits.address),
            subnet: Host::new(&HostLimits { connections_max, connections_per_s, handshakes_max }),
            ipv6_bits,
            ipv4_bits,
            connection: Flow::new(&limits.connection),
            user: Flow::new(&limits.user),
            penalty: Penalty::new(config),
            tracked_max: limits.tracked_max as usize,
            message_bytes_max: config.websocket.message_size_limit_bytes,
        };
        let needs_addresses = ![&policy.proxy_protocol, &policy.forwarded, &policy.allow, &policy.deny]
            .iter()
            .all(|list| list.is_empty())
            || policy.address.is_limited()
            || policy.subnet.is_limited()
            || policy.penalty.is_some();
        let is_on = needs_addresses
            || policy.daemon.is_some()
            || policy.connection.is_limited()
            || policy.user.is_limited();
        is_on.then_some(Self { needs_addresses, ..policy })
    }

    /// True exactly when the kernel must report each connection's address.
    pub(crate) fn needs_addresses(&self) -> bool {
        self.needs_addresses
    }

    /// The number of keys that each shard publishes; 0 if no limit spans all shards.
    pub(crate) fn published_max(&self) -> usize {
        let is_shared = self.address.is_limited()
            || self.subnet.is_limited()
            || self.user.is_limited()
            || self.daemon.is_some();
        if is_shared { self.tracked_max } else { 0 }
    }

    /// The network under which an address is counted, if networks are limited.
    pub(crate) fn subnet_of(&self, address: IpAddr) -> Option<IpAddr> {
        match address {
            _ if !self.subnet.is_limited() => None,
            IpAddr::V4(address) if self.ipv4_bits > 0 => {
                let mask = u32::MAX.checked_shl(u32::from(32 - self.ipv4_bits)).unwrap_or(0);
                Some(IpAddr::V4((address.to_bits() & mask).into()))
            }
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(IpAddr::V6(ipv6_network(address, self.ipv6_bits))),
        }
    }
}

impl Host {
    fn new(limits: &HostLimits) -> Self {
        Self {
            connections_max: limits.connections_max.into(),
            handshakes_max: limits.handshakes_max.into(),
            rate: Rate::new(limits.connections_per_s),
        }
    }

    pub(crate) fn is_limited(self) -> bool {
        self.connections_max > 0 || self.handshakes_max > 0 || self.rate.is_some()
    }
}

impl Flow {
    fn new(limits: &FlowLimits) -> Self {
        Self { commands: Rate::new(limits.commands_per_s), bytes: Rate::new(limits.bytes_per_s) }
    }

    pub(crate) fn is_limited(self) -> bool {
        self.commands.is_some() || self.bytes.is_some()
    }
}

impl Penalty {
    #[expect(clippy::cast_precision_loss, reason = "thresholds and times of a day are far below 2^24 s")]
    fn new(config: &Config) -> Option<Self> {
        let limits = &config.limits.penalty;
        (limits.threshold > 0).then_some(Self {
            threshold: limits.threshold as f32,
            // Converts the half-life to the time of a decay by a factor of e, which is 1/ln 2 times as long.
            fade_ms: limits.half_life_ms as f32 / std::f32::consts::LN_2,
            refuse_for_ms: limits.refuse_for_ms,
            refuse_for_max_ms: limits.refuse_for_max_ms,
            tracked_max: limits.tracked_max as usize,
        })
    }
}

/// The address that a penalty applies to: for IPv6 the whole /64, the smallest block that anyone is assigned.
pub(crate) fn penalized(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(ipv6_network(address, 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Network;

    #[test]
    fn where_nothing_is_limited_there_are_no_rules() {
        let mut config = Config::default();
        assert!(LimitPolicy::new(&config).is_none());
        config.limits.user.commands_per_s = 1;
        assert!(!LimitPolicy::new(&config).unwrap().needs_addresses());
        config.limits.user.commands_per_s = 0;
        config.http_server.forwarded.trusted = vec!["10.0.0.0/8".parse().unwrap()];
        assert!(LimitPolicy::new(&config).unwrap().needs_addresses(), "the log says whose a request was");
        config.limits.penalty.threshold = 1;
        assert!(LimitPolicy::new(&config).unwrap().needs_addresses());
    }

    #[test]
    fn an_address_counts_with_its_network_and_is_punished_with_its_64() {
        let mut config = Config::default();
        config.limits.subnet.connections_max = 1;
        let subnet = |config: &Config, address: &str| {
            let network = LimitPolicy::new(config).unwrap().subnet_of(address.parse().unwrap());
            network.map(|network| network.to_string())
        };
        assert_eq!(subnet(&config, "2001:db8:1:2:3::4").unwrap(), "2001:db8:1:2::");
        assert_eq!(subnet(&config, "192.0.2.77"), None);
        config.limits.subnet.ipv4_bits = 24;
        assert_eq!(subnet(&config, "192.0.2.77").unwrap(), "192.0.2.0");
        assert_eq!(penalized("192.0.2.77".parse().unwrap()).to_string(), "192.0.2.77");
        assert_eq!(penalized("2001:db8:1:2:3::4".parse().unwrap()).to_string(), "2001:db8:1:2::");
    }

    #[test]
    fn each_limit_alone_is_one_and_says_whether_addresses_are_needed_and_numbers_are_shared() {
        type Set = fn(&mut Config);
        fn network() -> Vec<Network> {
            vec!["10.0.0.0/8".parse().unwrap()]
        }
        let each: [(bool, bool, Set); 15] = [
            (true, false, |config| config.http_server.proxy_protocol.trusted = network()),
            (true, false, |config| config.limits.allow = network()),
            (true, false, |config| config.limits.deny = network()),
            (true, false, |config| config.limits.penalty.threshold = 1),
            (true, true, |config| config.limits.address.connections_max = 1),
            (true, true, |config| config.limits.address.connections_per_s = 1),
            (true, true, |config| config.limits.address.handshakes_max = 1),
            (true, true, |config| config.limits.subnet.connections_max = 1),
            (true, true, |config| config.limits.subnet.connections_per_s = 1),
            (true, true, |config| config.limits.subnet.handshakes_max = 1),
            (false, true, |config| config.client.connections_per_s = 1),
            (false, true, |config| config.limits.user.commands_per_s = 1),
            (false, true, |config| config.limits.user.bytes_per_s = 1),
            (false, false, |config| config.limits.connection.commands_per_s = 1),
            (false, false, |config| config.limits.connection.bytes_per_s = 1),
        ];
        for (at, (needs_addresses, is_shared, set)) in each.into_iter().enumerate() {
            let mut config = Config::default();
            config.limits.tracked_max = 5_000;
            set(&mut config);
            let policy = LimitPolicy::new(&config).expect("a configured limit");
            assert_eq!(policy.needs_addresses(), needs_addresses, "limit {at}");
            assert_eq!(policy.published_max(), if is_shared { 5_000 } else { 0 }, "limit {at}");
        }
    }

    #[test]
    fn half_of_the_points_fade_in_their_half_life() {
        let mut config = Config::default();
        config.limits.penalty.threshold = 7;
        config.limits.penalty.half_life_ms = 10_000;
        let penalty = LimitPolicy::new(&config).unwrap().penalty.unwrap();
        assert!(((-10_000.0 / penalty.fade_ms).exp() - 0.5).abs() < 0.001, "{}", penalty.fade_ms);
        assert!((penalty.threshold - 7.0).abs() < 0.001);
    }
}
