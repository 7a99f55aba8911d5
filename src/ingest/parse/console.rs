//! Lines that are meant for a person at a terminal: loguru, structlog, zap, zerolog, Serilog, .NET, env_logger, Ruby.

use std::borrow::Cow;

use super::format::Format;
use super::{Context, Text, java, pairs, scan, timestamp};
use crate::record::Nanos;

/// What loguru writes behind its time, ` | INFO     | module:function:10 - message`.
pub fn loguru(time: Nanos, rest: &[u8]) -> Option<Text<'_>> {
    let (level, rest) = own_or_known(rest.strip_prefix(b" | ")?)?;
    let rest = scan::skip_blanks(rest).strip_prefix(b"| ")?;
    let (place, message) = match scan::before(rest, b" - ") {
        Some(found) => found,
        None => (rest.strip_suffix(b" -")?, &b""[..]),
    };
    let mut parts = place.rsplitn(3, |byte| *byte == b':');
    let (line, function, module) = (parts.next()?, parts.next()?, parts.next()?);
    let is_place = line.iter().all(u8::is_ascii_digit) && !module.contains(&b' ') && !module.is_empty();
    let mut text = Text::new(Some(time), Some(module), None, message).of(Format::Loguru);
    text.level = Some(level);
    is_place.then(|| text.with_text("function", function).with("line", line))
}

/// ` | INFO | name | message`, a form that people give to loguru and others.
pub fn barred(time: Nanos, rest: &[u8]) -> Option<Text<'_>> {
    let (level, rest) = scan::level(scan::skip_blanks(rest.strip_prefix(b" | ")?))?;
    let rest = scan::skip_blanks(scan::skip_blanks(rest).strip_prefix(b"|")?);
    let named = scan::before(rest, b" | ").map(|(name, message)| (name.trim_ascii(), message));
    let (logger, message) = match named.filter(|(name, _)| scan::is_name(name)) {
        Some((name, message)) => (Some(name), scan::skip_blanks(message)),
        None => (None, rest),
    };
    Some(Text::new(Some(time), logger, Some(level), message).of(Format::Barred))
}

/// A level in capitals, a program's own one too.
fn own_or_known(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    if let Some((level, rest)) = scan::level(text) {
        return Some((Cow::Borrowed(level.as_bytes()), rest));
    }
    let end = text.iter().take(20).take_while(|byte| byte.is_ascii_uppercase()).count();
    let (word, rest) = text.split_at(end);
    (end > 2 && rest.first() == Some(&b' ')).then_some((Cow::Borrowed(word), rest))
}

/// What structlog writes behind its time, ` [info     ] event    [logger] key=value`; `rest` begins behind the level.
pub fn structlog<'a>(head: Text<'a>, rest: &'a [u8], context: Context<'_>) -> Text<'a> {
    let (event, fields) = pairs::trailing(scan::skip_blanks(rest));
    let event = event.trim_ascii_end();
    let named = event.strip_suffix(b"]").and_then(|event| {
        let at = event.iter().rposition(|byte| *byte == b'[')?;
        let name = &event[at + 1..];
        (at > 0 && scan::is_blank(event[at - 1]) && scan::is_name(name)).then(|| (event[..at].trim_ascii_end(), name))
    });
    let (event, logger) = named.map_or((event, None), |(event, name)| (event, Some(name)));
    let logger = logger.map(Cow::Borrowed);
    pairs::spelled(Text { logger, message: event.into(), fields, ..head }.of(Format::Structlog), context)
}

/// What zap and others write behind their time, columns parted by tabs: `LEVEL`, a logger and a place or not, the
/// message, and a JSON object or not, which stays in the message here.
pub fn tabbed(time: Nanos, rest: &[u8]) -> Option<Text<'_>> {
    let mut rest = rest.strip_prefix(b"\t")?;
    let (word, after) = column(rest)?;
    let level = scan::level_word(word)?;
    rest = after;
    let mut text = Text::new(Some(time), None, Some(level), b"").of(Format::Zap);
    // A name, then a place; a message is told from them by what a name cannot hold.
    for _ in 0..2 {
        match column(rest) {
            Some((caller, after)) if is_position(caller) => {
                text = text.with_text("caller", caller);
                rest = after;
                break;
            }
            Some((name, after)) if scan::is_name(name) && text.logger.is_none() => {
                text.logger = Some(name.into());
                rest = after;
            }
            _ => break,
        }
    }
    Some(Text { message: rest.into(), ..text })
}

/// What stands before the next tab.
fn column(text: &[u8]) -> scan::Cut<'_> {
    scan::before(text, b"\t")
}

/// Whether this names a line of code: `main.go:10`, `pkg/worker.py:7`.
pub fn is_position(text: &[u8]) -> bool {
    let Some(colon) = text.iter().rposition(|byte| *byte == b':') else { return false };
    let (file, line) = (&text[..colon], &text[colon + 1..]);
    let has_extension = file.iter().rposition(|byte| *byte == b'.').is_some_and(|at| at > 0 && at + 1 < file.len());
    has_extension && !line.is_empty() && line.iter().all(u8::is_ascii_digit) && !file.contains(&b' ')
}

/// `11:00PM INF message key=value`, zerolog's.
pub fn zerolog<'a>(line: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    let (clock, rest) = scan::word(line)?;
    let time = clock.strip_suffix(b"AM").or_else(|| clock.strip_suffix(b"PM"))?;
    let is_clock = matches!(time.len(), 4 | 5)
        && time.iter().rev().enumerate().all(|(at, byte)| if at == 2 { *byte == b':' } else { byte.is_ascii_digit() });
    let (level, rest) = scan::level(rest.strip_prefix(b" ")?)?;
    let head = Text::new(None, None, Some(level), b"").of(Format::Zerolog).with_text("clock", clock);
    is_clock.then(|| followed_by_pairs(head, scan::skip_blanks(rest), context))
}

/// A message and the pairs behind it; all of it is message where a name of theirs is taken.
pub fn followed_by_pairs<'a>(head: Text<'a>, rest: &'a [u8], context: Context<'_>) -> Text<'a> {
    let (message, mut fields) = pairs::trailing(rest);
    if fields.iter().any(|field| head.fields.iter().any(|known| known.name == field.name)) {
        return Text { message: rest.into(), ..head };
    }
    let mut text = Text { message: message.into(), ..head };
    text.fields.append(&mut fields);
    pairs::spelled(text, context)
}

/// `[23:00:33 INF] message`, Serilog's.
pub fn serilog(line: &[u8]) -> Option<Text<'_>> {
    let (inside, rest) = scan::bracketed(line)?;
    let (clock, word) = scan::word(inside).filter(|(clock, _)| java::is_clock(clock))?;
    let (level, after) = scan::level(word.strip_prefix(b" ")?)?;
    let message = rest.strip_prefix(b" ")?;
    let text = || Text::new(None, None, Some(level), message).of(Format::Serilog).with_text("clock", clock);
    after.is_empty().then(text)
}

/// `info: Company.App.Worker[14]`, .NET's; its message stands in the indented lines that follow, so `line` may be more
/// than one.
pub fn dotnet(line: &[u8]) -> Option<Text<'_>> {
    let (word, rest) = scan::before(line, b": ")?;
    let level = match word {
        b"trce" => "TRACE",
        b"dbug" => "DEBUG",
        b"info" => "INFO",
        b"warn" => "WARNING",
        b"fail" => "ERROR",
        b"crit" => "CRITICAL",
        _ => return None,
    };
    let (category, rest) = scan::before(rest, b"[")?;
    let (event, rest) = scan::before(rest, b"]")?;
    let is_head = rest.is_empty() && scan::is_name(category) && event.iter().all(u8::is_ascii_digit);
    let text = || Text::new(None, Some(category), Some(level), b"").of(Format::Dotnet).with("event_id", event);
    is_head.then(text)
}

/// `[2026-11-20T23:00:33Z INFO  crate::module] message`, env_logger's; `inside` is what follows the time in the bracket.
pub fn env_logger<'a>(time: Nanos, inside: &'a [u8], message: &'a [u8]) -> Option<Text<'a>> {
    let (level, module) = scan::level(inside.strip_prefix(b" ")?)?;
    let module = scan::skip_blanks(module);
    let is_module = module.is_empty() || scan::is_name(module);
    let logger = (!module.is_empty()).then_some(module);
    let message = scan::skip_blanks(message);
    is_module.then(|| Text::new(Some(time), logger, Some(level), message).of(Format::EnvLogger))
}

/// `I, [2026-11-20T23:00:33.123456 #7]  INFO -- program: message`, Ruby's.
pub fn ruby<'a>(line: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    let (_, rest) = line.split_at_checked(1)?;
    let (inside, rest) = scan::bracketed(rest.strip_prefix(b", ")?)?;
    let (time, end) = timestamp::leading(inside, context.zone)?;
    let (pid, _) = scan::digits(inside[end..].strip_prefix(b" #")?).filter(|(_, rest)| rest.is_empty())?;
    let rest = scan::skip_blanks(rest);
    let (level, rest) = match rest.strip_prefix(b"ANY") {
        Some(rest) => (None, rest),
        None => scan::level(rest).map(|(level, rest)| (Some(level), rest))?,
    };
    let (program, message) = match rest.strip_prefix(b" -- ")? {
        rest if rest.starts_with(b": ") => (None, &rest[2..]),
        rest => scan::before(rest, b": ").map(|(program, message)| (Some(program), message))?,
    };
    Some(Text::new(Some(time), program, level, message).of(Format::Ruby).with("pid", pid))
}
