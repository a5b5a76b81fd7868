//! Limits: the options of rate and connection limits.
//!
//! In:  the raw section `limits`.
//! Out: the checked section, which `crate::limits` enforces.

use super::definition::section;
use super::kinds::{duration, integer, list_of, parsed, section};
use super::network::Network;
use super::problem::Problems;

/// More connections than any daemon can have.
const CONNECTIONS: u64 = 16_000_000;

section! {
    /// Limits for each address, network, connection and user, so that a flood from one of them does not harm others.
    /// All are off by default, because the right numbers depend on how many clients share an address, and on the
    /// proxies in front. A limit holds for all cores together. A connection over a limit gets 429 with `Retry-After`.
    pub(crate) struct LimitsConfig {
        /// Limits for each address.
        "address" => pub address: HostLimits = section();
        /// Limits for each network. An IPv6 client usually has 2^64 addresses or more.
        "subnet" => pub subnet: SubnetLimits = section();
        /// Limits for each connection, or for each session of the transports over HTTP.
        "connection" => pub connection: FlowLimits = section();
        /// Limits for each user, over all its connections. Anonymous clients are not counted together.
        "user" => pub user: FlowLimits = section();
        /// Penalties for addresses that misbehave.
        "penalty" => pub penalty: PenaltyLimits = section();
        /// Networks that may connect. Others get 403. If empty, all networks may connect.
        "allow" => pub allow: Vec<Network> = list_of(network());
        /// Networks that may not connect, even if `limits.allow` includes them. They get 403.
        "deny" => pub deny: Vec<Network> = list_of(network());
        /// Networks to which no limit by address or network and no penalty applies, such as monitoring or load tests.
        "exempt" => pub exempt: Vec<Network> = list_of(network());
        /// Most addresses, networks and users that each core counts. When there are more, the core forgets the oldest
        /// ones without a connection. If that is not enough, it counts connections that other cores cannot see, so
        /// that a limit holds for each core by itself. Set it to at least twice the connections of a core.
        /// Worst case: this × 150 bytes for each core: 19 MiB; plus 120 bytes for each further address and network
        /// with an open connection; plus 100 bytes for each connection if any limit is on.
        "tracked_max" => pub tracked_max: u32 = integer(131_072, 1024, 16_777_216);
    }

    /// Limits for one address. 0 means no limit.
    pub(crate) struct HostLimits {
        /// Most open connections.
        "connections" => pub connections_max: u32 = integer(0, 0, CONNECTIONS);
        /// Most new connections a second. After a quiet second, a burst of this size may come at once.
        "connections_per_second" => pub connections_per_s: u32 = integer(0, 0, 1_000_000);
        /// Most open connections that have not sent their request yet.
        "handshakes" => pub handshakes_max: u32 = integer(0, 0, CONNECTIONS);
    }

    /// Limits for all addresses of a network together. 0 means no limit.
    pub(crate) struct SubnetLimits {
        /// Most open connections, as `limits.address.connections`.
        "connections" => pub connections_max: u32 = integer(0, 0, CONNECTIONS);
        /// Most new connections a second, as `limits.address.connections_per_second`.
        "connections_per_second" => pub connections_per_s: u32 = integer(0, 0, 1_000_000);
        /// Most connections that have not sent their request yet, as `limits.address.handshakes`.
        "handshakes" => pub handshakes_max: u32 = integer(0, 0, CONNECTIONS);
        /// Prefix length that makes a network of IPv6 addresses.
        "ipv6_prefix" => pub ipv6_bits: u8 = integer(64, 16, 128);
        /// Prefix length that makes a network of IPv4 addresses, such as 24. With 0, IPv4 addresses are not counted
        /// by network.
        "ipv4_prefix" => pub ipv4_bits: u8 = integer(0, 0, 32);
    }

    /// Limits for what clients send. 0 means no limit. A command over a limit gets error 111, which tells the client
    /// to try again. A client that keeps exceeding the limit is closed with 3013.
    pub(crate) struct FlowLimits {
        /// Most commands a second. After a quiet second, a burst of this size may come at once. A reply with history,
        /// presence or recovered publications counts as one more command for each 16 KiB.
        "commands_per_second" => pub commands_per_s: u32 = integer(0, 0, 10_000_000);
        /// Most bytes a second, counted after decompression. A message is accepted whole if what came before it was
        /// within the limit.
        "bytes_per_second" => pub bytes_per_s: u32 = integer(0, 0, 4_294_967_295);
    }

    /// Penalty points for addresses that misbehave: 10 for a broken protocol, a message that is too large, or a
    /// refused token; 5 for a bad request or one that takes too long; 20 for a close with 3013. Points decay over
    /// time. While an address has too many, its new connections get 429. IPv6 addresses of the same /64 count as one.
    pub(crate) struct PenaltyLimits {
        /// Points at which an address is refused. 0 turns penalties off.
        "threshold" => pub threshold: u32 = integer(0, 0, 1_000_000);
        /// Time in which half of the points decay.
        "half_life" => pub half_life_ms: u64 = duration("1m", "1s", "24h");
        /// How long an address is refused the first time. Each further refusal lasts twice as long as the last, until
        /// the address has been quiet for as long as the last refusal.
        "refuse_for" => pub refuse_for_ms: u64 = duration("30s", "1s", "24h");
        /// Longest time for which an address is refused.
        "refuse_for_max" => pub refuse_for_max_ms: u64 = duration("1h", "1s", "168h");
        /// Most addresses with points that each core keeps. A further one replaces the oldest.
        /// Worst case: this × 200 bytes for each core: 3.2 MiB.
        "tracked_max" => pub tracked_max: u32 = integer(16_384, 16, 16_777_216);
    }
}

pub(super) fn network() -> super::definition::Spec<Network> {
    parsed("network", "an address or a network like \"192.0.2.0/24\"", "")
}

/// Checks the conditions between the options.
pub(super) fn check(limits: &LimitsConfig, problems: &mut Problems) {
    let PenaltyLimits { refuse_for_ms, refuse_for_max_ms, .. } = limits.penalty;
    if refuse_for_ms > refuse_for_max_ms {
        problems.refuse(
            "limits.penalty.refuse_for_max",
            format!("found {refuse_for_max_ms} ms"),
            format!("at least limits.penalty.refuse_for, which is {refuse_for_ms} ms"),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{from_file, refusal};

    #[test]
    fn networks_are_read_in_lists_and_each_wrong_one_is_named() {
        let config = from_file("toml", "[limits]\ndeny = ['192.0.2.0/24', '2001:db8::/32']").unwrap();
        assert_eq!(config.limits.deny.len(), 2);
        let text = refusal("toml", "[http_server.proxy_protocol]\ntrusted = ['10.0.0.1', '10.0.0.1/8']");
        assert!(text.contains("http_server.proxy_protocol.trusted[1] (file "), "{text}");
        assert!(text.contains("did you mean 10.0.0.0/8?"), "{text}");
    }

    #[test]
    fn the_longest_refusal_is_no_shorter_than_the_first() {
        let text = refusal("toml", "[limits.penalty]\nrefuse_for = '2h'");
        assert!(text.contains("limits.penalty.refuse_for_max (") && text.contains("7200000 ms"), "{text}");
    }
}
