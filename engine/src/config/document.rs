//! Document: parses the text of a configuration file into raw values.
//!
//! In:  TOML, YAML or JSON, and the options that it may contain.
//! Out: the tree of values, or an error: its position, and a message that quotes known keys only.
//!
//! Duplicate keys in a table are an error. In YAML, a text option keeps the scalar as written, even if it looks like a
//! number or a boolean: `5782e509`, `0123`, `yes`. `null`, `~` and an empty value leave an option unset.

mod words;

use std::{cell::RefCell, fmt};

use serde::{
    Deserialize as _,
    de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use self::words::{json_words, repeated, toml_fault, yaml_fault};
use super::{
    definition::{Field, Section as _, Shape},
    options::Options,
    place::{Language, place},
};

/// Parses a complete file.
///
/// # Errors
/// The position of the first syntax error, and a description.
pub(super) fn parse(language: Language, text: &str) -> Result<Value, String> {
    // Some editors write a byte order mark at the start of a file (Unicode 15, §23.8).
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

/// Deserializes a JSON value and rejects duplicate keys.
#[derive(Clone, Copy)]
struct Unrepeated<'a> {
    /// The first duplicate key.
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

/// Parses the text twice: serde reports the kind of a value only by reading it, so a first pass finds the kinds.
fn parse_yaml(text: &str) -> Result<Value, serde_saphyr::Error> {
    let options = || {
        serde_saphyr::options! {
            with_snippet: false,
            // A scalar such as `1e999` overflows a number: treat it as text that looks like a number.
            reject_non_finite_typeless_float: false,
        }
    };
    let guess: Value = serde_saphyr::from_str_with_options(text, options())?;
    let fields = Options::fields();
    serde_saphyr::with_deserializer_from_str_with_options(text, options(), |deserializer| {
        Directed { expected: Expected::Table(&fields), guess: &guess }.deserialize(deserializer)
    })
}

/// The value that the options expect at one position.
#[derive(Clone, Copy)]
enum Expected<'a> {
    Table(&'a [Field]),
    Item(&'a Shape),
    Map(&'a Shape),
    /// A `{key, value}` item of a map that is written as a list.
    Pair(&'a Shape),
    Anything,
}

/// Deserializes a YAML value as the options expect. `guess` is the same value from the first, undirected pass.
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

#[cfg(test)]
mod tests;
