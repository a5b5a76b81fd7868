//! Kinds: the types that an option can have.
//!
//! In:  a default and a range, in the notation of the configuration file.
//! Out: a `Spec` that reads, checks and describes such an option.
//!
//! The same code reads a default and a value from a file, so a default cannot be out of range.

use super::definition::{About, Section, Shape, Spec, show};
use super::problem::Problems;
use super::units::{parse_duration_ms, parse_size_bytes, show_size};
use crate::value::masked;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// True or false.
pub(crate) fn boolean(default: bool) -> Spec<bool> {
    Spec::leaf("boolean", "true, false".into(), json!(default), Shape::Scalar, |value| {
        value.as_bool().ok_or_else(|| found(value))
    })
}

/// A whole number from `min` to `max`.
pub(crate) fn integer<T: TryFrom<u64> + 'static>(default: u64, min: u64, max: u64) -> Spec<T> {
    let allowed = format!("a whole number from {min} to {max}");
    Spec::leaf("integer", allowed, json!(default), Shape::Scalar, move |value| {
        let number = value.as_u64().filter(|n| (min..=max).contains(n));
        number.and_then(|n| T::try_from(n).ok()).ok_or_else(|| found(value))
    })
}

/// A TCP port: a number, or a text of digits.
pub(crate) fn tcp_port(default: u16) -> Spec<u16> {
    let allowed = "a whole number from 0 to 65535".into();
    Spec::leaf("integer", allowed, json!(default), Shape::Scalar, |value| {
        let number = match value {
            Value::String(text) => text.parse().ok(),
            value => value.as_u64().and_then(|n| u16::try_from(n).ok()),
        };
        number.ok_or_else(|| found(value))
    })
}

/// A duration; the checked value is in milliseconds.
pub(crate) fn duration(default: &'static str, min: &'static str, max: &'static str) -> Spec<u64> {
    let bounds = parse_duration_ms(min).unwrap_or(0)..=parse_duration_ms(max).unwrap_or(u64::MAX);
    let example = if default == "0s" { "10s" } else { default };
    let allowed = format!("a duration from {min} to {max}, like \"{example}\"");
    Spec::leaf("duration", allowed, json!(default), Shape::Text, move |value| match value {
        Value::String(text) => match parse_duration_ms(text) {
            Ok(ms) if bounds.contains(&ms) => Ok(ms),
            Ok(_) => Err(found(value)),
            Err(why) => Err(format!("{}: {why}", found(value))),
        },
        Value::Number(n) => Err(format!("{}: a duration needs a unit: \"{n}s\" or \"{n}ms\"?", found(value))),
        _ => Err(found(value)),
    })
}

/// A size: an integer counts bytes, a text may have a unit. The checked value is in bytes.
pub(crate) fn size<T: TryFrom<u64> + 'static>(
    default: &'static str,
    min: &'static str,
    max: &'static str,
) -> Spec<T> {
    let (low, high) = (parse_size_bytes(min).unwrap_or(0), parse_size_bytes(max).unwrap_or(u64::MAX));
    let allowed =
        format!("a size from {} to {}, in bytes or like \"64KiB\"", show_size(low), show_size(high));
    Spec::leaf("size", allowed, json!(default), Shape::Size, move |value| {
        let bytes = match value {
            Value::String(text) => {
                parse_size_bytes(text).map_err(|why| format!("{}: {why}", found(value)))?
            }
            value => value.as_u64().ok_or_else(|| found(value))?,
        };
        Some(bytes)
            .filter(|b| (low..=high).contains(b))
            .and_then(|b| T::try_from(b).ok())
            .ok_or_else(|| found(value))
    })
}

/// Any text.
pub(crate) fn text(default: &'static str) -> Spec<String> {
    Spec::leaf("text", "text".into(), json!(default), Shape::Text, |value| {
        value.as_str().map(str::to_owned).ok_or_else(|| found(value))
    })
}

/// A text that `T` can parse: an address, a list of CPUs, a network.
pub(crate) fn parsed<T>(kind: &'static str, allowed: &'static str, default: &'static str) -> Spec<T>
where
    T: FromStr<Err: fmt::Display> + 'static,
{
    Spec::leaf(kind, allowed.into(), json!(default), Shape::Text, |value| {
        let text = value.as_str().ok_or_else(|| found(value))?;
        text.parse().map_err(|why| format!("{}: {why}", found(value)))
    })
}

/// The URL of a server that the daemon calls. Its query may contain a secret.
pub(crate) fn address<T>(allowed: &'static str) -> Spec<T>
where
    T: FromStr<Err: fmt::Display> + 'static,
{
    let mut spec = Spec::leaf("address", allowed.into(), json!(""), Shape::Text, |value| {
        let text = value.as_str().ok_or_else(|| found(value))?;
        text.parse().map_err(|why| format!("{}: {why}", found(&json!(masked::address(text)))))
    });
    spec.about.is_address = true;
    spec
}

/// One of a fixed set of names.
pub(crate) fn choice<T: Copy + 'static>(
    default: &'static str,
    names: &'static [(&'static str, T)],
) -> Spec<T> {
    let allowed = names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    Spec::leaf("choice", allowed, json!(default), Shape::Text, |value| {
        let text = value.as_str().ok_or_else(|| found(value))?;
        names.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice).ok_or_else(|| found(value))
    })
}

/// A list of `item` values; empty by default.
pub(crate) fn list_of<T: 'static>(item: Spec<T>) -> Spec<Vec<T>> {
    let shape = Shape::List(Box::new(item.about.shape.clone()));
    let about = about(format!("list of {}", item.about.kind), &item.about.allowed, json!([]), shape);
    let allowed = format!("a list, each item {}", about.allowed);
    Spec::compound(about, move |value, path, problems| {
        read_list(value, path, &allowed, problems, |value, path, problems| {
            item.read_value(value, path, problems)
        })
    })
}

/// A map of `item` values under names of the operator's choice; empty by default. It can also be written as a list of
/// `{key, value}`, as in Centrifugo.
pub(crate) fn map_of<T: 'static>(item: Spec<T>) -> Spec<BTreeMap<String, T>> {
    let shape = Shape::Map(Box::new(item.about.shape.clone()));
    let about = about(format!("map to {}", item.about.kind), &item.about.allowed, json!({}), shape);
    Spec::compound(about, move |value, path, problems| {
        let Some(map) = names_with_values(value) else {
            problems.refuse(
                path,
                found(value),
                "a table of names and values, or a list of {key, value} with each key once",
            );
            return None;
        };
        let read = map.into_iter().map(|(name, value)| {
            let path = format!("{path}.{name}");
            item.read_value(value, &path, problems).map(|item| (name.to_owned(), item))
        });
        // Read all items before failing, so that the problems of every item are reported.
        read.collect::<Vec<_>>().into_iter().collect()
    })
}

fn names_with_values(value: &Value) -> Option<BTreeMap<&str, &Value>> {
    if let Some(map) = value.as_object() {
        return Some(map.iter().map(|(name, value)| (name.as_str(), value)).collect());
    }
    let mut named = BTreeMap::new();
    for pair in value.as_array()? {
        let pair = pair.as_object().filter(|pair| pair.len() == 2)?;
        if named.insert(pair.get("key")?.as_str()?, pair.get("value")?).is_some() {
            return None;
        }
    }
    Some(named)
}

/// A list of tables, each with the options of one section; empty by default.
pub(crate) fn tables<T: Section>() -> Spec<Vec<T>> {
    let about = about("list of tables".into(), "", json!([]), Shape::Tables(T::fields()));
    Spec::compound(about, |value, path, problems| {
        read_list(value, path, "a list of tables", problems, T::read)
    })
}

/// A nested section.
pub(crate) fn section<T: Section>() -> Spec<T> {
    let shape = Shape::Section { about: T::ABOUT, fields: T::fields() };
    Spec::compound(about("section".into(), "", json!({}), shape), T::read)
}

fn read_list<T>(
    value: &Value,
    path: &str,
    allowed: &str,
    problems: &mut Problems,
    mut item: impl FnMut(&Value, &str, &mut Problems) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(list) = value.as_array() else {
        problems.refuse(path, found(value), allowed);
        return None;
    };
    let read = list.iter().enumerate().map(|(i, value)| item(value, &format!("{path}[{i}]"), problems));
    read.collect::<Vec<_>>().into_iter().collect()
}

/// True exactly when `name` is a valid namespace of channels or methods.
pub(super) fn is_namespace_name(name: &str) -> bool {
    name.len() >= 2 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn about(kind: String, allowed: &str, default: Value, shape: Shape) -> About {
    let allowed = allowed.to_owned();
    About { kind, allowed, default: Some(default), flag: None, secret: false, is_address: false, shape }
}

fn found(value: &Value) -> String {
    format!("found {}", show(value))
}
