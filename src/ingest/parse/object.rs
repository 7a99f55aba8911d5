//! From the text of one JSON object to its value, and whether that could give the text back. What it means is for
//! [`super::json`].

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Deepest nesting that is read; what is below is passed over, and the line kept as text.
const READ_DEPTH_MAX: usize = 100;

/// Why a line with fields is kept as text: columns and `Fields` could not give all of it back, or could not be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// A key stands twice in one object.
    RepeatedKey,
    /// A number that neither a double nor an integer of 64 bits holds.
    Number,
    /// Too many objects and lists within one another.
    Depth,
    /// The line, a key or a value is too long.
    Length,
    /// A key with a character that search engines do not take.
    Key,
    /// Bytes in a field that are no UTF-8.
    Bytes,
}

impl Unfit {
    /// The word that `Fields.KeptAsText` has.
    pub fn word(self) -> &'static str {
        match self {
            Unfit::RepeatedKey => "repeated_key",
            Unfit::Number => "number",
            Unfit::Depth => "depth",
            Unfit::Length => "length",
            Unfit::Key => "key",
            Unfit::Bytes => "bytes",
        }
    }
}

/// Reads an object; also says why the value cannot give the text back, where it cannot.
pub fn read(line: &[u8]) -> Option<(Map<String, Value>, Option<Unfit>)> {
    let altered = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let value = Exact { altered: &altered, depth: 0 }.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    match value {
        Value::Object(object) => Some((object, altered.get())),
        _ => None,
    }
}

/// Builds a value and notes where that alters it.
#[derive(Clone, Copy)]
struct Exact<'a> {
    altered: &'a Cell<Option<Unfit>>,
    /// Objects and lists around it.
    depth: usize,
}

impl Exact<'_> {
    /// What an object or list holds.
    fn inside(self) -> Option<Self> {
        if self.depth == READ_DEPTH_MAX {
            self.altered.set(Some(Unfit::Depth));
            return None;
        }
        Some(Exact { depth: self.depth + 1, ..self })
    }
}

/// From here on a double holds no longer every whole number, and an integer of 64 bits none: 2 to the 63rd.
const INTEGER_LIMIT: f64 = 9_223_372_036_854_775_808.0;

impl<'de> DeserializeSeed<'de> for Exact<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Exact<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        if value.abs() >= INTEGER_LIMIT {
            self.altered.set(Some(Unfit::Number));
        }
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        let Some(inside) = self.inside() else {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        };
        while let Some(value) = items.next_element_seed(inside)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        let Some(inside) = self.inside() else {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        };
        while let Some(key) = members.next_key::<String>()? {
            if object.insert(key, members.next_value_seed(inside)?).is_some() {
                self.altered.set(Some(Unfit::RepeatedKey));
            }
        }
        Ok(Value::Object(object))
    }
}
