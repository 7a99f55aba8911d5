//! From the text of a line to what it says: pure functions over borrowed bytes, one file for each family of formats.
//!
//! [`auto`] decides by the first byte and by what follows a timestamp; a format is taken only where the line surely has
//! it, else the line is its own message.

pub mod access;
pub mod ansi;
pub mod auto;
pub mod calendar;
pub mod columns;
pub mod console;
pub mod container;
pub mod dated;
pub mod embedded;
pub mod format;
pub mod java;
pub mod json;
pub mod klog;
pub mod level;
pub mod object;
pub mod pairs;
pub mod python;
pub mod regex;
mod scan;
pub mod server;
pub mod syslog;
pub mod timestamp;
pub mod traceback;

use std::borrow::Cow;

use self::columns::{Named, OwnColumns};
use self::object::Unfit;
use super::options::Zone;
use crate::record::{Constants, Nanos, json as encoder};
use format::Format;

/// What a line itself does not say.
#[derive(Clone, Copy, Debug)]
pub struct Context<'c> {
    /// Of timestamps that carry no zone.
    pub zone: &'c Zone,
    /// When the line was read or taken by the engine: tells the year of a timestamp that carries none.
    pub near: Nanos,
    /// Columns that the origin has already.
    pub constants: &'c Constants,
    /// `record.columns`.
    pub own: &'c OwnColumns,
}

/// What a line of text says; nearly everything borrows from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text<'a> {
    pub time: Option<Nanos>,
    pub logger: Option<Cow<'a, [u8]>>,
    /// As the contract spells levels; a program's own one as it stands.
    pub level: Option<Cow<'a, [u8]>>,
    pub message: Cow<'a, [u8]>,
    /// What else stands in the line, each name once.
    pub fields: Vec<Field<'a>>,
    /// Text columns besides logger and level.
    pub columns: Vec<(&'static str, String)>,
    /// Columns that only some lines have.
    pub named: Vec<Named>,
    pub exception: Option<json::Exception>,
    pub duration_ms: Option<f64>,
    /// Its fields were not taken apart, for this reason.
    pub unfit: Option<Unfit>,
    /// What the line was taken for.
    pub format: Format,
}

/// One member of `Fields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub name: Cow<'a, str>,
    pub value: Value<'a>,
}

/// Value of a [`Field`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Text(Cow<'a, [u8]>),
    /// A number or `true` or `false`: it stands in JSON as it stands here.
    Literal(&'a [u8]),
}

impl<'a> Text<'a> {
    /// A line that is its own message.
    pub fn raw(line: &'a [u8]) -> Self {
        Text::new(None, None, None, line)
    }

    /// What most formats say.
    pub fn new(time: Option<Nanos>, logger: Option<&'a [u8]>, level: Option<&'static str>, message: &'a [u8]) -> Self {
        Text {
            time,
            logger: logger.map(Cow::Borrowed),
            level: level.map(|level| Cow::Borrowed(level.as_bytes())),
            message: Cow::Borrowed(message),
            ..Text::default()
        }
    }

    /// Taken for this format.
    #[must_use]
    pub fn of(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// With one more member of `Fields`; an empty value is none.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &'a [u8]) -> Self {
        if !value.is_empty() {
            self.fields.push(Field { name: Cow::Borrowed(name), value: pairs::typed(value) });
        }
        self
    }

    /// The same, of which a number stays text: an address, a version, an id.
    #[must_use]
    pub fn with_text(mut self, name: &'static str, value: &'a [u8]) -> Self {
        if !value.is_empty() {
            self.fields.push(Field { name: Cow::Borrowed(name), value: Value::Text(Cow::Borrowed(value)) });
        }
        self
    }

    /// Whether something of it was recognised.
    pub fn has_head(&self) -> bool {
        self.time.is_some() || self.level.is_some() || self.logger.is_some()
    }

    /// Appends the object Fields; nothing where there are none.
    pub fn encode_fields(&self, out: &mut Vec<u8>) {
        for (index, field) in self.fields.iter().enumerate() {
            out.push(if index == 0 { b'{' } else { b',' });
            encoder::string(out, field.name.as_bytes());
            out.push(b':');
            match &field.value {
                Value::Text(text) => _ = encoder::string(out, text),
                Value::Literal(literal) => out.extend_from_slice(literal),
            }
        }
        if !self.fields.is_empty() {
            out.push(b'}');
        }
    }

    /// Why it is better kept as it is: one of its pieces could not be found again in an index, or a name stands twice.
    pub fn unfit_fields(&self) -> Option<Unfit> {
        let repeats = |at: usize, field: &Field<'_>| self.fields[..at].iter().any(|before| before.name == field.name);
        if self.fields.iter().enumerate().any(|(at, field)| repeats(at, field)) {
            return Some(Unfit::RepeatedKey);
        }
        let is_long = |text: &[u8]| text.len() > json::FIELD_STRING_MAX_BYTES;
        let texts = || {
            self.fields.iter().filter_map(|field| match &field.value {
                Value::Text(text) => Some(&**text),
                Value::Literal(_) => None,
            })
        };
        let columns = self.columns.iter().map(|(_, text)| text).chain(self.named.iter().map(|named| &named.text));
        let words = [&self.logger, &self.level].into_iter().flatten();
        if texts().any(is_long)
            || columns.map(String::as_bytes).any(is_long)
            || words.map(|word| &**word).any(is_long)
            || self.fields.iter().any(|field| field.name.len() > json::FIELD_KEY_MAX_BYTES)
        {
            return Some(Unfit::Length);
        }
        texts().any(|text| std::str::from_utf8(text).is_err()).then_some(Unfit::Bytes)
    }

    /// Whether it can be taken apart.
    pub fn is_searchable(&self) -> bool {
        self.unfit_fields().is_none()
    }
}
