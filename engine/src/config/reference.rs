//! Reference: generates texts from the definitions of the options.
//!
//! In:  the fields of every section.
//! Out: a commented file with all defaults, the reference pages, and the values in effect.
//!
//! This file names no option: all texts follow from `options.rs`.

use super::definition::{Field, Section, Shape, is_unset, join, walk};
use super::options::Options;
use super::problem::{Origin, Problems};
use super::source::variable_name;
use crate::value::masked;
use serde_json::Value;
use std::fmt::Write as _;

/// The first line of each page.
const GENERATED: &str =
    "<!-- Generated: `make docs`. Edit the definitions in engine/src/config instead. -->\n";

const INFALLIBLE: &str = "writing to a String cannot fail";

/// The width of comments in `config default`.
const COMMENT_WIDTH: usize = 100;

/// The default width of a terminal.
const LINE_WIDTH: usize = 80;

/// The column in which origins are aligned, if the line has room.
const PADDED_WIDTH: usize = 48;

/// The longest text that is shown whole.
const TEXT_CHARS_MAX: usize = 160;

/// `holdfast config default`: every option with its default, as TOML that parses to the defaults.
pub(crate) fn default_toml() -> String {
    let mut out = String::new();
    comment(&mut out, Options::ABOUT);
    comment(
        &mut out,
        "This file holds every option with its default. Delete the lines that you do not change.",
    );
    toml_section(&mut out, &Options::fields(), "");
    out
}

/// One page of the reference.
pub(crate) struct Page {
    /// Its path, relative to the documentation folder.
    pub path: String,
    /// Its Markdown text.
    pub text: String,
}

/// `holdfast config doc`: one page with the general rules, and one page for each section.
pub(crate) fn reference_pages() -> Vec<Page> {
    let fields = Options::fields();
    let mut paths = Vec::new();
    walk(&fields, "", &mut |path, _| paths.push(path.to_owned()));
    let mut pages = vec![Page { path: "configuration.md".into(), text: overview(&fields) }];
    for field in &fields {
        let Shape::Section { about, fields } = &field.about.shape else { continue };
        let mut text = format!("{GENERATED}# {}\n\n{}\n\n", field.key, unwrap_lines(about));
        index(&mut text, fields, field.key);
        markdown_section(&mut text, fields, field.key);
        // Links in the texts are relative to the documentation folder.
        let text = text.replace("](", "](../").replace("](../#", "](#");
        pages.push(Page { path: page_of(field.key), text: linked(&text, &paths, field.key) });
    }
    pages
}

/// The path of a section's page.
fn page_of(section: &str) -> String {
    format!("configuration/{section}.md")
}

/// The page with the rules for all options.
fn overview(fields: &[Field]) -> String {
    let mut out = format!("{GENERATED}{}", include_str!("overview.md.in"));
    out.push_str("\n## Sections\n\n| Section | What it configures |\n|---|---|\n");
    for field in fields {
        let (key, page, doc) = (field.key, page_of(field.key), unwrap_lines(field.doc));
        writeln!(out, "| [`{key}`]({page}) | {doc} |").expect(INFALLIBLE);
    }
    out
}

/// Writes the table of a section's options and defaults.
fn index(out: &mut String, fields: &[Field], path: &str) {
    out.push_str("| Option | Default |\n|---|---|\n");
    walk(fields, path, &mut |path, field| {
        let default = field.about.default.as_ref().map_or_else(|| "none".to_owned(), toml_code);
        let shown = path.split_once('.').map_or(path, |(_, shown)| shown);
        writeln!(out, "| [`{shown}`](#{}) | {default} |", anchor(path)).expect(INFALLIBLE);
    });
}

/// The anchor that mdBook and GitHub generate for a heading.
fn anchor(path: &str) -> String {
    path.replace(['.', '[', ']'], "")
}

/// Turns each option in the text of a page into a link. Headings and table rows stay as they are.
fn linked(text: &str, paths: &[String], section: &str) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        if line.starts_with(['#', '|']) {
            out.push_str(line);
            continue;
        }
        for (nth, part) in line.split('`').enumerate() {
            let is_code = nth % 2 == 1;
            match paths.iter().find(|path| is_code && *path == part) {
                Some(path) => {
                    let of = path.split('.').next().unwrap_or_default();
                    let page = if of == section { String::new() } else { format!("{of}.md") };
                    write!(out, "[`{path}`]({page}#{})", anchor(path)).expect(INFALLIBLE);
                }
                None if is_code => write!(out, "`{part}`").expect(INFALLIBLE),
                None => out.push_str(part),
            }
        }
    }
    out
}

/// Every option with the value in effect and its origin. No line is longer than [`LINE_WIDTH`].
pub(super) fn in_force(tree: &Value, origins: &Problems) -> String {
    let mut rows = Vec::new();
    walk(&Options::fields(), "", &mut |path, field| {
        let written = tree.pointer(&format!("/{}", path.replace('.', "/"))).filter(|value| !is_unset(value));
        let value = written.or(field.about.default.as_ref());
        let shown = match value {
            Some(value) => toml_value(&shortened(&without_secrets(value, field))),
            None => "(unset)".to_owned(),
        };
        let origin = if written.is_some() { origins.origin(path) } else { Origin::Default };
        rows.push((format!("{path} = {shown}"), format!("# {origin}")));
    });
    let mut out = String::new();
    for (left, origin) in rows {
        let width = |text: &str| text.chars().count();
        let room = LINE_WIDTH.saturating_sub(width(&origin) + 2);
        if width(&left) <= room {
            let pad = room.min(PADDED_WIDTH);
            writeln!(out, "{left:pad$}  {origin}").expect(INFALLIBLE);
        } else {
            fold(&mut out, &left, "    ");
            fold(&mut out, &format!("    {origin}"), "    #   ");
        }
    }
    out
}

/// A comment, in lines of at most [`LINE_WIDTH`].
pub(super) fn comment_of(text: &str) -> String {
    let mut out = String::new();
    fold(&mut out, &format!("# {text}"), "#   ");
    out
}

/// Wraps a text into lines of at most [`LINE_WIDTH`]; lines after the first begin with `indent`. Lines break between
/// words, and inside a word that is longer than a line.
fn fold(out: &mut String, text: &str, indent: &str) {
    let mut line = String::new();
    let mut room = LINE_WIDTH;
    for word in text.split_inclusive(' ') {
        if !line.trim().is_empty() && word.trim_end().chars().count() > room {
            writeln!(out, "{}", line.trim_end()).expect(INFALLIBLE);
            line = indent.to_owned();
            room = LINE_WIDTH - indent.chars().count();
        }
        for char in word.chars() {
            if room == 0 && char != ' ' {
                writeln!(out, "{}", line.trim_end()).expect(INFALLIBLE);
                line = indent.to_owned();
                room = LINE_WIDTH - indent.chars().count();
            }
            line.push(char);
            room = room.saturating_sub(1);
        }
    }
    writeln!(out, "{}", line.trim_end()).expect(INFALLIBLE);
}

/// The value with each text on one line. Long texts, such as certificates, are truncated.
fn shortened(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            let line = text.replace("\r\n", " ").replace(['\r', '\n'], " ");
            match text.chars().count() {
                0..=TEXT_CHARS_MAX => line.into(),
                count => {
                    let begin: String = line.chars().take(TEXT_CHARS_MAX).collect();
                    format!("{begin}… ({count} characters)").into()
                }
            }
        }
        Value::Array(items) => items.iter().map(shortened).collect(),
        Value::Object(table) => {
            Value::Object(table.iter().map(|(key, value)| (key.clone(), shortened(value))).collect())
        }
        _ => value.clone(),
    }
}

/// The value with all secrets hidden, nested ones included. An empty secret is shown as it is.
fn without_secrets(value: &Value, field: &Field) -> Value {
    match (value, &field.about.shape) {
        (_, _) if field.about.secret => hidden(value),
        (Value::String(text), _) if field.about.is_address => masked::address(text).into(),
        (Value::Array(items), _) if field.about.is_address => {
            items.iter().map(|item| without_secrets(item, field)).collect()
        }
        (Value::String(text), _) => masked::text(text).into(),
        (Value::Array(items), Shape::Tables(fields)) => {
            let table = |item: &Value| {
                let shown = item.as_object().into_iter().flatten().filter_map(|(key, value)| {
                    // An unknown key has no effect, so it is not shown.
                    let field = fields.iter().find(|field| field.key == key.as_str())?;
                    Some((key.clone(), without_secrets(value, field)))
                });
                Value::Object(shown.collect())
            };
            items.iter().map(table).collect()
        }
        _ => value.clone(),
    }
}

fn hidden(value: &Value) -> Value {
    let is_nothing = match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(table) => table.is_empty(),
        value => is_unset(value),
    };
    if is_nothing { value.clone() } else { "(secret)".into() }
}

/// Options first, then sections: an option after a section's heading would belong to that section.
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
                write!(out, "\n## {full}\n\n{}\n", unwrap_lines(about)).expect(INFALLIBLE);
                markdown_section(out, fields, &full);
            }
            shape => {
                write!(out, "\n### `{full}`\n\n{}\n", paragraphs(field.doc)).expect(INFALLIBLE);
                let facts = facts(&full, field, &|text| format!("`{text}`"));
                write!(out, "\n{facts}\n").expect(INFALLIBLE);
                if let Shape::Tables(fields) = shape {
                    markdown_table(out, fields, &format!("{full}[]"));
                }
            }
        }
    }
}

/// Writes the options of a list of tables. For options that another section documents, it writes a link.
fn markdown_table(out: &mut String, fields: &[Field], path: &str) {
    for field in fields.iter().filter(|field| field.described_at.is_none()) {
        markdown_section(out, std::slice::from_ref(field), path);
    }
    if let Some(elsewhere) = fields.iter().find_map(|field| field.described_at) {
        write!(out, "\n### `{path}.…`\n\nEvery option of [`{elsewhere}`](#{}).\n", anchor(elsewhere))
            .expect(INFALLIBLE);
    }
}

/// The type, default, range, environment name and flag of an option.
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

/// The paragraphs of a doc comment: "Worst case: …" begins a new one; other line breaks are joined.
fn paragraphs(doc: &str) -> String {
    unwrap_lines(doc).replace(" Worst case: ", "\n\nWorst case: ")
}

fn unwrap_lines(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Writes comment lines of at most `COMMENT_WIDTH` characters.
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

fn toml_code(value: &Value) -> String {
    format!("`{}`", toml_value(value))
}

fn toml_value(value: &Value) -> String {
    toml::Value::try_from(value).map_or_else(|_| value.to_string(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::definition::{Section as _, section};
    use super::super::kinds::{tables, text};
    use super::*;
    use crate::config::{Flags, Loaded, tests::TempFile};
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

    fn shown(content: &str) -> String {
        let file = TempFile::new("toml", content);
        Loaded::read(Some(&file.0), [], &Flags::default(), &[0]).unwrap().in_force(&[])
    }

    #[test]
    fn a_secret_that_is_not_set_is_shown_as_that() {
        let shown = shown("[http_api]\nkey = ''\n[client.token]\nhmac_secret_key = 'hunter2'\n");
        let line =
            |start: &str| shown.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
        for unset in [
            "http_api.key = \"\" ",
            "http_api.keys = [] ",
            "http_server.tls.key_pem = \"\" ",
            "rpc.proxy.http.static_headers = {} ",
            "client.subscription_token.hmac_secret_key = (unset) ",
        ] {
            assert!(line(unset).ends_with("# default"), "{unset}: {shown}");
        }
        assert!(shown.contains("\nclient.token.hmac_secret_key = \"(secret)\""), "{shown}");
        assert_eq!(shown.matches("(secret)").count(), 1, "{shown}");
    }

    #[test]
    fn what_is_in_force_fits_a_terminal() {
        let many = (0..40).map(|n| {
            format!("[[channel.namespaces]]\nname = 'namespace-{n}'\nhistory_size = 10\nhistory_ttl = '60s'\npresence = true\n")
        });
        let text = format!(
            "[http_server.tls]\ncert_pem = \"\"\"-----BEGIN CERTIFICATE-----\n{}\"\"\"\n[node]\nname = '{}'\n\
             [admin]\noidc = {{ enabled = true }}\n{}",
            "MIIB\n".repeat(400),
            "x".repeat(150),
            many.collect::<String>(),
        );
        let shown = shown(&text);
        for line in shown.lines() {
            assert!(line.chars().count() <= LINE_WIDTH, "{line}");
        }
        let whole = shown.replace("\n    ", "");
        for part in [
            &"x".repeat(150),
            "… (2028 characters)",
            "\"namespace-39\"",
            "# warning: admin.oidc: changes nothing",
        ] {
            assert!(whole.contains(part), "{part}: {shown}");
        }
        for line in shown.lines().filter(|line| !line.starts_with([' ', '#'])) {
            assert!(line.contains(" ="), "{line}");
        }
    }
}
