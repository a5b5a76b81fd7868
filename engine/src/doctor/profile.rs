//! Profile: the kernel settings for a number of connections.
//!
//! In:  `sysctl/10k.conf`, `100k.conf`, `1m.conf`, embedded in the binary, in sysctl.d(5) format.
//! Out: each key with its value, and which direction is better.
//!
//! Nothing is written to the kernel here: `sysctl/apply` does that on request.

use clap::ValueEnum;

/// The number of connections that a machine is set up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Up to 10,000 connections.
    #[value(name = "10k")]
    TenThousand,
    /// Up to 100,000 connections.
    #[value(name = "100k")]
    HundredThousand,
    /// Up to 1,000,000 connections.
    #[value(name = "1m")]
    Million,
}

impl Profile {
    /// All profiles, the smallest first.
    pub const ALL: [Self; 3] = [Self::TenThousand, Self::HundredThousand, Self::Million];

    /// Its name on the command line and in `sysctl/`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TenThousand => "10k",
            Self::HundredThousand => "100k",
            Self::Million => "1m",
        }
    }

    /// How many connections it is made for.
    pub const fn connections(self) -> u64 {
        match self {
            Self::TenThousand => 10_000,
            Self::HundredThousand => 100_000,
            Self::Million => 1_000_000,
        }
    }

    /// The smallest profile that is made for so many connections, or the largest there is.
    pub fn for_connections(connections: u64) -> Self {
        Self::ALL.into_iter().find(|profile| profile.connections() >= connections).unwrap_or(Self::Million)
    }

    /// The file's text.
    pub const fn text(self) -> &'static str {
        match self {
            Self::TenThousand => include_str!("../../../sysctl/10k.conf"),
            Self::HundredThousand => include_str!("../../../sysctl/100k.conf"),
            Self::Million => include_str!("../../../sysctl/1m.conf"),
        }
    }

    /// Its settings, in the file's order.
    pub fn settings(self) -> Vec<Setting> {
        parse(self.text())
    }
}

/// One line of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key, with dots: `net.core.somaxconn`.
    pub key: String,
    /// One or more numbers, separated by single spaces.
    pub value: String,
    /// True exactly when the key may be absent without harm (sysctl.d's leading `-`).
    pub optional: bool,
    /// Which direction is better.
    pub better: Better,
    /// True exactly when the last number counts pages of memory and may be half of the machine's at most.
    pub up_to_half_of_memory: bool,
    /// The comment above the line.
    pub why: String,
}

/// A page of memory on every machine that io_uring's direct descriptors are tested on.
const PAGE_BYTES: u64 = 4096;

impl Setting {
    /// The setting for a machine with so much memory: if the last number exceeds its limit, all numbers are scaled down
    /// alike.
    #[must_use]
    pub fn for_memory(mut self, memory_bytes: u64) -> Self {
        let pages_max = memory_bytes / 2 / PAGE_BYTES;
        let wanted = numbers(&self.value);
        if self.up_to_half_of_memory
            && let Some(&last) = wanted.last()
            && last > pages_max
        {
            self.value = show(&wanted.iter().map(|number| number * pages_max / last).collect::<Vec<_>>());
        }
        self
    }
}

/// Which direction of a value is better; the values of a vector are compared one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// At least the profile's value.
    Higher,
    /// At most the profile's value.
    Lower,
    /// A range that contains the profile's.
    Wider,
}

impl Better {
    /// True exactly when `running` is at least as good as `wanted`.
    pub fn is_met(self, running: &str, wanted: &str) -> bool {
        self.merge(running, wanted) == normalize(running)
    }

    /// The value to set: the better one of each two numbers, so that no number gets worse.
    pub fn merge(self, running: &str, wanted: &str) -> String {
        let (running, wanted) = (numbers(running), numbers(wanted));
        if running.len() != wanted.len() {
            return show(&wanted);
        }
        let better = running.iter().zip(&wanted).enumerate().map(|(i, (&running, &wanted))| match self {
            Self::Higher => running.max(wanted),
            Self::Lower => running.min(wanted),
            Self::Wider if i == 0 => running.min(wanted),
            Self::Wider => running.max(wanted),
        });
        show(&better.collect::<Vec<_>>())
    }

    /// How the wanted value is introduced: `>= 4096`.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Higher => ">=",
            Self::Lower => "<=",
            Self::Wider => "a range over",
        }
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "higher" => Some(Self::Higher),
            "lower" => Some(Self::Lower),
            "wider" => Some(Self::Wider),
            _ => None,
        }
    }
}

/// Numbers of a sysctl value. `fs.file-max` may exceed an i64, so what does not parse is "all there is".
fn numbers(value: &str) -> Vec<u64> {
    value.split_whitespace().map(|number| number.parse().unwrap_or(u64::MAX)).collect()
}

fn show(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

fn normalize(value: &str) -> String {
    show(&numbers(value))
}

fn parse(text: &str) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut why = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix('#') {
            why.push_str(comment.trim());
            why.push(' ');
        } else if let Some((key, value)) = line.split_once('=') {
            let better = why.split_once("Better: ").and_then(|(_, rest)| {
                Better::named(rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default())
            });
            let key = key.trim();
            settings.push(Setting {
                key: key.trim_start_matches('-').to_owned(),
                value: normalize(value),
                optional: key.starts_with('-'),
                up_to_half_of_memory: why.contains("At most: half of memory"),
                better: better.expect("invariant: every line of a profile says which direction is better"),
                why: std::mem::take(&mut why).trim().to_owned(),
            });
        } else {
            why.clear();
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_every_profile_says_why_unit_default_and_direction() {
        for profile in Profile::ALL {
            let settings = profile.settings();
            assert!(settings.len() >= 6, "{}", profile.name());
            for setting in settings {
                for part in ["Unit: ", "Kernel default: ", "Better: "] {
                    assert!(setting.why.contains(part), "{} {}: no {part:?}", profile.name(), setting.key);
                }
                assert!(setting.why.len() > 100, "{} {}: does not say why", profile.name(), setting.key);
                assert!(!setting.value.contains(&u64::MAX.to_string()), "{}: not a number", setting.key);
            }
        }
    }

    #[test]
    fn no_profile_names_a_key_twice() {
        for profile in Profile::ALL {
            let mut keys: Vec<_> = profile.settings().into_iter().map(|setting| setting.key).collect();
            keys.sort();
            assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "{keys:?}");
        }
    }

    #[test]
    fn a_bigger_profile_asks_for_no_less() {
        for pair in Profile::ALL.windows(2) {
            for small in pair[0].settings() {
                let big = pair[1].settings().into_iter().find(|setting| setting.key == small.key);
                let big = big.unwrap_or_else(|| panic!("{} is missing in {}", small.key, pair[1].name()));
                assert!(small.better.is_met(&big.value, &small.value), "{}", small.key);
            }
        }
    }

    #[test]
    fn what_is_better_already_is_kept_number_by_number() {
        assert_eq!(
            Better::Higher.merge("287898\t383867\t575796", "100000 400000 400000"),
            "287898 400000 575796"
        );
        assert_eq!(Better::Lower.merge("60", "15"), "15");
        assert_eq!(Better::Wider.merge("32768\t60999", "40000 65535"), "32768 65535");
        assert!(Better::Higher.is_met("9223372036854775807", "500000"));
        assert!(Better::Wider.is_met("1024\t65535", "10240 65535"));
        assert!(!Better::Higher.is_met("4096", "16384"));
    }

    #[test]
    fn memory_for_sockets_is_scaled_to_the_machine() {
        let tcp_mem = |memory_bytes: u64| {
            let settings = Profile::Million.settings();
            let setting = settings.into_iter().find(|setting| setting.key == "net.ipv4.tcp_mem").unwrap();
            setting.for_memory(memory_bytes).value
        };
        assert_eq!(tcp_mem(64 << 30), "1000000 2000000 4000000");
        assert_eq!(tcp_mem(24 << 30), "786432 1572864 3145728");
        assert_eq!(tcp_mem(4 << 30), "131072 262144 524288");
    }

    #[test]
    fn the_smallest_profile_lowers_nothing_of_a_machine_as_it_comes() {
        // What a kernel from 6.1 on and systemd give a machine with 24 GiB.
        let usual = [
            ("net.core.somaxconn", "4096"),
            ("net.ipv4.tcp_mem", "287898 383867 575796"),
            ("net.ipv4.tcp_rmem", "4096 131072 33554432"),
            ("net.ipv4.tcp_wmem", "4096 16384 4194304"),
            ("net.ipv4.tcp_max_tw_buckets", "262144"),
            ("net.ipv4.tcp_max_orphans", "262144"),
            ("net.ipv4.ip_local_port_range", "32768 60999"),
            ("net.netfilter.nf_conntrack_max", "262144"),
            ("fs.file-max", "9223372036854775807"),
            ("fs.nr_open", "1073741816"),
            ("net.core.netdev_max_backlog", "1000"),
            ("net.ipv4.tcp_fin_timeout", "60"),
        ];
        for setting in Profile::TenThousand.settings() {
            let Some((_, running)) = usual.iter().find(|(key, _)| *key == setting.key) else { continue };
            let merged = setting.better.merge(running, &setting.value);
            assert_eq!(merged, setting.value, "a copy of the file would make {} worse", setting.key);
        }
    }

    #[test]
    fn the_smallest_sufficient_profile_is_chosen() {
        assert_eq!(Profile::for_connections(1), Profile::TenThousand);
        assert_eq!(Profile::for_connections(10_001), Profile::HundredThousand);
        assert_eq!(Profile::for_connections(5_000_000), Profile::Million);
    }
}
