//! Lines of Python's `logging` and of what is built on it: `%(asctime)s - %(name)s - %(levelname)s - %(message)s`,
//! `basicConfig`'s `LEVEL:name:message`, uvicorn, gunicorn, Celery, Airflow, vLLM. Forms that other languages have as well
//! stand in [`super::dated`].

use super::format::Format;
use super::{Context, Text, access, calendar, level, scan, timestamp};
use crate::ingest::options::Zone;
use crate::record::Nanos;

const SEPARATOR: &[u8] = b" - ";

/// Longest level that is none of the known ones, in bytes.
const LEVEL_MAX_BYTES: usize = 20;

/// What the first line of a record says, if it has one of the two forms of `logging` itself; `line` is without its line
/// end.
pub fn parse<'a>(line: &'a [u8], zone: &Zone) -> Option<Text<'a>> {
    match line.first()? {
        b'0'..=b'9' => {
            let (time, end) = timestamp::leading(line, zone)?;
            dashed(time, &line[end..])
        }
        b'A'..=b'Z' => colons(line),
        _ => None,
    }
}

/// What follows the timestamp: ` - name - LEVEL - message`, ` - LEVEL - message`, or what cloud-init has there.
pub fn dashed(time: Nanos, rest: &[u8]) -> Option<Text<'_>> {
    let rest = rest.strip_prefix(SEPARATOR)?;
    named(time, rest).or_else(|| cloud_init(time, rest))
}

fn named(time: Nanos, rest: &[u8]) -> Option<Text<'_>> {
    let (logger, rest) = scan::before(rest, SEPARATOR)?;
    if let Some((level, b"")) = scan::level(logger) {
        return Some(Text::new(Some(time), None, Some(level), rest).of(Format::PythonDashed));
    }
    let (word, message) = match scan::before(rest, SEPARATOR) {
        Some(found) => found,
        // An empty message: its separator has lost its last blank to nobody, but editors strip it.
        None => (rest.strip_suffix(b" -")?, &b""[..]),
    };
    let mut text = Text::new(Some(time), Some(logger), level::known(word), message).of(Format::PythonDashed);
    if text.level.is_none() {
        text.level = Some(own_level(word)?.into());
    }
    Some(text)
}

/// `util.py[DEBUG]: message`, as cloud-init has it behind the dash.
fn cloud_init(time: Nanos, rest: &[u8]) -> Option<Text<'_>> {
    let (file, rest) = scan::before(rest, b"[")?;
    let (word, message) = scan::before(rest, b"]: ")?;
    let level = scan::level(word).filter(|(_, rest)| rest.is_empty())?.0;
    (file.ends_with(b".py") && scan::is_name(file))
        .then(|| Text::new(Some(time), Some(file), Some(level), message).of(Format::CloudInit))
}

/// A level that a program made up: a word in capitals is kept as it is.
fn own_level(word: &[u8]) -> Option<&[u8]> {
    (word.len() <= LEVEL_MAX_BYTES && word.iter().all(u8::is_ascii_uppercase)).then_some(word)
}

/// `LEVEL:name:message`.
pub fn colons(line: &[u8]) -> Option<Text<'_>> {
    let colon = line.iter().take(9).position(|&byte| byte == b':')?;
    let word = &line[..colon];
    if word.len() < 4 || !word.iter().all(u8::is_ascii_uppercase) {
        return None;
    }
    let level = level::known(word)?;
    let rest = &line[colon + 1..];
    let end = rest.iter().take(scan::NAME_MAX_BYTES).position(|&byte| byte == b':' || byte == b' ')?;
    let is_name = end > 0 && rest[end] == b':';
    is_name.then(|| Text::new(None, Some(&rest[..end]), Some(level), &rest[end + 1..]).of(Format::PythonColons))
}

/// `LEVEL:    message`, as uvicorn and many tools write it: uvicorn's line about a request is taken apart as well.
pub fn leveled(line: &[u8]) -> Option<Text<'_>> {
    let (level, rest) = scan::level(line)?;
    let message = rest.strip_prefix(b":").filter(|rest| rest.first().is_some_and(|byte| scan::is_blank(*byte)))?;
    let message = scan::skip_blanks(message);
    let text = Text::new(None, None, Some(level), message).of(Format::PythonLeveled);
    Some(request(&text, message).unwrap_or(text))
}

/// `127.0.0.1:51234 - "GET / HTTP/1.1" 200 OK`.
fn request<'a>(head: &Text<'a>, message: &'a [u8]) -> Option<Text<'a>> {
    let (client, rest) = scan::before(message, SEPARATOR)?;
    let has_port =
        client.iter().rposition(|byte| *byte == b':').is_some_and(|at| client[at + 1..].iter().all(u8::is_ascii_digit));
    if !has_port || !rest.starts_with(b"\"") {
        return None;
    }
    let (method, path, after) = access::request(rest)?;
    let (status, _) = scan::digits(after.strip_prefix(b" ")?).filter(|(status, _)| status.len() == 3)?;
    let text = Text { message: rest.into(), ..head.clone() };
    Some(text.with_text("client", client).with("method", method).with_text("path", path).with("status", status))
}

/// `INFO 11-20 23:00:33 [llm_engine.py:10] message`, as vLLM writes it.
pub fn month_and_day<'a>(line: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    let (level, rest) = scan::level(line)?;
    let rest = rest.strip_prefix(b" ")?;
    let (time, end) = calendar::month_and_day(rest, context.zone, context.near)?;
    let rest = rest[end..].strip_prefix(b" ")?;
    let (caller, message) = scan::bracketed(rest)?;
    let message = message.strip_prefix(b" ").unwrap_or(message);
    Some(Text::new(Some(time), None, Some(level), message).of(Format::Vllm).with_text("caller", caller))
}

/// What Celery writes within its bracket behind the time, `: INFO/MainProcess`, and behind it.
pub fn celery<'a>(time: Nanos, inside: &'a [u8], message: &'a [u8]) -> Option<Text<'a>> {
    let (level, process) = scan::level(inside.strip_prefix(b": ")?)?;
    let process = process.strip_prefix(b"/").filter(|process| scan::is_name(process))?;
    let text = Text::new(Some(time), None, Some(level), scan::skip_blanks(message)).of(Format::Celery);
    Some(text.with_text("process", process))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_logging() {
        let check = |line: &str, expected: Option<(&str, &str, &str)>| {
            let text = parse(line.as_bytes(), &Zone::Utc);
            let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let found = text
                .map(|t| (show(&t.logger.unwrap_or_default()), show(&t.level.unwrap_or_default()), show(&t.message)));
            let found =
                found.as_ref().map(|(logger, level, message)| (logger.as_str(), level.as_str(), message.as_str()));
            assert_eq!(found, expected, "{line}");
        };
        check(
            "2026-11-20 23:00:33,123 - agent.core - INFO - step 1 - done",
            Some(("agent.core", "INFO", "step 1 - done")),
        );
        check("2026-11-20 23:00:33 - a - WARNING - x", Some(("a", "WARNING", "x")));
        check("2026-11-20 23:00:33,123 - a - INFO - ", Some(("a", "INFO", "")));
        check("2026-11-20 23:00:33,123 - a - INFO -", Some(("a", "INFO", "")));
        check("2026-11-20 23:00:33,123 - a - SUCCESS - x", Some(("a", "SUCCESS", "x")));
        check("2026-11-20 23:00:33,123 - a - shout - x", None);
        check("2026-11-20 23:00:33,123 - INFO - x - Y - z", Some(("", "INFO", "x - Y - z")));
        check(&format!("2026-11-20 23:00:33,123 - {} - INFO - x", "n".repeat(201)), None);
        check("2026-11-20 23:00:33,123 INFO x", None);
        check("2026-11-20 23:00:33,123 -  - INFO - x", None);
        check("ERROR:root:it broke: badly", Some(("root", "ERROR", "it broke: badly")));
        check("ERROR: it broke", None);
        check("INFO:a b:c", None);
        check("ValueError:x:y", None);
        check("", None);
    }
}
