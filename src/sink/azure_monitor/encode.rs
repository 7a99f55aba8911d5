//! One record as one JSON object of a body. Splices what was encoded at ingest, parses nothing.

use crate::record::json;
use crate::record::time::write_rfc3339;
use crate::sink::RecordView;

/// Digits of the second's fraction in `TimeGenerated`: exactly those that tables of the Auxiliary plan demand.
const TIME_GENERATED_DIGITS: usize = 6;

/// Digits in `EventTime`: all that Azure's datetime can hold (100 ns).
const EVENT_TIME_DIGITS: usize = 7;

/// How every object begins.
const HEAD: &[u8] = b"{\"TimeGenerated\":\"";

/// Appends an object that [`encode`] made before, and a comma; false, and nothing, where it made no such object.
pub fn encode_document(document: &[u8], body: &mut Vec<u8>) -> bool {
    let is_ours = document.starts_with(HEAD);
    if is_ours {
        body.extend_from_slice(document);
        body.push(b',');
    }
    is_ours
}

/// Appends `{"TimeGenerated":…,"EventTime":…,"EventID":…,"Seq":…` with the columns of origin and line, `}` and a comma.
pub fn encode(record: &RecordView<'_>, body: &mut Vec<u8>) {
    body.extend_from_slice(HEAD);
    write_rfc3339(body, record.time, TIME_GENERATED_DIGITS);
    body.extend_from_slice(b"\",\"EventTime\":\"");
    write_rfc3339(body, record.time, EVENT_TIME_DIGITS);
    body.extend_from_slice(b"\",\"EventID\":\"");
    body.extend_from_slice(&record.event_id.text());
    body.extend_from_slice(b"\",\"Seq\":");
    json::number(body, record.seq);
    for members in [record.constants, record.members] {
        if !members.is_empty() {
            body.push(b',');
            body.extend_from_slice(members);
        }
    }
    body.extend_from_slice(b"},");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::EventId;

    #[test]
    fn a_document_that_is_sent_again_is_the_same_object() {
        let document = br#"{"TimeGenerated":"2023-11-14T22:13:20.123456Z","EventTime":"2023-11-14T22:13:20.1234567Z"}"#;
        let mut body = Vec::new();
        assert!(encode_document(document, &mut body) && !encode_document(br#"{"@timestamp":"x"}"#, &mut body));
        assert_eq!(body, [&document[..], b","].concat());
    }

    #[test]
    fn what_a_sink_fills_is_what_the_table_of_columns_says() {
        use crate::record::column::{COLUMNS, Filled};
        let record =
            RecordView { time: 0, event_id: EventId([0; 16]), seq: 1, run_id: "", constants: b"", members: b"" };
        let mut body = Vec::new();
        encode(&record, &mut body);
        body.pop();
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&body).expect("an object");
        let expected = COLUMNS.iter().filter(|column| column.filled == Filled::Sink).map(|column| column.name);
        assert!(object.keys().map(String::as_str).eq(expected), "{:?}", object.keys());
    }

    #[test]
    fn a_record_is_an_object_and_a_comma_with_or_without_columns() {
        let check = |constants: &str, members: &str, expected: &str| {
            let record = RecordView {
                time: 1_700_000_000_123_456_789,
                event_id: EventId([0; 16]),
                seq: 7,
                run_id: "",
                constants: constants.as_bytes(),
                members: members.as_bytes(),
            };
            let mut body = Vec::new();
            encode(&record, &mut body);
            let head = "{\"TimeGenerated\":\"2023-11-14T22:13:20.123456Z\",\"EventTime\":\"2023-11-14T22:13:20.1234567Z\",\
                        \"EventID\":\"00000000000000000000000000\",\"Seq\":7";
            assert_eq!(String::from_utf8(body).expect("text"), format!("{head}{expected}}},"));
        };
        check("", "", "");
        check("\"RunID\":\"42\"", "", ",\"RunID\":\"42\"");
        check("", "\"Message\":\"m\"", ",\"Message\":\"m\"");
        check("\"RunID\":\"42\"", "\"Message\":\"m\",\"Part\":1", ",\"RunID\":\"42\",\"Message\":\"m\",\"Part\":1");
    }
}
