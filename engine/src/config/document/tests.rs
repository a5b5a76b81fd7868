//! Valid and invalid texts in all three languages: the values that they yield, and the error messages.

use crate::config::{
    Config, Flags, Loaded,
    tests::{from_file, refusal, variables},
};

/// Texts that some YAML parsers read as numbers, booleans or dates.
const PLAIN: [&str; 22] = [
    "5782e509",
    "1e5",
    "1e999",
    "-1e999",
    "0123",
    "0x10",
    "0o17",
    "0b11",
    "1_000",
    "1.50",
    "+5",
    "123",
    "true",
    "yes",
    "on",
    "Off",
    "n",
    ".inf",
    ".nan",
    "2024-01-02",
    "12:30:45",
    "=",
];

#[test]
fn a_text_of_yaml_is_what_is_written() {
    for text in PLAIN {
        let yaml = format!(
            "client:\n  token:\n    hmac_secret_key: {text}\n    audience: {text} # a comment\n\
             http_api: {{key: {text}, keys: [{text}, {text}]}}\n\
             admin: {{secret: {text}, password: {text}}}\n\
             node:\n  name: &name {text}\n\
             rpc:\n  proxy:\n    http:\n      static_headers: {{X-Key: {text}, X-Name: *name}}\n\
             client_of_nobody: {text}\n"
        );
        let known = yaml.replace(&format!("client_of_nobody: {text}\n"), "");
        let config = from_file("yaml", &known).unwrap_or_else(|problems| panic!("{text}: {problems}"));
        let token = &config.client.token;
        assert_eq!(token.hmac_secret_key.as_ref().map(|key| key.expose()), Some(text));
        assert_eq!((token.audience.as_str(), config.node.name.as_str()), (text, text));
        assert!(config.http_api.keys().eq([text; 3]), "{text}");
        let headers = &config.rpc.proxy.http.static_headers;
        assert_eq!((headers["X-Key"].expose(), headers["X-Name"].expose()), (text, text));
        assert!(refusal("yaml", &yaml).contains("client_of_nobody"), "{text}");
    }
}

#[test]
fn texts_of_yaml_stand_in_lists_of_tables_and_in_lists_of_keys_with_values() {
    let yaml = "channel:\n  namespaces:\n  - name: 0123\n    history_size: 10\n    history_ttl: 60s\n  - name: yes\n\
                rpc:\n  proxy:\n    http:\n      static_headers:\n      - {key: X-Key, value: 1e5}\n";
    let config = from_file("yaml", yaml).unwrap();
    let names: Vec<_> = config.channel.namespaces.iter().map(|namespace| namespace.name.as_str()).collect();
    assert_eq!(names, ["0123", "yes"]);
    assert_eq!(config.rpc.proxy.http.static_headers["X-Key"].expose(), "1e5");
}

#[test]
fn what_is_nothing_leaves_an_option_of_yaml_unset_and_quotes_make_a_text_of_it() {
    for text in ["null", "~", "", "Null", "!!null ''"] {
        let config = from_file("yaml", &format!("node:\n  name: {text}\n")).unwrap();
        assert_eq!(config.node.name, "", "{text}");
    }
    assert_eq!(from_file("yaml", "node: {name: '~'}").unwrap().node.name, "~");
}

#[test]
fn numbers_booleans_and_sizes_of_yaml_stay_what_they_are() {
    let yaml = "base: &base {history_size: 7, history_ttl: 60s}\n\
                http_server: {port: 0x1f90}\nclient: {queue_max_size: 2097152, insecure: yes}\n\
                channel:\n  without_namespace: {<<: *base, presence: on}\n";
    let text = refusal("yaml", yaml);
    assert!(text.contains("1 error") && text.contains("  base (file"), "{text}");
    let yaml = yaml.replace("base: &base", "rpc:\n  proxy: &base").replace("{history", "{timeout: 1s} #");
    let config = from_file("yaml", &yaml.replace("<<: *base, ", "")).unwrap();
    assert_eq!((config.listen().port(), config.client.queue_max_size_bytes), (8080, 2 << 20));
    assert!(config.client.is_insecure && config.channel.without_namespace.presence);
    assert!(refusal("yaml", "websocket: {compression_level: 5782e509}").contains("compression_level"));
    assert!(refusal("yaml", "client: {ping_interval: 1_000}").contains("found \"1_000\""));
}

#[test]
fn a_key_that_is_there_twice_is_refused_with_its_place_and_name() {
    for (extension, content, line, key) in [
        ("json", "{\"client\": {},\n \"log\": {},\n \"client\": {}}", 3, "client"),
        ("json", "{\"log\": {\"level\": \"info\",\n\"level\": \"warn\"}}", 2, "level"),
        ("json", "{\"channel\": {\"namespaces\": [{\"name\": \"a\",\n\"name\": \"b\"}]}}", 2, "name"),
        ("json", "{\"log\": {\"level\": \"info\",\n\"\\u006cevel\": \"warn\"}}", 2, "level"),
        ("yaml", "log:\n  level: info\n  level: warn\n", 3, "level"),
        ("yaml", "log: {}\nclient: {}\nlog: {}\n", 3, "log"),
        ("toml", "[log]\nlevel = 'info'\nlevel = 'warn'\n", 3, "level"),
        ("toml", "[log]\n[client]\n[log]\n", 3, "log"),
    ] {
        let text = refusal(extension, content);
        assert!(text.contains(&format!("line {line}, column ")), "{content}: {text}");
        assert!(text.contains(&format!("the key {key:?} appears twice")), "{content}: {text}");
    }
    for (extension, content) in [
        ("json", "{\"a\": {\"hunter2\": 1, \"hunter2\": 2}}"),
        ("yaml", "hunter2: 1\nhunter2: 2\n"),
        ("toml", "hunter2 = 1\nhunter2 = 2\n"),
    ] {
        let text = refusal(extension, content);
        assert!(text.contains("a key appears twice") && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn no_error_of_a_file_speaks_of_the_library_that_reads_it() {
    const THEIRS: [&str; 16] = [
        "DuplicateKeyPolicy",
        "untagged",
        "invalid type",
        "struct ",
        "expected value",
        "EOF",
        "enum",
        "serde",
        "map key",
        "Deserialize",
        "visitor",
        "i64",
        "u64",
        "usize",
        "mapping",
        "None",
    ];
    let wrong = [
        ("json", "{"),
        ("json", "{\"a\" 1}"),
        ("json", "{\"a\": 1 \"b\": 2}"),
        ("json", "{\"a\": }"),
        ("json", "{a: 1}"),
        ("json", "{\"a\": 1,}"),
        ("json", "{\"a\": [1,]}"),
        ("json", "{} {}"),
        ("json", "{\"a\": \"\n\"}"),
        ("json", "{\"a\": 1e999}"),
        ("json", "{\"a\": 01}"),
        ("json", "{\"a\": \"\\x\"}"),
        ("json", "{\"a\": \"\\ud800\"}"),
        ("json", "// a\n{}"),
        ("json", ""),
        ("json", "{1: 2}"),
        ("json", "{\"a\": tru}"),
        ("json", "{'a': 1}"),
        ("json", "{\"a\": \"b"),
        ("json", "{\"a\": {\"b\": 1}"),
        ("json", "[{}]"),
        ("json", "5"),
        ("yaml", "a: [1"),
        ("yaml", "a: {b: 1"),
        ("yaml", "a: 'b"),
        ("yaml", "a: \"b"),
        ("yaml", "a: b: c"),
        ("yaml", "a:\n\t- b"),
        ("yaml", "a: *b"),
        ("yaml", "---\na: 1\n---\nb: 2"),
        ("yaml", "a: !!int b"),
        ("yaml", "- a"),
        ("yaml", "a"),
        ("yaml", "a: @b"),
        ("yaml", "a: %b"),
        ("yaml", "? [a]\n: b"),
        ("yaml", "a: 1\n b: 2"),
        ("yaml", "log: {level: !!binary '%%'}"),
        ("yaml", "a: &a [*a]"),
        ("yaml", "<<: 5"),
        ("yaml", "log: [level]"),
        ("yaml", "log: {level: [info]}"),
        ("yaml", "log: {level: {a: b}}"),
        ("yaml", "{a: 1"),
        ("yaml", "log: {level: !!int 5}"),
        ("toml", "a"),
        ("toml", "a ="),
        ("toml", "a = b"),
        ("toml", "[a"),
        ("toml", "a = [1"),
        ("toml", "a = 'b"),
        ("toml", "a = 1 b = 2"),
        ("toml", "a = 01"),
        ("toml", "a.b = 1\na = 2"),
        ("toml", "= 1"),
        ("toml", "a = \"\\x\""),
        ("toml", "a: 1"),
        ("toml", "{}"),
        ("toml", "a = 99999999999999999999"),
        ("toml", "client = []"),
    ];
    for (extension, content) in wrong {
        let text = refusal(extension, content);
        assert!(text.contains("file "), "{content:?}: {text}");
        for word in THEIRS {
            assert!(!text.contains(word), "{content:?}: {word:?} is in {text}");
        }
    }
}

#[test]
fn a_mark_at_the_beginning_of_a_file_is_no_part_of_it() {
    for (extension, content) in [
        ("json", "\u{feff}{\"node\": {\"name\": \"a\"}}"),
        ("yaml", "\u{feff}node: {name: a}"),
        ("toml", "\u{feff}node.name = 'a'"),
    ] {
        assert_eq!(from_file(extension, content).unwrap().node.name, "a", "{extension}");
    }
}

fn with_variable(name: &str, text: &str) -> Result<Config, String> {
    let loaded = Loaded::read(None, variables(&[(name, text)]), &Flags::default(), &[0]);
    loaded.map(|loaded| loaded.config).map_err(|problems| problems.to_string())
}

#[test]
fn json_in_a_variable_is_refused_as_that_of_a_file_is() {
    for (text, part) in [
        ("[{\"name\": \"a\", \"name\": \"b\"}]", "the key \"name\" appears twice"),
        ("[{\"name\": \"a\"", "it ends too early"),
        ("chat", "a value is missing"),
    ] {
        let found = with_variable("HOLDFAST_CHANNEL_NAMESPACES", text).unwrap_err();
        let start = "channel.namespaces (environment HOLDFAST_CHANNEL_NAMESPACES): is not valid JSON: line 1";
        assert!(found.contains(start) && found.contains(part), "{found}");
    }
    let config = with_variable("HOLDFAST_HTTP_API_KEY", "5782e509").unwrap();
    assert!(config.http_api.keys().eq(["5782e509"]));
    assert_eq!(with_variable("HOLDFAST_NODE_NAME", "0123").unwrap().node.name, "0123");
}

#[test]
fn commas_within_braces_do_not_part_the_items_of_a_variable() {
    let origins = "https://{a,b}.example.com, https://c.example.com";
    let config = with_variable("HOLDFAST_CLIENT_ALLOWED_ORIGINS", origins).unwrap();
    let read: Vec<_> = config.client.allowed_origins.iter().map(|origin| origin.as_str()).collect();
    assert_eq!(read, ["https://{a,b}.example.com", "https://c.example.com"]);
    let found =
        with_variable("HOLDFAST_CLIENT_ALLOWED_ORIGINS", "https://a.example https://b.example").unwrap_err();
    assert!(
        found.contains("client.allowed_origins[0]") && found.contains("a comma stands between them"),
        "{found}"
    );
}
