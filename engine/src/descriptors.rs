//! Descriptors: what each part of the daemon may take of the process's own table.
//!
//! In:  what is configured, RLIMIT_NOFILE.
//! Out: how many it may be.
//!
//! Clients' connections are not in this table: rings have tables of their own. What shares it are rings, eventfds and
//! listeners (`shard::plan` reserves those), files, connections to the control port and calls to backends. Each of the
//! latter two has a quarter at most, so that neither a flood on the control port nor slow backends keep anything else
//! from being opened.

/// The part of one kind, in parts of all.
const PART: u64 = 4;

/// So many there are in any case.
const LEAST: u64 = 8;

/// How many of `configured` there may be where the process may have `nofile` descriptors.
pub(crate) fn part_of(configured: u32, nofile: u64) -> usize {
    let most = (nofile / PART).max(LEAST);
    usize::try_from(u64::from(configured).min(most)).unwrap_or(usize::MAX)
}

/// The same for this process. Where that is less than configured, the log says so.
pub(crate) fn within_limit(option: &'static str, configured: u32) -> usize {
    let fitting = part_of(configured, holdfast_ring::descriptors_max());
    if fitting < configured as usize {
        tracing::warn!(
            fitting,
            configured,
            "{option} is lowered to a quarter of RLIMIT_NOFILE; raise that limit (LimitNOFILE= in systemd) or lower the option"
        );
    }
    fitting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kind_leaves_most_descriptors_to_others() {
        for (configured, nofile, part) in
            [(512, 1 << 20, 512), (512, 1024, 256), (512, 16, 8), (4, 1024, 4), (65_536, 20_000, 5_000)]
        {
            assert_eq!(part_of(configured, nofile), part, "{configured} {nofile}");
        }
    }
}
