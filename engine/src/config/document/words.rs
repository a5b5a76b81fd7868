//! Words: syntax errors in words for the operator.
//!
//! In:  the text of the file, and the error of the parser library.
//! Out: the position, and our own message. It quotes known keys only: other text may be a secret.

use super::super::{
    definition::{Section as _, Shape, walk},
    options::Options,
    place::{Language, line_and_column, place},
};

/// The message for a duplicate key. It shows the key only if an option has that name. Otherwise the key may be a
/// misplaced secret.
pub(super) fn repeated(key: &str) -> String {
    let mut is_known = false;
    let mut look = |path: &str| is_known |= path.split('.').any(|part| part == key);
    let fields = Options::fields();
    walk(&fields, "", &mut |path, field| {
        look(path);
        if let Shape::Tables(fields) = &field.about.shape {
            walk(fields, "", &mut |path, _| look(path));
        }
    });
    if is_known { format!("the key {key:?} appears twice") } else { "a key appears twice".to_owned() }
}

/// The message of a TOML error, without the source line that the library would print: it may contain a secret.
pub(super) fn toml_fault(text: &str, error: &toml::de::Error) -> String {
    let span = error.span().unwrap_or(0..0);
    let (line, column) = line_and_column(text, span.start);
    let place = place(Language::Toml, text, line, column);
    let words = match error.message() {
        "duplicate key" => repeated(text.get(span).unwrap_or_default().trim_matches(['"', '\''])),
        words => words.to_owned(),
    };
    format!("is not valid TOML: {place}: {words}")
}

/// Our message in place of the library's.
pub(super) fn json_words(error: &serde_json::Error) -> &'static str {
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

/// The message of a YAML error. The library's own message often quotes the value that it found.
pub(super) fn yaml_fault(text: &str, error: &serde_saphyr::Error) -> String {
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
