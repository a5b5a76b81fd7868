//! Redis options: through which Redis the nodes of a deployment act as one.
//!
//! In:  the section `engine.redis`.
//! Out: the checked section; the deployments of Redis in their order; how names are made there.
//!
//! Names, types and defaults are those of Centrifugo v6, so that its files load. Options that are not in Centrifugo say
//! so. Nodes of both can share a Redis if they agree on addresses and their order, prefix and database.

mod address;

use holdfast_redis::layout::{Layout, LayoutError, Mode, Partitions};
use rustls::pki_types::ServerName;

use self::address::{Reading, addresses};
pub(crate) use self::address::{RedisAddress, RedisKind};
use super::{
    definition::{Section as _, section},
    kinds::{boolean, choice, duration, integer, parsed, section, size, text},
    problem::Problems,
    secret::Secret,
};

/// The prefix of Centrifugo, and of an operator who names none.
const PREFIX: &str = "centrifugo";

/// What nodes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineType {
    /// Nothing: there is one node.
    Memory,
    /// Publications, histories, presence and orders, through Redis.
    Redis,
}

impl EngineType {
    pub(super) const NAMES: &[(&str, Self)] = &[("memory", Self::Memory), ("redis", Self::Redis)];
}

section! {
    /// The Redis (6.2 or newer) or Valkey through which nodes act as one, with `engine.type` `redis`. Otherwise nothing
    /// of this section has an effect. At most one of `engine.redis.address`, `engine.redis.cluster_address` and
    /// `engine.redis.sentinel_address` is set. If none is, the daemon takes the Redis at `127.0.0.1:6379`.
    pub(crate) struct RedisConfig {
        /// Addresses of Redis: `host:port`, `redis://user:password@host:port/db`, `rediss://…` with TLS,
        /// `redis+sentinel://a:26379,b:26379?sentinel_master_name=main`, or `redis+cluster://a:6379,b:6379`. A user, a
        /// password and a database of an address take the place of the options of this section. In an address,
        /// special characters of a password are percent-encoded. Channels are divided over several addresses, so all
        /// nodes need the same addresses in the same order; an address that is added, removed or moved gives many
        /// channels another Redis, without their histories. One text separates addresses by commas, or by spaces if one
        /// of them has commas.
        "address" => pub address: Vec<RedisAddress>
            = addresses(Reading::Any, "addresses like \"redis.example.com:6379\", in a list or separated by commas");
        /// Addresses of a Redis Cluster: some of its nodes, as `host:port`, separated by commas in one text. The other
        /// nodes are found. Each item of a list is a cluster of its own, over which channels are divided.
        "cluster_address" => pub cluster_address: Vec<RedisAddress>
            = addresses(Reading::Cluster, "nodes like \"a:6379,b:6379\", or a list of such clusters");
        /// Addresses of the sentinels of a primary, as `host:port`, separated by commas in one text. Each item of a
        /// list has the sentinels of another primary, over which channels are divided. Needs
        /// `engine.redis.sentinel_master_name`.
        "sentinel_address" => pub sentinel_address: Vec<RedisAddress>
            = addresses(Reading::Sentinels, "sentinels like \"a:26379,b:26379\", or a list of such groups");
        /// How sentinels call the primary.
        "sentinel_master_name" => pub sentinel_master_name: String = text("");
        /// User at the sentinels. If empty, the default user. Needs `engine.redis.sentinel_password`.
        "sentinel_user" => pub sentinel_user: String = text("");
        /// Password at the sentinels. If empty, they let in everybody.
        "sentinel_password" => pub sentinel_password: Secret = parsed("text", "text", "").secret();
        /// User at Redis. If empty, the default user. Needs `engine.redis.password`.
        "user" => pub user: String = text("");
        /// Password at Redis. If empty, it lets in everybody.
        "password" => pub password: Secret = parsed("text", "text", "").secret();
        /// Number of the database. Publications reach the subscribers of all databases of a Redis, so a number other
        /// than 0 needs an `engine.redis.prefix` of its own. A cluster has database 0 only.
        "db" => pub database: u8 = integer(0, 0, 255);
        /// Beginning of all keys and channels in Redis, at most 256 bytes, without braces. All nodes of a deployment
        /// need the same one, and deployments that share a Redis need different ones.
        "prefix" => pub prefix: String = text(PREFIX);
        /// Name of the connections that receive publications, in Redis' `CLIENT LIST`. If empty, they have none.
        "client_name" => pub client_name: String = text("").also(
            "printable ASCII without spaces",
            |name: &String| name.bytes().all(|byte| byte.is_ascii_graphic()),
        );
        /// How long each step of connecting may take: the name, TCP, TLS, each command.
        "connect_timeout" => pub connect_timeout_ms: u64 = duration("1s", "10ms", "1m");
        /// How long Redis may take to answer a command, and how long a publication may wait before it is sent. Then
        /// the publication fails with error 100, and SDKs try again; after three late answers in a row everything
        /// fails at once, until Redis answers again. Centrifugo's default is 4 seconds; a client that waits so long
        /// has often given up.
        "io_timeout" => pub io_timeout_ms: u64 = duration("1s", "10ms", "1m");
        /// TLS to Redis, and to sentinels.
        "tls" => pub tls: ClientTlsConfig = section();
        /// How long clients of a node that died stay in the presence. Nodes refresh the presence of their clients
        /// about twice in this time.
        "presence_ttl" => pub presence_ttl_ms: u64
            = duration("60s", "5s", "24h").also("in whole seconds", |ms: &u64| ms.is_multiple_of(1000));
        /// Lets presence expire by fields of hashes (Redis 7.4, Valkey 9) instead of a sorted set beside each hash: a
        /// refresh then costs Redis a fifth. If unset, the daemon does so where Redis can. Set it to the same value on
        /// nodes of Centrifugo, whose default is `false`.
        "presence_hash_field_ttl" => pub presence_expires_by_field: Option<bool> = boolean(false).optional();
        /// Counts the users of a channel beside its clients, so that Redis need not send the whole presence to answer
        /// how many there are. It makes joining, refreshing and leaving more expensive for Redis.
        "presence_user_mapping" => pub are_users_counted: bool = boolean(false);
        /// Number of partitions of sharded pub/sub in a cluster (Redis 7 or newer): a publication then goes to one node
        /// of the cluster. 0 means classic pub/sub, in which a publication goes to every node of the cluster, so that
        /// more nodes carry no more publications. All nodes of the deployment need the same number; another number
        /// means other keys, so histories are lost. Centrifugo's open-source version has classic pub/sub only. Needs a
        /// cluster. Not in Centrifugo.
        /// Worst case: one connection for each node of the cluster that has partitions.
        "sharded_pub_sub_partitions" => pub partitions: u16 = integer(0, 0, 16_384);
        /// How partitions are named, which decides on which node of the cluster they are. With `spread`, every node has
        /// its share; the number of partitions is then a power of two from 16 to 4096. With `numbered`, the name is the
        /// number, and some nodes may have no partition. All nodes of the deployment need the same value. Not in
        /// Centrifugo.
        "sharded_pub_sub_tags" => pub partition_tags: PartitionTags = choice("spread", PartitionTags::NAMES);
        /// Most publications, and most other commands, that may wait for one Redis. A further one fails with error
        /// 100. Not in Centrifugo.
        /// Worst case: see `engine.redis.queue_bytes`.
        "queue_size" => pub queued_max: u32 = integer(16_384, 1_024, 1_048_576);
        /// Memory for publications that wait for one Redis or are under way to it. When it is full, a further one fails
        /// with error 100. Not in Centrifugo.
        /// Worst case: this for each Redis.
        "queue_bytes" => pub queue_bytes_max: u64 = size("64MiB", "1MiB", "16GiB");
        /// Most publications that Redis handles in one call. More cost Redis less in all, but hold up its other clients
        /// for longer: 64 for less than a millisecond. Not in Centrifugo.
        "batch_size" => pub batch_max: u32 = integer(64, 1, 512);
        /// How long publications wait for others to join them in one call, while an earlier call is under way. Not in
        /// Centrifugo.
        "gather" => pub gather_ms: u64 = duration("1ms", "0s", "100ms");
        /// Replicas that must have a publication with history before the daemon answers it (Redis' WAIT, once for each
        /// call). With fewer in time, the publication fails with error 100 though it may have reached subscribers: repeat
        /// it with the same idempotency key. A failover then loses less, but it is no guarantee: the sentinels may choose
        /// a replica without it. Each call waits for the one before. Not in Centrifugo.
        "wait_replicas" => pub wait_replicas: u32 = integer(0, 0, 16);
        /// How long the replicas may take. Not in Centrifugo.
        "wait_replicas_timeout" => pub wait_replicas_ms: u64 = duration("100ms", "1ms", "1s");
    }

    /// TLS 1.2 and 1.3 to a server. Each PEM option takes the path of a file, the PEM itself, or the PEM in base64. Files
    /// are read at the start.
    pub(crate) struct ClientTlsConfig {
        /// Turns TLS on. An address that begins with `rediss` has it on anyway.
        "enabled" => pub enabled: bool = boolean(false);
        /// Certificate authorities that the server's certificate may be from. If empty, those of the system;
        /// `SSL_CERT_FILE` names others.
        "server_ca_pem" => pub server_ca_pem: String = text("");
        /// The client certificate, followed by the intermediate certificates in order. If empty, there is none. Needs
        /// `key_pem`.
        "cert_pem" => pub cert_pem: String = text("");
        /// The private key of the client certificate (PKCS #8, PKCS #1 or SEC 1). Needs `cert_pem`.
        "key_pem" => pub key_pem: Secret = parsed("text", "text", "").secret();
        /// Name that all certificates of the deployment must be for, those of sentinels and of a cluster's nodes, too.
        /// If empty, the host of the first address.
        "server_name" => pub server_name: String = text("").also(
            "a host name or an IP address",
            |name: &String| name.is_empty() || ServerName::try_from(name.as_str()).is_ok(),
        );
    }
}

/// How partitions of sharded pub/sub are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartitionTags {
    /// By a table that spreads them evenly.
    Spread,
    /// By their number.
    Numbered,
}

impl PartitionTags {
    const NAMES: &[(&str, Self)] = &[("spread", Self::Spread), ("numbered", Self::Numbered)];
}

impl Default for RedisConfig {
    /// The section where nothing of it is configured.
    fn default() -> Self {
        Self::read(&serde_json::json!({}), "", &mut Problems::default())
            .expect("invariant: every default is within its own range")
    }
}

impl RedisConfig {
    /// Each Redis over which channels are divided, in the order of the addresses. At least one.
    pub(crate) fn deployments(&self) -> Vec<RedisAddress> {
        let all = [&self.address, &self.cluster_address, &self.sentinel_address];
        let mut all: Vec<RedisAddress> = all.into_iter().flatten().cloned().collect();
        if all.is_empty() {
            all.push(RedisAddress::of_this_machine());
        }
        for deployment in &mut all {
            if let RedisKind::Sentinel { primary } = &mut deployment.kind
                && primary.is_none()
                && !self.sentinel_master_name.is_empty()
            {
                *primary = Some(self.sentinel_master_name.clone());
            }
        }
        all
    }

    /// The number of the database at this address.
    pub(crate) fn database_of(&self, deployment: &RedisAddress) -> u8 {
        deployment.database.unwrap_or(self.database)
    }

    /// True exactly when the daemon speaks TLS there.
    pub(crate) fn is_encrypted(&self, deployment: &RedisAddress) -> bool {
        self.tls.enabled || deployment.is_encrypted
    }

    /// How names are made there.
    ///
    /// # Errors
    /// The prefix or the number of partitions cannot be used.
    pub(crate) fn layout_of(&self, deployment: &RedisAddress) -> Result<Layout, LayoutError> {
        let mode = match (&deployment.kind, self.partitions, self.partition_tags) {
            (RedisKind::Single | RedisKind::Sentinel { .. }, ..) => Mode::Plain,
            (RedisKind::Cluster, 0, _) => Mode::Cluster,
            (RedisKind::Cluster, count, PartitionTags::Spread) => {
                Mode::Partitioned(Partitions::spread(count)?)
            }
            (RedisKind::Cluster, count, PartitionTags::Numbered) => {
                Mode::Partitioned(Partitions::numbered(count)?)
            }
        };
        Layout::new(self.prefix.as_str(), mode)
    }
}

/// Checks the conditions between the options of Redis. Without `engine.type` `redis` none of them matters.
pub(super) fn check(redis: &RedisConfig, problems: &mut Problems) {
    let places = [
        ("engine.redis.address", &redis.address),
        ("engine.redis.cluster_address", &redis.cluster_address),
        ("engine.redis.sentinel_address", &redis.sentinel_address),
    ];
    let set: Vec<_> =
        places.iter().filter(|(_, addresses)| !addresses.is_empty()).map(|(key, _)| *key).collect();
    if let [first, others @ ..] = set.as_slice() {
        for key in others {
            problems.refuse(key, format!("it is set together with {first}"), "one of the two");
        }
    }
    for (key, needed, user, password) in [
        ("engine.redis.password", "engine.redis.user", &redis.user, &redis.password),
        (
            "engine.redis.sentinel_password",
            "engine.redis.sentinel_user",
            &redis.sentinel_user,
            &redis.sentinel_password,
        ),
    ] {
        if !user.is_empty() && password.expose().is_empty() {
            problems.refuse(key, "is missing", format!("a password, because {needed} is set"));
        }
    }
    check_tls(&redis.tls, problems);
    check_deployments(redis, problems);
}

fn check_tls(tls: &ClientTlsConfig, problems: &mut Problems) {
    match (tls.cert_pem.is_empty(), tls.key_pem.expose().is_empty()) {
        (false, true) => {
            problems.refuse(
                "engine.redis.tls.key_pem",
                "is missing",
                "a private key, because cert_pem is set",
            );
        }
        (true, false) => {
            problems.refuse(
                "engine.redis.tls.cert_pem",
                "is missing",
                "a certificate, because key_pem is set",
            );
        }
        _ => {}
    }
}

/// Checks what depends on the kind of each Redis. A condition that several violate is told once.
fn check_deployments(redis: &RedisConfig, problems: &mut Problems) {
    let deployments = redis.deployments();
    let some = |is_so: &dyn Fn(&RedisAddress) -> bool| deployments.iter().any(is_so);
    let is_cluster = |deployment: &RedisAddress| deployment.kind == RedisKind::Cluster;
    if some(&|deployment| deployment.kind == RedisKind::Sentinel { primary: None }) {
        problems.refuse(
            "engine.redis.sentinel_master_name",
            "is missing",
            "the name of the primary, because there are sentinels",
        );
    }
    if some(&|deployment| is_cluster(deployment) && redis.database_of(deployment) != 0) {
        problems.refuse("engine.redis.db", "found another database than 0", "0, because it is a cluster");
    } else if redis.prefix == PREFIX
        && let Some(number) = deployments.iter().map(|of| redis.database_of(of)).find(|number| *number != 0)
    {
        problems.refuse(
            "engine.redis.prefix",
            format!("found the default with database {number}"),
            "another prefix, because publications reach the subscribers of all databases of a Redis",
        );
    }
    if redis.partitions != 0 && !deployments.iter().all(is_cluster) {
        problems.refuse(
            "engine.redis.sharded_pub_sub_partitions",
            format!("found the number {}", redis.partitions),
            "0, because only a cluster has sharded pub/sub",
        );
    }
    match deployments.iter().find_map(|deployment| redis.layout_of(deployment).err()) {
        None => {}
        Some(error @ (LayoutError::PrefixEmpty | LayoutError::PrefixTooLong | LayoutError::PrefixHasBrace)) => {
            problems.refuse("engine.redis.prefix", error.to_string(), "1 to 256 bytes without { and }");
        }
        Some(error @ (LayoutError::PartitionCount(_) | LayoutError::NoTable(_))) => problems.refuse(
            "engine.redis.sharded_pub_sub_partitions",
            error.to_string(),
            "0, or a power of two from 16 to 4096; with sharded_pub_sub_tags = \"numbered\" any number up to 16384",
        ),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{
        Flags, Loaded,
        tests::{TempFile, from_file, refusal},
    };

    fn with(options: &str) -> String {
        format!("[engine]\ntype = \"redis\"\n[engine.redis]\n{options}")
    }

    #[test]
    fn conditions_between_options_of_redis_are_checked() {
        for (options, key, allowed) in [
            ("address = \"a:1\"\ncluster_address = \"b:1\"", "cluster_address", "one of the two"),
            (
                "cluster_address = \"a:1\"\nsentinel_address = \"b:1\"\nsentinel_master_name = \"m\"",
                "sentinel_address",
                "it is set together with engine.redis.cluster_address",
            ),
            ("sentinel_address = \"a:1\"", "sentinel_master_name", "because there are sentinels"),
            ("address = \"redis+sentinel://a:1\"", "sentinel_master_name", "because there are sentinels"),
            ("user = \"app\"", "password", "because engine.redis.user is set"),
            ("sentinel_user = \"app\"", "sentinel_password", "because engine.redis.sentinel_user is set"),
            ("cluster_address = \"a:1\"\ndb = 1\nprefix = \"p\"", "db", "because it is a cluster"),
            ("address = \"redis+cluster://a:1/1\"", "db", "because it is a cluster"),
            ("db = 1", "prefix", "found the default with database 1"),
            ("address = \"a:1,redis://b:1/2\"", "prefix", "found the default with database 2"),
            ("prefix = \"a{b}\"", "prefix", "without { and }"),
            ("sharded_pub_sub_partitions = 16", "sharded_pub_sub_partitions", "only a cluster"),
            (
                "cluster_address = \"a:1\"\nsharded_pub_sub_partitions = 100",
                "sharded_pub_sub_partitions",
                "a power of two from 16 to 4096",
            ),
            ("tls.cert_pem = \"c.pem\"", "tls.key_pem", "because cert_pem is set"),
            ("tls.key_pem = \"k.pem\"", "tls.cert_pem", "because key_pem is set"),
        ] {
            let text = refusal("toml", &with(options));
            assert!(
                text.contains(&format!("  engine.redis.{key} (")) && text.contains(allowed),
                "{options}: {text}"
            );
            assert!(text.contains("1 error"), "{options}: {text}");
            let unused = format!("[engine.redis]\n{options}");
            assert!(from_file("toml", &unused).is_ok(), "{options}: it is not used");
        }
    }

    #[test]
    fn what_may_stand_together_loads() {
        for options in [
            "",
            "address = \"a:1\"\ncluster_address = []",
            "sentinel_address = \"a:1,b:1\"\nsentinel_master_name = \"main\"\ndb = 1\nprefix = \"p\"",
            "cluster_address = \"a:1\"\nsharded_pub_sub_partitions = 100\nsharded_pub_sub_tags = \"numbered\"",
            "address = \"redis://a:1/0\"\ndb = 1",
        ] {
            assert!(from_file("toml", &with(options)).is_ok(), "{options}");
        }
    }

    #[test]
    fn values_that_redis_could_not_use_are_refused() {
        for (options, key) in [
            ("address = \"a:b\"", "address"),
            ("cluster_address = \"redis://a:1\"", "cluster_address"),
            ("address = 6379", "address"),
            ("client_name = \"my node\"", "client_name"),
            ("presence_ttl = \"2s\"", "presence_ttl"),
            ("presence_ttl = \"5500ms\"", "presence_ttl"),
            ("tls.server_name = \"a b\"", "tls.server_name"),
        ] {
            let text = refusal("toml", &with(options));
            assert!(text.contains(&format!("  engine.redis.{key} (")), "{options}: {text}");
        }
    }

    #[test]
    fn no_password_of_redis_is_shown() {
        let content = with(
            "address = [\"redis://:hunter2@a:1\", \"redis://u:hunter2@b:1\"]\npassword = \"hunter2\"\n\
             sentinel_password = \"hunter2\"\ntls.cert_pem = \"c.pem\"\ntls.key_pem = \"hunter2\"",
        );
        let file = TempFile::new("toml", &content);
        let loaded = Loaded::read(Some(&file.0), [], &Flags::default(), &[0]).unwrap();
        let shown = format!("{}{:?}", loaded.in_force(&[]), loaded.config.engine);
        assert!(!shown.contains("hunter2") && shown.contains("redis://***@a:1"), "{shown}");
        for address in ["redis://:hunter2@a:x", "redis://hunter2@a", "hunter2@a:1", "redis://:hunter2%@a"] {
            for written in [format!("\"{address}\""), format!("[\"a:1\", \"{address}\"]")] {
                let text = refusal("toml", &with(&format!("address = {written}")));
                assert!(text.contains("engine.redis.address") && !text.contains("hunter2"), "{text}");
            }
        }
        // The text is divided within the password.
        let text = refusal("toml", &with("address = \"redis://:hunter2,x@a:1\""));
        assert!(text.contains("engine.redis.address") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_variable_holds_one_text_of_addresses() {
        let read = |name: &str, text: &str| {
            let variables = [("HOLDFAST_ENGINE_TYPE".into(), "redis".into()), (name.into(), text.into())];
            let config = Loaded::read(None, variables, &Flags::default(), &[0]).unwrap().config;
            let deployments = config.engine.redis.deployments();
            deployments.iter().map(|deployment| deployment.servers.len()).collect::<Vec<_>>()
        };
        assert_eq!(read("HOLDFAST_ENGINE_REDIS_ADDRESS", "a:1,b:1"), [1, 1]);
        assert_eq!(read("HOLDFAST_ENGINE_REDIS_ADDRESS", "[\"a:1\", \"b:1\"]"), [1, 1]);
        assert_eq!(read("HOLDFAST_ENGINE_REDIS_CLUSTER_ADDRESS", "a:1,b:1 c:1"), [2, 1]);
    }
}
