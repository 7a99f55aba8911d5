//! Lines that begin with a timestamp, bare or in brackets, or with a level in brackets, and then have a head that many
//! languages and libraries share: level, thread, logger, place, in varying order. Without a level that is sure, the line is
//! none of these.

use std::borrow::Cow;

use super::format::Format;
use super::{Context, Text, console, java, pairs, python, scan, server, syslog, timestamp};
use crate::record::Nanos;

/// Most brackets of a head.
const BRACKETS_MAX: usize = 4;

/// A line that begins with an ISO date, or with the one of Go and nginx.
pub fn bare<'a>(line: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    let (time, end) = timestamp::leading(line, context.zone)?;
    let rest = &line[end..];
    // The default of Python's logging comes first: it is what most lines are.
    if rest.starts_with(b" - ") {
        return python::dashed(time, rest);
    }
    if line.get(4) == Some(&b'/') {
        return Some(slashed(time, rest, context));
    }
    let (time, end) = timestamp::leading_spaced(line, context.zone)?;
    let rest = &line[end..];
    match rest.first()? {
        b'\t' => console::tabbed(time, rest).or_else(|| headed(time, rest, context)),
        b' ' if rest.starts_with(b" | ") => console::loguru(time, rest).or_else(|| console::barred(time, rest)),
        // Tracing and zerolog write the time like this, and pairs behind their message.
        b' ' if line[end - 1] == b'Z' => server::mysql(time, rest)
            .or_else(|| headed(time, rest, context).map(|text| paired(text, context)))
            .or_else(|| syslog::iso(time, rest)),
        b' ' => server::postgres(time, rest)
            .or_else(|| server::mysql(time, rest))
            .or_else(|| headed(time, rest, context))
            .or_else(|| syslog::iso(time, rest)),
        _ => None,
    }
}

/// Behind `2026/11/20 23:00:33`: nginx, slog's default, or the message of Go's `log` with its place or without.
fn slashed<'a>(time: Nanos, rest: &'a [u8], context: Context<'_>) -> Text<'a> {
    if let Some(text) = server::nginx(time, rest) {
        return text;
    }
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let head = Text::new(Some(time), None, None, rest).of(Format::GoLog);
    if let Some((level, rest)) = scan::level(rest)
        && let Some(rest) = rest.strip_prefix(b" ")
    {
        let head = Text::new(Some(time), None, Some(level), rest).of(Format::GoLog);
        return console::followed_by_pairs(head, rest, context);
    }
    match scan::before(rest, b": ") {
        Some((caller, message)) if console::is_position(caller) => {
            Text { message: message.into(), ..head }.with_text("caller", caller)
        }
        _ => head,
    }
}

/// Behind a time: a level, or one to four brackets or a name and then a level.
fn headed<'a>(time: Nanos, rest: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    let head = Text { time: Some(time), ..Text::default() };
    let rest = scan::skip_blanks(rest);
    if let Some((level, rest)) = scan::level(rest) {
        return Some(leveled(with_level(head, level), rest));
    }
    if rest.starts_with(b"[") {
        return brackets(head, rest, context);
    }
    // `main ERROR message`, `agent.core [INFO] message`, `agent.core: INFO: message`.
    let (name, after) = scan::word(rest)?;
    let name = name.strip_suffix(b":").unwrap_or(name);
    let after = scan::skip_blanks(after);
    let (level, after) = match scan::bracketed(after) {
        Some((word, after)) => (scan::level(word.trim_ascii()).filter(|(_, rest)| rest.is_empty())?.0, after),
        None => scan::level(after)?,
    };
    let text = Text { logger: Some(name.into()), ..with_level(head, level) };
    scan::is_name(name).then(|| messaged(text, after))
}

fn with_level<'a>(head: Text<'a>, level: &'static str) -> Text<'a> {
    Text { level: Some(level.as_bytes().into()), ..head }
}

/// `[main] INFO …`, `[INFO] …`, `[7] [INFO] …`, `[INFO ][o.e.n.Node ] …`; `[info     ] event` is structlog's.
pub fn brackets<'a>(head: Text<'a>, rest: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    let mut text = head;
    let mut rest = rest;
    for _ in 0..BRACKETS_MAX {
        let blank = scan::skip_blanks(rest);
        let Some((inside, after)) = scan::bracketed(blank) else { break };
        let word = inside.trim_ascii();
        if let Some(level) = scan::level_word(word).filter(|_| text.level.is_none()) {
            text = with_level(text, level);
            if word.iter().all(u8::is_ascii_lowercase) && after.starts_with(b" ") {
                return Some(console::structlog(text, after, context));
            }
        } else if word.iter().all(u8::is_ascii_digit) && !has(&text, "pid") {
            text = text.with("pid", word);
        } else if console::is_position(word) && !has(&text, "caller") {
            text = text.with_text("caller", word);
        } else if text.logger.is_none() && (scan::is_joined_name(word) || is_hydra(word, after)) {
            text.logger = Some(word.into());
        } else if text.level.is_none() && !has(&text, "thread") && !word.is_empty() {
            text = text.with_text("thread", word);
        } else {
            break;
        }
        rest = after;
    }
    if text.level.is_some() {
        return Some(messaged(text, rest));
    }
    let (level, rest) = scan::level(scan::skip_blanks(rest))?;
    Some(leveled(with_level(text, level), rest))
}

/// Whether brackets follow each other without a blank, the name before the level, as Hydra configures it.
fn is_hydra(word: &[u8], after: &[u8]) -> bool {
    scan::is_name(word) && scan::bracketed(after).is_some_and(|(inside, _)| scan::level_word(inside).is_some())
}

fn has(text: &Text<'_>, name: &str) -> bool {
    text.fields.iter().any(|field| field.name == name)
}

/// Behind a level in capitals: what Spring Boot has there, brackets with thread and logger, a name, a place, a message.
fn leveled<'a>(head: Text<'a>, rest: &'a [u8]) -> Text<'a> {
    if let Some(text) = java::spring(&head, rest) {
        return text;
    }
    let mut text = head;
    let mut rest = rest;
    for _ in 0..BRACKETS_MAX {
        let blank = scan::skip_blanks(rest);
        let Some((inside, after)) = scan::bracketed(blank) else { break };
        let word = inside.trim_ascii();
        if console::is_position(word) && !has(&text, "caller") {
            text = text.with_text("caller", word);
        } else if !has(&text, "thread") && !word.is_empty() && is_thread(after) {
            text = text.with_text("thread", word);
        } else if scan::is_joined_name(word) && text.logger.is_none() {
            text.logger = Some(word.into());
        } else {
            break;
        }
        rest = after;
    }
    // JBoss has its thread in parentheses behind the logger.
    if text.logger.is_some()
        && let Some((thread, after)) = scan::enclosed(scan::skip_blanks(rest), b'(', b')')
        && !has(&text, "thread")
    {
        text = text.with_text("thread", thread);
        rest = after;
    }
    messaged(text, rest)
}

/// Whether what follows a bracket says that it held a thread: a logger and the sign that ends its name.
fn is_thread(after: &[u8]) -> bool {
    let rest = scan::skip_blanks(after);
    let named = scan::word(rest).is_some_and(|(word, after)| {
        let name = word.strip_suffix(b":").unwrap_or(word);
        scan::is_joined_name(name) && (name.len() < word.len() || scan::skip_blanks(after).starts_with(b"- "))
    });
    named || rest.starts_with(b"- ")
}

/// The pairs at the end of a message become fields, where words stand before them.
fn paired<'a>(text: Text<'a>, context: Context<'_>) -> Text<'a> {
    match text.message {
        Cow::Borrowed(message) if text.level.is_some() && !pairs::trailing(message).0.is_empty() => {
            console::followed_by_pairs(Text { message: b""[..].into(), ..text }, message, context)
        }
        _ => text,
    }
}

/// What ends a head: `: `, ` - `, ` -- ` or blanks, a logger or a place before it, and the message.
fn messaged<'a>(head: Text<'a>, rest: &'a [u8]) -> Text<'a> {
    let mut text = head;
    let mut rest = sign(scan::skip_blanks(rest));
    if let Some((word, after)) = scan::word(rest) {
        let name = word.strip_suffix(b":").unwrap_or(word);
        let next = scan::skip_blanks(after);
        let ends =
            name.len() < word.len() || next.starts_with(b"- ") || next.starts_with(b"-- ") || next.starts_with(b": ");
        if ends && console::is_position(name) && !has(&text, "caller") {
            text = text.with_text("caller", name);
            rest = sign(next);
        } else if ends && scan::is_joined_name(name) && text.logger.is_none() {
            text.logger = Some(name.into());
            rest = sign(next);
        }
    }
    Text { message: rest.into(), ..text }
}

/// The text behind a sign that parts a head from its message.
fn sign(text: &[u8]) -> &[u8] {
    for sign in [&b": "[..], b"- ", b"-- "] {
        if let Some(rest) = text.strip_prefix(sign) {
            return scan::skip_blanks(rest);
        }
    }
    if matches!(text, b":" | b"-") { b"" } else { text }
}

/// A line that begins with a bracket: a time, a level, or a thread before a level.
pub fn bracketed<'a>(line: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    let (inside, rest) = scan::bracketed(line)?;
    if let Some((time, end)) = timestamp::leading_spaced(inside, context.zone) {
        return stamped(time, &inside[end..], rest, context);
    }
    if inside.ends_with(b" ")
        && inside.trim_ascii().iter().all(u8::is_ascii_lowercase)
        && let Some(level) = scan::level_word(inside)
    {
        return Some(console::structlog(with_level(Text::default(), level), rest, context));
    }
    if let Some(level) = scan::level_word(inside).filter(|_| inside.trim_ascii().len() > 3) {
        return Some(bracketed_level(with_level(Text::default(), level), rest, context));
    }
    server::apache(line, context).or_else(|| console::serilog(line)).or_else(|| java::threaded(line))
}

/// `[2026-11-20 23:00:33,123…] …`; `inside` is what the bracket holds behind the time.
fn stamped<'a>(time: Nanos, inside: &'a [u8], rest: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    if !inside.is_empty() {
        return python::celery(time, inside, rest).or_else(|| console::env_logger(time, inside, rest));
    }
    let head = Text { time: Some(time), ..Text::default() };
    let blank = scan::skip_blanks(rest);
    // Airflow has the place in braces.
    let (head, blank) = match scan::enclosed(blank, b'{', b'}') {
        Some((caller, after)) if console::is_position(caller) => {
            (head.with_text("caller", caller), scan::skip_blanks(after))
        }
        _ => (head, blank),
    };
    if blank.starts_with(b"[") {
        return brackets(head, blank, context);
    }
    match scan::level(blank) {
        Some((level, rest)) if rest.starts_with(b" in ") => Some(flask(with_level(head, level), rest)),
        Some((level, rest)) => Some(kafka(leveled(with_level(head, level), rest))),
        None => headed(time, blank, context).filter(|_| has_no_caller(&head)),
    }
}

fn has_no_caller(head: &Text<'_>) -> bool {
    head.fields.is_empty()
}

/// Behind the level, ` in module: message`, as Flask configures it.
fn flask<'a>(head: Text<'a>, rest: &'a [u8]) -> Text<'a> {
    let named = rest.strip_prefix(b" in ").and_then(|rest| scan::before(rest, b": "));
    match named.filter(|(name, _)| scan::is_name(name)) {
        Some((name, message)) => Text { logger: Some(name.into()), message: message.into(), ..head }.of(Format::Flask),
        None => messaged(head, rest),
    }
}

/// Kafka and its kin name the logger at the end, `message (kafka.server.KafkaServer)`.
fn kafka(text: Text<'_>) -> Text<'_> {
    let Cow::Borrowed(message) = text.message else { return text };
    let named = message.strip_suffix(b")").and_then(|message| {
        let at = message.iter().rposition(|byte| *byte == b'(')?;
        let (before, name) = (&message[..at], &message[at + 1..]);
        let dotted = name.iter().filter(|byte| **byte == b'.').count() > 1;
        (before.ends_with(b" ") && dotted && scan::is_joined_name(name)).then(|| (before.trim_ascii_end(), name))
    });
    match named.filter(|_| text.logger.is_none()) {
        Some((message, name)) => Text { logger: Some(name.into()), message: message.into(), ..text },
        None => text,
    }
}

/// `INFO 2026-11-20 23:00:33,123 message` and `INFO  [2026-11-20 23:00:33,123] message`.
pub fn level_first<'a>(line: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    let (level, rest) = scan::level(line)?;
    let rest = scan::skip_blanks(rest.strip_prefix(b" ")?);
    let is_dated = rest.strip_prefix(b"[").unwrap_or(rest).starts_with(b"2");
    let text = is_dated.then(|| bracketed_level(with_level(Text::default(), level), rest, context))?;
    text.time.is_some().then_some(text)
}

/// `26/11/20 23:00:33 INFO SparkContext: message`, Log4j's as Spark and Hadoop configure it.
pub fn short_year<'a>(line: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    let (date, rest) = line.split_at_checked(17)?;
    let (time, end) = timestamp::leading(&[b"20", date].concat(), context.zone)?;
    let (level, rest) = scan::level(rest.strip_prefix(b" ")?)?;
    let (name, message) = scan::before(scan::skip_blanks(rest), b": ")?;
    let text = || Text::new(Some(time), Some(name), Some(level), message).of(Format::Spark);
    (end == 19 && scan::is_name(name)).then(text)
}

/// Behind `[INFO]` at the front: a time or none, and what ends a head.
fn bracketed_level<'a>(head: Text<'a>, rest: &'a [u8], context: Context<'_>) -> Text<'a> {
    let blank = scan::skip_blanks(rest);
    let (inside, after) = scan::bracketed(blank).unwrap_or((b"", blank));
    if let Some((time, _)) =
        timestamp::leading_spaced(inside, context.zone).filter(|(_, end)| *end == inside.len() && *end > 0)
    {
        return messaged(Text { time: Some(time), ..head }, after);
    }
    let Some((time, end)) = timestamp::leading_spaced(blank, context.zone) else { return messaged(head, rest) };
    let head = Text { time: Some(time), ..head };
    let rest = &blank[end..];
    // Lambda writes tabs and the id of the request.
    match rest.strip_prefix(b"\t").and_then(|rest| scan::before(rest, b"\t")) {
        Some((id, message)) if id.len() == 36 && id.iter().filter(|byte| **byte == b'-').count() == 4 => {
            Text { message: message.into(), ..head }.with_text("request_id", id)
        }
        _ => messaged(head, rest),
    }
}
