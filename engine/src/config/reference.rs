//! Reference: the definitions as text.
//!
//! In:  the fields of every section.
//! Out: a commented file with all defaults, the reference page, and what is in force.
//!
//! No option is named here: what it prints follows from `options.rs`.

use super::definition::{Field, Section, Shape, is_unset, join, walk};
use super::options::Options;
use super::problem::{Origin, Problems};
use super::source::variable_name;
use crate::masked;
use serde_json::Value;
use std::fmt::Write as _;

const INFALLIBLE: &str = "writing to a String cannot fail";

/// Width of a comment in `config default`.
const COMMENT_WIDTH: usize = 100;

/// `holdfast config default`: every option with its default, in TOML that reads back as the defaults.
pub fn default_toml() -> String {
    let mut out = String::new();
    comment(&mut out, Options::ABOUT);
    comment(&mut out, "This file holds every option with its default; delete what you do not change.");
    toml_section(&mut out, &Options::fields(), "");
    out
}

/// `holdfast config doc`: the reference page, in Markdown.
pub fn reference_markdown() -> String {
    let mut out = String::from(
        "<!-- Generated: `holdfast config doc > docs/configuration.md`. Edit engine/src/config/options.rs instead. -->\n\
         # Configuration reference\n\n",
    );
    write!(
        out,
        "{}\n\n\
         - **File**: `--config FILE` or `{}`; TOML, YAML or JSON by its extension (`.toml`, `.yaml`, `.yml`, `.json`). \
         `holdfast config default` prints one with all defaults.\n\
         - **Environment**: the variable named with each option. Lists are separated by commas; lists of tables and \
         maps are JSON.\n\
         - **Flags**: where an option has one, it is named.\n\n\
         The environment wins over the file, and a flag over both. An unknown key, or an unknown variable that starts \
         with `HOLDFAST_`, is an error; `holdfast config check --config FILE` names all errors at once, or prints what \
         is in force and where each value came from.\n\n\
         Durations are texts with a unit: `\"25s\"`, `\"500ms\"`, `\"1m30s\"`. Sizes are bytes, or texts with a unit: \
         `65536`, `\"64KiB\"`, `\"1MiB\"`.\n",
        unwrap_lines(Options::ABOUT),
        super::CONFIG_VARIABLE,
    )
    .expect(INFALLIBLE);
    markdown_section(&mut out, &Options::fields(), "");
    out
}

/// Every option with the value that holds and where it came from.
pub(super) fn in_force(tree: &Value, origins: &Problems) -> String {
    let mut rows = Vec::new();
    walk(&Options::fields(), "", &mut |path, field| {
        let written = tree.pointer(&format!("/{}", path.replace('.', "/"))).filter(|value| !is_unset(value));
        let value = written.or(field.about.default.as_ref());
        let shown = match value {
            Some(value) => toml_value(&without_secrets(value, field)),
            None => "(unset)".to_owned(),
        };
        let origin = if written.is_some() { origins.origin(path) } else { Origin::Default };
        rows.push((format!("{path} = {shown}"), origin));
    });
    let width = rows.iter().map(|(left, _)| left.chars().count()).max().unwrap_or_default();
    rows.iter().map(|(left, origin)| format!("{left:width$}  # {origin}\n")).collect()
}

/// The value as it may be shown: secrets are hidden wherever they are nested.
fn without_secrets(value: &Value, field: &Field) -> Value {
    match (value, &field.about.shape) {
        (_, _) if field.about.secret => "(secret)".into(),
        (Value::String(text), _) if field.about.is_address => masked::address(text).into(),
        (Value::String(text), _) => masked::text(text).into(),
        (Value::Array(items), Shape::Tables(fields)) => {
            let table = |item: &Value| {
                let shown = item.as_object().into_iter().flatten().map(|(key, value)| {
                    let field = fields.iter().find(|field| field.key == key.as_str());
                    (key.clone(), field.map_or("(secret)".into(), |field| without_secrets(value, field)))
                });
                Value::Object(shown.collect())
            };
            items.iter().map(table).collect()
        }
        _ => value.clone(),
    }
}

/// Sections last: what follows a section's heading would belong to it.
fn options_then_sections(fields: &[Field]) -> impl Iterator<Item = &Field> {
    let is_section = |field: &&Field| matches!(field.about.shape, Shape::Section { .. });
    fields.iter().filter(move |field| !is_section(field)).chain(fields.iter().filter(is_section))
}

fn toml_section(out: &mut String, fields: &[Field], path: &str) {
    for field in options_then_sections(fields) {
        let Shape::Section { about, fields } = &field.about.shape else {
            let value = match &field.about.default {
                Some(value) => format!("{} = {}", field.key, toml_value(value)),
                None => format!("# {} =", field.key),
            };
            out.push('\n');
            comment(out, field.doc);
            comment(out, &facts(&join(path, field.key), field, &|text| text.to_owned()));
            writeln!(out, "{value}").expect(INFALLIBLE);
            continue;
        };
        let path = join(path, field.key);
        out.push('\n');
        comment(out, about);
        writeln!(out, "[{path}]").expect(INFALLIBLE);
        toml_section(out, fields, &path);
    }
}

fn markdown_section(out: &mut String, fields: &[Field], path: &str) {
    for field in options_then_sections(fields) {
        let full = join(path, field.key);
        match &field.about.shape {
            Shape::Section { about, fields } => {
                write!(out, "\n## {full}\n{}\n", unwrap_lines(about)).expect(INFALLIBLE);
                markdown_section(out, fields, &full);
            }
            shape => {
                write!(out, "\n### `{full}`\n{}\n", paragraphs(field.doc)).expect(INFALLIBLE);
                let facts = facts(&full, field, &|text| format!("`{text}`"));
                write!(out, "\n{facts}\n").expect(INFALLIBLE);
                if let Shape::Tables(fields) = shape {
                    markdown_table(out, fields, &format!("{full}[]"));
                }
            }
        }
    }
}

/// The options of a list of tables; those that another section documents are only pointed to.
fn markdown_table(out: &mut String, fields: &[Field], path: &str) {
    for field in fields.iter().filter(|field| field.described_at.is_none()) {
        markdown_section(out, std::slice::from_ref(field), path);
    }
    if let Some(elsewhere) = fields.iter().find_map(|field| field.described_at) {
        write!(out, "\n### `{path}.…`\nEvery option of `{elsewhere}`.\n").expect(INFALLIBLE);
    }
}

/// Type, default, range, environment name and flag of one option.
fn facts(path: &str, field: &Field, code: &dyn Fn(&str) -> String) -> String {
    let about = &field.about;
    let default = about.default.as_ref().map_or_else(|| "none".to_owned(), |value| code(&toml_value(value)));
    let mut text = format!("Type: {}. Default: {default}.", about.kind);
    if !about.allowed.is_empty() {
        write!(text, " Allowed: {}.", about.allowed).expect(INFALLIBLE);
    }
    if !path.contains("[]") {
        write!(text, " Environment: {}.", code(&variable_name(path))).expect(INFALLIBLE);
    }
    if let Some(flag) = about.flag {
        write!(text, " Flag: {}.", code(flag)).expect(INFALLIBLE);
    }
    text
}

/// A doc comment's "Worst case: …" is a paragraph of its own; other line ends are only line ends.
fn paragraphs(doc: &str) -> String {
    unwrap_lines(doc).replace(" Worst case: ", "\n\nWorst case: ")
}

fn unwrap_lines(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Comment lines of at most `COMMENT_WIDTH` characters.
fn comment(out: &mut String, doc: &str) {
    for paragraph in paragraphs(doc).split("\n\n") {
        let mut line = String::from("#");
        for word in paragraph.split(' ') {
            if line.chars().count() + 1 + word.chars().count() > COMMENT_WIDTH {
                writeln!(out, "{line}").expect(INFALLIBLE);
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        writeln!(out, "{line}").expect(INFALLIBLE);
    }
}

fn toml_value(value: &Value) -> String {
    toml::Value::try_from(value).map_or_else(|_| value.to_string(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::definition::{Section as _, section};
    use super::super::kinds::{tables, text};
    use super::*;
    use serde_json::json;

    section! {
        /// Those who sign.
        struct Signers {
            /// Who signs.
            "signers" => signers: Vec<Signer> = tables();
        }
        /// One who signs.
        struct Signer {
            /// A name.
            "name" => name: String = text("");
            /// A key.
            "key" => key: String = text("").secret();
        }
    }

    #[test]
    fn a_secret_in_a_list_of_tables_is_not_shown() {
        let written = json!([{"name": "a", "key": "hunter2"}]);
        let shown = without_secrets(&written, &Signers::fields()[0]).to_string();
        assert!(
            shown.contains("(secret)") && shown.contains("\"a\"") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
