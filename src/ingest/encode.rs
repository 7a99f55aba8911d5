//! What was parsed, written once as JSON members: the bytes that every sink splices.

use super::parse::columns::Named;
use super::parse::object::Unfit;
use crate::record::{Nanos, RECORD_MAX_BYTES, STRING_MAX_BYTES, json};

/// Room that a record leaves for what sinks and origin add to it, in bytes.
const ADDED_MAX_BYTES: usize = 100_000;

/// Longest encoded members of one record, in bytes.
pub const MEMBERS_MAX_BYTES: usize = RECORD_MAX_BYTES - ADDED_MAX_BYTES;

/// Longest `Fields` of one record as JSON, in bytes: Azure cuts any value over 64 KB in silence, an object too. Some room is
/// left for what is to be said about the text itself.
pub const FIELDS_MAX_BYTES: usize = STRING_MAX_BYTES - 100;

/// An exception, by its pieces of text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exception<'a> {
    pub kind: &'a [u8],
    pub message: &'a [u8],
    /// Empty where it stands in the message.
    pub stack: &'a [u8],
}

impl Exception<'_> {
    /// Whether it is no longer as JSON than one value may be.
    fn fits(&self) -> bool {
        let texts = self.kind.len() + self.message.len() + self.stack.len();
        if texts * 6 + 64 <= STRING_MAX_BYTES {
            return true;
        }
        let mut out = Vec::with_capacity(texts + texts / 8);
        encode_exception(&mut out, self);
        out.len() <= STRING_MAX_BYTES
    }
}

/// The columns of one record that come out of its lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Columns<'a> {
    pub time: Nanos,
    pub logger: Option<&'a [u8]>,
    pub level: Option<&'a [u8]>,
    pub message: &'a [u8],
    pub exception: Option<Exception<'a>>,
    pub duration_ms: Option<f64>,
    /// Further text columns.
    pub columns: &'a [(&'static str, String)],
    /// Columns that only some lines have.
    pub named: &'a [Named],
    /// A JSON object, or empty.
    pub fields: &'a [u8],
    /// The record is this piece of a line over `max_line`.
    pub piece: Option<u32>,
    /// Its fields were not taken apart, for this reason.
    pub unfit: Option<Unfit>,
}

impl Columns<'_> {
    /// Text of a column in a rule; `None` where the lines do not say.
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        match name {
            "Level" => self.level,
            "LoggerName" => self.logger,
            "Message" => Some(self.message),
            _ => {
                let text = self.columns.iter().find(|(column, _)| *column == name).map(|(_, value)| value);
                let named = || self.named.iter().find(|named| named.name == name).map(|named| &named.text);
                text.or_else(named).map(String::as_bytes)
            }
        }
    }

    /// Bytes of the columns besides message, exception and fields.
    pub fn columns_len(&self) -> usize {
        let words = self.logger.map_or(0, <[u8]>::len) + self.level.map_or(0, <[u8]>::len);
        let columns = self.columns.iter().map(|(_, value)| value.len()).sum::<usize>();
        words + columns + self.named.iter().map(|named| named.name.len() + named.text.len()).sum::<usize>()
    }

    /// Whether this fits into one record as it is; else its text is split, see [`split`].
    pub fn fits(&self) -> bool {
        let exception = self.exception.unwrap_or_default();
        let strings = [self.message, exception.stack, exception.message, exception.kind];
        if strings.iter().any(|text| text.len() > STRING_MAX_BYTES / 3 && json::text_len(text) > STRING_MAX_BYTES) {
            return false;
        }
        if self.fields.len() > FIELDS_MAX_BYTES || !self.exception.is_none_or(|exception| exception.fits()) {
            return false;
        }
        // Six bytes is what an escaped byte takes at most.
        let texts = strings.iter().map(|text| text.len()).sum::<usize>() + self.columns_len();
        texts * 6 + self.fields.len() + 4096 <= MEMBERS_MAX_BYTES
    }

    /// Appends the members; `part` is the number of the part from 1 and how many there are. A record in which bytes were
    /// replaced, as they were no UTF-8, says how many in `Fields.InvalidBytes`.
    pub fn encode(&self, out: &mut Vec<u8>, part: Option<(u32, u32)>) {
        let start = out.len();
        let mut invalid = 0;
        for (name, value) in [("LoggerName", self.logger), ("Level", self.level), ("Message", Some(self.message))] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                json::key(out, start, name);
                invalid += json::string(out, value);
            }
        }
        if let Some(exception) = self.exception {
            json::key(out, start, "Exception");
            invalid += encode_exception(out, &exception);
        }
        for (name, value) in self.columns {
            json::key(out, start, name);
            json::string(out, value.as_bytes());
        }
        for named in self.named {
            json::key(out, start, &named.name);
            match named.is_literal {
                true => out.extend_from_slice(named.text.as_bytes()),
                false => _ = json::string(out, named.text.as_bytes()),
            }
        }
        if let Some(duration) = self.duration_ms.filter(|duration| duration.is_finite()) {
            json::key(out, start, "DurationMs");
            // Writing into a vector does not fail.
            let _ = serde_json::to_writer(&mut *out, &duration);
        }
        self.encode_fields(out, start, invalid);
        if let Some((part, parts)) = part {
            json::key(out, start, "Part");
            json::number(out, u64::from(part));
            json::key(out, start, "Parts");
            json::number(out, u64::from(parts));
        }
    }

    /// Appends the member Fields: what was parsed, and what is to be said about the text itself.
    fn encode_fields(&self, out: &mut Vec<u8>, start: usize, invalid: u64) {
        let marks = [("LinePiece", self.piece.map(u64::from)), ("InvalidBytes", (invalid > 0).then_some(invalid))];
        if self.fields.is_empty() && self.unfit.is_none() && marks.iter().all(|(_, value)| value.is_none()) {
            return;
        }
        json::key(out, start, "Fields");
        // Without its closing brace.
        out.extend_from_slice(self.fields.strip_suffix(b"}").unwrap_or(b"{"));
        let inside = if self.fields.len() > b"{}".len() { start } else { out.len() };
        for (name, value) in marks {
            if let Some(value) = value {
                json::key(out, inside, &self.free(name));
                json::number(out, value);
            }
        }
        if let Some(unfit) = self.unfit {
            json::key(out, inside, &self.free("KeptAsText"));
            json::string(out, unfit.word().as_bytes());
        }
        out.push(b'}');
    }

    /// A name that no field of the line has: a key that stood twice would make the record one that sinks refuse.
    fn free(&self, name: &str) -> String {
        let mut name = name.to_owned();
        while memchr::memmem::find(self.fields, format!("\"{name}\":").as_bytes()).is_some() {
            name.push('_');
        }
        name
    }
}

/// Gives how many bytes were replaced.
fn encode_exception(out: &mut Vec<u8>, exception: &Exception<'_>) -> u64 {
    out.push(b'{');
    let start = out.len();
    let mut invalid = 0;
    for (name, value) in [("Type", exception.kind), ("Message", exception.message), ("Stack", exception.stack)] {
        if !value.is_empty() {
            json::key(out, start, name);
            invalid += json::string(out, value);
        }
    }
    out.push(b'}');
    invalid
}

/// Cuts a text into parts of at most [`STRING_MAX_BYTES`] as JSON text, between characters.
pub fn split(text: &[u8]) -> Vec<&[u8]> {
    // A byte that is no UTF-8 becomes three.
    let limit = if std::str::from_utf8(text).is_ok() { STRING_MAX_BYTES } else { STRING_MAX_BYTES / 3 };
    let mut parts = Vec::new();
    let mut rest = text;
    while rest.len() > limit {
        let mut end = limit;
        while end > limit - 4 && rest.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
            end -= 1;
        }
        let (part, after) = rest.split_at(end);
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_within_the_bound_and_give_back_the_text() {
        for text in ["x".repeat(STRING_MAX_BYTES * 3 + 5), "漢字🚢".repeat(40_000), "short".to_owned(), String::new()]
        {
            let parts = split(text.as_bytes());
            assert!(parts.iter().all(|part| part.len() <= STRING_MAX_BYTES && std::str::from_utf8(part).is_ok()));
            assert_eq!(parts.concat(), text.as_bytes());
        }
        let broken = vec![0xff; 100_000];
        let parts = split(&broken);
        assert!(parts.iter().all(|part| json::text_len(part) <= STRING_MAX_BYTES));
        assert_eq!(parts.concat(), broken);
    }

    #[test]
    fn members_stand_in_their_order_and_empty_ones_are_left_out() {
        let mut out = Vec::new();
        let columns = Columns {
            level: Some(b"INFO"),
            logger: Some(b""),
            message: b"m",
            exception: Some(Exception { kind: b"E", message: b"", stack: b"s" }),
            duration_ms: Some(1.5),
            fields: b"{\"a\":1}",
            columns: &[("TraceID", String::new())],
            ..Columns::default()
        };
        columns.encode(&mut out, Some((1, 2)));
        assert_eq!(
            String::from_utf8(out).expect("text"),
            r#""Level":"INFO","Message":"m","Exception":{"Type":"E","Stack":"s"},"TraceID":"","DurationMs":1.5,"Fields":{"a":1},"Part":1,"Parts":2"#
        );
    }
    #[test]
    fn what_was_replaced_is_counted_beside_the_other_fields() {
        let check = |columns: Columns<'_>, expected: &str| {
            let mut out = Vec::new();
            columns.encode(&mut out, None);
            assert_eq!(String::from_utf8(out).expect("text"), expected);
        };
        let bad = Columns { message: b"caf\xe9 \xff", ..Columns::default() };
        check(bad, "\"Message\":\"caf\u{fffd} \u{fffd}\",\"Fields\":{\"InvalidBytes\":2}");
        check(Columns { message: b"ok", fields: b"{}", ..bad }, r#""Message":"ok","Fields":{}"#);
        let both = Columns { message: b"\xe9", fields: b"{\"a\":{}}", ..bad };
        check(both, "\"Message\":\"\u{fffd}\",\"Fields\":{\"a\":{},\"InvalidBytes\":1}");
        let piece = Columns { message: b"\xe9", fields: b"{}", piece: Some(7), ..bad };
        check(piece, "\"Message\":\"\u{fffd}\",\"Fields\":{\"LinePiece\":7,\"InvalidBytes\":1}");
        let stack = Exception { kind: b"E", message: b"", stack: b"s \xc3" };
        check(
            Columns { message: b"m", exception: Some(stack), ..bad },
            "\"Message\":\"m\",\"Exception\":{\"Type\":\"E\",\"Stack\":\"s \u{fffd}\"},\"Fields\":{\"InvalidBytes\":1}",
        );
    }
}
