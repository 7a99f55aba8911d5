//! From the text of one JSON object to its value, and whether that could give the text back. What it means is for
//! [`super::json`].

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Number;

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

/// A JSON value. Texts borrow from the line where they stand in it as they are.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Object(Members<'a>),
}

impl<'a> Json<'a> {
    /// A value by itself; `None` where the text is none.
    pub fn read(text: &'a [u8]) -> Option<Self> {
        Some(exact(text)?.0)
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn is_text(&self) -> bool {
        self.as_str().is_some()
    }

    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Json::Number(number) => number.as_f64(),
            _ => None,
        }
    }

    pub fn as_object(&self) -> Option<&Members<'a>> {
        match self {
            Json::Object(members) => Some(members),
            _ => None,
        }
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(value) => serializer.serialize_bool(*value),
            Json::Number(number) => number.serialize(serializer),
            Json::Text(text) => serializer.serialize_str(text),
            Json::List(values) => serializer.collect_seq(values),
            Json::Object(members) => members.serialize(serializer),
        }
    }
}

/// The members of an object, in their order, each name once. A log line has some dozens at most: to walk them is cheaper
/// than to keep a table of their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

/// Up to so many names are compared with one another to see whether one repeats.
const COMPARED_MAX: usize = 16;

impl<'a> Members<'a> {
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json<'a>)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(known, _)| known == name)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        Some(&self.0.get(self.place(name)?)?.1)
    }

    /// The object of this name.
    pub fn object_mut(&mut self, name: &str) -> Option<&mut Members<'a>> {
        let at = self.place(name)?;
        match self.0.get_mut(at) {
            Some((_, Json::Object(members))) => Some(members),
            _ => None,
        }
    }

    /// Takes a member out; the others keep their order.
    pub fn remove(&mut self, name: &str) -> Option<Json<'a>> {
        let at = self.place(name)?;
        Some(self.0.remove(at).1)
    }

    /// Adds a member at the end; false where there is one of this name, which stays.
    pub fn add(&mut self, name: Cow<'a, str>, value: Json<'a>) -> bool {
        let is_new = !self.contains(&name);
        if is_new {
            self.0.push((name, value));
        }
        is_new
    }

    fn has_repeated(&self) -> bool {
        if self.0.len() > COMPARED_MAX {
            let mut known = HashSet::with_capacity(self.0.len());
            return !self.0.iter().all(|(name, _)| known.insert(&**name));
        }
        let mut rest = self.0.as_slice();
        while let Some(((name, _), after)) = rest.split_first() {
            if after.iter().any(|(other, _)| other == name) {
                return true;
            }
            rest = after;
        }
        false
    }

    /// Of members with one name the last value stays, in the place of the first.
    fn merge_repeated(&mut self) {
        let mut places: HashMap<Cow<'a, str>, usize> = HashMap::new();
        let mut kept: Vec<(Cow<'a, str>, Json<'a>)> = Vec::new();
        for (name, value) in std::mem::take(&mut self.0) {
            match places.get(&name).and_then(|at| kept.get_mut(*at)) {
                Some((_, known)) => *known = value,
                None => {
                    places.insert(name.clone(), kept.len());
                    kept.push((name, value));
                }
            }
        }
        self.0 = kept;
    }
}

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Reads an object; also says why the value cannot give the text back, where it cannot.
pub fn read(line: &[u8]) -> Option<(Members<'_>, Option<Unfit>)> {
    match exact(line)? {
        (Json::Object(object), altered) => Some((object, altered)),
        _ => None,
    }
}

fn exact(text: &[u8]) -> Option<(Json<'_>, Option<Unfit>)> {
    let altered = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Exact { altered: &altered, depth: 0 }.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some((value, altered.get()))
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
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Exact<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json<'de>, E> {
        if value.abs() >= INTEGER_LIMIT {
            self.altered.set(Some(Unfit::Number));
        }
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json<'de>, A::Error> {
        let mut values = Vec::new();
        let Some(inside) = self.inside() else {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Json::Null);
        };
        while let Some(value) = items.next_element_seed(inside)? {
            values.push(value);
        }
        Ok(Json::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json<'de>, A::Error> {
        let Some(inside) = self.inside() else {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Json::Null);
        };
        let mut object = Members::default();
        while let Some(name) = members.next_key_seed(Name)? {
            object.0.push((name, members.next_value_seed(inside)?));
        }
        if object.has_repeated() {
            object.merge_repeated();
            self.altered.set(Some(Unfit::RepeatedKey));
        }
        Ok(Json::Object(object))
    }
}

/// Reads the name of a member.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(text: &str) -> (String, Option<Unfit>) {
        let (object, altered) = read(text.as_bytes()).expect("an object");
        (serde_json::to_string(&object).expect("JSON"), altered)
    }

    #[test]
    fn an_object_gives_its_text_back() {
        for text in [
            "{}",
            r#"{"b":1,"a":[null,true,-2,1.5,"x",{"":"\n\"é"}],"k\u0001":{}}"#,
            r#"{"n":18446744073709551615,"m":-9223372036854775808,"d":0.1}"#,
        ] {
            assert_eq!(again(text), (text.to_owned(), None));
        }
    }

    #[test]
    fn of_a_name_that_repeats_the_last_value_stays_in_the_place_of_the_first() {
        assert_eq!(again(r#"{"a":1,"b":2,"a":3}"#), (r#"{"a":3,"b":2}"#.to_owned(), Some(Unfit::RepeatedKey)));
        let many = |last: &str| {
            let members: Vec<String> = (0..100).map(|n| format!("\"k{n}\":{n}")).collect();
            format!("{{{},{last}}}", members.join(","))
        };
        assert_eq!(again(&many("\"z\":1")), (many("\"z\":1"), None));
        let (text, altered) = again(&many("\"k0\":7"));
        assert_eq!(altered, Some(Unfit::RepeatedKey));
        assert!(text.starts_with("{\"k0\":7,\"k1\":1,") && text.ends_with("\"k99\":99}"), "{text}");
    }

    #[test]
    fn members_are_taken_and_added_in_order() {
        let (mut object, _) = read(br#"{"a":1,"b":{"c":2},"d":"x"}"#).expect("an object");
        assert_eq!(object.remove("a"), Some(Json::Number(1.into())));
        assert_eq!(object.object_mut("b").and_then(|inner| inner.remove("c")), Some(Json::Number(2.into())));
        assert!(object.object_mut("d").is_none() && object.remove("nothing").is_none());
        assert!(object.add("e".into(), Json::Null) && !object.add("d".into(), Json::Null));
        assert_eq!(serde_json::to_string(&object).expect("JSON"), r#"{"b":{},"d":"x","e":null}"#);
    }
}
