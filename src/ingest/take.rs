//! From one group of lines to columns: cleaned, unwrapped, parsed. What becomes of them is for [`super::put`].

use std::borrow::Cow;

use super::clean::{self, Clean};
use super::encode::{Columns, Exception};
use super::framing::{self, Group};
use super::lines::{Around, Lines, without_line_end};
use super::options::{Ansi, Multiline, Parser};
use super::overwritten;
use super::parse::columns::{self, Named};
use super::parse::format::Format;
use super::parse::json::JSON_MAX_BYTES;
use super::parse::object::Unfit;
use super::parse::traceback::{Family, RAISED_LEVEL, Raised, Stack};
use super::parse::{Context, Field, Text, Value, ansi, auto, container, embedded, json, regex, traceback};
use super::{Ingest, Seen};
use crate::record::Nanos;

/// Levels of lines that no exception belongs to: a logger that reports one says at least WARNING.
const CALM_LEVELS: [&[u8]; 3] = [b"INFO", b"DEBUG", b"TRACE"];
/// What a logger calls the reason of a goroutine's stack, and its type.
const PANIC: &[u8] = b"panic";

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
        let stack = group.stack.map(|stack| stack.at.saturating_sub(group.start + mark));
        let keeps_colours = self.options.ansi == Ansi::Keep || self.options.parser == Parser::Raw;
        let piece = clean::piece_of(group, bytes);
        let Clean { text, stack } = clean::clean(&mut self.redaction, text, stack, piece, keeps_colours);
        if group.piece.is_some() {
            self.seen.note(Format::Piece);
            return self.take_piece(&text, group, read_time, extent);
        }
        let lines = Lines {
            text: &text,
            whole: &text,
            count: group.lines,
            stack: group.stack.zip(stack).map(|(found, at)| Stack { at, ..found }),
            stack_begin: self.position + group.stack.map_or(0, |stack| stack.at) as u64,
            stack_line: lines_before(window, group),
            group_piece: group.group_piece,
            overwritten: None,
            time: read_time,
            extent,
            around: &Around::default(),
        };
        self.take_lines(&lines);
    }

    /// Takes a piece of a line over `max_line`.
    fn take_piece(&mut self, text: &[u8], group: &Group, time: Nanos, extent: (u64, u64)) {
        if group.piece == Some(1) {
            let first = overwritten::first(text);
            self.redraws = self.redraws_lines() && first.is_some_and(|first| !self.is_logged(first, time));
        }
        let last = overwritten::last(text).filter(|_| self.redraws);
        let logger = self.default_logger.clone();
        let columns = Columns {
            time,
            logger: logger.as_deref().map(str::as_bytes),
            message: last.map_or(text, |last| last.text),
            piece: group.piece,
            overwritten: last.map(|last| last.before).filter(|before| *before > 0),
            ..Columns::default()
        };
        self.put(columns.message, &columns, extent);
    }

    /// Whether a line has the head of a logger, who redraws nothing.
    fn is_logged(&self, line: &[u8], time: Nanos) -> bool {
        auto::parse(line, self.context(time)).has_head()
    }

    /// Whether a carriage return within a line overwrites what stands before it.
    fn redraws_lines(&self) -> bool {
        self.options.multiline != Multiline::None && self.options.parser != Parser::Raw
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
            group_piece: lines.group_piece,
            overwritten: lines.overwritten,
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
                // A stack stands behind the head, at the same distance from the end, or with it at the front.
                let moved = |at: usize| match at {
                    0 => Some(0),
                    _ if at < head.len() => None,
                    _ => (at + text.len()).checked_sub(lines.text.len()),
                };
                let stack = lines.stack.and_then(|stack| Some(Stack { at: moved(stack.at)?, ..stack }));
                return self.take_parsed(parsed, &Lines { text: &text, whole: &text, stack, ..*lines });
            }
        }
        let parsed = self.parse(head, lines.time);
        let is_plain = !parsed.has_head() && parsed.fields.is_empty() && parsed.columns.is_empty();
        if is_plain
            && self.redraws_lines()
            && let Some(left) = overwritten::without(lines.text, lines.stack)
            && !self.is_logged(head, lines.time)
        {
            let overwritten = Some(left.before).filter(|before| *before > 0);
            let text = &left.text[..];
            return self.take_lines(&Lines { text, whole: text, stack: left.stack, overwritten, ..*lines });
        }
        self.take_parsed(parsed, lines);
    }

    /// The lines from the stack on as an exception is read from them: without colours, even where those are kept.
    fn stack_text<'a>(&self, lines: &Lines<'a>) -> Cow<'a, [u8]> {
        let stack = lines.stack.filter(|_| self.options.parser != Parser::Raw);
        ansi::strip(stack.and_then(|stack| lines.text.get(stack.at..)).unwrap_or_default())
    }

    /// The exception of the lines, which is read from `text`, and where it begins in them.
    fn raised<'a>(&self, lines: &Lines<'_>, text: &'a [u8]) -> Option<(usize, Raised<'a>)> {
        let stack = lines.stack.filter(|_| self.options.parser != Parser::Raw)?;
        let (before, coloured) = lines.text.split_at_checked(stack.at)?;
        let mut raised = traceback::read(stack.family, text)?;
        // The stack of a goroutine is that of a panic where the logger calls it one.
        if stack.family == Family::Go && raised.kind.is_empty() && memchr::memmem::find(before, PANIC).is_some() {
            raised.kind = PANIC;
        }
        Some((stack.at + ansi::place(coloured, raised.at), raised))
    }

    /// Takes a line and the exception below it as two records.
    fn take_apart<'a>(&mut self, parsed: Text<'a>, at: usize, lines: &Lines<'a>) {
        let Some((before, after)) = lines.text.split_at_checked(at) else { return };
        let (begin, end) = lines.extent;
        let before = without_line_end(before);
        let count = lines.stack_line;
        let extent = (begin, lines.stack_begin);
        // It happened when the line says, not when that was read.
        let time = parsed.time.unwrap_or(lines.time);
        self.take_parsed(parsed, &Lines { text: before, whole: before, count, stack: None, extent, ..*lines });
        let stack = lines.stack.map(|stack| Stack { at: 0, ..stack });
        let (count, extent) = (lines.count.saturating_sub(count), (lines.stack_begin, end));
        let below = Lines { text: after, whole: after, count, stack, extent, time, overwritten: None, ..*lines };
        self.take_parsed(Text::raw(below.head()), &below);
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
        columns::own_of_text(&mut parsed, self.context(lines.time));
        let stack_text = self.stack_text(lines);
        let raised = self.raised(lines, &stack_text);
        if let Some((at, Raised { at: 0, .. })) = raised
            && at > 0
            && !matches!(self.options.multiline, Multiline::Start(_))
            && lines.stack.is_some_and(|stack| matches!(stack.family, Family::Python | Family::Frames))
            && parsed.level.as_deref().is_some_and(|level| CALM_LEVELS.contains(&level))
        {
            return self.take_apart(parsed, at, lines);
        }
        if !matches!(raised, Some((0, _))) {
            self.note_text(parsed.format, lines.text);
        }
        let message = lines.message(head, &parsed.message, raised.map(|(at, _)| at));
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
            group_piece: lines.group_piece,
            overwritten: lines.overwritten,
        };
        if let Some((at, raised)) = raised {
            self.seen.note(Format::Traceback);
            columns.exception = Some(Exception { kind: raised.kind, message: raised.message, stack: &text[at..] });
            if at == 0 {
                (columns.level, columns.message) = (Some(raised.level), raised.said);
            }
            columns.level = columns.level.or(Some(RAISED_LEVEL));
        }
        self.put(lines.whole, &columns, lines.extent);
    }
}

/// Lines of a group before those of its exception. Counted in what was read: redaction makes one of many.
pub(super) fn lines_before(window: &[u8], group: &Group) -> u32 {
    let before = group.stack.and_then(|stack| window.get(group.start..stack.at)).unwrap_or_default();
    u32::try_from(memchr::memchr_iter(b'\n', before).count()).unwrap_or(u32::MAX)
}

fn exception_of(exception: &json::Exception) -> Exception<'_> {
    Exception {
        kind: exception.kind.as_bytes(),
        message: exception.message.as_bytes(),
        stack: exception.stack.as_bytes(),
    }
}
