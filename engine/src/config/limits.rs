//! Limits: the options against floods.
//!
//! In:  the section `limits` as it was written.
//! Out: the checked section, which `crate::limits` turns into answers.

use super::definition::section;
use super::kinds::{duration, integer, list_of, parsed, section};
use super::network::Network;
use super::problem::Problems;

/// More than any daemon holds.
const CONNECTIONS: u64 = 16_000_000;

section! {
    /// What one address, network, connection or user may do, so that a flood from it does not cost others. Everything
    /// is off by default: the right numbers depend on how many clients share an address, and on whether proxies are
    /// in front. A limit holds for all cores together. Connections over a limit are answered 429 with `Retry-After`.
    pub struct LimitsConfig {
        /// For each address.
        "address" => pub address: HostLimits = section();
        /// For each network of addresses; an IPv6 client has at least 2^64 of them.
        "subnet" => pub subnet: SubnetLimits = section();
        /// For each connection, or session of the transports without one.
        "connection" => pub connection: FlowLimits = section();
        /// For each user, over all its connections. Anonymous clients are not counted together.
        "user" => pub user: FlowLimits = section();
        /// Addresses that misbehave.
        "penalty" => pub penalty: PenaltyLimits = section();
        /// Networks that may connect; others are answered 403. Empty: all may.
        "allow" => pub allow: Vec<Network> = list_of(network());
        /// Networks that may not connect, also where `limits.allow` names them; they are answered 403.
        "deny" => pub deny: Vec<Network> = list_of(network());
        /// Networks for which no limit by address or network holds, nor a penalty: monitoring, load tests.
        "exempt" => pub exempt: Vec<Network> = list_of(network());
        /// Addresses, networks and users that each core keeps numbers of. When there are more, those that were there
        /// first and have no connection are forgotten, and those of connections may be missing from other cores' sums:
        /// their limit then holds for each core. So let it be at least twice the connections of a core.
        /// Worst case: this × 150 bytes for each core: 19 MiB; 120 bytes for each address and network beyond that with
        /// an open connection; and, where anything here is on, 100 bytes for each connection.
        "tracked_max" => pub tracked_max: u32 = integer(131_072, 1024, 16_777_216);
    }

    /// What an address may do. 0 sets no limit.
    pub struct HostLimits {
        /// Connections that it may have open.
        "connections" => pub connections_max: u32 = integer(0, 0, CONNECTIONS);
        /// Connections that it may open in a second. As many may come at once, after a quiet time.
        "connections_per_second" => pub connections_per_s: u32 = integer(0, 0, 1_000_000);
        /// Connections that it may have open whose request has not come yet.
        "handshakes" => pub handshakes_max: u32 = integer(0, 0, CONNECTIONS);
    }

    /// What all addresses of a network may do together. 0 sets no limit.
    pub struct SubnetLimits {
        /// As `limits.address.connections`.
        "connections" => pub connections_max: u32 = integer(0, 0, CONNECTIONS);
        /// As `limits.address.connections_per_second`.
        "connections_per_second" => pub connections_per_s: u32 = integer(0, 0, 1_000_000);
        /// As `limits.address.handshakes`.
        "handshakes" => pub handshakes_max: u32 = integer(0, 0, CONNECTIONS);
        /// Bits of an IPv6 address that tell networks apart.
        "ipv6_prefix" => pub ipv6_bits: u8 = integer(64, 16, 128);
        /// Bits of an IPv4 address that tell networks apart, 24 for instance. 0: IPv4 addresses are not counted together.
        "ipv4_prefix" => pub ipv4_bits: u8 = integer(0, 0, 32);
    }

    /// What may be sent. 0 sets no limit. What is over it is answered with error 111, which tells clients to try again;
    /// who goes on is sent away with 3013.
    pub struct FlowLimits {
        /// Commands in a second. As many may come at once, after a quiet time. A reply with history, presence or what was
        /// recovered counts as another command for each 16 KiB of it.
        "commands_per_second" => pub commands_per_s: u32 = integer(0, 0, 10_000_000);
        /// Bytes in a second, what compressed messages are inflated to among them. A message is taken whole where what came
        /// before it is within the limit.
        "bytes_per_second" => pub bytes_per_s: u32 = integer(0, 0, 4_294_967_295);
    }

    /// Addresses that misbehave get points: 10 for a broken protocol, a message that is too large or a refused token, 5 for
    /// a bad request or one that does not come in time, 20 for a 3013. The points fade; while there are too many, new
    /// connections from the address are answered 429. IPv6 addresses of the same /64 are one address.
    pub struct PenaltyLimits {
        /// Points from which on an address is refused; 0 gives no points.
        "threshold" => pub threshold: u32 = integer(0, 0, 1_000_000);
        /// The time in which half of the points fade.
        "half_life" => pub half_life_ms: u64 = duration("1m", "1s", "24h");
        /// How long an address is refused the first time. Each further time is twice as long; that is forgotten after a
        /// quiet time as long as the last one.
        "refuse_for" => pub refuse_for_ms: u64 = duration("30s", "1s", "24h");
        /// The longest time for which an address is refused.
        "refuse_for_max" => pub refuse_for_max_ms: u64 = duration("1h", "1s", "168h");
        /// Addresses with points that each core keeps; when there are more, the oldest one goes.
        /// Worst case: this × 200 bytes for each core: 3.2 MiB.
        "tracked_max" => pub tracked_max: u32 = integer(16_384, 16, 16_777_216);
    }
}

pub(super) fn network() -> super::definition::Spec<Network> {
    parsed("network", "an address or a network like \"192.0.2.0/24\"", "")
}

/// Conditions between the options.
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
        assert!(text.contains("10.0.0.0/8 is meant?"), "{text}");
    }

    #[test]
    fn the_longest_refusal_is_no_shorter_than_the_first() {
        let text = refusal("toml", "[limits.penalty]\nrefuse_for = '2h'");
        assert!(text.contains("limits.penalty.refuse_for_max (") && text.contains("7200000 ms"), "{text}");
    }
}
