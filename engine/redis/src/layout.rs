//! Layout: the names of keys and pub/sub channels, exactly Centrifugo's where it has any.
//!
//! In:  the name of a channel, a node, an idempotency key.
//! Out: names in Redis; on which Redis and in which slot they are.
//!
//! | | plain | cluster | partitioned, by the tag `T` |
//! |---|---|---|---|
//! | pub/sub channel | `p.client.CH` | `p.client.{CH}` | `p.client.{T}.CH` |
//! | history | `p.stream.CH` | `p.stream.{CH}` | `p.stream.{T}.CH` |
//! | its top and epoch | `p.stream.meta.CH` | `p.stream.meta.{CH}` | `p.stream.meta.{T}.CH` |
//! | idempotency | `p.result.CH.KEY` | `p.result.{CH}.KEY` | `p.result.{T}.CH.KEY` |
//! | presence | `p.presence.….CH` | `p.presence.….{CH}` | `p.presence.….{CH}` |
//! | leases of a user | `p.hf.leases.….USER` | `p.hf.leases.….{USER}` | `p.hf.leases.….{USER}` |
//!
//! Centrifugo before December 2025 has `p.client.CH` in a cluster, too: such nodes hear nothing of ours there.
//! No I/O, no clock.

mod sharding;

use std::{borrow::Cow, sync::LazyLock};

use redis_protocol::redis_keyslot;

pub use sharding::{bucket_of, fnv1a, jump};

/// Slots of a Redis Cluster (cluster specification, "Key distribution model").
pub const SLOTS: u16 = 16_384;
/// The longest prefix, in bytes.
pub const PREFIX_BYTES_MAX: usize = 256;

/// How names are made, which all nodes of a deployment have to agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// One Redis, Sentinel, or several Redis among which clients choose by [`bucket_of`].
    Plain,
    /// A Redis Cluster: the names of a channel are in the slot of `{CH}`.
    Cluster,
    /// A Redis Cluster with sharded pub/sub: channels are divided over partitions, each of which has a slot.
    Partitioned(Partitions),
}

/// The partitions of sharded pub/sub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partitions {
    tags: Vec<Cow<'static, str>>,
}

/// Why names cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Two applications that share a Redis would hear each other.
    #[error("the prefix is empty")]
    PrefixEmpty,
    /// [`PREFIX_BYTES_MAX`].
    #[error("the prefix is longer than {PREFIX_BYTES_MAX} bytes")]
    PrefixTooLong,
    /// Redis would take what is between them for the hash tag, and nothing of the channel.
    #[error("the prefix has a brace in it")]
    PrefixHasBrace,
    /// There are 1 to 16,384.
    #[error("there are 1 to {SLOTS} partitions, not {0}")]
    PartitionCount(u16),
    /// 16, 32, 64, 128, 256, 512, 1,024, 2,048, and 4,096 have tables.
    #[error("there is no table of tags for {0} partitions")]
    NoTable(u16),
}

/// A channel's names would be in several slots of the cluster, because its own name is empty or begins with `}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("in a cluster, a channel cannot begin with a closing brace")]
pub struct Scattered;

impl Partitions {
    /// Centrifugo's default: the tag is the partition's number.
    ///
    /// # Errors
    ///
    /// None, or more than there are slots.
    pub fn numbered(count: u16) -> Result<Self, LayoutError> {
        if count == 0 || count > SLOTS {
            return Err(LayoutError::PartitionCount(count));
        }
        Ok(Self { tags: (0..count).map(|n| n.to_string().into()).collect() })
    }

    /// Tags whose slots are spread evenly over clusters of any size (centrifuge, issue 554): of 32 numbered partitions,
    /// half of 16 nodes get nothing.
    ///
    /// # Errors
    ///
    /// There is no table for that many.
    pub fn spread(count: u16) -> Result<Self, LayoutError> {
        let row =
            TAGS.iter().find(|row| row.len() == usize::from(count)).ok_or(LayoutError::NoTable(count))?;
        Ok(Self { tags: row.iter().map(|tag| Cow::Borrowed(*tag)).collect() })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tags.len()
    }

    /// Never true; Clippy asks for it beside `len`.
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// Each partition's tag, in order.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(AsRef::as_ref)
    }

    /// The partition of a channel.
    pub fn of(&self, channel: &str) -> usize {
        bucket_of(channel, self.tags.len())
    }

    fn tag_of(&self, channel: &str) -> &str {
        &self.tags[self.of(channel)]
    }
}

/// Each row of `tags.txt`: a count, and as many tags.
static TAGS: LazyLock<Vec<Vec<&'static str>>> = LazyLock::new(|| {
    let rows = include_str!("layout/tags.txt").lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| row.split(' ').skip(1).collect()).collect()
});

/// Makes the names of one deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    prefix: String,
    mode: Mode,
}

impl Layout {
    /// With that prefix; Centrifugo's is `centrifugo`.
    ///
    /// # Errors
    ///
    /// The prefix is empty, too long, or has a brace in it.
    pub fn new(prefix: impl Into<String>, mode: Mode) -> Result<Self, LayoutError> {
        let prefix = prefix.into();
        if prefix.is_empty() {
            return Err(LayoutError::PrefixEmpty);
        }
        if prefix.len() > PREFIX_BYTES_MAX {
            return Err(LayoutError::PrefixTooLong);
        }
        if prefix.contains(['{', '}']) {
            return Err(LayoutError::PrefixHasBrace);
        }
        Ok(Self { prefix, mode })
    }

    /// How names are made.
    pub const fn mode(&self) -> &Mode {
        &self.mode
    }

    /// What every name begins with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// True exactly when publications go by SPUBLISH.
    pub const fn is_sharded(&self) -> bool {
        matches!(self.mode, Mode::Partitioned(_))
    }

    /// Checks that all names of a channel are in one slot.
    ///
    /// # Errors
    ///
    /// They are not.
    pub fn check(&self, channel: &str) -> Result<(), Scattered> {
        match self.mode {
            Mode::Plain => Ok(()),
            // An empty tag is no tag (cluster specification, "Hash tags").
            Mode::Cluster | Mode::Partitioned(_) if channel.is_empty() || channel.starts_with('}') => {
                Err(Scattered)
            }
            Mode::Cluster | Mode::Partitioned(_) => Ok(()),
        }
    }

    /// Where the channel's publications are sent.
    pub fn channel(&self, channel: &str) -> String {
        self.tagged("client", channel)
    }

    /// The channel whose publications come in the pub/sub channel `name`; none where `name` is no such.
    pub fn channel_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        let rest = name.strip_prefix(self.prefix.as_str())?.strip_prefix(".client.")?;
        match &self.mode {
            Mode::Plain => Some(rest),
            Mode::Cluster => rest.strip_prefix('{')?.strip_suffix('}'),
            Mode::Partitioned(partitions) => {
                let (tag, channel) = rest.strip_prefix('{')?.split_once("}.")?;
                (tag == partitions.tag_of(channel)).then_some(channel)
            }
        }
    }

    /// The stream of its history.
    pub fn stream(&self, channel: &str) -> String {
        self.tagged("stream", channel)
    }

    /// The hash of its epoch `e`, top offset `s`, version `v`, and the version's epoch `ve`.
    pub fn meta(&self, channel: &str) -> String {
        self.tagged("stream.meta", channel)
    }

    /// The hash that remembers a publication with an idempotency key.
    pub fn result(&self, channel: &str, key: &str) -> String {
        let mut name = self.tagged("result", channel);
        name.push('.');
        name.push_str(key);
        name
    }

    /// The hash of who is present: client → `ClientInfo`.
    pub fn presence(&self, channel: &str) -> String {
        self.by_channel("presence.data", channel)
    }

    /// The sorted set of when presence ends: client by seconds since 1970.
    pub fn presence_expire(&self, channel: &str) -> String {
        self.by_channel("presence.expire", channel)
    }

    /// The hash of users who are present: user → connections.
    pub fn users(&self, channel: &str) -> String {
        self.by_channel("presence.user.clients", channel)
    }

    /// The sorted set of when users' presence ends.
    pub fn users_expire(&self, channel: &str) -> String {
        self.by_channel("presence.user.expire", channel)
    }

    /// The sorted set of a user's connections by when they came: ours alone, hence `hf`.
    pub fn leases(&self, user: &str) -> String {
        self.by_channel("hf.leases", user)
    }

    /// The sorted set of when they end unless they are kept.
    pub fn leases_expire(&self, user: &str) -> String {
        self.by_channel("hf.leases.expire", user)
    }

    /// Where all nodes listen. Classic pub/sub in every mode.
    pub fn control(&self) -> String {
        format!("{}.control", self.prefix)
    }

    /// Where one node listens. Classic pub/sub in every mode.
    pub fn node(&self, uid: &str) -> String {
        format!("{}.node.{uid}", self.prefix)
    }

    /// Where a node publishes to itself to see whether it hears.
    pub fn probe(&self, uid: &str) -> String {
        format!("{}.node.{uid}.probe", self.prefix)
    }

    /// The same in the slot of each partition; nothing where there are none.
    pub fn probes(&self, uid: &str) -> Vec<String> {
        match &self.mode {
            Mode::Plain | Mode::Cluster => Vec::new(),
            Mode::Partitioned(partitions) => {
                partitions.tags().map(|tag| format!("{}.{{{tag}}}", self.probe(uid))).collect()
            }
        }
    }

    /// The service channel of a subscribing loop: in a partition's slot where there are partitions.
    pub fn service(&self, number: u32, partition: usize) -> String {
        match &self.mode {
            Mode::Partitioned(partitions) if partition < partitions.len() => {
                format!("{}.shard.{number}.{{{}}}", self.prefix, partitions.tags[partition])
            }
            _ => format!("{}.shard.{number}", self.prefix),
        }
    }

    /// The slot of a channel's history and publications; 0 where there are no slots.
    pub fn slot(&self, channel: &str) -> u16 {
        match &self.mode {
            Mode::Plain => 0,
            Mode::Cluster => redis_keyslot(format!("{{{channel}}}").as_bytes()),
            Mode::Partitioned(partitions) => redis_keyslot(partitions.tag_of(channel).as_bytes()),
        }
    }

    fn tagged(&self, what: &str, channel: &str) -> String {
        match &self.mode {
            Mode::Plain | Mode::Cluster => self.by_channel(what, channel),
            Mode::Partitioned(partitions) => {
                format!("{}.{what}.{{{}}}.{channel}", self.prefix, partitions.tag_of(channel))
            }
        }
    }

    fn by_channel(&self, what: &str, channel: &str) -> String {
        match self.mode {
            Mode::Plain => format!("{}.{what}.{channel}", self.prefix),
            Mode::Cluster | Mode::Partitioned(_) => format!("{}.{what}.{{{channel}}}", self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn names(mode: Mode) -> Vec<String> {
        let layout = Layout::new("p", mode).unwrap();
        let at = "news";
        vec![
            layout.channel(at),
            layout.stream(at),
            layout.meta(at),
            layout.result(at, "k1"),
            layout.presence(at),
            layout.presence_expire(at),
            layout.users(at),
            layout.users_expire(at),
            layout.service(2, 3),
        ]
    }

    #[test]
    fn names_are_those_of_centrifugo_in_every_mode() {
        let presence = |channel: &str| {
            ["presence.data", "presence.expire", "presence.user.clients", "presence.user.expire"]
                .map(|what| format!("p.{what}.{channel}"))
        };
        let expected = |start: [&str; 4], presence: [String; 4], service: &str| {
            start
                .map(String::from)
                .into_iter()
                .chain(presence)
                .chain([service.to_owned()])
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(Mode::Plain),
            expected(
                ["p.client.news", "p.stream.news", "p.stream.meta.news", "p.result.news.k1"],
                presence("news"),
                "p.shard.2"
            )
        );
        assert_eq!(
            names(Mode::Cluster),
            expected(
                ["p.client.{news}", "p.stream.{news}", "p.stream.meta.{news}", "p.result.{news}.k1"],
                presence("{news}"),
                "p.shard.2"
            )
        );
        assert_eq!(
            names(Mode::Partitioned(Partitions::numbered(16).unwrap())),
            expected(
                ["p.client.{3}.news", "p.stream.{3}.news", "p.stream.meta.{3}.news", "p.result.{3}.news.k1"],
                presence("{news}"),
                "p.shard.2.{3}"
            )
        );
        assert_eq!(
            names(Mode::Partitioned(Partitions::spread(16).unwrap())),
            expected(
                [
                    "p.client.{arf}.news",
                    "p.stream.{arf}.news",
                    "p.stream.meta.{arf}.news",
                    "p.result.{arf}.news.k1"
                ],
                presence("{news}"),
                "p.shard.2.{arf}"
            )
        );
        let layout = Layout::new("centrifugo", Mode::Cluster).unwrap();
        assert_eq!(layout.control(), "centrifugo.control");
        assert_eq!(layout.node("u-1"), "centrifugo.node.u-1");
        assert_eq!(layout.probe("u-1"), "centrifugo.node.u-1.probe");
    }

    #[test]
    fn a_pubsub_channel_leads_back_to_its_channel() {
        let modes = [
            Mode::Plain,
            Mode::Cluster,
            Mode::Partitioned(Partitions::numbered(32).unwrap()),
            Mode::Partitioned(Partitions::spread(128).unwrap()),
        ];
        for mode in modes {
            let layout = Layout::new("p", mode).unwrap();
            for channel in ["news", "chat:1", "user#42", "{a}.b", "a}.b", "персональный", "p.client.x"]
            {
                assert_eq!(layout.channel_of(&layout.channel(channel)), Some(channel), "{layout:?}");
            }
            for name in ["", "p", "p.control", "q.client.news", "p.clientnews", "p.node.u"] {
                assert_eq!(layout.channel_of(name), None, "{name}");
            }
        }
        let partitioned = Layout::new("p", Mode::Partitioned(Partitions::numbered(16).unwrap())).unwrap();
        assert_eq!(partitioned.channel_of("p.client.{4}.news"), None, "it belongs to partition 3");
    }

    #[test]
    fn what_a_script_touches_is_in_one_slot() {
        for mode in [Mode::Cluster, Mode::Partitioned(Partitions::spread(64).unwrap())] {
            let layout = Layout::new("p", mode).unwrap();
            for channel in ["news", "a{b}c", "a}b", "{x", "ж"] {
                assert_eq!(layout.check(channel), Ok(()));
                let names = [
                    layout.channel(channel),
                    layout.stream(channel),
                    layout.meta(channel),
                    layout.result(channel, "k"),
                ];
                for name in names {
                    assert_eq!(redis_keyslot(name.as_bytes()), layout.slot(channel), "{name}");
                }
                let presence = redis_keyslot(layout.presence(channel).as_bytes());
                for name in
                    [layout.presence_expire(channel), layout.users(channel), layout.users_expire(channel)]
                {
                    assert_eq!(redis_keyslot(name.as_bytes()), presence, "{name}");
                }
            }
            assert_eq!(layout.check("}x"), Err(Scattered));
            assert_eq!(layout.check(""), Err(Scattered));
        }
    }

    #[test]
    fn prefixes_and_counts_that_would_go_wrong_are_refused() {
        assert_eq!(Layout::new("", Mode::Plain), Err(LayoutError::PrefixEmpty));
        assert_eq!(Layout::new("a{b}", Mode::Plain), Err(LayoutError::PrefixHasBrace));
        assert_eq!(Layout::new("p".repeat(257), Mode::Plain), Err(LayoutError::PrefixTooLong));
        assert_eq!(Partitions::numbered(0), Err(LayoutError::PartitionCount(0)));
        assert_eq!(Partitions::numbered(16_385), Err(LayoutError::PartitionCount(16_385)));
        assert_eq!(Partitions::spread(100), Err(LayoutError::NoTable(100)));
    }

    /// Which node has a slot, where nodes have as many each as possible, in order.
    fn node_of(slot: usize, nodes: usize) -> usize {
        (0..nodes).rfind(|node| slot >= node * (16_384 / nodes) + (*node).min(16_384 % nodes)).unwrap()
    }

    #[test]
    fn spread_tags_give_each_node_its_share() {
        assert_eq!(
            TAGS.iter().map(Vec::len).collect::<Vec<_>>(),
            [16, 32, 64, 128, 256, 512, 1024, 2048, 4096]
        );
        for row in TAGS.iter() {
            let slots: Vec<usize> = row.iter().map(|tag| redis_keyslot(tag.as_bytes()).into()).collect();
            assert!(slots.is_sorted());
            assert_eq!(slots.iter().collect::<HashSet<_>>().len(), row.len());
            for nodes in [1, 2, 3, 5, 6, 8, 12, 16] {
                let mut counts = vec![0; nodes];
                for slot in &slots {
                    counts[node_of(*slot, nodes)] += 1;
                }
                let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                assert!(most - least <= 2, "{} partitions on {nodes} nodes: {counts:?}", row.len());
            }
        }
        let numbered: HashSet<usize> =
            (0..32).map(|n: u16| node_of(redis_keyslot(n.to_string().as_bytes()).into(), 16)).collect();
        assert!(numbered.len() <= 9, "issue 554: {numbered:?}");
    }
}
