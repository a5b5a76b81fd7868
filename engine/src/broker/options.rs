//! Options: the section `engine.redis`, as the library for Redis takes it.
//!
//! In:  a checked configuration; the files with certificates that it names.
//! Out: one `Deployment` for each Redis over which channels are divided, in the order of the addresses.
//!
//! It runs before the start and reads files.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use holdfast_redis::{
    command::{CommandOptions, PresenceExpiry, PresenceOptions, Servers},
    layout::Layout,
    receive::{
        connection::{ConnectionOptions, Credentials, Tls},
        link::LinkOptions,
        options::{Kind, WantedOptions},
    },
};
use rustls::{ClientConfig, pki_types::ServerName};

use crate::{
    config::{Config, EngineType, RedisAddress, RedisConfig, RedisKind, Secret},
    tls,
};

/// The section of TLS to Redis.
const TLS: &str = "engine.redis.tls";

/// Steps of connecting that may take their whole time before connecting as a whole has failed.
const SLOW_STEPS: u32 = 5;

/// One Redis, those behind Sentinel, or one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Deployment {
    /// For its commands.
    pub(crate) commands: CommandOptions,
    /// How names are made there.
    pub(crate) layout: Layout,
    /// For each connection that receives from it. The address is that of the first server; behind Sentinel and in a
    /// cluster, whoever makes the connection sets the address of the server that it is to. The kind of pub/sub is that
    /// of client channels; messages between nodes have classic pub/sub.
    pub(crate) link: LinkOptions,
}

impl Deployment {
    /// Each Redis over which channels are divided, in the order of the addresses; none for `engine.type` `memory`.
    ///
    /// # Errors
    /// A certificate or a key cannot be used; in words for the operator.
    pub(crate) fn all(config: &Config) -> anyhow::Result<Vec<Self>> {
        if config.engine.engine_type != EngineType::Redis {
            return Ok(Vec::new());
        }
        let redis = &config.engine.redis;
        let deployments = redis.deployments();
        let tls = deployments
            .iter()
            .any(|deployment| redis.is_encrypted(deployment))
            .then(|| tls::client::configuration(&redis.tls, TLS))
            .transpose()?;
        deployments.iter().map(|deployment| Self::new(config, deployment, tls.as_ref())).collect()
    }

    fn new(config: &Config, address: &RedisAddress, tls: Option<&Arc<ClientConfig>>) -> anyhow::Result<Self> {
        let redis = &config.engine.redis;
        let layout = redis.layout_of(address).context("engine.redis")?;
        let tls = tls.filter(|_| redis.is_encrypted(address));
        let tls = tls.map(|config| tls_to(redis, address, config)).transpose()?;
        let login = match &address.login {
            Some((user, password)) => credentials(user.as_deref().unwrap_or_default(), password),
            None => credentials(&redis.user, &redis.password),
        };
        let commands = CommandOptions {
            tls: tls.clone(),
            credentials: login.clone(),
            sentinel_credentials: credentials(&redis.sentinel_user, &redis.sentinel_password),
            database: Some(redis.database_of(address)).filter(|number| *number != 0),
            ..commands(config, servers(address)?)
        };
        let first = address.servers.first().context("engine.redis: an address without a server")?;
        let step_within = Duration::from_millis(redis.connect_timeout_ms);
        let connection = ConnectionOptions {
            tls,
            credentials: login,
            client_name: Some(redis.client_name.clone()).filter(|name| !name.is_empty()),
            step_within,
            up_within: step_within * SLOW_STEPS,
            ..ConnectionOptions::new(first.host.as_str(), first.port)
        };
        let kind = if layout.is_sharded() { Kind::Sharded } else { Kind::Classic };
        let defaults = LinkOptions::new(connection);
        let link = LinkOptions {
            wanted: WantedOptions { kind, ..WantedOptions::default() },
            answer_within: defaults.answer_within.max(Duration::from_millis(redis.io_timeout_ms)),
            ..defaults
        };
        Ok(Self { commands, layout, link })
    }
}

/// Limits and times, which are the same for every Redis.
fn commands(config: &Config, servers: Servers) -> CommandOptions {
    let redis = &config.engine.redis;
    let io_timeout = Duration::from_millis(redis.io_timeout_ms);
    let defaults = CommandOptions::new(servers);
    CommandOptions {
        connect_within: Duration::from_millis(redis.connect_timeout_ms),
        answer_within: io_timeout,
        send_within: io_timeout,
        commands_max: redis.queued_max as usize,
        asks_max: redis.queued_max as usize,
        asks_bytes_max: usize::try_from(redis.queue_bytes_max).unwrap_or(usize::MAX),
        batch_max: redis.batch_max as usize,
        gather: Duration::from_millis(redis.gather_ms),
        wait_replicas: redis.wait_replicas,
        wait_replicas_within: Duration::from_millis(redis.wait_replicas_ms),
        // Redis counts in whole seconds here.
        idempotency: Duration::from_secs(config.channel.idempotency_ttl_ms.div_ceil(1000)),
        presence: PresenceOptions {
            ttl: Duration::from_millis(redis.presence_ttl_ms),
            expiry: match redis.presence_expires_by_field {
                None => PresenceExpiry::Auto,
                Some(true) => PresenceExpiry::Field,
                Some(false) => PresenceExpiry::SortedSet,
            },
            are_users_counted: redis.are_users_counted,
        },
        ..defaults
    }
}

fn servers(address: &RedisAddress) -> anyhow::Result<Servers> {
    let servers = address.servers.clone();
    Ok(match &address.kind {
        RedisKind::Single => {
            Servers::One(servers.into_iter().next().context("engine.redis: an address without a server")?)
        }
        RedisKind::Sentinel { primary } => {
            let primary = primary.clone().context("engine.redis.sentinel_master_name is missing")?;
            Servers::Sentinel { sentinels: servers, primary }
        }
        RedisKind::Cluster => Servers::Cluster(servers),
    })
}

/// None where there is no password: then the server lets in everybody.
fn credentials(user: &str, password: &Secret) -> Option<Credentials> {
    let user = Some(user.to_owned()).filter(|user| !user.is_empty());
    let password = password.expose();
    (!password.is_empty()).then(|| Credentials { user, password: password.to_owned() })
}

fn tls_to(redis: &RedisConfig, address: &RedisAddress, config: &Arc<ClientConfig>) -> anyhow::Result<Tls> {
    let host = address.servers.first().map(|server| server.host.as_str()).unwrap_or_default();
    let name = if redis.tls.server_name.is_empty() { host } else { redis.tls.server_name.as_str() };
    let name = ServerName::try_from(name.to_owned())
        .with_context(|| format!("{TLS}.server_name: no certificate can be for {name:?}"))?;
    Ok(Tls { config: Arc::clone(config), name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::from_file;

    fn all(options: &str) -> Vec<Deployment> {
        let content = format!("[engine]\ntype = \"redis\"\n[engine.redis]\n{options}");
        Deployment::all(&from_file("toml", &content).unwrap()).unwrap()
    }

    fn one(options: &str) -> Deployment {
        let mut all = all(options);
        assert_eq!(all.len(), 1, "{options}");
        all.remove(0)
    }

    fn login(credentials: Option<&Credentials>) -> Option<(Option<&str>, &str)> {
        credentials.map(|of| (of.user.as_deref(), of.password.as_str()))
    }

    #[test]
    fn a_node_that_keeps_everything_in_memory_has_none() {
        let config = from_file("toml", "[engine.redis]\naddress = \"a:1\"").unwrap();
        assert!(Deployment::all(&config).unwrap().is_empty());
    }

    #[test]
    fn what_is_not_configured_is_as_documented() {
        let Deployment { commands, layout, link } = one("");
        let address = &link.connection.address;
        assert_eq!(commands.servers, Servers::One(address.clone()));
        assert_eq!((address.to_string().as_str(), layout.prefix()), ("127.0.0.1:6379", "centrifugo"));
        let defaults = CommandOptions::new(commands.servers.clone());
        assert_eq!(format!("{commands:?}"), format!("{defaults:?}"), "the library and the daemon agree");
        assert!(!layout.is_sharded() && link.wanted.kind == Kind::Classic);
        assert_eq!(link.connection.client_name, None);
    }

    #[test]
    fn several_redis_keep_their_order_and_have_their_own_logins() {
        let all = all("address = [\"redis://:a%2Fb@two.test:2/2\", \"one.test:1\"]\nuser = \"app\"\n\
                       password = \"common\"\ndb = 1\nprefix = \"chat\"");
        let shown: Vec<_> = all.iter().map(|of| of.link.connection.address.to_string()).collect();
        assert_eq!(shown, ["two.test:2", "one.test:1"]);
        let logins: Vec<_> = all.iter().map(|of| login(of.commands.credentials.as_ref())).collect();
        assert_eq!(logins, [Some((None, "a/b")), Some((Some("app"), "common"))]);
        for deployment in &all {
            let (commands, link) = (&deployment.commands, &deployment.link);
            assert_eq!(login(commands.credentials.as_ref()), login(link.connection.credentials.as_ref()));
            assert_eq!(deployment.layout.channel("news"), "chat.client.news");
        }
        let databases: Vec<_> = all.iter().map(|of| of.commands.database).collect();
        assert_eq!(databases, [Some(2), Some(1)]);
    }

    #[test]
    fn sentinels_and_the_primary_have_separate_logins() {
        let deployment = one("sentinel_address = \"a:1,[::1]:2\"\nsentinel_master_name = \"main\"\n\
                              sentinel_user = \"watcher\"\nsentinel_password = \"s\"\npassword = \"p\"");
        let Servers::Sentinel { sentinels, primary } = &deployment.commands.servers else {
            panic!("{:?}", deployment.commands.servers)
        };
        let shown: Vec<_> = sentinels.iter().map(ToString::to_string).collect();
        assert_eq!((shown, primary.as_str()), (vec!["a:1".into(), "[::1]:2".into()], "main"));
        let commands = &deployment.commands;
        assert_eq!(login(commands.sentinel_credentials.as_ref()), Some((Some("watcher"), "s")));
        assert_eq!(login(commands.credentials.as_ref()), Some((None, "p")));
        assert_eq!(*deployment.layout.mode(), holdfast_redis::layout::Mode::Plain);
    }

    #[test]
    fn a_cluster_has_classic_or_sharded_publications() {
        let classic = one("cluster_address = \"a:1,b:2\"");
        assert_eq!(classic.layout.channel("news"), "centrifugo.client.{news}");
        assert_eq!(classic.link.wanted.kind, Kind::Classic);
        let numbered = one(
            "address = \"redis+cluster://a:1\"\nsharded_pub_sub_partitions = 16\nsharded_pub_sub_tags = \"numbered\"",
        );
        assert_eq!(numbered.layout.channel("news"), "centrifugo.client.{3}.news");
        assert_eq!(numbered.link.wanted.kind, Kind::Sharded);
        let spread = one("cluster_address = \"a:1\"\nsharded_pub_sub_partitions = 16");
        assert_eq!(spread.layout.channel("news"), "centrifugo.client.{arf}.news");
    }

    #[test]
    fn every_limit_and_time_arrives() {
        let deployment = one("connect_timeout = \"2s\"\nio_timeout = \"20s\"\nclient_name = \"edge-1\"\n\
                              queue_size = 2000\nqueue_bytes = \"2MiB\"\nbatch_size = 8\ngather = \"0s\"\nwait_replicas = 2\nwait_replicas_timeout = \"20ms\"\n\
                              presence_ttl = \"30s\"\npresence_hash_field_ttl = false\npresence_user_mapping = true");
        let Deployment { commands, link, .. } = deployment;
        assert_eq!(
            (commands.connect_within, link.connection.step_within),
            (Duration::from_secs(2), Duration::from_secs(2))
        );
        assert_eq!(link.connection.up_within, Duration::from_secs(10));
        assert_eq!(
            (commands.answer_within, commands.send_within),
            (Duration::from_secs(20), Duration::from_secs(20))
        );
        assert_eq!(link.answer_within, Duration::from_secs(20));
        assert_eq!(link.connection.client_name.as_deref(), Some("edge-1"));
        assert_eq!(
            (commands.commands_max, commands.asks_max, commands.asks_bytes_max),
            (2000, 2000, 2 << 20)
        );
        assert_eq!((commands.batch_max, commands.gather), (8, Duration::ZERO));
        assert_eq!((commands.wait_replicas, commands.wait_replicas_within), (2, Duration::from_millis(20)));
        let presence = commands.presence;
        assert_eq!((presence.ttl, presence.expiry), (Duration::from_secs(30), PresenceExpiry::SortedSet));
        assert!(presence.are_users_counted);
    }

    #[test]
    fn tls_is_spoken_where_the_section_or_the_address_asks_for_it() {
        let certificate = rcgen::generate_simple_self_signed(["redis.test".into()]).unwrap();
        let ca = format!("server_ca_pem = '''{}'''", certificate.cert.pem());
        let name = |tls: Option<&Tls>| tls.map(|tls| tls.name.to_str().into_owned());
        let by_address = all(&format!("address = \"rediss://a.test,b.test\"\ntls.{ca}"));
        let names: Vec<_> = by_address.iter().map(|of| name(of.commands.tls.as_ref())).collect();
        assert_eq!(names, [Some("a.test".into()), None]);
        let by_section = one(&format!(
            "address = \"[::1]:1\"\n[engine.redis.tls]\nenabled = true\nserver_name = \"redis.test\"\n{ca}\n\
             cert_pem = '''{}'''\nkey_pem = '''{}'''",
            certificate.cert.pem(),
            certificate.signing_key.serialize_pem()
        ));
        assert_eq!(name(by_section.commands.tls.as_ref()).as_deref(), Some("redis.test"));
        assert_eq!(name(by_section.link.connection.tls.as_ref()).as_deref(), Some("redis.test"));
        let config = &by_section.commands.tls.expect("it is on").config;
        assert!(config.client_auth_cert_resolver.has_certs());
    }

    #[test]
    fn a_certificate_that_is_not_there_is_named() {
        let content = "[engine]\ntype = \"redis\"\n[engine.redis.tls]\nenabled = true\nserver_ca_pem = \"nowhere/ca.pem\"";
        let error = Deployment::all(&from_file("toml", content).unwrap()).expect_err("there is no file");
        assert!(format!("{error:#}").starts_with("engine.redis.tls.server_ca_pem: cannot read"), "{error:#}");
    }
}
