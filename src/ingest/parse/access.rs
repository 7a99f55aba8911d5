//! Access logs of web servers: the common and the combined form, with a virtual host in front or more behind.

use super::format::Format;
use super::{Context, Text, calendar, scan};

/// `host ident user [time] "request" status bytes`, then `"referer" "agent"` and whatever a server adds.
pub fn parse<'a>(line: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    let (first, rest) = address(line)?;
    let (host, client, rest) = match address(rest.strip_prefix(b" ")?) {
        // A name and a port stand before the address of the client where several hosts share a log.
        Some((client, after)) if first.contains(&b':') && !after.starts_with(b" [") && client != b"-" => {
            (first, client, after)
        }
        _ => (&b""[..], first, rest),
    };
    let (ident, rest) = scan::word(rest.strip_prefix(b" ")?)?;
    let (user, rest) = scan::word(rest.strip_prefix(b" ")?)?;
    let (stamp, rest) = scan::bracketed(rest.strip_prefix(b" ")?)?;
    let (time, _) = calendar::dated(stamp, context.zone).filter(|(_, end)| *end == stamp.len())?;
    let message = rest.strip_prefix(b" ")?;
    let (method, path, rest) = request(message)?;
    let (status, rest) = scan::digits(rest.strip_prefix(b" ")?).filter(|(status, _)| status.len() == 3)?;
    let (bytes, rest) = scan::word(rest.strip_prefix(b" ")?)?;
    if bytes != b"-" && !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let message = &message[..message.len() - rest.len()];
    let (referer, rest) = quoted(rest).unwrap_or((b"", rest));
    let (agent, rest) = quoted(rest).unwrap_or((b"", rest));
    let given = |value: &'a [u8]| if value == b"-" { &b""[..] } else { value };
    let text = Text::new(Some(time), None, None, message)
        .of(Format::Access)
        .with_text("host", host)
        .with_text("client", client)
        .with_text("ident", given(ident))
        .with_text("user", given(user))
        .with_text("method", method)
        .with_text("path", path)
        .with("status", status)
        .with("bytes", given(bytes))
        .with_text("referer", given(referer))
        .with_text("user_agent", given(agent));
    Some(text.with_text("rest", rest.trim_ascii()))
}

/// A host's name or address.
fn address(text: &[u8]) -> scan::Cut<'_> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b".-:_".contains(byte);
    scan::word(text).filter(|(word, _)| word.iter().all(is_part))
}

/// Method and path of `"GET / HTTP/1.1"` at the front, and what follows its closing quote. What no client meant as a
/// request has neither.
pub fn request(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (inside, rest) = closing_quote(text)?;
    let is_method = |word: &[u8]| (3..=16).contains(&word.len()) && word.iter().all(u8::is_ascii_uppercase);
    let mut words = inside.splitn(3, |byte| *byte == b' ');
    match (words.next(), words.next(), words.next()) {
        (Some(method), Some(path), Some(protocol)) if is_method(method) && protocol.starts_with(b"HTTP/") => {
            Some((method, path, rest))
        }
        _ => Some((b"", b"", rest)),
    }
}

/// A quoted text behind a blank.
fn quoted(text: &[u8]) -> scan::Cut<'_> {
    closing_quote(text.strip_prefix(b" ")?)
}

/// What stands in the quotes at the front, escapes as they stand, and what follows.
fn closing_quote(text: &[u8]) -> scan::Cut<'_> {
    let inside = text.strip_prefix(b"\"")?;
    let mut end = 0;
    loop {
        match inside.get(end)? {
            b'"' => return Some((&inside[..end], &inside[end + 1..])),
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
}
