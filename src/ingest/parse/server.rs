//! Logs of servers that have a form of their own: errors of nginx and Apache, PostgreSQL, MySQL, Redis.

use super::format::Format;
use super::{Context, Text, calendar, level, scan};
use crate::record::Nanos;

/// What nginx writes behind its time, ` [error] 7#7: *1 message, client: …`.
pub fn nginx(time: Nanos, rest: &[u8]) -> Option<Text<'_>> {
    let (word, rest) = scan::bracketed(rest.strip_prefix(b" ")?)?;
    let level = scan::level_word(word)?;
    let (pid, rest) = scan::digits(rest.strip_prefix(b" ")?)?;
    let (thread, rest) = scan::digits(rest.strip_prefix(b"#")?)?;
    let message = rest.strip_prefix(b": ")?;
    Some(Text::new(Some(time), None, Some(level), message).of(Format::Nginx).with("pid", pid).with("tid", thread))
}

/// `[Fri Nov 20 23:00:33.123456 2026] [core:error] [pid 7:tid 1] [client 192.0.2.1:5] message`.
pub fn apache<'a>(line: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    let (stamp, rest) = scan::bracketed(line)?;
    let (time, _) = calendar::dated(stamp, context.zone).filter(|(_, end)| *end == stamp.len())?;
    let (word, rest) = scan::bracketed(rest.strip_prefix(b" ")?)?;
    let colon = word.iter().position(|byte| *byte == b':');
    let (module, word) = colon.map_or((&b""[..], word), |at| (&word[..at], &word[at + 1..]));
    let level = match word {
        word if word.len() == 6 && word.starts_with(b"trace") => Some("TRACE"),
        word => scan::level_word(word),
    };
    let module = (!module.is_empty()).then_some(module);
    let mut text = Text::new(Some(time), module, Some(level?), b"").of(Format::Apache);
    let mut rest = scan::skip_blanks(rest);
    while let Some((inside, after)) = scan::bracketed(rest) {
        let (name, value) = scan::before(inside, b" ").unwrap_or((inside, b""));
        text = match name {
            b"pid" => {
                let (pid, thread) = scan::before(value, b":tid ").unwrap_or((value, b""));
                text.with("pid", pid).with("tid", thread)
            }
            b"client" => text.with_text("client", value),
            _ => break,
        };
        rest = scan::skip_blanks(after);
    }
    Some(Text { message: rest.into(), ..text })
}

/// What PostgreSQL writes behind its time, ` [7] user@base LOG:  message`.
pub fn postgres(time: Nanos, rest: &[u8]) -> Option<Text<'_>> {
    let (pid, rest) = scan::bracketed(rest.strip_prefix(b" ")?)?;
    let (pid, part) = scan::digits(pid)?;
    if !(part.is_empty() || part.strip_prefix(b"-").is_some_and(|part| part.iter().all(u8::is_ascii_digit))) {
        return None;
    }
    let rest = scan::skip_blanks(rest.strip_prefix(b":").unwrap_or(rest));
    let (who, rest) = match scan::word(rest)? {
        (who, after) if who.contains(&b'@') => (who, scan::skip_blanks(after)),
        _ => (&b""[..], rest),
    };
    let (word, message) = scan::before(rest, b":  ")?;
    let text = Text::new(Some(time), None, None, scan::skip_blanks(message)).of(Format::Postgres);
    let text = text.with("pid", pid).with_text("session", who);
    Some(match word {
        b"LOG" | b"INFO" | b"NOTICE" => Text { level: Some(b"INFO"[..].into()), ..text },
        b"DEBUG1" | b"DEBUG2" | b"DEBUG3" | b"DEBUG4" | b"DEBUG5" => Text { level: Some(b"DEBUG"[..].into()), ..text },
        b"WARNING" | b"ERROR" | b"FATAL" | b"PANIC" => {
            Text { level: level::known(word).map(|level| level.as_bytes().into()), ..text }
        }
        // Lines that go on with what the line before said.
        b"STATEMENT" | b"DETAIL" | b"HINT" | b"CONTEXT" | b"QUERY" | b"LOCATION" => {
            Text { message: rest.into(), ..text }
        }
        _ => return None,
    })
}

/// What MySQL writes behind its time, ` 0 [Warning] [MY-010068] [Server] message`.
pub fn mysql(time: Nanos, rest: &[u8]) -> Option<Text<'_>> {
    let (thread, rest) = scan::digits(rest.strip_prefix(b" ")?)?;
    let (word, rest) = scan::bracketed(rest.strip_prefix(b" ")?)?;
    let level = match word {
        b"System" | b"Note" => "INFO",
        b"Warning" => "WARNING",
        b"Error" | b"ERROR" => "ERROR",
        _ => return None,
    };
    let rest = rest.strip_prefix(b" ")?;
    let Some((code, after)) = scan::bracketed(rest).filter(|(code, _)| code.starts_with(b"MY-")) else {
        return Some(Text::new(Some(time), None, Some(level), rest).of(Format::Mysql).with("thread", thread));
    };
    let (subsystem, message) = scan::bracketed(scan::skip_blanks(after))?;
    let text = Text::new(Some(time), Some(subsystem), Some(level), scan::skip_blanks(message));
    Some(text.of(Format::Mysql).with("thread", thread).with_text("code", code))
}

/// `1:M 20 Nov 2026 23:00:33.123 * message`, as Redis and Valkey write it.
pub fn redis<'a>(line: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    let (pid, rest) = scan::digits(line)?;
    let (role, rest) = rest.strip_prefix(b":")?.split_at_checked(1)?;
    if !matches!(role, b"M" | b"S" | b"C" | b"X") {
        return None;
    }
    let rest = rest.strip_prefix(b" ")?;
    let (time, end) = calendar::day_first(rest, context.zone)?;
    let (sign, message) = rest[end..].strip_prefix(b" ")?.split_at_checked(1)?;
    let level = match sign {
        b"." | b"-" => "DEBUG",
        b"*" => "INFO",
        b"#" => "WARNING",
        _ => return None,
    };
    let message = message.strip_prefix(b" ")?;
    let text = Text::new(Some(time), None, Some(level), message).of(Format::Redis);
    Some(text.with("pid", pid).with_text("role", role))
}
