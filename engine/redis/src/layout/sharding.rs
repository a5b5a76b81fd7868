//! Sharding: which of several Redis, or which partition, a channel belongs to.
//!
//! In:  a channel's name, and how many there are.
//! Out: a number, the same on all nodes, Centrifugo's among them.
//!
//! FNV-1a (RFC 9923 has it in its 64-bit form) and the jump consistent hash (Lamping and Veach, "A Fast, Minimal Memory,
//! Consistent Hash Algorithm", 2014): a further bucket takes 1/n of the channels from the others, and nothing else moves.
//! No I/O, no clock.

/// 64-bit FNV-1a.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// The bucket of `key` among `buckets`, which is at least 1; 0 for none.
pub fn jump(mut key: u64, buckets: usize) -> usize {
    const BUCKETS_MAX: usize = 1 << 24;
    let buckets = buckets.min(BUCKETS_MAX);
    let (mut bucket, mut next) = (0, 0);
    while next < buckets {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = following(bucket, key >> 33);
    }
    bucket
}

/// (bucket + 1) × 2³¹ / (random + 1), in the arithmetic of the paper.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the paper's own arithmetic: at most 2^24 × 2^31, which a double holds"
)]
fn following(bucket: usize, random: u64) -> usize {
    ((bucket + 1) as f64 * ((1_u64 << 31) as f64 / (random + 1) as f64)) as usize
}

/// The bucket of a channel among `buckets`: the index into the list of Redis servers as configured, or the partition.
pub fn bucket_of(channel: &str, buckets: usize) -> usize {
    jump(fnv1a(channel.as_bytes()), buckets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_gives_its_published_values() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(fnv1a("персональный".as_bytes()), 0x785d_1072_d757_0329);
    }

    /// The vectors of the Go package that Centrifugo's function is from.
    #[test]
    fn jump_gives_its_published_values() {
        assert_eq!(jump(1, 1), 0);
        assert_eq!(jump(42, 57), 43);
        assert_eq!(jump(0xDEAD_10CC, 1), 0);
        assert_eq!(jump(0xDEAD_10CC, 666), 361);
        assert_eq!(jump(256, 1024), 520);
        assert_eq!(jump(7, 0), 0);
    }

    /// Computed by another implementation, in Python.
    #[test]
    fn channels_have_the_same_buckets_everywhere() {
        const COUNTS: [usize; 8] = [1, 2, 3, 4, 10, 16, 128, 4096];
        for (channel, buckets) in [
            ("", [0, 1, 1, 1, 1, 13, 90, 3422]),
            ("chat", [0, 0, 0, 0, 4, 4, 79, 1616]),
            ("a", [0, 1, 2, 2, 2, 12, 31, 1695]),
            ("news", [0, 1, 2, 3, 3, 3, 81, 81]),
            ("chat:1", [0, 0, 0, 0, 8, 15, 15, 2440]),
            ("user#42", [0, 1, 2, 2, 2, 13, 69, 4062]),
            ("персональный", [0, 0, 2, 2, 9, 11, 106, 1351]),
        ] {
            assert_eq!(COUNTS.map(|count| bucket_of(channel, count)), buckets, "{channel}");
        }
    }

    #[test]
    fn a_further_redis_takes_its_share_and_nothing_else_moves() {
        let channels: Vec<String> = (0..10_000).map(|n| format!("channel:{n}")).collect();
        let moved = channels.iter().filter(|channel| {
            let (before, after) = (bucket_of(channel, 3), bucket_of(channel, 4));
            assert!(before == after || after == 3);
            before != after
        });
        let moved = moved.count();
        assert!((2_300..2_700).contains(&moved), "{moved}");
    }
}
