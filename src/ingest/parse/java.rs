//! Standard forms of the Java world that no other has: Spring Boot, Logback without a date, slf4j's simple logger,
//! java.util.logging.

use super::format::Format;
use super::{Text, calendar, scan};
use crate::ingest::options::Zone;

/// What Spring Boot writes behind its level, ` 7 --- [app] [main] c.e.App : message`; `head` has time and level.
pub fn spring<'a>(head: &Text<'a>, rest: &'a [u8]) -> Option<Text<'a>> {
    let (pid, rest) = scan::digits(scan::skip_blanks(rest))?;
    let mut rest = scan::skip_blanks(rest.strip_prefix(b" --- ")?);
    let mut brackets: [&[u8]; 3] = [b""; 3];
    for bracket in &mut brackets {
        let Some((inside, after)) = scan::bracketed(rest) else { break };
        (*bracket, rest) = (inside.trim_ascii(), scan::skip_blanks(after));
    }
    let (name, rest) = scan::word(rest)?;
    let message = scan::skip_blanks(rest).strip_prefix(b":")?;
    let message = message.strip_prefix(b" ").unwrap_or(message);
    // With one of them it is the thread, with two the application stands before it, a trace may come third.
    let [first, second, third] = brackets;
    let (application, thread) = if second.is_empty() { (&b""[..], first) } else { (first, second) };
    let text = Text { logger: Some(name.into()), message: message.into(), ..head.clone() }.of(Format::Spring);
    Some(
        text.with("pid", pid)
            .with_text("application", application)
            .with_text("thread", thread)
            .with_text("trace", third),
    )
}

/// `23:00:33.123 [main] INFO  com.example.Main - message`, Logback's own default, and `[main] INFO com.example.Main -
/// message` of slf4j's simple logger. The day is not said, so the time of day stays a field.
pub fn threaded(line: &[u8]) -> Option<Text<'_>> {
    let (clock, rest) = match line.first()? {
        b'[' => (&b""[..], line),
        _ => {
            let (clock, rest) = scan::word(line).filter(|(clock, _)| is_clock(clock))?;
            (clock, rest.strip_prefix(b" ")?)
        }
    };
    let (thread, rest) = scan::bracketed(rest)?;
    let (level, rest) = scan::level(rest.strip_prefix(b" ")?)?;
    let (name, message) = scan::before(scan::skip_blanks(rest), b" -")?;
    let message = if message.is_empty() { message } else { message.strip_prefix(b" ")? };
    if !scan::is_name(name) {
        return None;
    }
    let text = Text::new(None, Some(name), Some(level), message).of(Format::Logback);
    Some(text.with_text("clock", clock).with_text("thread", thread))
}

/// `23:00:33`, with a fraction or without.
pub fn is_clock(word: &[u8]) -> bool {
    let Some(head) = word.get(..8) else { return false };
    let shape = head.iter().enumerate().all(|(at, byte)| match at {
        2 | 5 => *byte == b':',
        _ => byte.is_ascii_digit(),
    });
    let fraction = &word[8..];
    let is_fraction = |sign: u8| matches!(sign, b'.' | b',');
    shape
        && fraction
            .split_first()
            .is_none_or(|(sign, digits)| is_fraction(*sign) && digits.iter().all(u8::is_ascii_digit))
}

/// The first of the two lines of java.util.logging, `Nov 20, 2026 11:00:33 PM com.example.Main run`.
pub fn is_first_of_two(line: &[u8]) -> bool {
    line.first().is_some_and(u8::is_ascii_uppercase)
        && calendar::month_first(line, &Zone::Utc).is_some_and(|(_, end)| {
            line[end..].strip_prefix(b" ").and_then(scan::word).is_some_and(|(class, _)| scan::is_joined_name(class))
        })
}

/// Whether a line may be the second of the two: `INFO: message`.
pub fn is_second_of_two(line: &[u8]) -> bool {
    scan::level(line).is_some_and(|(_, rest)| rest.starts_with(b":"))
}

/// What the two lines say; `lines` are both, without the end of the second.
pub fn two_lines<'a>(lines: &'a [u8], zone: &Zone) -> Option<Text<'a>> {
    let newline = memchr::memchr(b'\n', lines)?;
    let (first, second) = (lines[..newline].trim_ascii_end(), &lines[newline + 1..]);
    let (time, end) = calendar::month_first(first, zone)?;
    let (class, method) = scan::word(first[end..].strip_prefix(b" ")?)?;
    let (level, message) = scan::level(second)?;
    let text = Text::new(Some(time), Some(class), Some(level), scan::skip_blanks(message.strip_prefix(b":")?));
    Some(text.of(Format::JavaUtil).with_text("method", method.trim_ascii()))
}
