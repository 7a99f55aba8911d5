//! Syslog: RFC 5424, RFC 3164 and what files in /var/log hold of it, with its own timestamp or an ISO one.

use std::borrow::Cow;

use super::format::Format;
use super::{Context, Field, Text, Value, calendar, pairs, scan, timestamp};

/// Longest `<PRI>` as a number: facility 23, severity 7.
const PRIORITY_MAX: usize = 191;

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// By severity: emergency, alert, critical, error, warning, notice, informational, debug.
const LEVELS: [&str; 8] = ["CRITICAL", "CRITICAL", "CRITICAL", "ERROR", "WARNING", "INFO", "INFO", "DEBUG"];

/// Any of the forms with `<PRI>`, or one with the classic timestamp and a program's name.
pub fn parse<'a>(line: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    if !line.starts_with(b"<") {
        let (time, end) = calendar::without_year(line, context.zone, context.near)?;
        return body(Text { time: Some(time), ..empty() }, &line[end..], true);
    }
    let (priority, rest) = scan::enclosed(line, b'<', b'>')?;
    let number = scan::digits(priority).filter(|(digits, rest)| digits.len() <= 3 && rest.is_empty())?.0;
    let number = number.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    if number > PRIORITY_MAX {
        return None;
    }
    let facility = Field { name: "facility".into(), value: Value::Text(FACILITIES[number / 8].as_bytes().into()) };
    let head = Text { level: Some(LEVELS[number % 8].as_bytes().into()), fields: vec![facility], ..empty() };
    if let Some(rest) = rest.strip_prefix(b"1 ") {
        return structured(head, rest, context);
    }
    let found =
        calendar::without_year(rest, context.zone, context.near).or_else(|| timestamp::leading(rest, context.zone))?;
    let (time, end) = found;
    body(Text { time: Some(time), ..head }, &rest[end..], false)
}

/// ` host program[pid]: message` behind an ISO timestamp, where the pid makes it sure.
pub fn iso(time: crate::record::Nanos, rest: &[u8]) -> Option<Text<'_>> {
    let text = body(Text { time: Some(time), ..empty() }, rest, true)?;
    let is_kernel = text.logger.as_deref() == Some(b"kernel");
    (is_kernel || text.fields.iter().any(|field| field.name == "pid")).then_some(text)
}

fn empty<'a>() -> Text<'a> {
    Text::default().of(Format::Syslog)
}

/// ` host program[pid]: message`; without a program only where it need not be there.
fn body<'a>(head: Text<'a>, rest: &'a [u8], needs_program: bool) -> Option<Text<'a>> {
    let (host, rest) = scan::word(rest.strip_prefix(b" ")?)?;
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let is_host =
        host.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(byte)) && !host.ends_with(b":");
    if !is_host {
        return None;
    }
    let head = head.with_text("host", host);
    match program(rest) {
        Some((name, pid, message)) => {
            Some(Text { logger: Some(name.into()), message: message.into(), ..head.with("pid", pid) })
        }
        None if needs_program => None,
        None => Some(Text { message: rest.into(), ..head }),
    }
}

/// Name, pid (or nothing) and message of `program[pid]: message`.
fn program(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"._-/@()".contains(byte);
    let len = text.iter().take(scan::NAME_MAX_BYTES).take_while(is_part).count();
    let (name, rest) = text.split_at(len);
    let (pid, rest) = match scan::bracketed(rest) {
        Some((pid, rest)) if pid.iter().all(u8::is_ascii_digit) => (pid, rest),
        _ => (&b""[..], rest),
    };
    let rest = rest.strip_prefix(b":")?;
    let is_name = name.iter().any(u8::is_ascii_alphabetic);
    let message = if rest.is_empty() { rest } else { rest.strip_prefix(b" ")? };
    is_name.then_some((name, pid, message))
}

/// What RFC 5424 has behind its version: `TIME HOST APP PROCID MSGID [DATA] MESSAGE`, each of them `-` where there is none.
fn structured<'a>(head: Text<'a>, rest: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    let mut rest = rest;
    let mut next = || {
        let (word, after) = scan::word(rest)?;
        rest = after.strip_prefix(b" ")?;
        Some(if word == b"-" { &b""[..] } else { word })
    };
    let (stamp, host, app, process, id) = (next()?, next()?, next()?, next()?, next()?);
    let time = match stamp {
        b"" => None,
        stamp => Some(timestamp::leading(stamp, context.zone).filter(|(_, end)| *end == stamp.len())?.0),
    };
    let mut text = Text { time, ..head }.with_text("host", host).with("pid", process).with_text("msgid", id);
    text.logger = (!app.is_empty()).then_some(app.into());
    let mut rest = match rest.strip_prefix(b"-") {
        Some(rest) => rest,
        None => data(rest, &mut text.fields)?,
    };
    if !rest.is_empty() {
        rest = rest.strip_prefix(b" ")?;
    }
    text.message = rest.strip_prefix(b"\xef\xbb\xbf").unwrap_or(rest).into();
    Some(text)
}

/// `[id name="value" …][…]`: each becomes the field `id.name`, one without values the field `id`. Gives what follows.
fn data<'a>(text: &'a [u8], fields: &mut Vec<Field<'a>>) -> Option<&'a [u8]> {
    let mut rest = text;
    while let Some(element) = rest.strip_prefix(b"[") {
        let end = element.iter().take(scan::NAME_MAX_BYTES).position(|byte| matches!(byte, b' ' | b']'))?;
        let (id, mut inside) = element.split_at(end);
        let id = std::str::from_utf8(id).ok().filter(|id| !id.is_empty() && !id.contains(['[', '"', '=']))?;
        if inside.starts_with(b"]") {
            // It says something by being there.
            fields.push(Field { name: id.into(), value: Value::Text(Cow::Borrowed(b"")) });
        }
        while let Some(parameter) = inside.strip_prefix(b" ") {
            let (name, value) = scan::before(parameter, b"=\"")?;
            let (value, after) = pairs::quoted(value, b'"')?;
            let name: Cow<'_, str> = format!("{id}.{}", std::str::from_utf8(name).ok()?).into();
            if fields.len() == pairs::PAIRS_MAX || fields.iter().any(|field| field.name == name) {
                return None;
            }
            fields.push(Field { name, value: Value::Text(value) });
            inside = after;
        }
        rest = inside.strip_prefix(b"]")?;
    }
    (rest.len() < text.len()).then_some(rest)
}
