//! A record as a document and its action line, spliced from stored bytes. Runs for every record: no formatting
//! machinery, no allocation, no parsing.

use crate::record::{json, time};
use crate::sink::RecordView;

use super::IndexName;

/// Appends `{"@timestamp":"…","EventID":"…","Seq":N,…}`, no newline. Elasticsearch and NDJSON share it.
pub fn write_document(record: &RecordView<'_>, out: &mut Vec<u8>) {
    write_with_id(record, &record.event_id.text(), out);
}

fn write_with_id(record: &RecordView<'_>, event_id: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"@timestamp\":\"");
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
    if index.fixed().is_some() {
        out.extend_from_slice(b"{\"create\":{\"_id\":\"");
    } else {
        out.extend_from_slice(b"{\"create\":{\"_index\":\"");
        index.write(record.time, record.run_id, out);
        out.extend_from_slice(b"\",\"_id\":\"");
    }
    out.extend_from_slice(&event_id);
    out.extend_from_slice(b"\"}}\n");
    write_with_id(&record, &event_id, out);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::EventId;

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
