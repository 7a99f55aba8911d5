//! What must hold of any bytes that a source hands to ingest.

use std::sync::Arc;

use serde_json::Value;

use super::parse::object::Unfit;
use super::redact::{Piece, Redaction};
use super::{Flush, Ingest, Multiline, Options, OwnColumns, Parser, Pattern, Start, Zone, parse};
use crate::buffer::section::split_record;
use crate::buffer::{OriginInfo, Section};
use crate::record::{Constants, Counters, Nanos, OriginId, RECORD_MAX_BYTES, STRING_MAX_BYTES};

const READ_TIME: Nanos = 1_000_000_000;

/// A pattern for the first lines of records.
const START: &str = r"^[0-9{]";

/// A pattern of no particular sense.
const PATTERN: &str = r"(?<level>[A-Z]+).(?<trace_id>\w*)(?<message>.*)";

/// Columns of one's own, of short paths that are met by chance.
const OWN: [(&str, &str); 4] = [("Own", "a"), ("Deep", "a.b.c"), ("TraceID", "t"), ("Cost", "b")];

/// A record, as far as how the bytes arrived must not matter to it.
type Encoded = (u64, u64, Vec<u8>);

fn ingest(parser: Parser, multiline: Multiline, max_line: usize) -> Ingest {
    let constants = Constants::new([("TaskID".to_owned(), "17".to_owned())]);
    let members = constants.members().to_vec();
    let info = Arc::new(OriginInfo { id: OriginId([7; 16]), descriptor: Vec::new(), constants: members });
    let options = Options {
        parser,
        multiline,
        max_line,
        columns: Arc::new(OwnColumns::new(OWN.map(|(name, path)| (name.to_owned(), path.to_owned())).to_vec())),
        ..Options::default()
    };
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
    let multiline = match (head[0] & 4 == 0, head[0] & 0x40 == 0) {
        (true, true) => Multiline::Auto,
        (true, false) => Multiline::Start(Start::new(START).expect("a pattern")),
        (false, _) => Multiline::None,
    };
    let max_line = 64 + usize::from(head[1]) * 16;
    let chunk = 1 + usize::from(head[2]);
    let whole = read(ingest(parser.clone(), multiline.clone(), max_line), stream, stream.len().max(1));
    let groups = read_groups(ingest(parser.clone(), multiline.clone(), max_line), stream);
    assert_eq!(whole, groups, "records do not depend on how many groups are taken at a time");
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

/// Reads a stream group by group.
fn read_groups(mut ingest: Ingest, stream: &[u8]) -> Vec<Encoded> {
    let (mut records, mut taken) = (Vec::new(), 0);
    loop {
        let lines = ingest.counters().lines;
        let fed = ingest.feed_one(&stream[taken..], &READ_TIME, Flush::All);
        taken += fed.consumed;
        if fed.consumed == 0 {
            break;
        }
        assert!(ingest.counters().lines > lines && !ingest.seen().formats().is_empty());
        check_section(&ingest.section(Vec::new(), false).expect("a group"), &mut records);
    }
    assert_eq!(taken, stream.len(), "a flush takes everything");
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
    let (_, altered) = parse::object::read(&text).expect("members are JSON");
    let columns: serde_json::Map<String, Value> = serde_json::from_slice(&text).expect("members are JSON");
    assert_ne!(altered, Some(Unfit::RepeatedKey), "no name stands twice: {columns:?}");
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
    let (constants, own) = (Constants::default(), OwnColumns::default());
    let context = parse::Context { zone: &Zone::Utc, near: READ_TIME, constants: &constants, own: &own };
    let Some(parsed) = parse::json::parse(data, &[], context) else { return };
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

/// A line in any format: no byte of it that can be printed is lost, unless it stands in a column that says the same, and
/// what is said of it can be stored.
pub fn formats(data: &[u8]) {
    let constants = Constants::default();
    let own = OwnColumns::default();
    let context = parse::Context { zone: &Zone::Utc, near: READ_TIME, constants: &constants, own: &own };
    let stripped = parse::ansi::strip(data);
    assert!(stripped.len() <= data.len());
    let asked = parse::auto::logfmt(data, context);
    let found =
        [parse::auto::parse(data, context), parse::auto::python(data, context), parse::auto::syslog(data, context)];
    for text in found.iter().chain([&asked]) {
        if text != &asked
            && !text.has_head()
            && text.fields.is_empty()
            && text.columns.is_empty()
            && text.named.is_empty()
        {
            assert_eq!(&*text.message, data, "a line without a format is its own message");
        }
        let mut fields = Vec::new();
        text.encode_fields(&mut fields);
        if !fields.is_empty() {
            let object: serde_json::Map<String, Value> = serde_json::from_slice(&fields).expect("fields are JSON");
            assert_eq!(object.len(), text.fields.len(), "no name stands twice");
        }
        kept(data, text, &fields);
    }
}

/// Of the words of a line, as far as they have letters and no escapes, those that are no part of its time or its level
/// stand in the message, the logger, the fields or another column.
fn kept(line: &[u8], text: &parse::Text<'_>, fields: &[u8]) {
    if line.contains(&b'\\') || text.exception.is_some() || std::str::from_utf8(line).is_err() {
        return;
    }
    let fields = unescaped(fields);
    let texts = text.columns.iter().map(|(_, value)| value).chain(text.named.iter().map(|named| &named.text));
    let columns: Vec<u8> = texts.flat_map(|text| text.as_bytes().to_vec()).collect();
    let said: [&[u8]; 4] = [&text.message, text.logger.as_deref().unwrap_or_default(), &fields, &columns];
    // Beyond ASCII, a byte order mark may stand before a message, which is no part of it.
    let is_word = u8::is_ascii_alphanumeric;
    for word in line
        .split(|byte| !is_word(byte))
        .filter(|word| word.len() > KEPT_MIN_BYTES && !word.iter().any(u8::is_ascii_digit))
    {
        let stands = said.iter().any(|text| text.windows(word.len()).any(|part| part == word));
        let is_known = HEADS.iter().any(|head| word.eq_ignore_ascii_case(head)) || parse::level::known(word).is_some();
        let is_level = text
            .level
            .as_ref()
            .is_some_and(|level| level.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word)));
        assert!(stands || is_known || is_level, "{:?} is lost of {:?}", String::from_utf8_lossy(word), text);
    }
}

/// Shorter words are names of months, zones, units and priorities.
const KEPT_MIN_BYTES: usize = 4;

/// Words that only name what follows them, in formats and as spellings of columns.
const HEADS: &[&[u8]] = &[
    b"timestamp",
    b"asctime",
    b"level",
    b"levelname",
    b"severity",
    b"logger",
    b"service",
    b"message",
    b"event",
    b"client",
    b"exception",
    b"traceback",
    b"trace",
    b"correlation",
    b"execution",
    b"duration",
    b"seconds",
    b"stack",
    b"agent",
    b"model",
    b"prompt",
    b"completion",
    b"total",
    b"tokens",
    b"status",
    b"error",
    b"extra",
    b"context",
    b"metadata",
    b"System",
    b"DEBUG",
];

/// The texts of an object without what JSON escapes.
fn unescaped(fields: &[u8]) -> Vec<u8> {
    let value: Value = serde_json::from_slice(fields).unwrap_or_default();
    let object = value.as_object().cloned().unwrap_or_default();
    let texts = object.iter().flat_map(|(name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        [name.clone(), " ".to_owned(), value, " ".to_owned()]
    });
    texts.collect::<String>().into_bytes()
}
