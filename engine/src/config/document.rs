//! Document: the text of a configuration becomes raw values.
//!
//! In:  TOML, YAML or JSON, and the options that it may hold.
//! Out: the tree of values, or why it cannot be read: the place, and words that hold nothing of what is written there.
//!
//! No key may stand twice in a table. A text option of YAML holds what is written, whatever else it could be: `5782e509`,
//! `0123`, `yes`. `null`, `~` and nothing at all leave an option unset, as everywhere.

use super::definition::{Field, Section as _, Shape, walk};
use super::options::Options;
use super::place::{Language, line_and_column, place};
use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::fmt;

/// Reads a whole text.
///
/// # Errors
/// Where it is wrong, and how.
pub(super) fn parse(language: Language, text: &str) -> Result<Value, String> {
    // Some editors begin a file with this mark (Unicode 15, §23.8).
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match language {
        Language::Toml => toml::from_str(text).map_err(|error| toml_fault(text, &error)),
        Language::Json => parse_json(text),
        Language::Yaml if text.trim().is_empty() => Ok(Value::Null),
        Language::Yaml => parse_yaml(text).map_err(|error| yaml_fault(text, &error)),
    }
}

fn parse_json(text: &str) -> Result<Value, String> {
    let twice = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Unrepeated { twice: &twice }.deserialize(&mut deserializer);
    read.and_then(|value| deserializer.end().map(|()| value)).map_err(|error| {
        let words = twice.take().map_or_else(|| json_words(&error).to_owned(), |key| repeated(&key));
        let place = place(Language::Json, text, error.line(), error.column());
        format!("is not valid JSON: {place}: {words}")
    })
}

/// A value of JSON, in which no table has a key twice.
#[derive(Clone, Copy)]
struct Unrepeated<'a> {
    /// The first key that is repeated.
    twice: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Unrepeated<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unrepeated<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut table = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if table.contains_key(&key) {
                *self.twice.borrow_mut() = Some(key);
                return Err(A::Error::custom("repeated"));
            }
            let value = entries.next_value_seed(self)?;
            table.insert(key, value);
        }
        Ok(table.into())
    }
}

/// Reads it twice: how a scalar is to be read depends on what stands there, which serde tells only by reading it.
fn parse_yaml(text: &str) -> Result<Value, serde_saphyr::Error> {
    let options = || {
        serde_saphyr::options! {
            with_snippet: false,
            // What has digits and an `e` and is too large for a number is a text that happens to look like one.
            reject_non_finite_typeless_float: false,
        }
    };
    let guess: Value = serde_saphyr::from_str_with_options(text, options())?;
    let fields = Options::fields();
    serde_saphyr::with_deserializer_from_str_with_options(text, options(), |deserializer| {
        Directed { expected: Expected::Table(&fields), guess: &guess }.deserialize(deserializer)
    })
}

/// What is expected in a place.
#[derive(Clone, Copy)]
enum Expected<'a> {
    Table(&'a [Field]),
    Item(&'a Shape),
    Map(&'a Shape),
    /// The key or the value of a map that is written as a list.
    Pair(&'a Shape),
    Anything,
}

/// A value of YAML, where it is known what is expected, and what stands there when nothing is.
#[derive(Clone, Copy)]
struct Directed<'a> {
    expected: Expected<'a>,
    guess: &'a Value,
}

impl<'a> Directed<'a> {
    fn of_key(self, key: &str) -> Self {
        let expected = match self.expected {
            Expected::Table(fields) => {
                fields.iter().find(|field| field.key == key).map_or(Expected::Anything, |field| match &field
                    .about
                    .shape
                {
                    Shape::Section { fields, .. } => Expected::Table(fields),
                    Shape::Map(value) => Expected::Map(value),
                    shape => Expected::Item(shape),
                })
            }
            Expected::Map(value) => Expected::Item(value),
            Expected::Pair(value) if key == "value" => Expected::Item(value),
            Expected::Pair(_) if key == "key" => Expected::Item(&Shape::Text),
            _ => Expected::Anything,
        };
        Self { expected, guess: self.guess.get(key).unwrap_or(&Value::Null) }
    }

    fn of_item(self, at: usize) -> Self {
        let expected = match self.expected {
            Expected::Item(Shape::List(item)) => Expected::Item(item),
            Expected::Item(Shape::Tables(fields)) => Expected::Table(fields),
            Expected::Map(value) => Expected::Pair(value),
            _ => Expected::Anything,
        };
        Self { expected, guess: self.guess.get(at).unwrap_or(&Value::Null) }
    }
}

impl<'de> DeserializeSeed<'de> for Directed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match (self.expected, self.guess) {
            (Expected::Item(Shape::Text), Value::String(_) | Value::Number(_) | Value::Bool(_)) => {
                deserializer.deserialize_string(self)
            }
            (Expected::Anything | Expected::Item(Shape::Scalar | Shape::Size), _) => {
                Value::deserialize(deserializer)
            }
            (_, Value::Object(_)) => deserializer.deserialize_map(self),
            (_, Value::Array(_)) => deserializer.deserialize_seq(self),
            _ => Value::deserialize(deserializer),
        }
    }
}

impl<'de> Visitor<'de> for Directed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.of_item(list.len()))? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut table = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(self.of_key(&key))?;
            table.insert(key, value);
        }
        Ok(table.into())
    }
}

/// A key is shown where an option has that name: else it may be a secret that came into the place of one.
fn repeated(key: &str) -> String {
    let mut is_known = false;
    let mut look = |path: &str| is_known |= path.split('.').any(|part| part == key);
    let fields = Options::fields();
    walk(&fields, "", &mut |path, field| {
        look(path);
        if let Shape::Tables(fields) = &field.about.shape {
            walk(fields, "", &mut |path, _| look(path));
        }
    });
    if is_known { format!("the key {key:?} is there twice") } else { "a key is there twice".to_owned() }
}

/// Without the line itself, which these errors would show: it may hold a secret.
fn toml_fault(text: &str, error: &toml::de::Error) -> String {
    let span = error.span().unwrap_or(0..0);
    let (line, column) = line_and_column(text, span.start);
    let place = place(Language::Toml, text, line, column);
    let words = match error.message() {
        "duplicate key" => repeated(text.get(span).unwrap_or_default().trim_matches(['"', '\''])),
        words => words.to_owned(),
    };
    format!("is not valid TOML: {place}: {words}")
}

/// For the words of the library.
fn json_words(error: &serde_json::Error) -> &'static str {
    const WORDS: [(&str, &str); 11] = [
        ("EOF", "it ends too early: a bracket, a brace or a quote is not closed"),
        ("expected `:`", "a colon is missing after a key"),
        ("expected `,`", "a comma or the closing brace or bracket is missing"),
        ("expected value", "a value is missing, or a text without quotes stands there"),
        ("key must be a string", "a key without quotes stands there, or a comma too many"),
        ("trailing comma", "a comma too many stands before the end"),
        ("trailing characters", "more follows after its end"),
        (
            "control character",
            "a line break or another control character stands in a text; \\n is a line break",
        ),
        ("number out of range", "a number is too large"),
        ("invalid number", "a number is not written as JSON has them"),
        ("recursion limit", "tables lie too deep in each other"),
    ];
    let words = error.to_string();
    let ours = WORDS.iter().find(|(theirs, _)| words.starts_with(theirs));
    ours.map_or("a text has a \\ with something after it that JSON does not know", |(_, ours)| ours)
}

/// The words of the library often hold what was found.
fn yaml_fault(text: &str, error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    let error = error.without_snippet();
    let words = match error {
        Error::DuplicateMappingKey { key, .. } => repeated(key.as_deref().unwrap_or_default()),
        Error::Eof { .. } => "it ends too early".into(),
        Error::MultipleDocuments { .. } => "it holds several documents, and one is read".into(),
        Error::UnknownAnchor { .. } => "a * has a name that no & before it has".into(),
        Error::TaggedScalarCannotDeserializeIntoString { .. } | Error::InvalidScalar { .. } => {
            "a value is not what its tag says, or the option needs".into()
        }
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } => {
            "it is too large, or too deep".into()
        }
        _ => "the indentation, a quote, a bracket or a sign with a meaning of its own is wrong there".into(),
    };
    let Some(location) = error.location() else { return format!("is not valid YAML: {words}") };
    let at = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let place = place(Language::Yaml, text, at(location.line()), at(location.column()));
    format!("is not valid YAML: {place}: {words}")
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{from_file, refusal, variables};
    use crate::config::{Config, Flags, Loaded};

    /// Texts that another reader of YAML takes for numbers, booleans and dates.
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
        let names: Vec<_> =
            config.channel.namespaces.iter().map(|namespace| namespace.name.as_str()).collect();
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
        assert_eq!((config.listen.port(), config.client.queue_max_size_bytes), (8080, 2 << 20));
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
            assert!(text.contains(&format!("the key {key:?} is there twice")), "{content}: {text}");
        }
        for (extension, content) in [
            ("json", "{\"a\": {\"hunter2\": 1, \"hunter2\": 2}}"),
            ("yaml", "hunter2: 1\nhunter2: 2\n"),
            ("toml", "hunter2 = 1\nhunter2 = 2\n"),
        ] {
            let text = refusal(extension, content);
            assert!(text.contains("a key is there twice") && !text.contains("hunter2"), "{text}");
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
            ("[{\"name\": \"a\", \"name\": \"b\"}]", "the key \"name\" is there twice"),
            ("[{\"name\": \"a\"", "it ends too early"),
            ("chat", "a value is missing"),
        ] {
            let found = with_variable("HOLDFAST_CHANNEL_NAMESPACES", text).unwrap_err();
            let start =
                "channel.namespaces (environment HOLDFAST_CHANNEL_NAMESPACES): is not valid JSON: line 1";
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
        let found = with_variable("HOLDFAST_CLIENT_ALLOWED_ORIGINS", "https://a.example https://b.example")
            .unwrap_err();
        assert!(
            found.contains("client.allowed_origins[0]") && found.contains("a comma stands between them"),
            "{found}"
        );
    }
}
