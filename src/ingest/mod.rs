//! From bytes of a stream to sections of encoded records: split, join, parse, route, encode once.
//!
//! Pure computation, called by a source in its own thread or task, once per origin: no I/O, no waiting.
//! A line of text is borrowed from the window that the source read it into until its JSON stands in the section:
//! no map of owned strings is built for it. JSON lines are parsed into an owned value.

mod clean;
pub mod encode;
pub mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod lines;
pub mod options;
pub mod parse;
pub mod redact;

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::buffer::section::{RecordHeader, SECTION_TARGET_BYTES};
use crate::buffer::{OriginInfo, Records, Section};
use crate::record::{Constants, Counters, EventId, GapKind, Nanos, RouteBits};

use clean::Clean;
use encode::{Columns, Exception};
pub use framing::{Flush, GROUP_MAX_BYTES, GROUP_MAX_LINES, GROUP_QUIET};
use framing::{Framer, Group};
use lines::{Around, Lines, without_line_end};
pub use options::{Ansi, MAX_LINE_BYTES, Multiline, Options, Parser, Pattern, Zone};
use parse::json::JSON_MAX_BYTES;
use parse::{Context, Field, Text, Value, ansi, auto, container, embedded, json, regex, traceback};
use redact::Redaction;

/// Level of a traceback that no line of a logger introduces.
const BARE_TRACEBACK_LEVEL: &[u8] = b"ERROR";

/// Longest strings that stand beside each part of a split message, in bytes together.
const BESIDE_PART_MAX_BYTES: usize = 10_000;

/// When the bytes of a window came about.
pub trait Times {
    /// Time of the line that begins at this offset of the window.
    fn at(&self, offset: usize) -> Nanos;
}

/// One time for a whole window: when it was read.
impl Times for Nanos {
    fn at(&self, _offset: usize) -> Nanos {
        *self
    }
}

/// What a call of [`Ingest::feed`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// Bytes at the front of the window that are settled: drop them.
    pub consumed: usize,
    /// It stopped because the section is full: take it, and call again with the rest.
    pub section_full: bool,
}

/// Ingest of one origin.
#[derive(Debug)]
pub struct Ingest {
    options: Arc<Options>,
    info: Arc<OriginInfo>,
    constants: Constants,
    default_logger: Option<Arc<str>>,
    framer: Framer,
    redaction: Redaction,
    /// Stream offset of the first byte that is not settled.
    position: u64,
    counters: Counters,
    /// Position and Seq at the start of the section under way.
    base: u64,
    first_seq: u64,
    records: Records,
    /// Bytes of the records of the last section: the next one begins with so much room.
    last_bytes: usize,
    /// Lines and gaps at the start of the section under way.
    section_lines: u64,
    section_gaps: u64,
    /// Bytes were passed over since.
    passed_over: bool,
}

impl Ingest {
    /// `position`: offset in the stream of the first byte that `feed` will be given; `counters`: totals before it.
    pub fn new(
        options: Arc<Options>,
        info: Arc<OriginInfo>,
        constants: Constants,
        position: u64,
        counters: Counters,
    ) -> Self {
        Ingest {
            framer: Framer::new(options.multiline, options.max_line),
            redaction: Redaction::new(Arc::clone(&options.redactor), position > 0),
            options,
            info,
            constants,
            default_logger: None,
            position,
            base: position,
            first_seq: counters.records + 1,
            section_lines: counters.lines,
            section_gaps: counters.gaps,
            passed_over: false,
            counters,
            records: Records::default(),
            last_bytes: 0,
        }
    }

    /// LoggerName of records whose lines name none.
    #[must_use]
    pub fn with_default_logger(mut self, logger: String) -> Self {
        self.default_logger = Some(self.options.redactor.column("LoggerName", logger).into());
        self
    }

    /// Stream offset after what has been consumed.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Totals of the origin so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether no line has been taken yet.
    pub fn is_new(&self) -> bool {
        self.counters.lines == 0
    }

    /// Whether bytes are held back that a flush would take: an open group or an unfinished line.
    pub fn holds_back(&self) -> bool {
        self.framer.holds_back()
    }

    /// The window begins anew at [`Ingest::position`]: what was seen of bytes that are not consumed is forgotten.
    pub fn rewind(&mut self) {
        self.framer.reset();
    }

    /// Notes that lines of the stream are missing; `bytes` is 0 where nobody knows how many.
    pub fn count_gap(&mut self, kind: GapKind, bytes: u64) {
        self.counters.count_gap(kind, bytes);
    }

    /// Goes on behind `bytes` bytes of the stream that make no line; `gap`: lines are missing with them. Nothing is held back
    /// and the last section has been taken.
    pub fn pass_over(&mut self, bytes: u64, gap: Option<GapKind>) {
        self.framer = Framer::new(self.options.multiline, self.options.max_line);
        self.position += bytes;
        self.base = self.position;
        match gap {
            Some(kind) => self.counters.widen_gap(kind, bytes),
            None => self.counters.bytes += bytes,
        }
        self.passed_over = true;
    }

    /// Takes complete groups of lines from the front of `window`, which begins at [`Ingest::position`].
    pub fn feed(&mut self, window: &[u8], times: &dyn Times, flush: Flush) -> Fed {
        let mut consumed = 0;
        let mut section_full = false;
        while let Some(group) = self.framer.next(window, consumed, flush) {
            self.take(window, &group, times.at(group.start));
            consumed = group.end;
            if self.records.bytes.len() >= SECTION_TARGET_BYTES {
                section_full = true;
                break;
            }
        }
        self.framer.consumed(consumed);
        self.position += consumed as u64;
        Fed { consumed, section_full }
    }

    /// Closes the section under way. `position` is the source's own encoding of where it goes on.
    /// `None` where nothing was consumed since the last one and the origin has not `ended`.
    pub fn section(&mut self, position: Vec<u8>, ended: bool) -> Option<Section> {
        let is_same = self.counters.lines == self.section_lines && self.counters.gaps == self.section_gaps;
        let passed_over = std::mem::take(&mut self.passed_over);
        if is_same && !passed_over && !ended {
            return None;
        }
        let section = Section {
            origin: Arc::clone(&self.info),
            position,
            counters: self.counters.clone(),
            ended,
            first_seq: self.first_seq,
            base: self.base,
            records: std::mem::take(&mut self.records),
        };
        self.last_bytes = section.records.bytes.len();
        self.base = self.position;
        self.first_seq = self.counters.records + 1;
        self.section_lines = self.counters.lines;
        self.section_gaps = self.counters.gaps;
        Some(section)
    }

    /// Makes records of one group. `read_time` is when it was read or the engine took it.
    fn take(&mut self, window: &[u8], group: &Group, read_time: Nanos) {
        let bytes = &window[group.start..group.end];
        // `position` is the stream offset of the window's first byte until the call ends.
        let begin = self.position + group.start as u64;
        let extent = (begin, begin + bytes.len() as u64);
        self.counters.lines += u64::from(group.lines);
        self.counters.recorded_lines += u64::from(group.lines);
        self.counters.bytes += bytes.len() as u64;
        // At the start of a stream the mark says that it is UTF-8, which every stream is taken for.
        let mark = if begin == 0 { bytes.len() - framing::without_mark(bytes).len() } else { 0 };
        let text = without_line_end(&bytes[mark..]);
        let traceback = group.traceback.map(|at| at.saturating_sub(group.start + mark));
        let keeps_colours = self.options.ansi == Ansi::Keep || self.options.parser == Parser::Raw;
        let piece = clean::piece_of(group, bytes);
        let Clean { text, traceback } = clean::clean(&mut self.redaction, text, traceback, piece, keeps_colours);
        if group.piece.is_some() {
            let logger = self.default_logger.clone();
            let logger = logger.as_deref().map(str::as_bytes);
            let columns = Columns { time: read_time, logger, message: &text, piece: group.piece, ..Columns::default() };
            return self.put(&text, &columns, extent);
        }
        let around = &Around::default();
        let (text, count) = (&*text, group.lines);
        self.take_lines(&Lines { text, whole: text, count, traceback, time: read_time, extent, around });
    }

    fn take_lines(&mut self, lines: &Lines<'_>) {
        if lines.count == 1 && !lines.around.is_given && self.take_wrapped(lines) {
            return;
        }
        if self.is_json(lines.text)
            && let Some(parsed) = json::parse(lines.text, &lines.around.fields, &self.options.zone, &self.constants)
        {
            return self.take_json(&parsed, lines);
        }
        self.take_text(lines);
    }

    fn is_json(&self, text: &[u8]) -> bool {
        if text.len() > JSON_MAX_BYTES {
            return false;
        }
        match self.options.parser {
            Parser::Auto | Parser::Json => text.trim_ascii_start().first() == Some(&b'{'),
            _ => false,
        }
    }

    /// Takes the line that a container runtime has wrapped, if it has; says whether.
    fn take_wrapped(&mut self, lines: &Lines<'_>) -> bool {
        if !matches!(self.options.parser, Parser::Auto | Parser::Json) || lines.text.len() > JSON_MAX_BYTES {
            return false;
        }
        if let Some(docker) = embedded::docker_line(lines.text) {
            let mut around = self.around(docker.stream);
            if !docker.attrs.is_empty() {
                around.fields.push(Field { name: "attrs".into(), value: Value::Literal(&docker.attrs) });
            }
            let inside = Lines { text: docker.log.as_bytes(), time: docker.time, around: &around, ..*lines };
            self.take_inside(&inside);
            return true;
        }
        let Some(wrapped) = container::cri(lines.text) else { return false };
        let mut around = self.around(wrapped.stream);
        if wrapped.is_partial {
            around.fields.push(Field { name: "partial".into(), value: Value::Literal(b"true") });
        }
        self.take_inside(&Lines { text: wrapped.line, time: wrapped.time, around: &around, ..*lines });
        true
    }

    /// Takes a line out of what it was wrapped in.
    fn take_inside(&mut self, lines: &Lines<'_>) {
        match self.options.ansi {
            Ansi::Keep => self.take_lines(lines),
            Ansi::Strip => self.take_lines(&Lines { text: &ansi::strip(lines.text), ..*lines }),
        }
    }

    /// What a runtime says about a line: its stream, which is a column where the origin has none.
    fn around<'f>(&self, stream: &'static str) -> Around<'f> {
        let mut around = Around { is_given: true, ..Around::default() };
        match self.constants.get("Stream") {
            None => around.columns.push(("Stream", stream.to_owned())),
            Some(_) => {
                around.fields.push(Field { name: "stream".into(), value: Value::Text(stream.as_bytes().into()) })
            }
        }
        around
    }

    fn take_json(&mut self, parsed: &json::Parsed, lines: &Lines<'_>) {
        let text = lines.whole;
        let exception = parsed.exception.as_ref().map(exception_of);
        let default_logger = self.default_logger.clone();
        let message = parsed.message.as_deref().unwrap_or_default().as_bytes();
        let message = match self.options.ansi {
            Ansi::Strip => ansi::strip(message),
            Ansi::Keep => message.into(),
        };
        let own_columns = [&parsed.columns[..], &lines.around.columns].concat();
        let columns = Columns {
            time: parsed.time.unwrap_or(lines.time),
            logger: parsed.logger.as_deref().or(default_logger.as_deref()).map(str::as_bytes),
            level: parsed.level.as_deref().map(str::as_bytes),
            message: &message,
            exception,
            duration_ms: parsed.duration_ms,
            columns: &own_columns,
            fields: &parsed.fields,
            piece: None,
        };
        if parsed.unfit {
            // The whole line as text loses nothing; what was found in it stays searchable where that is short.
            let short = |text: Option<&'_ [u8]>| text.is_some_and(|text| text.len() <= json::FIELD_STRING_MAX_BYTES);
            let columns = Columns {
                message: text,
                exception: None,
                fields: b"",
                columns: &lines.around.columns,
                logger: columns.logger.filter(|logger| short(Some(logger))),
                level: columns.level.filter(|level| short(Some(level))),
                ..columns
            };
            return self.put(text, &columns, lines.extent);
        }
        self.put(text, &columns, lines.extent);
    }

    fn context(&self, near: Nanos) -> Context<'_> {
        Context { zone: &self.options.zone, near, constants: &self.constants }
    }

    /// What the head of the lines says.
    fn parse<'t>(&self, head: &'t [u8], read_time: Nanos) -> Text<'t> {
        let context = self.context(read_time);
        match &self.options.parser {
            Parser::Auto => auto::parse(head, context),
            Parser::Python => auto::python(head, context),
            Parser::Logfmt => auto::logfmt(head, context),
            Parser::Syslog => auto::syslog(head, context),
            Parser::Regex(pattern) => auto::regex(pattern, head, &[], context),
            Parser::Raw | Parser::Json => Text::raw(head),
        }
    }

    fn take_text(&mut self, lines: &Lines<'_>) {
        let head = lines.head();
        if let Parser::Regex(pattern) = &self.options.parser {
            let secrets = pattern.secrets(head, &self.options.redactor);
            if !secrets.is_empty() {
                let parsed = auto::regex(pattern, head, &secrets, self.context(lines.time));
                let text = regex::without(lines.text, &secrets);
                // A traceback stands behind the head, at the same distance from the end.
                let traceback =
                    lines.traceback.map(|at| if at == 0 { 0 } else { (at + text.len()) - lines.text.len() });
                return self.take_parsed(parsed, &Lines { text: &text, whole: &text, traceback, ..*lines });
            }
        }
        self.take_parsed(self.parse(head, lines.time), lines);
    }

    /// Takes lines of which the first says this.
    fn take_parsed<'a>(&mut self, mut parsed: Text<'a>, lines: &Lines<'a>) {
        let text = lines.text;
        let head = lines.head();
        let is_new = |field: &&Field<'_>| !parsed.fields.iter().any(|known| known.name == field.name);
        let around: Vec<Field<'_>> = lines.around.fields.iter().filter(is_new).cloned().collect();
        parsed.fields.extend(around);
        if lines.count == 1
            && matches!(self.options.parser, Parser::Auto | Parser::Json | Parser::Python | Parser::Syslog)
        {
            let sure = self.options.parser == Parser::Json;
            if let Some(found) = embedded::behind(&parsed, &self.options.zone, &self.constants, sure) {
                return self.take_json(&found, lines);
            }
        }
        let traceback = lines.traceback.filter(|_| self.options.parser != Parser::Raw);
        let message = lines.message(head, &parsed.message, traceback);
        let default_logger = self.default_logger.clone();
        let mut fields = Vec::new();
        parsed.encode_fields(&mut fields);
        parsed.columns.extend(lines.around.columns.iter().cloned());
        let mut columns = Columns {
            time: parsed.time.unwrap_or(lines.time),
            logger: parsed.logger.as_deref().or(default_logger.as_deref().map(str::as_bytes)),
            level: parsed.level.as_deref(),
            message: &message,
            exception: parsed.exception.as_ref().map(exception_of),
            duration_ms: parsed.duration_ms,
            columns: &parsed.columns,
            fields: &fields,
            piece: None,
        };
        if let Some(at) = traceback {
            let stack = &text[at..];
            let (kind, message) = traceback::raised(stack).unwrap_or_default();
            columns.exception = Some(Exception { kind, message, stack });
            if at == 0 {
                columns.level = Some(BARE_TRACEBACK_LEVEL);
                // The line that names the exception says most.
                columns.message = raised_line(stack, kind);
            }
        }
        self.put(lines.whole, &columns, lines.extent);
    }

    /// Routes and stores one record, or its parts; `text` is all of its text, for the case that it does not fit.
    fn put(&mut self, text: &[u8], columns: &Columns<'_>, extent: (u64, u64)) {
        let route = self.route(columns);
        if columns.fits() {
            return self.push(columns, route, extent, None);
        }
        let exception = columns.exception.map(|e| Exception { stack: b"", ..e });
        // What is long besides the message stands in the text, and is left out where it would not fit beside a part.
        let keeps_exception = exception.is_some_and(|e| e.kind.len() + e.message.len() <= BESIDE_PART_MAX_BYTES);
        let keeps_fields = columns.fields.len() <= encode::FIELDS_MAX_BYTES && columns.message.len() < text.len();
        let keeps_columns = columns.columns_len() <= BESIDE_PART_MAX_BYTES;
        let shortened = Columns {
            exception: exception.filter(|_| keeps_exception),
            fields: if keeps_fields { columns.fields } else { b"" },
            logger: columns.logger.filter(|_| keeps_columns),
            level: columns.level.filter(|_| keeps_columns),
            columns: if keeps_columns { columns.columns } else { &[] },
            ..*columns
        };
        let keeps_stack = columns.exception.is_none_or(|e| e.stack.is_empty() && keeps_exception);
        let keeps_all = keeps_stack && keeps_columns && shortened.fields.len() == columns.fields.len();
        let whole = if keeps_all { columns.message } else { text };
        let parts = encode::split(whole);
        let count = parts.len() as u32;
        for (index, message) in parts.into_iter().enumerate() {
            let first = index == 0;
            let part = Columns {
                message,
                exception: shortened.exception.filter(|_| first),
                fields: if first { shortened.fields } else { b"" },
                ..shortened
            };
            let number = (count > 1).then_some((index as u32 + 1, count));
            self.push(&part, route, extent, number);
        }
    }

    fn push(&mut self, columns: &Columns<'_>, route: RouteBits, extent: (u64, u64), part: Option<(u32, u32)>) {
        self.counters.records += 1;
        self.counters.count_route(route);
        let (begin, end) = extent;
        if self.records.count == 0 {
            // An origin that stands still holds nothing.
            self.records.bytes.reserve_exact(self.last_bytes + self.last_bytes / 8);
        }
        let header = RecordHeader {
            time: columns.time,
            event_id: EventId::new(self.info.id, begin, end, part.map_or(0, |(number, _)| number - 1)),
            begin: (begin - self.base) as u32,
            extent: (end - begin) as u32,
            route,
        };
        // A record that no sink gets keeps its place, so that Seq has no gap, and needs no bytes.
        self.records.push(&header, |out| {
            if route != 0 {
                columns.encode(out, part);
            }
        });
    }

    fn route(&self, columns: &Columns<'_>) -> RouteBits {
        let mut bits = 0;
        for (bit, when) in self.options.routes.iter().enumerate() {
            let takes = when.as_ref().is_none_or(|rule| {
                rule.matches(|name| columns.value(name).or_else(|| self.constants.get(name).map(str::as_bytes)))
            });
            bits |= RouteBits::from(takes) << bit;
        }
        bits
    }
}

fn exception_of(exception: &json::Exception) -> Exception<'_> {
    Exception {
        kind: exception.kind.as_bytes(),
        message: exception.message.as_bytes(),
        stack: exception.stack.as_bytes(),
    }
}

/// The last line of a stack that begins with the name of the exception; the first line where it was cut off.
fn raised_line<'a>(stack: &'a [u8], kind: &[u8]) -> &'a [u8] {
    let mut lines = stack.split(|&byte| byte == b'\n').map(without_line_end);
    let first = lines.clone().next().unwrap_or_default();
    if kind.is_empty() {
        return first;
    }
    lines.rfind(|line| line.starts_with(kind)).unwrap_or(first)
}
