//! The raw shape of an API's paths.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_saphyr::Spanned;

/// A path as it may stand in the file: a text, or `{path: ..., methods: [...]}`.
#[derive(Debug)]
pub struct ApiPathFile {
    pub path: String,
    pub methods: Option<Spanned<Vec<Spanned<String>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PathAndMethods {
    path: String,
    methods: Option<Spanned<Vec<Spanned<String>>>>,
}

impl<'de> Deserialize<'de> for ApiPathFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PathVisitor;
        impl<'de> Visitor<'de> for PathVisitor {
            type Value = ApiPathFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path such as `/v1/*`, or `{path: /, methods: [POST]}`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ApiPathFile, E> {
                Ok(ApiPathFile {
                    path: text.to_owned(),
                    methods: None,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ApiPathFile, A::Error> {
                let PathAndMethods { path, methods } =
                    PathAndMethods::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ApiPathFile { path, methods })
            }
        }
        deserializer.deserialize_any(PathVisitor)
    }
}
