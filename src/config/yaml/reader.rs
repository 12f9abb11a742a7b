//! Reads a tree into the types of a file and goes on after each problem, so that one run names them all.
//!
//! Serde's types end at their first error. A value that cannot be read is therefore left out, with its problem
//! noted, and the whole is read again, until the rest can be read.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::complaint::is_word;
use super::fault::Fault;
use super::nearest::nearest;
use super::spanned::{SPANNED, WithPlace};
use super::tree::{NodeId, Place, Tree, Value};

/// The most problems of one file that are looked for.
const PROBLEMS_MAX: usize = 50;

/// What a tree is, as far as it can be read.
pub(crate) struct Recovered<T> {
    /// `None` where a problem leaves nothing to read.
    pub(crate) value: Option<T>,
    pub(crate) found: Vec<Found>,
    pub(crate) left_out: Vec<LeftOut>,
}

/// A value that was left out, since it cannot be read.
#[derive(Clone, Debug)]
pub(crate) struct LeftOut {
    /// Where the list or section is that it stands in.
    pub(crate) parent: Place,
    /// Its keys, such as `gateway.upstreams.events`.
    pub(crate) path: String,
}

/// A problem of a file's structure.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) place: Place,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// Reads a tree, and all its problems.
pub(crate) fn recover<T: DeserializeOwned>(tree: &Tree) -> Recovered<T> {
    let reading = Reading {
        tree,
        left_out: RefCell::default(),
        found: RefCell::default(),
    };
    for key in &tree.repeated {
        let message = match tree.scalar(*key).filter(|key| is_word(key)) {
            Some(key) => format!("the key `{key}` is repeated"),
            None => "a key is repeated".to_owned(),
        };
        reading.note(*key, message, "keep one of the two".to_owned());
    }
    let mut value = None;
    for _ in 0..PROBLEMS_MAX {
        let before = reading.left_out.borrow().len();
        match T::deserialize(reading.at(tree.root(), String::new())) {
            Ok(read) => {
                value = Some(read);
                break;
            }
            Err(fault) => reading.settle(tree.root(), &fault),
        }
        if reading.left_out.borrow().len() == before {
            break;
        }
    }
    Recovered {
        value,
        left_out: reading.left_out.into_inner().into_values().collect(),
        found: reading.found.into_inner(),
    }
}

struct Reading<'t> {
    tree: &'t Tree,
    left_out: RefCell<BTreeMap<NodeId, LeftOut>>,
    found: RefCell<Vec<Found>>,
}

impl<'t> Reading<'t> {
    fn at(&self, node: NodeId, path: String) -> At<'_, 't> {
        At {
            reading: self,
            node,
            path,
        }
    }

    fn note(&self, node: NodeId, message: String, hint: String) {
        let place = self.tree.node(node).map_or((1, 1), |node| node.place);
        let mut found = self.found.borrow_mut();
        let is_known = found
            .iter()
            .any(|held| held.place == place && held.message == message);
        if !is_known && found.len() < PROBLEMS_MAX {
            found.push(Found { place, message, hint });
        }
    }

    /// Notes what is wrong with a value.
    fn settle(&self, node: NodeId, fault: &Fault) {
        if !fault.is_noted {
            self.note(node, fault.message.clone(), fault.hint.clone());
        }
    }

    fn is_left_out(&self, node: NodeId) -> bool {
        self.left_out.borrow().contains_key(&node)
    }

    /// Reads one value of a list or section. One that cannot be read is left out from then on.
    fn read<'de, S: DeserializeSeed<'de>>(
        &self,
        seed: S,
        (parent, node): (NodeId, NodeId),
        path: String,
    ) -> Result<S::Value, Fault> {
        seed.deserialize(self.at(node, path.clone())).map_err(|fault| {
            if !fault.is_left_out {
                self.settle(node, &fault);
                let parent = self.tree.node(parent).map_or((1, 1), |node| node.place);
                self.left_out.borrow_mut().insert(node, LeftOut { parent, path });
            }
            Fault {
                is_noted: true,
                is_left_out: true,
                ..fault
            }
        })
    }
}

/// A value, and the path of keys that it is reached by.
struct At<'r, 't> {
    reading: &'r Reading<'t>,
    node: NodeId,
    path: String,
}

impl<'r, 't> At<'r, 't> {
    fn value(&self) -> &'t Value {
        const NOTHING: &Value = &Value::List(Vec::new());
        self.reading
            .tree
            .node(self.node)
            .map_or(NOTHING, |node| &node.value)
    }

    /// What stands here, in words.
    fn found(&self) -> &'static str {
        match self.value() {
            Value::List(_) => "a list",
            Value::Section(_) => "a section",
            Value::Scalar { text, is_plain: true } => match text.as_str() {
                "" | "~" | "null" | "Null" | "NULL" => "nothing",
                "true" | "false" => "`true` or `false`",
                text if serde_saphyr::from_str::<f64>(text).is_ok() => "a number",
                _ => "a text",
            },
            Value::Scalar { .. } => "a text",
        }
    }

    fn expected(&self, what: &str, hint: &str) -> Fault {
        Fault::new(format!("expected {what}, found {}", self.found()), hint)
    }

    fn text(&self) -> Result<&'t str, Fault> {
        match self.value() {
            Value::Scalar { text, .. } if self.found() != "nothing" => Ok(text),
            Value::List(_) => Err(self.expected("one value", "write one text, without `[` and `]` or `- `")),
            _ => Err(self.expected("one value", "write the value behind the key")),
        }
    }

    /// A number or boolean, by the rules of the reader that files are read with.
    fn plain<T: DeserializeOwned>(&self, what: &str, hint: &str) -> Result<T, Fault> {
        let read = match self.value() {
            Value::Scalar { text, .. } => serde_saphyr::from_str(text).ok(),
            _ => None,
        };
        read.ok_or_else(|| self.expected(what, hint))
    }

    fn number<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        match self.plain::<i128>("", "") {
            Ok(_) => self.plain("a number in range", "write a smaller number that is not negative"),
            Err(_) => self.plain("a whole number", "write a whole number, without a unit"),
        }
    }

    fn pairs(&self) -> Result<&'t [(NodeId, NodeId)], Fault> {
        match self.value() {
            Value::Section(pairs) => Ok(pairs),
            _ => Err(self.expected(
                "a section",
                "write `key: value` pairs, each on its own line, or {key: value}",
            )),
        }
    }

    fn items(&self) -> Result<&'t [NodeId], Fault> {
        match self.value() {
            Value::List(items) => Ok(items),
            _ => Err(self.expected(
                "a list",
                "write [value, value], or each value on its own line after `- `",
            )),
        }
    }

    /// The path with one more name, which is only shown where it cannot be a secret.
    fn below(&self, name: &str) -> String {
        let dot = if self.path.is_empty() { "" } else { "." };
        let name = if is_word(name) { name } else { "…" };
        format!("{}{dot}{name}", self.path)
    }

    /// The problem of a section that lacks a key; none where the key is there and its value was left out.
    fn without(&self, missing: &'static str, pairs: &[(NodeId, NodeId)]) -> Fault {
        let is_there = pairs
            .iter()
            .any(|(key, _)| self.reading.tree.scalar(*key) == Some(missing));
        let message = match self.path.as_str() {
            "" => format!("the key `{missing}` is missing"),
            path => format!("`{path}` lacks the key `{missing}`"),
        };
        Fault {
            is_noted: is_there,
            ..Fault::new(message, format!("add `{missing}:`"))
        }
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $kind:ty),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            visitor.$visit(self.number::<$kind>()?)
        })*
    };
}

impl<'de> Deserializer<'de> for At<'_, '_> {
    type Error = Fault;

    numbers!(
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64, deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64
    );

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value() {
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Section(_) => self.deserialize_map(visitor),
            Value::Scalar { text, .. } => match self.found() {
                "nothing" => visitor.visit_unit(),
                "a number" => match self.plain::<u64>("", "") {
                    Ok(number) => visitor.visit_u64(number),
                    Err(_) => visitor.visit_f64(self.number()?),
                },
                "a text" => visitor.visit_str(text),
                _ => visitor.visit_bool(self.plain("", "")?),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_bool(self.plain("`true` or `false`", "write true or false, without quotes")?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.found() {
            "nothing" => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match name {
            SPANNED => {
                let place = self
                    .reading
                    .tree
                    .node(self.node)
                    .map_or((1, 1), |node| node.place);
                visitor.visit_newtype_struct(WithPlace { value: self, place })
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let items = self.items()?;
        visitor.visit_seq(Items {
            at: &self,
            items: items.iter().enumerate(),
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let pairs = self.pairs()?;
        visitor.visit_map(Pairs {
            at: &self,
            pairs: pairs.iter(),
            known: None,
            value: None,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let pairs = self.pairs()?;
        let read = visitor.visit_map(Pairs {
            at: &self,
            pairs: pairs.iter(),
            known: Some(fields),
            value: None,
        });
        read.map_err(|fault| match fault.missing {
            Some(missing) => self.without(missing, pairs),
            None => fault,
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let word: StrDeserializer<'_, Fault> = self.text()?.into_deserializer();
        visitor.visit_enum(word)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    forward_to_deserialize_any! { i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct }
}

struct Items<'a, 'r, 't> {
    at: &'a At<'r, 't>,
    items: std::iter::Enumerate<std::slice::Iter<'t, NodeId>>,
}

impl<'de> de::SeqAccess<'de> for Items<'_, '_, '_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let reading = self.at.reading;
        let next = self.items.find(|(_, item)| !reading.is_left_out(**item));
        let Some((number, item)) = next else {
            return Ok(None);
        };
        let path = format!("{}[{number}]", self.at.path);
        reading.read(seed, (self.at.node, *item), path).map(Some)
    }
}

struct Pairs<'a, 'r, 't> {
    at: &'a At<'r, 't>,
    pairs: std::slice::Iter<'t, (NodeId, NodeId)>,
    /// The keys that the section may have; any where `None`.
    known: Option<&'static [&'static str]>,
    /// The value of the key read last.
    value: Option<(NodeId, String)>,
}

impl Pairs<'_, '_, '_> {
    /// Whether the section may have this key, which is a problem if not.
    fn is_known(&self, key: NodeId, name: &str) -> bool {
        let Some(known) = self.known else { return true };
        if known.contains(&name) {
            return true;
        }
        let message = match is_word(name) {
            true => format!("unknown key `{name}`"),
            false => "unknown key".to_owned(),
        };
        let hint = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known keys: {}", known.join(", ")),
        };
        self.at.reading.note(key, message, hint);
        false
    }
}

impl<'de> de::MapAccess<'de> for Pairs<'_, '_, '_> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let reading = self.at.reading;
        while let Some((key, value)) = self.pairs.next() {
            let name = reading.tree.scalar(*key).unwrap_or_default();
            if !self.is_known(*key, name) || reading.is_left_out(*value) {
                continue;
            }
            self.value = Some((*value, self.at.below(name)));
            let word: StrDeserializer<'_, Fault> = name.into_deserializer();
            return seed.deserialize(word).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let (value, path) = self.value.take().unwrap_or_default();
        self.at.reading.read(seed, (self.at.node, value), path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_saphyr::Spanned;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read to see what is complained of")]
    struct Whole {
        name: Spanned<String>,
        count: Option<Spanned<u16>>,
        is_on: Option<bool>,
        parts: Option<BTreeMap<String, Part>>,
        list: Option<Spanned<Vec<Spanned<String>>>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read to see what is complained of")]
    struct Part {
        size: Spanned<u32>,
        text: Option<String>,
    }

    fn found(text: &str) -> (Option<Whole>, Vec<String>) {
        let recovered = recover::<Whole>(&Tree::parse(text).unwrap());
        let found = recovered.found.iter();
        let found =
            found.map(|one| format!("{}:{} {} ({})", one.place.0, one.place.1, one.message, one.hint));
        (recovered.value, found.collect())
    }

    #[test]
    fn good_text_is_read_with_its_places() {
        let text = "name: a\ncount: 5\nlist: [x, \"y\"]\nparts: {p: {size: 1}}\n";
        let (value, problems) = found(text);
        assert_eq!(problems, [""; 0]);
        let value = value.unwrap();
        assert_eq!(value.name.value, "a");
        assert_eq!(
            (value.name.referenced.line(), value.name.referenced.column()),
            (1, 7)
        );
        let direct: Whole = serde_saphyr::from_str(text).unwrap();
        let (one, other) = (value.list.unwrap(), direct.list.unwrap());
        for (one, other) in one.value.iter().zip(&other.value) {
            assert_eq!(one.value, other.value);
            assert_eq!(
                (one.referenced.line(), one.referenced.column()),
                (other.referenced.line(), other.referenced.column())
            );
        }
    }

    #[test]
    fn all_problems_of_a_structure_are_found_at_once() {
        let text = "nam: a\ncount: many\nis_on: maybe\nlist: [a, [b], c]\nlist: []\nparts:\n  p: {size: -1}\n  q: {text: 1}\n  r: {sizes: 1, size: 2}\n  s: [1]\n";
        let (value, problems) = found(text);
        assert!(value.is_none());
        for expected in [
            "5:1 the key `list` is repeated",
            "1:1 unknown key `nam` (did you mean `name`?)",
            "1:1 the key `name` is missing (add `name:`)",
            "2:8 expected a whole number, found a text",
            "3:8 expected `true` or `false`, found a text",
            "4:11 expected one value, found a list",
            "7:13 expected a number in range",
            "8:6 `parts.q` lacks the key `size`",
            "9:7 unknown key `sizes` (did you mean `size`?)",
            "10:6 expected a section, found a list",
        ] {
            assert!(
                problems.iter().any(|one| one.starts_with(expected)),
                "{expected}: {problems:#?}"
            );
        }
        assert_eq!(problems.len(), 10, "{problems:#?}");
    }

    #[test]
    fn rest_of_a_text_is_read_without_its_problems() {
        let (value, problems) = found("name: a\ncount: x\nparts: {p: {size: x}, q: {size: 2}}\n");
        let value = value.unwrap();
        assert!(value.count.is_none());
        assert_eq!(value.parts.unwrap().keys().collect::<Vec<_>>(), ["q"]);
        assert_eq!(problems.len(), 2, "{problems:?}");
    }
}
