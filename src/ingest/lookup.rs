//! What a record holds in a column, or in a member of `Fields`, before it is encoded: for rules and metrics. It decides
//! nothing.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::encode::Columns;
use crate::record::Constants;

/// Begins the name of a member of `Fields`: `Fields.usage.tokens`.
pub const FIELDS: &str = "Fields.";

/// Begins the name of a piece of an exception.
const EXCEPTION: &str = "Exception.";

/// The pieces of an exception.
pub const EXCEPTION_MEMBERS: &[&str] = &["Exception.Type", "Exception.Message", "Exception.Stack"];

/// Text of a column (`Level`, `TaskID`, one of the user's own), of a piece of the exception (`Exception.Type`) or of a member
/// of `Fields` by its path (`Fields.usage.tokens`). Numbers and `true` are as JSON writes them. `None`: there is no such
/// value, it is empty, null, a list or an object.
///
/// The members of `Fields` are read out of its JSON each time: only who asks for one pays for it.
pub fn value<'a>(columns: &'a Columns<'_>, constants: &'a Constants, name: &str) -> Option<Cow<'a, [u8]>> {
    if let Some(path) = name.strip_prefix(FIELDS) {
        return field(columns.fields, path);
    }
    if let Some(member) = name.strip_prefix(EXCEPTION) {
        let exception = columns.exception?;
        let text = match member {
            "Type" => exception.kind,
            "Message" => exception.message,
            "Stack" => exception.stack,
            _ => b"",
        };
        return (!text.is_empty()).then_some(Cow::Borrowed(text));
    }
    if name == "DurationMs" {
        return columns.duration_ms.and_then(number).map(|text| Cow::Owned(text.into_bytes()));
    }
    let given = columns.value(name).filter(|text| !text.is_empty());
    given.or_else(|| constants.get(name).map(str::as_bytes)).map(Cow::Borrowed)
}

/// Text of the member of a JSON object with this path: names with dots between them. A name may have dots itself; the first
/// member in the order of the text that is meant by the path, or holds what is, wins.
fn field<'a>(object: &'a [u8], path: &str) -> Option<Cow<'a, [u8]>> {
    if object.is_empty() {
        return None;
    }
    let mut deserializer = serde_json::Deserializer::from_slice(object);
    let found = Find { rest: Some(path) }.deserialize(&mut deserializer).ok()??;
    (!found.is_empty()).then(|| match found {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    })
}

fn number(value: f64) -> Option<String> {
    serde_json::Number::from_f64(value).map(|number| number.to_string())
}

/// Finds the text of a value; `rest`: what of the path is left below it, `None`: it is meant itself.
#[derive(Clone, Copy)]
struct Find<'p> {
    rest: Option<&'p str>,
}

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Find<'_> {
    fn owned<'de>(self, text: impl FnOnce() -> Option<String>) -> Option<Cow<'de, str>> {
        self.rest.is_none().then(text).flatten().map(Cow::Owned)
    }
}

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(self.owned(|| Some(value.to_string())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(self.owned(|| Some(value.to_string())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.owned(|| Some(value.to_string())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(self.owned(|| number(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(self.owned(|| Some(value.to_owned())))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(self.rest.is_none().then_some(Cow::Borrowed(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(next) = members.next_key_seed(Key { path: self.rest.unwrap_or_default() })? {
            match next {
                Some(find) if found.is_none() && self.rest.is_some() => found = members.next_value_seed(find)?,
                _ => _ = members.next_value::<IgnoredAny>()?,
            }
        }
        Ok(found)
    }
}

/// Compares the name of a member with a path; gives what is to be found in its value, `None`: nothing.
struct Key<'p> {
    path: &'p str,
}

impl<'de, 'p> DeserializeSeed<'de> for Key<'p> {
    type Value = Option<Find<'p>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'p> Visitor<'_> for Key<'p> {
    type Value = Option<Find<'p>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let Some(after) = self.path.strip_prefix(name) else { return Ok(None) };
        if after.is_empty() {
            return Ok(Some(Find { rest: None }));
        }
        Ok(after.strip_prefix('.').map(|rest| Find { rest: Some(rest) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::encode::Exception;

    fn check(columns: &Columns<'_>, name: &str, expected: Option<&str>) {
        let constants = Constants::new([("TaskID".to_owned(), "17".to_owned())]);
        let found = value(columns, &constants, name);
        assert_eq!(found.map(|text| String::from_utf8_lossy(&text).into_owned()).as_deref(), expected, "{name}");
    }

    #[test]
    fn a_column_is_what_the_line_says_or_else_its_origin() {
        let own = [("EventType", "step".to_owned()), ("TraceID", String::new())];
        let exception = Exception { kind: b"ValueError", message: b"bad", stack: b"" };
        let columns = Columns {
            level: Some(b""),
            logger: Some(b"app"),
            message: b"hello",
            exception: Some(exception),
            duration_ms: Some(1.5),
            columns: &own,
            ..Columns::default()
        };
        check(&columns, "LoggerName", Some("app"));
        check(&columns, "Message", Some("hello"));
        check(&columns, "EventType", Some("step"));
        check(&columns, "TaskID", Some("17"));
        check(&columns, "DurationMs", Some("1.5"));
        check(&columns, "Exception.Type", Some("ValueError"));
        check(&columns, "Exception.Message", Some("bad"));
        for absent in ["Level", "TraceID", "RunID", "Exception.Stack", "Exception.Other", "Fields.a"] {
            check(&columns, absent, None);
        }
    }

    #[test]
    fn a_member_of_fields_is_found_by_its_path() {
        let fields = br#"{"a":"t\"x","n":3,"m":-2,"f":0.25,"t":true,"z":null,"e":"","l":[1],"o":{"p":{"q":"deep"}},"d.e":{"f.g":7}}"#;
        let columns = Columns { fields, ..Columns::default() };
        let expected = [
            ("a", Some("t\"x")),
            ("n", Some("3")),
            ("m", Some("-2")),
            ("f", Some("0.25")),
            ("t", Some("true")),
            ("o.p.q", Some("deep")),
            ("d.e.f.g", Some("7")),
            ("z", None),
            ("e", None),
            ("l", None),
            ("o", None),
            ("o.p", None),
            ("o.p.q.r", None),
            ("a.b", None),
            ("", None),
            ("no", None),
            ("d", None),
        ];
        for (path, expected) in expected {
            check(&columns, &format!("Fields.{path}"), expected);
        }
        check(&Columns { fields: b"{\"a\":", ..columns }, "Fields.a", None);
    }

    #[test]
    fn of_two_members_that_a_path_may_mean_the_first_that_holds_it_counts() {
        let columns = Columns { fields: br#"{"a":{"c":1},"a.b":2}"#, ..Columns::default() };
        check(&columns, "Fields.a.b", Some("2"));
    }
}
