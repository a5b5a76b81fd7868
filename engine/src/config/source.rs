//! Source: merges the file, the environment and the flags into one tree of raw values.
//!
//! In:  a configuration file (TOML, YAML or JSON, by its extension), `HOLDFAST_…` variables, flags.
//! Out: one table, in which a later source overrides an earlier one, and the origin of each value.
//!
//! This file checks only that the sources can be read, that each variable names an option, and that the file is not for
//! Centrifugo v5 or older.

use super::centrifugo;
use super::definition::{Section, Shape, walk};
use super::document;
use super::expand::{self, Variables};
use super::options::Options;
use super::place::Language;
use super::problem::{Origin, Problem, Problems, UnknownKeys, nearest};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::{fs, io};

/// Prefix of the variables that set options. An unknown variable with this prefix is an error, unless unknown keys are
/// allowed.
pub(super) const ENVIRONMENT_PREFIX: &str = "HOLDFAST_";

/// Names the configuration file, like `--config`. It is not an option.
pub(crate) const CONFIG_VARIABLE: &str = "HOLDFAST_CONFIG";

/// Says how to treat unknown keys, like `--unknown-keys`. It is not an option.
pub(crate) const UNKNOWN_KEYS_VARIABLE: &str = "HOLDFAST_UNKNOWN_KEYS";

/// The largest configuration file. Worst case: about ten times this while it is parsed.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// All sources merged. `problems` knows the origins and already contains the errors of reading.
pub(super) struct Sources {
    pub(super) tree: Value,
    pub(super) problems: Problems,
    /// Variables of Centrifugo that are set, each with the corresponding Holdfast variable.
    pub(super) ignored_variables: Vec<IgnoredVariable>,
    /// Paths of secrets that still contain `${`.
    pub(super) unexpanded_secrets: Vec<String>,
}

/// A variable of Centrifugo that is set but ignored, because Holdfast may run beside Centrifugo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IgnoredVariable {
    /// Its name, `CENTRIFUGO_…`.
    pub name: String,
    /// The Holdfast variable of the same option, if it exists.
    pub ours: Option<String>,
}

impl Sources {
    pub(super) fn read(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &Flags,
    ) -> Self {
        let (mut early, mut unknown) = (Vec::new(), Vec::new());
        let name = file.map(|path| path.display().to_string());
        let mut tree = file.map_or_else(
            || json!({}),
            |path| {
                read_file(path).unwrap_or_else(|found| {
                    early.push(unreadable(Origin::File(path.display().to_string()), found));
                    json!({})
                })
            },
        );
        let mut origins = BTreeMap::new();
        let mut overlay = |tree: &mut Value, path: &str, value: Value, origin: Origin| {
            set(tree, path, value);
            origins.insert(path.to_owned(), origin);
        };
        let (names, mut ignored_variables, mut variables) =
            (option_variables(), Vec::new(), Variables::new());
        for (variable, text) in environment {
            let variable = variable.to_string_lossy().into_owned();
            if expand::is_variable(&variable) {
                variables.insert(variable, text.into_string().ok());
                continue;
            }
            if centrifugo::is_its_variable(&variable) {
                ignored_variables.push(ignored(variable, &names));
                continue;
            }
            let is_no_option = [CONFIG_VARIABLE, UNKNOWN_KEYS_VARIABLE].contains(&variable.as_str());
            if !variable.starts_with(ENVIRONMENT_PREFIX) || is_no_option {
                continue;
            }
            let origin = Origin::Environment(variable.clone());
            match (names.get(&variable), text.into_string()) {
                (None, _) => unknown.push(unknown_variable(&variable, &names)),
                (Some(_), Err(_)) => early.push(unreadable(origin, "its value is not UTF-8".into())),
                (Some(_), Ok(text)) if text.is_empty() => {}
                (Some((path, shape)), Ok(text)) => match from_text(shape, &text) {
                    Ok(value) => overlay(&mut tree, path, value, origin),
                    Err(found) => early.push(Problem { key: path.clone(), ..unreadable(origin, found) }),
                },
            }
        }
        for (flag, path, value) in flags.values() {
            overlay(&mut tree, path, value, Origin::Flag(flag));
        }
        let mut problems = Problems::new(name, origins, flags.unknown_keys);
        early.into_iter().for_each(|problem| problems.push(problem));
        for problem in unknown {
            problems.unknown(problem);
        }
        let unexpanded_secrets = expand::expand(&mut tree, &variables, &mut problems);
        Self { tree, problems, ignored_variables, unexpanded_secrets }
    }
}

/// The options set on the command line; for `None`, the environment and the file decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `--control`.
    pub control: Option<SocketAddr>,
    /// `--cores`.
    pub cores: Option<String>,
    /// `--shards`.
    pub shards: Option<u32>,
    /// `--unknown-keys`.
    pub unknown_keys: UnknownKeys,
}

impl Flags {
    /// The flags that are set, as (flag, path, value). `--cores` and `--shards` exclude each other, so each resets the
    /// option of the other to its default.
    fn values(&self) -> Vec<(&'static str, &'static str, Value)> {
        let mut all = Vec::new();
        if let Some(address) = self.listen {
            all.push(("--listen", "http_server.address", json!(address.ip().to_string())));
            all.push(("--listen", "http_server.port", json!(address.port())));
        }
        if let Some(address) = self.control {
            all.push(("--control", "http_server.internal_address", json!(address.ip().to_string())));
            all.push(("--control", "http_server.internal_port", json!(address.port())));
        }
        if let Some(cores) = &self.cores {
            all.push(("--cores", "engine.cores", json!(cores)));
            all.push(("--cores", "engine.shards", Value::Null));
        }
        if let Some(shards) = self.shards {
            all.push(("--shards", "engine.shards", json!(shards)));
            all.push(("--shards", "engine.cores", Value::Null));
        }
        all
    }
}

/// The variable of an option: for `client.ping_interval`, `HOLDFAST_CLIENT_PING_INTERVAL`.
pub(super) fn variable_name(path: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", path.replace('.', "_").to_uppercase())
}

/// All variables, each with the path of its option and the way to parse it.
fn option_variables() -> BTreeMap<String, (String, TextShape)> {
    let mut all = BTreeMap::new();
    walk(&Options::fields(), "", &mut |path, field| {
        let shape = match field.about.shape {
            Shape::Text | Shape::Size => TextShape::Text,
            Shape::Scalar => TextShape::Scalar,
            Shape::List(_) => TextShape::List,
            _ => TextShape::Json,
        };
        all.insert(variable_name(path), (path.to_owned(), shape));
    });
    all
}

#[derive(Clone, Copy)]
enum TextShape {
    Text,
    Scalar,
    List,
    Json,
}

/// Parses the text of a variable. If it is not the expected number or boolean, it stays a text; the option rejects it.
fn from_text(shape: &TextShape, text: &str) -> Result<Value, String> {
    match shape {
        TextShape::Text => Ok(json!(text)),
        TextShape::Scalar => Ok(serde_json::from_str(text).unwrap_or_else(|_| json!(text))),
        TextShape::Json => document::parse(Language::Json, text),
        TextShape::List if text.trim_start().starts_with('[') => document::parse(Language::Json, text),
        TextShape::List => Ok(items(text).map(str::trim).filter(|item| !item.is_empty()).collect()),
    }
}

/// The parts between commas. Commas inside braces belong to a pattern.
fn items(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.split(move |char| {
        match char {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        char == ',' && depth == 0
    })
}

fn read_file(path: &Path) -> Result<Value, String> {
    let cannot = |e: io::Error| format!("cannot be read: {e}");
    let length = fs::metadata(path).map_err(cannot)?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("found {length} bytes, allowed: at most {FILE_BYTES_MAX}"));
    }
    let text = fs::read_to_string(path).map_err(cannot)?;
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let language = match extension.as_str() {
        "toml" => Language::Toml,
        "json" => Language::Json,
        "yaml" | "yml" => Language::Yaml,
        _ => return Err(format!("found the extension {extension:?}, allowed: .toml, .yaml, .yml, .json")),
    };
    match document::parse(language, &text)? {
        Value::Null => Ok(json!({})),
        Value::Object(table) => match centrifugo::older(&table) {
            Some(found) => Err(found),
            None => Ok(Value::Object(table)),
        },
        other => Err(format!("found {}, allowed: a table of options", super::definition::show(&other))),
    }
}

/// Sets the value at a path and creates missing tables. If a section on the path is not a table, it sets nothing; that
/// section is refused when it is read.
fn set(tree: &mut Value, path: &str, value: Value) {
    let mut at = tree;
    let (sections, key) = path.rsplit_once('.').unwrap_or(("", path));
    for section in sections.split('.').filter(|section| !section.is_empty()) {
        let Some(table) = at.as_object_mut() else { return };
        at = table.entry(section).or_insert_with(|| Value::Object(Map::new()));
        if at.is_null() {
            *at = Value::Object(Map::new());
        }
    }
    if let Some(table) = at.as_object_mut() {
        table.insert(key.to_owned(), value);
    }
}

fn ignored(name: String, names: &BTreeMap<String, (String, TextShape)>) -> IgnoredVariable {
    let ours = centrifugo::own_part(&name).map(|own| format!("{ENVIRONMENT_PREFIX}{own}"));
    let ours = ours.filter(|ours| names.contains_key(ours));
    IgnoredVariable { name, ours }
}

fn unreadable(origin: Origin, found: String) -> Problem {
    Problem { key: String::new(), origin, found, allowed: String::new(), did_you_mean: None }
}

fn unknown_variable(name: &str, names: &BTreeMap<String, (String, TextShape)>) -> Problem {
    let did_you_mean = nearest(name, names.keys().map(String::as_str)).map(str::to_owned);
    Problem {
        key: String::new(),
        origin: Origin::Environment(name.to_owned()),
        found: "no such option".into(),
        allowed: "the variables that `holdfast config doc` lists".into(),
        did_you_mean,
    }
}
