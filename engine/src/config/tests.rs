//! Configuration as a whole: sources, precedence, refusals, generated texts.

use super::definition::{Section, section, walk};
use super::kinds::{boolean, integer, list_of, map_of, section, tables, text};
use super::options::Options;
use super::source::variable_name;
use super::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

const CPUS: &[usize] = &[0, 1, 2, 3];

pub(super) struct TempFile(pub(super) PathBuf);

impl TempFile {
    pub(super) fn new(extension: &str, content: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("holdfast-config-{}-{n}.{extension}", process::id()));
        fs::write(&path, content).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

pub(super) fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

pub(crate) fn from_file(extension: &str, content: &str) -> Result<Config, Problems> {
    let file = TempFile::new(extension, content);
    Loaded::read(Some(&file.0), [], &Flags::default(), CPUS).map(|loaded| loaded.config)
}

fn from_environment(pairs: &[(&str, &str)]) -> Result<Config, Problems> {
    Loaded::read(None, variables(pairs), &Flags::default(), CPUS).map(|loaded| loaded.config)
}

pub(super) fn refusal(extension: &str, content: &str) -> String {
    from_file(extension, content).expect_err("must be refused").to_string()
}

/// The warnings of a configuration that the defaults do not cause.
pub(super) fn own_warnings(config: &Config) -> Vec<Warning> {
    let of_defaults = from_environment(&[]).unwrap().warnings();
    config.warnings().into_iter().filter(|warning| !of_defaults.contains(warning)).collect()
}

#[test]
fn nothing_configured_gives_the_defaults() {
    let config = from_environment(&[]).unwrap();
    assert_eq!(config.listen(), "0.0.0.0:8000".parse().unwrap());
    assert_eq!(config.control_listen(), "127.0.0.1:9000".parse().unwrap());
    assert_eq!(config.cores.shards(), CPUS);
    assert_eq!((config.client.ping_interval_ms, config.client.pong_timeout_ms), (25_000, 8_000));
    assert_eq!((config.client.stale_close_delay_ms, config.client.close_timeout_ms), (10_000, 5_000));
    assert_eq!(
        (config.client.queue_max_size_bytes, config.client.request_head_bytes_max),
        (1 << 20, 8 << 10)
    );
    assert_eq!(config.websocket.message_size_limit_bytes, 64 << 10);
    assert_eq!((config.engine.lanes, config.engine.receive_buffers), (0, 1024));
    assert_eq!((config.shutdown.timeout_ms, config.log.level), (10_000, LogLevel::Info));
}

#[test]
fn toml_yaml_and_json_say_the_same() {
    let toml = from_file(
        "toml",
        "[client]\nping_interval = \"1m\"\nqueue_max_size = \"2MiB\"\n[log]\nformat = \"json\"",
    );
    let yaml =
        from_file("yaml", "client:\n  ping_interval: 1m\n  queue_max_size: 2097152\nlog: {format: json}\n");
    let json = from_file(
        "json",
        r#"{"client":{"ping_interval":"60s","queue_max_size":"2048KiB"},"log":{"format":"json"}}"#,
    );
    assert_eq!(toml.as_ref().unwrap().client.ping_interval_ms, 60_000);
    assert_eq!(toml, yaml);
    assert_eq!(toml, json);
}

#[test]
fn an_empty_file_or_section_changes_nothing() {
    let defaults = from_environment(&[]).unwrap();
    for (extension, content) in [("toml", ""), ("yaml", ""), ("yaml", "client:\nlog:\n"), ("json", "{}")] {
        assert_eq!(from_file(extension, content).unwrap(), defaults, "{extension} {content:?}");
    }
}

#[test]
fn the_environment_beats_the_file_and_a_flag_beats_both() {
    let file = TempFile::new(
        "toml",
        "[http_server]\nport = 1001\n[client]\nping_interval = \"30s\"\n[log]\nlevel = \"warn\"",
    );
    let variables =
        variables(&[("HOLDFAST_HTTP_SERVER_PORT", "1002"), ("HOLDFAST_CLIENT_PING_INTERVAL", "40s")]);
    let flags = Flags { listen: Some("127.0.0.2:1003".parse().unwrap()), ..Flags::default() };
    let loaded = Loaded::read(Some(&file.0), variables, &flags, CPUS).unwrap();
    assert_eq!(loaded.config.listen(), "127.0.0.2:1003".parse().unwrap());
    assert_eq!(loaded.config.client.ping_interval_ms, 40_000);
    assert_eq!(loaded.config.log.level, LogLevel::Warn);

    let shown = loaded.in_force(&[]);
    // If value and origin do not fit on one line, the origin is on the next line.
    let line = |start: &str| {
        let (_, line) = shown.split_once(&format!("\n{start}")).unwrap();
        let mut parts = line.lines();
        let first = parts.next().unwrap_or_default();
        let more = parts.next().filter(|more| more.starts_with("    #")).unwrap_or_default();
        format!("{start}{first}{more}")
    };
    assert!(line("http_server.port = 1003").ends_with("# flag --listen"));
    assert!(line("client.ping_interval = \"40s\"").ends_with("# environment HOLDFAST_CLIENT_PING_INTERVAL"));
    assert!(line("log.level = \"warn\"").contains("# file "));
    assert!(line("client.pong_timeout = \"8s\"").ends_with("# default"));
}

#[test]
fn what_is_hardly_meant_is_shown_first() {
    let file =
        TempFile::new("toml", "[client]\nallowed_origins = [\"https://app.*\", \"https://*.a.example\"]");
    let loaded = Loaded::read(Some(&file.0), [], &Flags::default(), CPUS).unwrap();
    let shown = loaded.in_force(&[]);
    let warnings: Vec<_> = shown.lines().take_while(|line| line.starts_with("# warning: ")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("client.allowed_origins: \"https://app.*\""), "{warnings:?}");
}

#[test]
fn an_unknown_key_is_named_with_its_path_its_file_and_the_nearest_name() {
    let text = refusal("toml", "[client]\nping_intervall = \"5s\"");
    assert!(text.contains("client.ping_intervall (file "), "{text}");
    assert!(text.contains("did you mean client.ping_interval?"), "{text}");
    assert!(text.contains("allowed: ping_interval, pong_timeout"), "{text}");
}

#[test]
fn an_option_in_the_wrong_section_is_told_where_it_belongs() {
    let text = refusal("yaml", "ping_interval: 5s\n");
    assert!(text.contains("did you mean client.ping_interval?"), "{text}");
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest_one() {
    let text = from_environment(&[("HOLDFAST_CLIENT_PING_INTERVALL", "5s")]).unwrap_err().to_string();
    assert!(text.contains("environment HOLDFAST_CLIENT_PING_INTERVALL: no such option"), "{text}");
    assert!(text.contains("did you mean HOLDFAST_CLIENT_PING_INTERVAL?"), "{text}");
}

#[test]
fn variables_of_others_are_not_ours_to_judge() {
    assert!(
        from_environment(&[("PATH", "/bin"), ("HOLDFASTNESS", "1"), (CONFIG_VARIABLE, "x.toml")]).is_ok()
    );
}

#[test]
fn wrong_types_and_values_name_key_found_and_allowed() {
    for (content, key, found, allowed) in [
        ("[client]\nping_interval = 25", "client.ping_interval", "the number 25", "\"25s\""),
        ("[client]\nping_interval = \"2h\"", "client.ping_interval", "\"2h\"", "from 1s to 1h"),
        ("[http_server]\nport = \"x\"", "http_server.port", "\"x\"", "from 0 to 65535"),
        ("[http_server]\nport = 65536", "http_server.port", "65536", "from 0 to 65535"),
        ("[http_server]\naddress = \"localhost\"", "http_server.address", "\"localhost\"", "an IP address"),
        ("[log]\nlevel = \"loud\"", "log.level", "\"loud\"", "trace, debug, info, warn, error, none"),
        ("[engine]\nreceive_buffers = 1000", "engine.receive_buffers", "the number 1000", "a power of two"),
        ("[engine]\nlanes = 257", "engine.lanes", "the number 257", "from 0 to 256"),
        ("[websocket]\nmessage_size_limit = \"64KB\"", "websocket.message_size_limit", "\"64KB\"", "KiB"),
        ("client = 5", "client", "the number 5", "a table of options"),
        ("[client]\nping_interval = true", "client.ping_interval", "the boolean true", "a duration"),
    ] {
        let text = refusal("toml", content);
        for part in [key, found, allowed] {
            assert!(text.contains(part), "{content}: {part:?} is not in: {text}");
        }
    }
}

#[test]
fn all_errors_of_all_sources_come_in_one_go() {
    let file = TempFile::new("toml", "nonsense = 1\n[client]\nping_interval = 5\n[log]\nlevel = \"loud\"");
    let variables = variables(&[("HOLDFAST_ENGINE_LANES", "many"), ("HOLDFAST_NO_SUCH", "1")]);
    let problems = Loaded::read(Some(&file.0), variables, &Flags::default(), CPUS).unwrap_err();
    assert_eq!(problems.len(), 5, "{problems}");
    assert!(
        problems.to_string().contains("engine.lanes (environment HOLDFAST_ENGINE_LANES): found \"many\"")
    );
}

#[test]
fn conditions_between_options_are_checked() {
    let text = refusal("toml", "[client]\nping_interval = \"5s\"");
    assert!(
        text.contains("client.pong_timeout") && text.contains("less than client.ping_interval"),
        "{text}"
    );
    let text = refusal("toml", "[websocket]\nmessage_size_limit = \"2MiB\"");
    assert!(text.contains("client.queue_max_size") && text.contains("2097162"), "{text}");
    let text = refusal("toml", "[http_server]\ninternal_port = 8000");
    assert!(
        text.contains("http_server.internal_port") && text.contains("does not overlap 0.0.0.0:8000"),
        "{text}"
    );
    let text = refusal("toml", "[engine]\ncores = \"0\"\nshards = 2");
    assert!(text.contains("engine.shards") && text.contains("together with engine.cores"), "{text}");
    let text = refusal("toml", "[engine]\nshards = 5");
    assert!(text.contains("5 shards for 4 cores"), "{text}");
    let text = refusal("toml", "[engine]\ncores = \"0-7\"");
    assert!(text.contains("engine.cores") && text.contains("CPU 4"), "{text}");
}

#[test]
fn a_cores_flag_takes_the_place_of_shards_in_a_file_and_the_other_way_round() {
    let file = TempFile::new("toml", "[engine]\nshards = 2");
    let flags = Flags { cores: Some("3".into()), ..Flags::default() };
    assert_eq!(Loaded::read(Some(&file.0), [], &flags, CPUS).unwrap().config.cores.shards(), [3]);
    let file = TempFile::new("toml", "[engine]\ncores = \"2-3\"");
    let flags = Flags { shards: Some(1), ..Flags::default() };
    assert_eq!(Loaded::read(Some(&file.0), [], &flags, CPUS).unwrap().config.cores.shards(), [0]);
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let missing = Loaded::read(Some(Path::new("no-such.toml")), [], &Flags::default(), CPUS).unwrap_err();
    assert!(missing.to_string().contains("file no-such.toml: cannot be read"), "{missing}");
    assert!(refusal("ini", "").contains(".toml, .yaml, .yml, .json"));
    assert!(refusal("toml", "a = ").contains("not valid TOML"));
    assert!(refusal("yaml", "a: [").contains("not valid YAML"));
    assert!(refusal("json", "[1]").contains("a list of 1"));
    assert!(refusal("yaml", "client: {ping_interval: 1s}\nclient: {}\n").contains("not valid YAML"));
}

#[test]
fn the_default_file_reads_back_as_the_defaults() {
    assert_eq!(from_file("toml", &default_toml()).unwrap(), from_environment(&[]).unwrap());
}

#[test]
fn every_option_has_a_doc_and_a_variable_of_its_own() {
    let mut names = BTreeSet::new();
    walk(&Options::fields(), "", &mut |path, field| {
        assert!(field.doc.trim().ends_with('.'), "{path}: its doc is not a sentence");
        assert!(names.insert(variable_name(path)), "{path}: two options share its variable");
    });
    assert!(!names.contains(CONFIG_VARIABLE));
}

section! {
    /// A section as later parts of the daemon define it.
    struct Channel {
        /// Namespaces.
        "namespaces" => namespaces: Vec<Namespace> = tables();
        /// Who may connect.
        "origins" => origins: Vec<String> = list_of(text(""));
        /// Limits by name.
        "limits" => limits: BTreeMap<String, u32> = map_of(integer(0, 0, 10));
        /// A key.
        "key" => key: Option<u32> = integer(0, 0, 10).optional().secret();
    }
    /// All of it.
    struct Tree {
        /// What channels do.
        "channel" => channel: Channel = section();
    }

    /// One namespace.
    struct Namespace {
        /// Its name.
        "name" => name: String = text("").required();
        /// Whether it remembers.
        "history" => history: bool = boolean(false);
    }
}

fn channel(raw: &Value) -> Result<Channel, String> {
    let mut problems = Problems::new(Some("x.json".into()), BTreeMap::new(), UnknownKeys::Refuse);
    let tree = json!({ "channel": raw });
    let is_known = keys::check(&tree, &Tree::fields(), centrifugo::judge, &mut problems);
    let tree = Tree::read(&tree, "", &mut problems).filter(|_| is_known);
    tree.map(|tree| tree.channel).ok_or_else(|| problems.to_string())
}

#[test]
fn lists_of_tables_maps_and_lists_are_read() {
    let read = channel(&json!({
        "namespaces": [{"name": "a"}, {"name": "b", "history": true}], "origins": ["x"], "limits": {"n": 3}, "key": 7
    }));
    let read = read.unwrap();
    assert_eq!(read.namespaces[0], Namespace { name: "a".into(), history: false });
    assert!(read.namespaces[1].history);
    assert_eq!((read.origins, read.limits["n"], read.key), (vec!["x".to_owned()], 3, Some(7)));
}

#[test]
fn refusals_inside_lists_and_maps_name_the_item() {
    let text =
        channel(&json!({"namespaces": [{"name": "a"}, {"nam": "b"}], "limits": {"n": 30}, "origins": [1]}));
    let text = text.unwrap_err();
    for part in [
        "channel.namespaces[1].nam (file x.json)",
        "did you mean channel.namespaces[1].name?",
        "channel.limits.n",
        "channel.origins[0]",
    ] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    assert!(text.contains("channel.namespaces[1].name (file x.json): is missing"), "{text}");
}

#[test]
fn a_refused_secret_is_not_repeated() {
    let text = channel(&json!({"key": "hunter2"})).unwrap_err();
    assert!(text.contains("channel.key") && !text.contains("hunter2"), "{text}");
}

#[test]
fn no_error_of_a_file_shows_what_is_written_in_it() {
    let secret = "client.token.hmac_secret_key";
    for (extension, content, part) in [
        ("toml", "[client.token]\nhmac_secret_key = hunter2\n", secret),
        ("toml", "[client.token]\nhmac_secret_key = \"hunter2\n", secret),
        ("toml", "[client.token]\nhmac_secret_key = 'x' hunter2\n", secret),
        ("toml", "client.token.hmac_secret_key = \"hunter2\" \"\n", secret),
        ("toml", "[client.token]\nhmac_secret_key = \"a\\hunter2\"\n", secret),
        ("toml", "[client.token]\nhunter2\n", "line 2"),
        ("toml", "hunter2 = 1\nhunter2 = 2\n", "line 2"),
        ("toml", "[hunter2\n", "line 1"),
        ("yaml", "client:\n  token:\n    hmac_secret_key: \"hunter2\n", "not valid YAML"),
        ("yaml", "client:\n  token:\n    hmac_secret_key: [hunter2\n", "not valid YAML"),
        ("yaml", "client:\n  token:\n    hmac_secret_key: *hunter2\n", "not valid YAML"),
        ("yaml", "client:\n  token:\n    hmac_secret_key: !!int hunter2\n", secret),
        ("yaml", "client:\n  token:\n    hmac_secret_key: 'x' hunter2\n", "not valid YAML"),
        ("yaml", "client: {}\nhunter2: 1\nhunter2: 2\n", "twice"),
        ("json", "{\"client\":{\"token\":{\"hmac_secret_key\":hunter2}}}", secret),
        ("json", "{\"client\":{\"token\":{\"hmac_secret_key\":\"hunter2\\q\"}}}", secret),
        ("json", "{\"hunter2", "line 1"),
        // These texts parse, but a value has the wrong type or is in the wrong place.
        ("toml", "client.token = \"hunter2\"", "client.token"),
        ("toml", "http_api = \"hunter2\"", "http_api"),
        ("toml", "http_api.key = [\"hunter2\"]", "http_api.key"),
        ("toml", "http_api.keys = \"hunter2\"", "http_api.keys"),
        ("toml", "client.token.hmac_secret = \"hunter2\"", "no such option"),
        ("toml", "rpc.proxy.endpoint = \"https://hunter2:hunter2@app.test/?hunter2\"", "rpc.proxy.endpoint"),
        ("toml", "rpc.proxy.endpoint = \"ftp://app.test/?hunter2\"", "rpc.proxy.endpoint"),
        ("toml", "client.token.jwks_public_endpoint = \"hunter2@id.test\"", "jwks_public_endpoint"),
        ("toml", "rpc.proxy.http.static_headers = { \"X-Key: hunter2\" = \"x\" }", "static_headers"),
        ("toml", "client.token.rsa_public_key = \"-----BEGIN PRIVATE KEY-----\\nhunter2\"", "rsa_public_key"),
    ] {
        let text = refusal(extension, content);
        assert!(!text.contains("hunter2"), "{content}: {text}");
        assert!(text.contains(part), "{content}: {text}");
    }
}

#[test]
fn what_is_in_force_is_shown_without_secrets_and_without_queries() {
    let file = TempFile::new(
        "toml",
        "[client.token]\njwks_public_endpoint = \"https://id.test/keys?key=hunter2\"\n\
         [rpc.proxy]\nendpoint = \"https://app.test/rpc?token=hunter2#hunter2\"\n\
         http.static_headers = { X-Key = \"hunter2\" }\n\
         [http_api]\nkey = \"hunter2\"\nkeys = [\"hunter2\"]\n\
         [http_server.tls]\nkey_pem = \"hunter2\"\n\
         cert_pem = \"-----BEGIN PRIVATE KEY-----hunter2-----END PRIVATE KEY-----\"\n",
    );
    let loaded = Loaded::read(Some(&file.0), [], &Flags::default(), CPUS).unwrap();
    let shown = format!("{}{:?}", loaded.in_force(&[]), loaded.config.warnings());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("client.token.jwks_public_endpoint = \"https://id.test/keys?***\""), "{shown}");
    assert!(shown.contains("rpc.proxy.endpoint = \"https://app.test/rpc?***\""), "{shown}");
    let debug = format!("{:?}", loaded.config.client) + &format!("{:?}", loaded.config.rpc);
    assert!(!debug.contains("hunter2"), "{debug}");
}
