//! Which format a line has, decided by its first byte and then by what only one format has at its place.

use std::borrow::Cow;

use super::format::Format;
use super::regex::{Pattern, Secret, without};
use super::{Context, Text, access, console, dated, java, klog, pairs, python, server, syslog, timestamp};

/// What the line says; where no format fits, the line is its message, and a time at its front its time.
pub fn parse<'a>(line: &'a [u8], context: Context<'_>) -> Text<'a> {
    let found = match line.first() {
        Some(b'0'..=b'9') => digit(line, context),
        Some(b'[') => dated::bracketed(line, context),
        Some(b'<') => syslog::parse(line, context),
        Some(b'A'..=b'Z') => capital(line, context),
        Some(b'a'..=b'z' | b'_' | b'@' | b':') => small(line, context),
        _ => None,
    };
    found.map_or_else(|| stamped(line, context), |text| searchable(text, line))
}

/// Python's formats alone, and a time at the front.
pub fn python<'a>(line: &'a [u8], context: Context<'_>) -> Text<'a> {
    let found = match line.first() {
        Some(b'0'..=b'9') => dated::bare(line, context),
        Some(b'[') => dated::bracketed(line, context),
        Some(b'A'..=b'Z') => capital_python(line, context),
        Some(b'a'..=b'z' | b'_') => pairs::parse(line, context, false),
        _ => None,
    };
    found.map_or_else(|| stamped(line, context), |text| searchable(text, line))
}

/// Syslog, and a time at the front.
pub fn syslog<'a>(line: &'a [u8], context: Context<'_>) -> Text<'a> {
    let iso = || {
        let (time, end) = timestamp::leading(line, context.zone)?;
        syslog::iso(time, &line[end..])
    };
    let found = syslog::parse(line, context).or_else(iso);
    found.map_or_else(|| stamped(line, context), |text| searchable(text, line))
}

/// Pairs, and nothing else.
pub fn logfmt<'a>(line: &'a [u8], context: Context<'_>) -> Text<'a> {
    pairs::parse(line, context, true).map_or_else(|| stamped(line, context), |text| searchable(text, line))
}

/// What the named groups of a pattern say, without the secrets that some of them are.
pub fn regex<'a>(pattern: &Pattern, line: &'a [u8], secrets: &[Secret], context: Context<'_>) -> Text<'a> {
    let Some(text) = pattern.parse(line, secrets, context) else { return stamped(line, context) };
    let text = text.of(Format::Regex);
    match secrets.is_empty() || text.is_searchable() {
        true => searchable(text, line),
        false => Text { message: without(line, secrets).into(), ..searchable(text, line) },
    }
}

/// A line that is its own message, with the time at its front.
fn stamped<'a>(line: &'a [u8], context: Context<'_>) -> Text<'a> {
    let stamp = line.strip_prefix(b"[").unwrap_or(line);
    let time = timestamp::leading(stamp, context.zone).map(|(time, _)| time);
    Text { time, ..Text::raw(line) }
}

/// What was found, or, where a part of it could not be searched, the line as it is with what stands in columns.
pub fn searchable<'a>(text: Text<'a>, line: &'a [u8]) -> Text<'a> {
    if text.fields.is_empty() && text.columns.is_empty() && text.named.is_empty() {
        return named(text);
    }
    let Some(unfit) = text.unfit_fields() else { return named(text) };
    let is_short = |text: &[u8]| text.len() <= super::json::FIELD_STRING_MAX_BYTES;
    let short = |text: Option<Cow<'a, [u8]>>| text.filter(|text| is_short(text));
    Text {
        time: text.time,
        logger: short(text.logger),
        level: short(text.level),
        columns: text.columns.into_iter().filter(|(_, text)| is_short(text.as_bytes())).collect(),
        named: text.named.into_iter().filter(|named| is_short(named.text.as_bytes())).collect(),
        duration_ms: text.duration_ms,
        unfit: Some(unfit),
        ..Text::raw(line)
    }
    .of(Format::Unfit)
}

/// What was recognised and has no name has a head at least.
fn named(text: Text<'_>) -> Text<'_> {
    if text.format == Format::Plain { text.of(Format::Head) } else { text }
}

fn digit<'a>(line: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    if matches!(line.get(4), Some(b'-' | b'/')) {
        return dated::bare(line, context);
    }
    if line.get(2) == Some(&b'/') && line.get(5) == Some(&b'/') {
        return dated::short_year(line, context);
    }
    if line.get(2) == Some(&b':') && java::is_clock(line.get(..8)?) {
        return java::threaded(line);
    }
    access::parse(line, context).or_else(|| server::redis(line, context)).or_else(|| console::zerolog(line, context))
}

fn capital<'a>(line: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    if let Some(text) = java::two_lines(line, context.zone) {
        return Some(text);
    }
    if line.get(1).is_some_and(u8::is_ascii_digit) {
        return klog::parse(line, context);
    }
    if line.get(1) == Some(&b',') {
        return console::ruby(line, context);
    }
    capital_python(line, context)
        .or_else(|| syslog::parse(line, context))
        .or_else(|| pairs::parse(line, context, false))
        .or_else(|| access::parse(line, context))
}

fn capital_python<'a>(line: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    if !line.get(1).is_some_and(u8::is_ascii_uppercase) {
        return None;
    }
    python::leveled(line)
        .or_else(|| python::colons(line))
        .or_else(|| python::month_and_day(line, context))
        .or_else(|| dated::level_first(line, context))
}

fn small<'a>(line: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    console::dotnet(line).or_else(|| pairs::parse(line, context, false)).or_else(|| access::parse(line, context))
}
