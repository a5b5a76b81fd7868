//! Object: JSON that has to be an object.
//!
//! In:  JSON of peers: bodies of the server API, answers of backends, tokens, key sets.
//! Out: structures; an error where there is an array, which serde would take for the fields in their order.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A structure that is read from an object alone.
#[derive(Debug, Default)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer).map(Self)
    }
}

/// For fields: `#[serde(deserialize_with = "object::read")]`.
pub(crate) fn read<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Fields<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(fields))
        }
    }
    deserializer.deserialize_map(Fields(PhantomData))
}

/// The same where there may be nothing, or `null`.
pub(crate) fn read_optional<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|Object(value)| value))
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Outer<'a> {
        text: String,
        #[serde(borrow)]
        raw: Option<&'a RawValue>,
        #[serde(deserialize_with = "read_optional")]
        inner: Option<Inner>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Inner {
        number: u64,
    }

    #[test]
    fn an_object_is_read_and_an_array_is_not_taken_for_its_fields() {
        let read = |text| serde_json::from_str::<Object<Outer<'_>>>(text).map(|Object(outer)| outer);
        let outer = read(r#"{"text":"a","raw":[1, 2],"inner":{"number":7}}"#).unwrap();
        assert_eq!((&*outer.text, outer.raw.map(RawValue::get)), ("a", Some("[1, 2]")));
        assert_eq!(outer.inner.unwrap().number, 7);
        assert!(read(r#"{"inner":null}"#).unwrap().inner.is_none() && read("{}").unwrap().text.is_empty());
        for text in ["[]", r#"["a"]"#, r#"{"inner":[]}"#, r#"{"inner":[7]}"#, "7", "null"] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains("expected an object") && error.contains(" at line 1 column "), "{error}");
        }
    }
}
