//! What must hold of any bytes that a source hands to ingest.

use std::sync::Arc;

use serde_json::Value;

use super::{Ansi, Flush, Ingest, Multiline, Options, Parser, Pattern, Zone, parse};
use crate::buffer::section::split_record;
use crate::buffer::{OriginInfo, Section};
use crate::record::{Constants, Counters, Nanos, OriginId, RECORD_MAX_BYTES, STRING_MAX_BYTES};

const READ_TIME: Nanos = 1_000_000_000;

/// A pattern of no particular sense.
const PATTERN: &str = r"(?<level>[A-Z]+).(?<trace_id>\w*)(?<message>.*)";

/// A record, as far as how the bytes arrived must not matter to it.
type Encoded = (u64, u64, Vec<u8>);

fn ingest(parser: Parser, multiline: Multiline, max_line: usize) -> Ingest {
    let constants = Constants::new([("TaskID".to_owned(), "17".to_owned())]);
    let members = constants.members().to_vec();
    let info = Arc::new(OriginInfo { id: OriginId([7; 16]), descriptor: Vec::new(), constants: members });
    let options =
        Options { parser, ansi: Ansi::Strip, multiline, zone: Zone::Utc, max_line, routes: Arc::from([None]) };
    Ingest::new(Arc::new(options), info, constants, 0, Counters::default())
}

/// The first bytes say how it is read, the rest is the stream: in pieces and at once it gives the same records, which
/// cover it without gap and overlap, are JSON, and are counted.
pub fn lines(data: &[u8]) {
    let Some((head, stream)) = data.split_first_chunk::<3>() else { return };
    let parser = match (head[0] % 4, head[0] & 0x38) {
        (0, 0x08) => Parser::Logfmt,
        (0, 0x10) => Parser::Syslog,
        (0, 0x20) => Parser::Regex(Pattern::new(PATTERN).expect("a pattern")),
        (0, _) => Parser::Auto,
        (1, _) => Parser::Json,
        (2, _) => Parser::Python,
        _ => Parser::Raw,
    };
    let multiline = if head[0] & 4 == 0 { Multiline::Auto } else { Multiline::None };
    let max_line = 64 + usize::from(head[1]) * 16;
    let chunk = 1 + usize::from(head[2]);
    let whole = read(ingest(parser.clone(), multiline, max_line), stream, stream.len().max(1));
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
    columns
}

/// A line that is read as JSON is one, and what is left of it for `Fields` is JSON.
pub fn json(data: &[u8]) {
    let Some(parsed) = parse::json::parse(data, &[], &Zone::Utc, &Constants::default()) else { return };
    assert!(serde_json::from_slice::<serde_json::Map<String, Value>>(data).is_ok());
    if !parsed.fields.is_empty() {
        serde_json::from_slice::<serde_json::Map<String, Value>>(&parsed.fields).expect("fields are JSON");
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
