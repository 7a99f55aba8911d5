//! A record as a document and its action line, spliced from stored bytes. Runs for every record: no formatting
//! machinery, no allocation, no parsing.

use crate::record::{EventId, Nanos, json, time};
use crate::sink::RecordView;

use super::IndexName;

/// How every document begins.
const HEAD: &[u8] = b"{\"@timestamp\":\"";

/// Appends `{"@timestamp":"…","EventID":"…","Seq":N,…}`, no newline. Elasticsearch and NDJSON share it.
pub fn write_document(record: &RecordView<'_>, out: &mut Vec<u8>) {
    write_with_id(record, &record.event_id.text(), out);
}

fn write_with_id(record: &RecordView<'_>, event_id: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(HEAD);
    time::write_rfc3339(out, record.time, time::digits_needed(record.time));
    out.extend_from_slice(b"\",\"EventID\":\"");
    out.extend_from_slice(event_id);
    out.extend_from_slice(b"\",\"Seq\":");
    json::number(out, record.seq);
    for members in [record.constants, record.members] {
        if !members.is_empty() {
            out.push(b',');
            out.extend_from_slice(members);
        }
    }
    out.push(b'}');
}

/// Appends the two lines of one `create` operation.
///
/// A time before 1970 becomes 1970-01-01: the template's `date_nanos` refuses it, and such a time only ever comes
/// from a clock that was not set; the line's own text is in the message.
pub(super) fn write_operation(index: &IndexName, record: &RecordView<'_>, out: &mut Vec<u8>) {
    let record = RecordView { time: record.time.max(0), ..*record };
    let event_id = record.event_id.text();
    write_action(index, &event_id, record.time, record.run_id, out);
    write_with_id(&record, &event_id, out);
    out.push(b'\n');
}

fn write_action(index: &IndexName, event_id: &[u8], time: Nanos, run_id: &str, out: &mut Vec<u8>) {
    if index.fixed().is_some() {
        out.extend_from_slice(b"{\"create\":{\"_id\":\"");
    } else {
        out.extend_from_slice(b"{\"create\":{\"_index\":\"");
        index.write(time, run_id, out);
        out.extend_from_slice(b"\",\"_id\":\"");
    }
    out.extend_from_slice(event_id);
    out.extend_from_slice(b"\"}}\n");
}

/// Whether this is a document that [`write_document`] made.
pub fn is_document(document: &[u8]) -> bool {
    document.starts_with(HEAD)
}

/// Appends the two lines of a `create` operation for a document that is there; false, and nothing, where it is none of
/// ours. Its own `@timestamp` and the RunID of its origin give the name of its index.
pub(super) fn write_stored(
    index: &IndexName,
    event_id: EventId,
    run_id: &str,
    document: &[u8],
    out: &mut Vec<u8>,
) -> bool {
    let Some(time) = time_of(document) else { return false };
    write_action(index, &event_id.text(), time, run_id, out);
    out.extend_from_slice(document);
    out.push(b'\n');
    true
}

/// The time with which a document begins.
fn time_of(document: &[u8]) -> Option<Nanos> {
    let rest = document.strip_prefix(HEAD)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    let text = std::str::from_utf8(rest.get(..end)?).ok()?;
    let time: jiff::Timestamp = text.parse().ok()?;
    Nanos::try_from(time.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(constants: &'a [u8], members: &'a [u8]) -> RecordView<'a> {
        RecordView {
            time: 1_700_000_000_123_000_000,
            event_id: EventId([0; 16]),
            seq: 7,
            run_id: "42",
            constants,
            members,
        }
    }

    #[test]
    fn a_document_that_is_sent_again_is_the_operation_that_it_was() {
        for index in ["logs-a-b", "runs-{RunID}-%Y.%m.%d.%H"] {
            let index = IndexName::parse(index).expect(index);
            for time in [0, -1, 1_700_000_000_123_456_789, i64::MAX - 10] {
                let record = RecordView { time, ..record(br#""RunID":"parsed""#, br#""Message":"m""#) };
                let (mut first, mut again) = (Vec::new(), Vec::new());
                write_operation(&index, &record, &mut first);
                let document = first.split(|byte| *byte == b'\n').nth(1).expect("two lines");
                assert!(write_stored(&index, record.event_id, record.run_id, document, &mut again), "{time}");
                assert_eq!(String::from_utf8(again), String::from_utf8(first.clone()));
            }
        }
        let index = IndexName::parse("i").expect("a name");
        for document in
            [&b"{}"[..], b"{\"TimeGenerated\":\"x\"}", b"{\"@timestamp\":\"soon\"}", b"{\"@timestamp\":\"2026"]
        {
            let mut out = Vec::new();
            assert!(!write_stored(&index, EventId([0; 16]), "", document, &mut out) && out.is_empty());
        }
    }

    #[test]
    fn an_operation_is_an_action_line_and_a_document_line() {
        let check = |index: &str, record: RecordView<'_>, expected: &str| {
            let mut out = Vec::new();
            write_operation(&IndexName::parse(index).expect(index), &record, &mut out);
            let text = String::from_utf8(out).expect("text");
            assert_eq!(text.replace(&"0".repeat(26), "ID"), expected);
            for line in text.lines() {
                serde_json::from_str::<serde_json::Value>(line).expect("each line is JSON");
            }
        };
        check(
            "logs-a-b",
            record(br#""RunID":"42""#, br#""Message":"m""#),
            "{\"create\":{\"_id\":\"ID\"}}\n{\"@timestamp\":\"2023-11-14T22:13:20.123Z\",\"EventID\":\"ID\",\"Seq\":7,\
             \"RunID\":\"42\",\"Message\":\"m\"}\n",
        );
        check(
            "runs-{RunID}-%Y",
            record(b"", b""),
            "{\"create\":{\"_index\":\"runs-42-2023\",\"_id\":\"ID\"}}\n{\"@timestamp\":\"2023-11-14T22:13:20.123Z\",\
             \"EventID\":\"ID\",\"Seq\":7}\n",
        );
        check(
            "x-%Y",
            RecordView { time: -1, ..record(b"", br#""Message":"m""#) },
            "{\"create\":{\"_index\":\"x-1970\",\"_id\":\"ID\"}}\n{\"@timestamp\":\"1970-01-01T00:00:00.000Z\",\
             \"EventID\":\"ID\",\"Seq\":7,\"Message\":\"m\"}\n",
        );
    }
}
