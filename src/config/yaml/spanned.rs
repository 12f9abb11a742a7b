//! Values with their place, as `serde_saphyr::Spanned` asks for them.

use serde::de::value::{MapDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::fault::Fault;
use super::tree::Place;

/// The name by which `Spanned` asks. A test of the reader fails if that changes.
pub(super) const SPANNED: &str = "__yaml_spanned";

const FIELDS: [&str; 4] = ["__serde_saphyr_private_spanned", "value", "referenced", "defined"];

/// A value that is asked for with its place.
pub(super) struct WithPlace<D> {
    pub(super) value: D,
    pub(super) place: Place,
}

impl<'de, D: Deserializer<'de, Error = Fault>> Deserializer<'de> for WithPlace<D> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(Members {
            value: Some(self.value),
            place: self.place,
            fields: FIELDS.iter(),
            field: "",
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The members of a `Spanned`.
struct Members<D> {
    value: Option<D>,
    place: Place,
    fields: std::slice::Iter<'static, &'static str>,
    field: &'static str,
}

impl<'de, D: Deserializer<'de, Error = Fault>> MapAccess<'de> for Members<D> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some(field) = self.fields.next() else {
            return Ok(None);
        };
        self.field = field;
        let word: StrDeserializer<'_, Fault> = field.into_deserializer();
        seed.deserialize(word).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        match (self.field, self.value.take()) {
            ("value", Some(value)) => seed.deserialize(value),
            (field, value) => {
                self.value = value;
                let (line, column) = self.place;
                match field {
                    "referenced" | "defined" => {
                        let members = [("line", line), ("column", column)].into_iter();
                        seed.deserialize(MapDeserializer::new(members))
                    }
                    _ => seed.deserialize(true.into_deserializer()),
                }
            }
        }
    }
}
