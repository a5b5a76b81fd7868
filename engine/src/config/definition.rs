//! Definition: everything about one option, defined once.
//!
//! In:  a line of `section!` (see `options.rs`): key, field, type, `Spec`, doc comment.
//! Out: the reader that turns a raw value into the checked field, and the facts that produce the environment name,
//! `config default`, `config doc` and every error message.
//!
//! No I/O: `source.rs` reads files and variables.

use super::problem::Problems;
use crate::value::masked;
use serde_json::Value;

/// A table of options. `section!` implements it for a struct.
pub(crate) trait Section: Sized + 'static {
    /// What the section is for, one line of text per source line.
    const ABOUT: &'static str;

    /// Its options, in the order of their definition.
    fn fields() -> Vec<Field>;

    /// Reads the options of the table at `path` and ignores all other keys, which `keys.rs` checks. Adds every error to
    /// `problems`. Returns `None` exactly when there was one.
    fn read(table: &Value, path: &str, problems: &mut Problems) -> Option<Self>;
}

/// One option, as the documentation and the environment see it.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    /// Last part of its path.
    pub key: &'static str,
    /// Its doc comment, one line of text per source line.
    pub doc: &'static str,
    /// Which values it accepts.
    pub about: About,
    /// The section that documents this option, if several sections contain it.
    pub described_at: Option<&'static str>,
}

/// The values that an option accepts.
#[derive(Debug, Clone)]
pub(crate) struct About {
    /// The type's name: `duration`, `size`, `integer`, …
    pub kind: String,
    /// The range or the list of values, in words; empty if every value of the type is allowed.
    pub allowed: String,
    /// The default; `None` for "unset" and for required options.
    pub default: Option<Value>,
    /// The command-line flag that sets it.
    pub flag: Option<&'static str>,
    /// True exactly when its value must not be shown.
    pub secret: bool,
    /// True exactly when it is an address. Its credentials and query must not be shown.
    pub is_address: bool,
    /// The structure of the value.
    pub shape: Shape,
}

/// The structure of an option's value.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    /// Text. An environment variable is used as it is.
    Text,
    /// A number or a boolean. An environment variable is parsed as one.
    Scalar,
    /// A number, or a text with a unit. An environment variable is used as it is.
    Size,
    /// A list of such items. An environment variable is JSON, or separated by commas.
    List(Box<Self>),
    /// A map from names to such values. An environment variable is JSON.
    Map(Box<Self>),
    /// A list of tables with these options. An environment variable is JSON.
    Tables(Vec<Field>),
    /// A table with these options. Each of them has its own path.
    Section {
        /// `Section::ABOUT`.
        about: &'static str,
        /// The options.
        fields: Vec<Field>,
    },
}

/// The facts and the reader of an option.
pub(crate) struct Spec<T> {
    pub(super) about: About,
    read: Reader<T>,
    required: bool,
}

type Reader<T> = Box<dyn Fn(&Value, &str, &mut Problems) -> Option<T>>;

impl<T: 'static> Spec<T> {
    /// An option with a single value. `parse` returns the value, or says what it found instead.
    pub(super) fn leaf(
        kind: &str,
        allowed: String,
        default: Value,
        shape: Shape,
        parse: impl Fn(&Value) -> Result<T, String> + 'static,
    ) -> Self {
        let about = About {
            kind: kind.to_owned(),
            allowed: allowed.clone(),
            default: Some(default),
            flag: None,
            secret: false,
            is_address: false,
            shape,
        };
        let read = move |value: &Value, path: &str, problems: &mut Problems| {
            parse(value).map_err(|found| problems.refuse(path, found, allowed.clone())).ok()
        };
        Self { about, read: Box::new(read), required: false }
    }

    pub(super) fn compound(
        about: About,
        read: impl Fn(&Value, &str, &mut Problems) -> Option<T> + 'static,
    ) -> Self {
        Self { about, read: Box::new(read), required: false }
    }

    /// Adds a condition on the value; `allowed` describes it in words.
    #[must_use]
    pub(crate) fn also(mut self, allowed: &str, test: impl Fn(&T) -> bool + 'static) -> Self {
        self.about.allowed = format!("{}, {allowed}", self.about.allowed);
        let (read, words) = (self.read, self.about.allowed.clone());
        self.read = Box::new(move |value, path, problems| {
            let checked = read(value, path, problems)?;
            if !test(&checked) {
                problems.refuse(path, format!("found {}", show(value)), words.clone());
                return None;
            }
            Some(checked)
        });
        self
    }

    /// Makes the option required: it has no default.
    #[must_use]
    pub(crate) fn required(mut self) -> Self {
        self.about.default = None;
        self.required = true;
        self
    }

    /// Makes the option optional: `None` if it is not set.
    #[must_use]
    pub(crate) fn optional(mut self) -> Spec<Option<T>> {
        self.about.default = None;
        let read = self.read;
        Spec {
            about: self.about,
            required: false,
            read: Box::new(move |value, path, problems| match value {
                Value::Null => Some(None),
                value => read(value, path, problems).map(Some),
            }),
        }
    }

    /// Names the command-line flag that sets the option.
    #[must_use]
    pub(crate) const fn flag(mut self, name: &'static str) -> Self {
        self.about.flag = Some(name);
        self
    }

    /// Marks the value as a secret: it is never printed, not even in an error message.
    #[must_use]
    pub(crate) fn secret(mut self) -> Self {
        self.about.secret = true;
        let read = self.read;
        self.read = Box::new(move |value, path, problems| {
            let before = problems.len();
            let checked = read(value, path, problems);
            problems.hide_since(before);
            checked
        });
        self
    }

    /// Reads a value that is set.
    pub(super) fn read_value(&self, value: &Value, path: &str, problems: &mut Problems) -> Option<T> {
        (self.read)(value, path, problems)
    }

    /// Reads the option `key` of `table`, or its default.
    pub(super) fn read_key(
        &self,
        table: &Value,
        path: &str,
        key: &str,
        problems: &mut Problems,
    ) -> Option<T> {
        let path = join(path, key);
        match table.get(key).filter(|value| !is_unset(value)) {
            Some(value) => self.read_value(value, &path, problems),
            None if self.required => {
                problems.refuse(&path, "is missing", self.about.allowed.clone());
                None
            }
            None => self.read_value(self.about.default.as_ref().unwrap_or(&Value::Null), &path, problems),
        }
    }
}

/// True exactly when the value counts as unset: `null`, as for a YAML key without a value, or an empty text.
pub(super) fn is_unset(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

/// Visits every option that has its own path, except sections.
pub(super) fn walk(fields: &[Field], path: &str, visit: &mut dyn FnMut(&str, &Field)) {
    for field in fields {
        let full = join(path, field.key);
        match &field.about.shape {
            Shape::Section { fields, .. } => walk(fields, &full, visit),
            _ => visit(&full, field),
        }
    }
}

/// `client` and `ping_interval` make `client.ping_interval`.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A value as an error message shows it: shortened, and with its type unless it is a text.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(b) => format!("the boolean {b}"),
        Value::Number(n) => format!("the number {n}"),
        Value::String(text) => match masked::text(text) {
            shown if shown.chars().count() <= 60 => format!("{shown:?}"),
            shown => format!("{:?}…", shown.chars().take(60).collect::<String>()),
        },
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(_) => "a table".into(),
    }
}

/// Generates a struct and its `Section` implementation from one list of options. A line is
/// `"key" => pub field: Type = spec;`; its doc comment is also the option's documentation.
macro_rules! section {
    ($(
        $(#[doc = $about:literal])+
        $vis:vis struct $name:ident {
            $( $(#[doc = $doc:literal])+ $key:literal => $fvis:vis $field:ident: $ty:ty = $spec:expr; )+
        }
    )+) => {$(
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        $vis struct $name {
            $( $(#[doc = $doc])+ $fvis $field: $ty, )+
        }

        impl $crate::config::definition::Section for $name {
            const ABOUT: &'static str = concat!($($about, "\n"),+);

            fn fields() -> Vec<$crate::config::definition::Field> {
                vec![$({
                    let spec: $crate::config::definition::Spec<$ty> = $spec;
                    $crate::config::definition::Field {
                        key: $key,
                        doc: concat!($($doc, "\n"),+),
                        about: spec.about,
                        described_at: None,
                    }
                }),+]
            }

            fn read(
                table: &serde_json::Value,
                path: &str,
                problems: &mut $crate::config::problem::Problems,
            ) -> Option<Self> {
                $(
                    let spec: $crate::config::definition::Spec<$ty> = $spec;
                    let $field = spec.read_key(table, path, $key, problems);
                )+
                Some(Self { $($field: $field?),+ })
            }
        }
    )+};
}
pub(super) use section;
