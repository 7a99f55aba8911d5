//! What must hold of any bytes that a source hands to ingest.

use std::sync::Arc;

use serde_json::Value;

use super::redact::{Piece, Redaction};
use super::{Flush, Ingest, Multiline, Options, Parser, Zone, parse};
use crate::buffer::section::split_record;
use crate::buffer::{OriginInfo, Section};
use crate::record::{Constants, Counters, Nanos, OriginId, RECORD_MAX_BYTES, STRING_MAX_BYTES};

const READ_TIME: Nanos = 1_000_000_000;

/// A record, as far as how the bytes arrived must not matter to it.
type Encoded = (u64, u64, Vec<u8>);

fn ingest(parser: Parser, multiline: Multiline, max_line: usize) -> Ingest {
    let constants = Constants::new([("TaskID".to_owned(), "17".to_owned())]);
    let members = constants.members().to_vec();
    let info = Arc::new(OriginInfo { id: OriginId([7; 16]), descriptor: Vec::new(), constants: members });
    let redactor = Arc::default();
    let options = Options { parser, multiline, zone: Zone::Utc, max_line, routes: Arc::from([None]), redactor };
    Ingest::new(Arc::new(options), info, constants, 0, Counters::default())
}

/// The first bytes say how it is read, the rest is the stream: in pieces and at once it gives the same records, which
/// cover it without gap and overlap, are JSON, and are counted.
pub fn lines(data: &[u8]) {
    let Some((head, stream)) = data.split_first_chunk::<3>() else { return };
    let parser = [Parser::Auto, Parser::Json, Parser::Python, Parser::Raw][usize::from(head[0] % 4)];
    let multiline = if head[0] & 4 == 0 { Multiline::Auto } else { Multiline::None };
    let max_line = 64 + usize::from(head[1]) * 16;
    let chunk = 1 + usize::from(head[2]);
    let whole = read(ingest(parser, multiline, max_line), stream, stream.len().max(1));
    let pieces = read(ingest(parser, multiline, max_line), stream, chunk);
    assert_eq!(whole, pieces, "records do not depend on how the bytes arrive");
}

/// Reads a stream that arrives in pieces of `chunk` bytes.
fn read(mut ingest: Ingest, stream: &[u8], chunk: usize) -> Vec<Encoded> {
    let (mut records, mut taken) = (Vec::new(), 0);
    let mut arrived = 0;
    loop {
        arrived = (arrived + chunk).min(stream.len());
        let flush = if arrived == stream.len() { Flush::All } else { Flush::No };
        loop {
            let fed = ingest.feed(&stream[taken..arrived], &READ_TIME, flush);
            taken += fed.consumed;
            assert_eq!(ingest.position(), taken as u64);
            if let Some(section) = ingest.section(Vec::new(), false) {
                check_section(&section, &mut records);
            }
            if !fed.section_full {
                break;
            }
        }
        if arrived == stream.len() {
            break;
        }
    }
    assert_eq!(taken, stream.len(), "a flush takes everything");
    assert!(!ingest.holds_back());
    let counters = ingest.counters();
    assert_eq!(counters.bytes, stream.len() as u64);
    assert_eq!(counters.lines, counters.recorded_lines + counters.filtered_lines + counters.sampled_lines);
    assert_eq!(counters.records, records.len() as u64);
    records
}

fn check_section(section: &Section, records: &mut Vec<Encoded>) {
    assert_eq!(section.first_seq, records.len() as u64 + 1);
    let mut rest = section.records.bytes.as_slice();
    let mut count = 0;
    while let Some(((header, members), after)) = split_record(rest) {
        let begin = section.base + u64::from(header.begin);
        let end = begin + u64::from(header.extent);
        let columns = object(members);
        let part = columns.get("Part").and_then(Value::as_u64).unwrap_or(1);
        let before = records.last().map_or(0, |(_, end, _)| *end);
        if part == 1 {
            assert_eq!(begin, before, "extents follow each other");
        } else {
            assert_eq!(end, before, "a further part has the extent of the first");
        }
        records.push((begin, end, members.to_vec()));
        count += 1;
        rest = after;
    }
    assert_eq!((count, rest.len()), (section.records.count, 0));
    assert_eq!(section.counters.bytes, records.last().map_or(0, |(_, end, _)| *end));
}

fn object(members: &[u8]) -> serde_json::Map<String, Value> {
    assert!(members.len() < RECORD_MAX_BYTES);
    let text = [b"{", members, b"}"].concat();
    let columns: serde_json::Map<String, Value> = serde_json::from_slice(&text).expect("members are JSON");
    let message = columns.get("Message").and_then(Value::as_str).unwrap_or_default();
    assert!(message.len() <= STRING_MAX_BYTES);
    for name in ["Fields", "Exception"] {
        // Six bytes for one where what stands beside the parts of a message is escaped.
        assert!(columns.get(name).is_none_or(|value| value.to_string().len() <= STRING_MAX_BYTES + 100), "{name}");
    }
    columns
}

/// A line that is read as JSON is one, and what is left of it for `Fields` is JSON.
pub fn json(data: &[u8]) {
    let Some(parsed) = parse::json::parse(data, &Zone::Utc, &Constants::default()) else { return };
    assert!(serde_json::from_slice::<serde_json::Map<String, Value>>(data).is_ok());
    if !parsed.fields.is_empty() {
        serde_json::from_slice::<serde_json::Map<String, Value>>(&parsed.fields).expect("fields are JSON");
    }
}

/// The first byte says how long pieces are, 0 that it is whole: redaction takes any text, leaves JSON, and says where places
/// are now.
pub fn redaction(data: &[u8]) {
    let Some((head, text)) = data.split_first() else { return };
    let mut redaction = Redaction::new(Arc::default(), head & 1 == 1);
    if *head > 1 {
        let pieces = text.chunks(usize::from(*head)).enumerate();
        for (index, piece) in pieces {
            let goes_on = (index + 1) * usize::from(*head) < text.len();
            redaction.clean(piece, Piece::Of { number: index as u32 + 1, goes_on });
        }
        return;
    }
    let Some(clean) = redaction.clean(text, Piece::None) else { return };
    assert_eq!(clean.place(0).unwrap_or(0), 0);
    assert!(clean.place(text.len()).is_none_or(|end| end == clean.text.len()));
    if serde_json::from_slice::<Value>(text).is_ok() {
        serde_json::from_slice::<Value>(&clean.text).expect("JSON stays JSON");
    }
}

/// A timestamp at the start of a line takes no more than there is, and stands for itself without what follows; any other
/// text is read or refused.
pub fn timestamps(data: &[u8]) {
    if let Some((time, len)) = parse::timestamp::leading(data, &Zone::Utc) {
        assert_eq!(parse::timestamp::leading(&data[..len], &Zone::Utc), Some((time, len)));
    }
    parse::timestamp::whole(data, &Zone::Utc);
    if let Ok(bytes) = data.try_into() {
        parse::timestamp::epoch(f64::from_le_bytes(bytes));
    }
}
