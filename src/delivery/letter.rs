//! One dead letter as a line of NDJSON: how it is written, and read back to be sent again. It touches no file.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::record::{EventId, OriginId, json, time};

/// Most bytes of a reason where the document is not kept: such a line has 400 bytes at most, usually 200.
pub const SHORT_REASON_BYTES: usize = 160;

/// Stands before the document, which is the last member; within a JSON string its quotes would be escaped.
const RECORD: &[u8] = b",\"record\":";

/// Why one record was refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub status: u16,
    pub kind: String,
    pub reason: String,
}

/// A record that was refused.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    pub id: EventId,
    pub origin: OriginId,
    /// RunID of the origin, on which the name of its index may depend; empty where it has none.
    pub run_id: &'a str,
    /// The record as the sink would have stored it.
    pub document: &'a [u8],
    pub refusal: &'a Refusal,
}

impl Refused<'_> {
    /// Appends the letter as a line, with the document or with what is to be known of it in a few bytes.
    pub fn write(&self, sink: &str, whole: bool, out: &mut Vec<u8>) {
        let Refusal { status, kind, reason } = self.refusal;
        out.push(b'{');
        let start = out.len();
        let mut text = |name: &str, value: &[u8]| {
            json::key(out, start, name);
            json::string(out, value);
        };
        text("at", time::rfc3339(time::now()).as_bytes());
        text("sink", sink.as_bytes());
        text("EventID", &self.id.text());
        if !self.run_id.is_empty() {
            text("RunID", self.run_id.as_bytes());
        }
        if !whole {
            text("Origin", &self.origin.text());
        }
        text("kind", kind.as_bytes());
        text("reason", if whole { reason } else { shortened(reason) }.as_bytes());
        json::key(out, start, "status");
        json::number(out, u64::from(*status));
        if whole {
            out.extend_from_slice(RECORD);
            out.extend_from_slice(self.document);
        }
        out.extend_from_slice(b"}\n");
    }
}

fn shortened(reason: &str) -> &str {
    let mut end = reason.len().min(SHORT_REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.get(..end).unwrap_or_default()
}

/// A line that was read back.
#[derive(Debug, PartialEq, Eq)]
pub enum Letter<'a> {
    Whole {
        id: EventId,
        run_id: String,
        /// A JSON object on one line.
        document: Cow<'a, [u8]>,
    },
    /// Its document was not kept.
    WithoutDocument { id: EventId },
    /// No letter: torn by a crash, or written by another hand.
    Unreadable,
}

impl<'a> Letter<'a> {
    /// Reads a line without its end. The bytes of the document are those that were written.
    pub fn read(line: &'a [u8]) -> Letter<'a> {
        Self::read_ours(line).or_else(|| Self::read_any(line)).unwrap_or(Letter::Unreadable)
    }

    fn read_ours(line: &'a [u8]) -> Option<Letter<'a>> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(rename = "EventID")]
            event_id: String,
            #[serde(rename = "RunID", default)]
            run_id: String,
        }
        let at = memchr::memmem::find(line, RECORD)?;
        let (head, rest) = line.split_at_checked(at)?;
        let head: Head = serde_json::from_slice(&[head, b"}"].concat()).ok()?;
        let document = rest.get(RECORD.len()..)?.strip_suffix(b"}")?;
        // One document that is no JSON would have its whole call refused. What is passed over is not looked at for UTF-8.
        serde_json::from_str::<IgnoredAny>(std::str::from_utf8(document).ok()?).ok()?;
        document.starts_with(b"{").then_some(())?;
        Some(Letter::Whole {
            id: EventId::parse(&head.event_id)?,
            run_id: head.run_id,
            document: Cow::Borrowed(document),
        })
    }

    /// A line whose members stand in another order, or with spaces between them: somebody mended it.
    fn read_any(line: &[u8]) -> Option<Letter<'static>> {
        let members: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line).ok()?;
        let text = |name: &str| members.get(name).and_then(serde_json::Value::as_str);
        let id = EventId::parse(text("EventID")?)?;
        match members.get("record") {
            None => Some(Letter::WithoutDocument { id }),
            Some(record) if record.is_object() => Some(Letter::Whole {
                id,
                run_id: text("RunID").unwrap_or_default().to_owned(),
                document: Cow::Owned(record.to_string().into_bytes()),
            }),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &[u8] = br#"{"@timestamp":"x","record":1.0,"Message":"say \",\"record\":{}\""}"#;

    fn written(run_id: &str, reason: &str, whole: bool) -> Vec<u8> {
        let refusal = Refusal { status: 400, kind: "k".into(), reason: reason.into() };
        let (id, origin) = (EventId([1; 16]), OriginId([2; 16]));
        let mut out = Vec::new();
        Refused { id, origin, run_id, document: DOCUMENT, refusal: &refusal }.write("es", whole, &mut out);
        assert_eq!(out.pop(), Some(b'\n'));
        assert!(!out.contains(&b'\n'));
        out
    }

    #[test]
    fn a_letter_is_read_back_with_the_very_bytes_of_its_document() {
        let check = |run_id: &str, reason: &str| {
            let line = written(run_id, reason, true);
            let json: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
            assert_eq!((&json["status"], &json["reason"]), (&400.into(), &reason.into()));
            let expected =
                Letter::Whole { id: EventId([1; 16]), run_id: run_id.to_owned(), document: Cow::Borrowed(DOCUMENT) };
            assert_eq!(Letter::read(&line), expected, "{json}");
        };
        check("42", "a \"quoted\" reason");
        check("", "");
        check("a \",\"record\":{} b", "{\"error\":1,\"record\":{}}\n");
    }

    #[test]
    fn without_its_document_a_letter_is_short_and_says_so() {
        let line = written("42", &"ü".repeat(10_000), false);
        assert!(line.len() < 400 + SHORT_REASON_BYTES, "{}", line.len());
        assert_eq!(Letter::read(&line), Letter::WithoutDocument { id: EventId([1; 16]) });
        let json: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(json["Origin"], OriginId([2; 16]).to_string());
    }

    #[test]
    fn a_line_that_somebody_mended_is_a_letter_and_one_that_is_torn_is_none() {
        let id = EventId([1; 16]);
        let whole = |run_id: &str, document: &'static str| Letter::Whole {
            id,
            run_id: run_id.to_owned(),
            document: Cow::Borrowed(document.as_bytes()),
        };
        let check = |line: String, expected: Letter<'_>| assert_eq!(Letter::read(line.as_bytes()), expected, "{line}");
        check(format!(r#"{{ "record": {{"a": [1, 2]}}, "EventID": "{id}" }}"#), whole("", r#"{"a":[1,2]}"#));
        check(
            format!(r#"{{"EventID":"{id}","RunID":"7","record":{{"a":1}},"note":"mended"}}"#),
            whole("7", r#"{"a":1}"#),
        );
        check(format!(r#"{{"EventID":"{id}","record":[]}}"#), Letter::Unreadable);
        check(format!(r#"{{"EventID":"{id}","record":{{"a":1}}"#), Letter::Unreadable);
        check(r#"{"EventID":"?","record":{}}"#.to_owned(), Letter::Unreadable);
        check(r#"{"record":{}}"#.to_owned(), Letter::Unreadable);
        let damaged = [b"{\"EventID\":\"", &id.text()[..], b"\",\"record\":{\"a\":\"\xff\"}}"].concat();
        assert_eq!(Letter::read(&damaged), Letter::Unreadable);
        check(String::new(), Letter::Unreadable);
        let line = written("42", "r", true);
        for cut in 1..line.len() {
            assert_eq!(Letter::read(&line[..cut]), Letter::Unreadable, "cut at {cut}");
        }
    }
}
