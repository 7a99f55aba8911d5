//! From one group of lines to columns: cleaned, unwrapped, parsed. What becomes of them is for [`super::put`].

use super::clean::{self, Clean};
use super::encode::{Columns, Exception};
use super::framing::{self, Group};
use super::lines::{Around, Lines, without_line_end};
use super::options::{Ansi, Parser};
use super::parse::columns::{self, Named};
use super::parse::format::Format;
use super::parse::json::JSON_MAX_BYTES;
use super::parse::object::Unfit;
use super::parse::{Context, Field, Text, Value, ansi, auto, container, embedded, json, regex, traceback};
use super::{Ingest, Seen};
use crate::record::Nanos;

/// Level of a traceback that no line of a logger introduces.
const BARE_TRACEBACK_LEVEL: &[u8] = b"ERROR";

impl Ingest {
    /// Makes records of one group. `read_time` is when it was read or the engine took it.
    pub(super) fn take(&mut self, window: &[u8], group: &Group, read_time: Nanos) {
        let bytes = &window[group.start..group.end];
        // `position` is the stream offset of the window's first byte until the call ends.
        let begin = self.position + group.start as u64;
        let extent = (begin, begin + bytes.len() as u64);
        self.gate.begin(group.lines, read_time);
        self.counters.lines += u64::from(group.lines);
        self.counters.recorded_lines += u64::from(group.lines);
        self.counters.bytes += bytes.len() as u64;
        self.seen = Seen::default();
        // At the start of a stream the mark says that it is UTF-8, which every stream is taken for.
        let mark = if begin == 0 { bytes.len() - framing::without_mark(bytes).len() } else { 0 };
        let text = without_line_end(&bytes[mark..]);
        let traceback = group.traceback.map(|at| at.saturating_sub(group.start + mark));
        let keeps_colours = self.options.ansi == Ansi::Keep || self.options.parser == Parser::Raw;
        let piece = clean::piece_of(group, bytes);
        let Clean { text, traceback } = clean::clean(&mut self.redaction, text, traceback, piece, keeps_colours);
        if group.piece.is_some() {
            self.seen.note(Format::Piece);
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
            && let Some(parsed) = json::parse(lines.text, &lines.around.fields, self.context(lines.time))
        {
            self.seen.note(if parsed.unfit.is_some() { Format::Unfit } else { Format::Json });
            return self.take_json(&parsed, lines);
        }
        self.take_text(lines);
    }

    fn is_json(&self, text: &[u8]) -> bool {
        text.len() <= JSON_MAX_BYTES && self.begins_json(text)
    }

    /// Whether it is kept as text for its length alone.
    fn is_long_json(&self, text: &[u8]) -> bool {
        text.len() > JSON_MAX_BYTES && self.begins_json(text)
    }

    fn begins_json(&self, text: &[u8]) -> bool {
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
            self.seen.note(Format::Docker);
            let mut around = self.around(docker.stream);
            if !docker.attrs.is_empty() {
                around.fields.push(Field { name: "attrs".into(), value: Value::Literal(&docker.attrs) });
            }
            let inside = Lines { text: docker.log.as_bytes(), time: docker.time, around: &around, ..*lines };
            self.take_inside(&inside);
            return true;
        }
        let Some(wrapped) = container::cri(lines.text) else { return false };
        self.seen.note(Format::Cri);
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
            named: &parsed.named,
            fields: &parsed.fields,
            piece: None,
            unfit: parsed.unfit,
        };
        if parsed.unfit.is_some() {
            // The whole line as text loses nothing; what was found in it stays searchable where that is short.
            let is_short = |text: &[u8]| text.len() <= json::FIELD_STRING_MAX_BYTES;
            let texts: Vec<(&'static str, String)> =
                own_columns.iter().filter(|(_, text)| is_short(text.as_bytes())).cloned().collect();
            let named: Vec<Named> =
                parsed.named.iter().filter(|named| is_short(named.text.as_bytes())).cloned().collect();
            let columns = Columns {
                message: text,
                exception: None,
                fields: b"",
                columns: &texts,
                named: &named,
                logger: columns.logger.filter(|logger| is_short(logger)),
                level: columns.level.filter(|level| is_short(level)),
                ..columns
            };
            return self.put(text, &columns, lines.extent);
        }
        self.put(text, &columns, lines.extent);
    }

    fn context(&self, near: Nanos) -> Context<'_> {
        Context { zone: &self.options.zone, near, constants: &self.constants, own: &self.options.columns }
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
            Parser::Raw => Text::raw(head).of(Format::Raw),
            Parser::Json => Text::raw(head),
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

    fn note_json_behind(&mut self, head: Format, unfit: bool) {
        match (head.is_recognised(), unfit) {
            (_, true) => self.seen.note(Format::Unfit),
            (false, false) => self.seen.note(Format::JsonBehind),
            (true, false) => {
                self.seen.note(head);
                self.seen.note(Format::Json);
            }
        }
    }

    fn note_text(&mut self, format: Format, text: &[u8]) {
        let is_broken = format == Format::Plain && self.is_json(text);
        self.seen.note(if is_broken { Format::NotJson } else { format });
    }

    /// Takes lines of which the first says this.
    fn take_parsed<'a>(&mut self, mut parsed: Text<'a>, lines: &Lines<'a>) {
        self.gate.record_has(lines.count);
        let text = lines.text;
        let head = lines.head();
        let is_new = |field: &&Field<'_>| !parsed.fields.iter().any(|known| known.name == field.name);
        let around: Vec<Field<'_>> = lines.around.fields.iter().filter(is_new).cloned().collect();
        parsed.fields.extend(around);
        if lines.count == 1
            && matches!(self.options.parser, Parser::Auto | Parser::Json | Parser::Python | Parser::Syslog)
        {
            let sure = self.options.parser == Parser::Json;
            if let Some(found) = embedded::behind(&parsed, self.context(lines.time), sure) {
                self.note_json_behind(parsed.format, found.unfit.is_some());
                return self.take_json(&found, lines);
            }
        }
        self.note_text(parsed.format, lines.text);
        columns::own_of_text(&mut parsed, self.context(lines.time));
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
            named: &parsed.named,
            fields: &fields,
            piece: None,
            unfit: parsed.unfit.or(self.is_long_json(text).then_some(Unfit::Length)),
        };
        if let Some(at) = traceback {
            self.seen.note(Format::Traceback);
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
