//! Place: the position of an error in a file, without the text there.
//!
//! In:  the text of a configuration file, a line and a column.
//! Out: the position, with the path of the nearest known option.
//!
//! The file cannot be parsed, so the path is a guess. It contains known keys only: an unknown key may be a misplaced
//! secret.

use super::definition::{Section as _, walk};
use super::options::Options;

/// The language of a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Toml,
    Yaml,
    Json,
}

/// "line 3, column 5, near client.token"; lines and columns are counted from 1.
pub(super) fn place(language: Language, text: &str, line: usize, column: usize) -> String {
    let near = match option_at(language, text, line, column).as_str() {
        "" => String::new(),
        path => format!(", near {path}"),
    };
    format!("line {line}, column {column}{near}")
}

/// The line and column of a byte offset, counted from 1.
pub(super) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line_begin = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let lines = before.iter().filter(|&&byte| byte == b'\n').count();
    (lines + 1, String::from_utf8_lossy(&before[line_begin..]).chars().count() + 1)
}

fn option_at(language: Language, text: &str, line: usize, column: usize) -> String {
    let path = match language {
        Language::Toml => in_toml(text, line),
        Language::Yaml => in_yaml(text, line),
        Language::Json => in_json(text, line, column),
    };
    let mut known = Vec::new();
    walk(&Options::fields(), "", &mut |path, _| known.push(path.to_owned()));
    let is_known = |path: &str| {
        let beneath = |option: &String| {
            option.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        known.iter().any(beneath)
    };
    (1..=path.len())
        .rev()
        .map(|parts| path[..parts].join("."))
        .find(|path| is_known(path))
        .unwrap_or_default()
}

/// The path of the last table heading up to `line`, and the last key after it.
fn in_toml(text: &str, line: usize) -> Vec<String> {
    let parts = |path: &str| -> Vec<String> {
        path.split('.').map(|part| part.trim().trim_matches(['"', '\'']).to_owned()).collect()
    };
    let (mut table, mut key) = (Vec::new(), Vec::new());
    for text in text.lines().take(line) {
        let text = text.trim();
        if let Some(heading) = text.strip_prefix('[') {
            let heading = heading.trim_start_matches('[');
            table = parts(heading.split(']').next().unwrap_or_default());
            key = Vec::new();
        } else if let Some((written, _)) = text.split_once('=') {
            key = parts(written);
        }
    }
    table.into_iter().chain(key).collect()
}

/// The keys that enclose `line`, found by their indentation.
fn in_yaml(text: &str, line: usize) -> Vec<String> {
    let mut keys: Vec<(usize, String)> = Vec::new();
    for text in text.lines().take(line) {
        let bare = text.trim_start();
        let indent = text.len() - bare.len();
        let Some((key, _)) = bare.split_once(':').filter(|_| !bare.starts_with('#')) else { continue };
        keys.retain(|(outer, _)| *outer < indent);
        keys.push((indent, key.trim().trim_matches(['"', '\'']).to_owned()));
    }
    keys.into_iter().map(|(_, key)| key).collect()
}

/// The keys of the objects that are still open at the position.
fn in_json(text: &str, line: usize, column: usize) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    let (mut string, mut is_escaped) = (None::<String>, false);
    let mut last = String::new();
    let lines = text.lines().take(line).enumerate();
    let before =
        lines.flat_map(|(at, text)| text.chars().take(if at + 1 == line { column } else { usize::MAX }));
    for char in before {
        match (&mut string, char) {
            (Some(inside), _) if is_escaped => {
                inside.push(char);
                is_escaped = false;
            }
            (Some(_), '\\') => is_escaped = true,
            (Some(_), '"') => last = string.take().unwrap_or_default(),
            (Some(inside), _) => inside.push(char),
            (None, '"') => string = Some(String::new()),
            (None, '{') => keys.push(String::new()),
            (None, '}') => drop(keys.pop()),
            (None, ':') => {
                if let Some(key) = keys.last_mut() {
                    *key = std::mem::take(&mut last);
                }
            }
            _ => {}
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_the_option_and_nothing_that_is_none() {
        let toml = "[client.token]\nhmac_secret_key = hunter2\n[hunter2]\nhunter3 = \n[[channel.namespaces]]\nname =";
        let yaml = "log:\n  level: info\nclient:\n  token:\n    hmac_secret_key: [hunter2\n    hunter3: x\n";
        let json =
            "{\"log\": {\"level\": \"a\\\"{\"},\n \"client\": {\"token\": {\"hmac_secret_key\": hunter2}}}";
        for (language, text, line, expected) in [
            (Language::Toml, toml, 2, "client.token.hmac_secret_key"),
            (Language::Toml, toml, 4, ""),
            (Language::Toml, toml, 6, "channel.namespaces"),
            (Language::Yaml, yaml, 5, "client.token.hmac_secret_key"),
            (Language::Yaml, yaml, 6, "client.token"),
            (Language::Yaml, yaml, 2, "log.level"),
            (Language::Json, json, 2, "client.token.hmac_secret_key"),
        ] {
            assert_eq!(option_at(language, text, line, 45), expected, "{language:?} {line}");
        }
        assert_eq!(option_at(Language::Json, json, 1, 19), "log.level");
    }

    #[test]
    fn lines_and_columns_are_counted_from_one() {
        let text = "a\nbé=\n";
        assert_eq!(line_and_column(text, 0), (1, 1));
        assert_eq!(line_and_column(text, 5), (2, 3));
        assert_eq!(line_and_column(text, 99), (3, 1));
    }
}
