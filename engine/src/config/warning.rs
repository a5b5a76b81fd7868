//! Warning: finds settings that are valid but probably not intended.
//!
//! In:  a checked configuration.
//! Out: one sentence for each finding, for the log at the start, `config check` and the doctor.
//!
//! To add a warning, write a function here and call it in `collect`. No warning contains a secret.

use super::checked::Config;
use super::problem::Warning;
use super::redis::{EngineType, RedisConfig, RedisKind};
use crate::value::origin::{self, OriginPattern};

/// All warnings about a configuration.
pub(super) fn collect(config: &Config) -> Vec<Warning> {
    let mut all = ignored_variables(config);
    all.extend(config.passed_over.iter().cloned());
    all.extend(keys_without_tls(config));
    all.extend(unexpanded_secrets(config));
    all.extend(open_doors(config));
    all.extend(open_api(config));
    all.extend(doubtful_origins(config));
    all.extend(closed_doors(config));
    all.extend(closed_api(config));
    all.extend(no_origin(config));
    all.extend(idle_redis(config));
    all.extend(clusters_of_one_address(config));
    all
}

/// The server API is open without a key on an address that other machines can reach.
fn open_api(config: &Config) -> Option<Warning> {
    let is_open = config.http_api.insecure && !config.http_api.disabled;
    (is_open && !config.control_listen().ip().is_loopback()).then(|| {
        Warning::new(
            "http_api.insecure",
            format!(
                "anyone who reaches {} can publish and disconnect without a key",
                config.control_listen()
            ),
            "set http_api.key, or an http_server.internal_address that only this machine can reach",
        )
    })
}

/// Transports are served, but no client can authenticate.
fn closed_doors(config: &Config) -> Option<Warning> {
    let client = &config.client;
    let is_open = client.token.has_key()
        || client.allow_anonymous_connect_without_token
        || client.proxy.connect.enabled
        || client.is_insecure
        || client.skips_token_signatures;
    let paths = config.client_paths().into_iter().filter(|path| path.starts_with("/connection/"));
    let paths: Vec<_> = paths.collect();
    (!is_open && !paths.is_empty()).then(|| {
        Warning::new(
            "client.token",
            format!("no client can connect to {} with this configuration", paths.join(", ")),
            "set client.token.hmac_secret_key or another key, client.proxy.connect, or \
             client.allow_anonymous_connect_without_token",
        )
    })
}

/// The server API is on but has no key, so it refuses every call.
fn closed_api(config: &Config) -> Option<Warning> {
    let api = &config.http_api;
    let is_closed = !api.disabled && !api.insecure && api.keys().next().is_none();
    is_closed.then(|| {
        Warning::new(
            "http_api.key",
            "the server API has no key, so it refuses every call",
            "set http_api.key, or http_api.disabled = true if nobody calls it",
        )
    })
}

/// No origin is allowed, so no web page can connect.
fn no_origin(config: &Config) -> Option<Warning> {
    let is_closed = config.client.allowed_origins.is_empty() && !config.client_paths().is_empty();
    is_closed.then(|| {
        Warning::new(
            "client.allowed_origins",
            "no origin is allowed, so no web page can connect",
            "list the origins of your pages, as in \"https://example.com\"; other clients need none",
        )
    })
}

/// Redis is configured or meant, but the daemon does not use it.
fn idle_redis(config: &Config) -> Option<Warning> {
    let engine = &config.engine;
    match engine.engine_type {
        EngineType::Memory => (engine.redis != RedisConfig::default()).then(|| {
            Warning::new(
                "engine.redis",
                "has no effect, because engine.type is memory",
                "set engine.type to redis, or remove engine.redis",
            )
        }),
        EngineType::Redis => Some(Warning::new(
            "engine.type",
            "this version checks the options of Redis, but does not use Redis yet: every node is alone",
            "run one node",
        )),
    }
}

/// Several clusters with one address each: probably the nodes of one cluster.
fn clusters_of_one_address(config: &Config) -> Option<Warning> {
    let redis = &config.engine.redis;
    let clusters = redis.cluster_address.iter().filter(|address| address.kind == RedisKind::Cluster);
    let lone = clusters.filter(|cluster| cluster.servers.len() == 1).count();
    (config.engine.engine_type == EngineType::Redis && lone > 1).then(|| {
        Warning::new(
            "engine.redis.cluster_address",
            format!("{lone} clusters have one address each, and channels are divided over them"),
            "if they are nodes of one cluster, write them in one text, separated by commas",
        )
    })
}

/// Variables of Centrifugo are set but ignored.
fn ignored_variables(config: &Config) -> Vec<Warning> {
    let ignored = config.ignored_variables.iter().map(|variable| {
        let advice = match &variable.ours {
            Some(ours) => format!("Holdfast's variable is {ours}"),
            None => "Holdfast has no such option".into(),
        };
        Warning::new(&variable.name, "is ignored", advice)
    });
    ignored.collect()
}

/// An origin pattern also matches hosts that anybody can register, or it matches no web page.
fn doubtful_origins(config: &Config) -> Vec<Warning> {
    let warning = |pattern: &OriginPattern| {
        let (found, advice) = match origin::mistake(pattern) {
            Some(advice) => ("matches no web page", advice),
            None if origin::is_open_ended(pattern) => (
                "also matches pages of hosts that anybody can register",
                "end its host with your own domain, as in \"https://*.example.com\"",
            ),
            None => return None,
        };
        Some(Warning::new("client.allowed_origins", format!("{:?} {found}", pattern.as_str()), advice))
    };
    config.client.allowed_origins.iter().filter_map(warning).collect()
}

/// A development switch is on. It must be off wherever other people can connect.
fn open_doors(config: &Config) -> Vec<Warning> {
    let switches = [
        (
            config.client.is_insecure,
            "client.insecure",
            "INSECURE: every client may do everything without a token",
        ),
        (
            config.client.skips_token_signatures,
            "client.insecure_skip_token_signature_verify",
            "INSECURE: token signatures are not checked, so everybody can make tokens",
        ),
    ];
    let on = switches.into_iter().filter(|(is_on, ..)| *is_on);
    on.map(|(_, key, found)| Warning::new(key, found, "turn it off in production")).collect()
}

/// A secret contains `${`, probably a variable that should have been expanded.
fn unexpanded_secrets(config: &Config) -> Vec<Warning> {
    let warning = |path: &String| {
        Warning::new(
            path,
            "the secret contains ${…}, which is not replaced",
            "only ${HOLDFAST_VAR_…} and ${CENTRIFUGO_VAR_…} are replaced by environment variables",
        )
    };
    config.unexpanded_secrets.iter().map(warning).collect()
}

/// Keys for tokens are fetched without encryption: an attacker on the network path can replace them.
fn keys_without_tls(config: &Config) -> Vec<Warning> {
    let sections = [
        ("client.token", Some(&config.client.token)),
        (
            "client.subscription_token",
            Some(&config.client.subscription_token).filter(|own| own.enabled).map(|own| &own.token),
        ),
    ];
    let plain = sections.into_iter().filter(|(_, token)| {
        token
            .and_then(|token| token.jwks_public_endpoint.as_ref())
            .is_some_and(|endpoint| !endpoint.is_encrypted())
    });
    let warning = |(path, _)| {
        let key = format!("{path}.jwks_public_endpoint");
        Warning::new(
            key,
            "keys are fetched over http://, so anyone who can change the answer on its way can make tokens",
            "use https://",
        )
    };
    plain.map(warning).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::tests::from_file;

    /// A configuration in which clients, web pages and API callers can connect.
    const OPEN: &str = "[client]\nallowed_origins = [\"https://a.example\"]\n[client.token]\nhmac_secret_key = \"k\"\n\
                        [http_api]\nkey = \"k\"";

    fn keys(content: &str) -> Vec<String> {
        from_file("toml", content).unwrap().warnings().into_iter().map(|warning| warning.key).collect()
    }

    const JWKS: &str = "jwks_public_endpoint";

    /// The number of warnings about options with that name.
    fn about(name: &str, content: &str) -> usize {
        keys(content).iter().filter(|key| key.contains(name)).count()
    }

    #[test]
    fn what_the_defaults_let_nobody_do_is_warned_of() {
        assert_eq!(keys(""), ["client.token", "http_api.key", "client.allowed_origins"]);
        assert_eq!(keys(OPEN), [""; 0]);
        for (open, closed) in [
            ("hmac_secret_key = \"k\"", "client.token"),
            ("allowed_origins = [\"https://a.example\"]", "client.allowed_origins"),
            ("[http_api]\nkey = \"k\"", "http_api.key"),
        ] {
            assert_eq!(keys(&OPEN.replacen(open, "", 1)), [closed]);
        }
        for ways_in in [
            "[client]\nallow_anonymous_connect_without_token = true",
            "[client.token]\njwks_public_endpoint = \"https://id.test/keys\"",
            "[client.proxy.connect]\nenabled = true\nendpoint = \"http://app.test/\"",
        ] {
            assert!(!keys(ways_in).contains(&"client.token".to_owned()), "{ways_in}");
        }
        let none = "[websocket]\ndisabled = true\n[echo]\nenabled = false\n[broadcast]\nenabled = false\n\
                    [http_api]\ndisabled = true";
        assert_eq!(keys(none), [""; 0]);
    }

    #[test]
    fn redis_without_effect_and_nodes_that_became_clusters_are_warned_of() {
        let idle = "[engine.redis]\naddress = \"a:1\"";
        assert_eq!((about("engine.redis", idle), about("engine.redis", "[engine.redis]")), (1, 0));
        let redis = |options: &str| format!("[engine]\ntype = \"redis\"\n[engine.redis]\n{options}");
        assert_eq!(about("engine.redis", &redis("address = \"a:1\"")), 0);
        assert_eq!(about("cluster_address", &redis("cluster_address = [\"a:1\", \"b:1\"]")), 1);
        assert_eq!(about("cluster_address", &redis("cluster_address = \"a:1,b:1\"")), 0);
    }

    #[test]
    fn origins_that_no_browser_sends_are_warned_of() {
        let config =
            from_file("toml", "[client]\nallowed_origins = ['wss://a.example', 'https://a.example']")
                .unwrap();
        let told: Vec<_> = config.warnings().iter().map(ToString::to_string).collect();
        let told: Vec<_> = told.into_iter().filter(|told| told.contains("origins")).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].starts_with("client.allowed_origins: \"wss://a.example\" matches no web page"),
            "{told:?}"
        );
    }

    #[test]
    fn an_api_without_a_key_is_warned_of_where_others_reach_it() {
        let with = |address: &str, key: &str| {
            format!("[http_server]\ninternal_address = \"{address}\"\n[http_api]\n{key}")
        };
        assert_eq!(about("http_api.insecure", &with("10.0.0.1", "insecure = true")), 1);
        assert_eq!(about("http_api.", &with("127.0.0.1", "insecure = true")), 0);
        assert_eq!(about("http_api.", &with("10.0.0.1", "key = \"k\"")), 0);
    }

    #[test]
    fn keys_that_come_without_encryption_are_warned_of_where_they_are_used() {
        let with = |scheme: &str| {
            format!(
                "[client.token]\njwks_public_endpoint = \"{scheme}://id.test/keys\"\n\
                 [client.subscription_token]\nenabled = true\njwks_public_endpoint = \"{scheme}://id.test/keys\"",
            )
        };
        assert_eq!(about(JWKS, &with("https")), 0);
        assert_eq!(about(JWKS, &with("http")), 2);
        assert_eq!(about(JWKS, &with("http").replace("enabled = true", "enabled = false")), 1);
    }
}
