//! Exceptions whose frames begin with `at`: Java and its kin, Node, .NET. And Ruby's, whose frames begin with `from`.

use super::{RAISED_LEVEL, Raised, between, first_line, lines};

/// Longest name of an exception with its packages, in bytes.
const NAME_MAX_BYTES: usize = 300;

/// What stands before the exception where nobody caught it.
const UNCAUGHT: [&[u8]; 3] = [b"Unhandled exception. ", b"Unhandled Exception: ", b"Uncaught "];
const JAVA_UNCAUGHT: &[u8] = b"Exception in thread \"";
/// How the names of exceptions end.
const ENDINGS: [&[u8]; 7] =
    [b"Error", b"Exception", b"Throwable", b"Failure", b"Fault", b"Rejection", b"RemoteTraceback"];

/// Bytes of what stands before the exception where nobody caught it.
fn uncaught_len(line: &[u8]) -> usize {
    if let Some(rest) = line.strip_prefix(JAVA_UNCAUGHT) {
        return memchr::memmem::find(rest, b"\" ").map_or(0, |at| JAVA_UNCAUGHT.len() + at + b"\" ".len());
    }
    UNCAUGHT.iter().find(|prefix| line.starts_with(prefix)).map_or(0, |prefix| prefix.len())
}

/// Length of the name of an exception at the front: `java.io.IOException: x`, `TypeError: x`, `System.X: y`, or alone.
fn named(line: &[u8]) -> Option<usize> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$' | b'/' | b'`');
    if !line.first()?.is_ascii_alphabetic() {
        return None;
    }
    let len = line.iter().take(NAME_MAX_BYTES + 1).take_while(|byte| is_part(byte)).count();
    let (name, rest) = line.split_at(len);
    let ends =
        rest.is_empty() || rest == b":" || [&b": "[..], b" [", b" {", b" ("].iter().any(|then| rest.starts_with(then));
    if !ends || len > NAME_MAX_BYTES {
        return None;
    }
    let is_ending = ENDINGS.iter().any(|ending| name.ends_with(ending));
    // A class in its package, whatever it is called.
    let is_class = || {
        let last = memchr::memrchr(b'.', name).and_then(|dot| name.get(dot + 1));
        last.is_some_and(u8::is_ascii_uppercase) && name.iter().filter(|byte| **byte == b'.').count() >= 2
    };
    (is_ending || is_class()).then_some(len)
}

/// Where the name of an exception stands in a line that begins with one, as what nobody caught or alone.
pub fn name(line: &[u8]) -> Option<std::ops::Range<usize>> {
    let before = uncaught_len(line);
    let len = named(line.get(before..)?)?;
    Some(before..before + len)
}

/// Whether a line without the blanks before it is a frame: `at a.b.C.d(E.java:7)`, `at f (/a.js:1:2)`,
/// `at A.B() in /a.cs:line 5`.
pub fn is_frame(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"at ") else { return false };
    let rest = rest.strip_suffix(b" {").or_else(|| rest.strip_suffix(b",")).unwrap_or(rest).trim_ascii_end();
    let ends_in_digit = rest.last().is_some_and(u8::is_ascii_digit);
    if let Some(open) = memchr::memchr(b'(', rest) {
        let is_called = open > 0 && rest.get(open - 1).is_some_and(|byte| !byte.is_ascii_whitespace());
        let inside = rest.get(open..).unwrap_or_default();
        let is_placed = inside.contains(&b':') || inside.contains(&b'<') || inside.starts_with(b"(native");
        return (rest.ends_with(b")") && (is_called || is_placed))
            || (is_called && ends_in_digit && inside.contains(&b':'));
    }
    ends_in_digit && rest.contains(&b':') && (rest.contains(&b'/') || rest.starts_with(b"node:"))
}

/// Whether a line without the blanks before it is a frame of Ruby: `from /a.rb:7:in 'f'`.
pub fn is_ruby_frame(line: &[u8]) -> bool {
    line.strip_prefix(b"from ").is_some_and(|rest| memchr::memmem::find(rest, b":in ").is_some())
}

/// Whether a line may say where Node stopped, before it shows the code there: `/a.js:3`, `node:internal/a:5`.
pub fn is_place(line: &[u8]) -> bool {
    if !line.last().is_some_and(u8::is_ascii_digit) {
        return false;
    }
    let is_path = [&b"/"[..], b"node:", b"file:///"].iter().any(|prefix| line.starts_with(prefix));
    let digits = line.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    is_path && line.get(..line.len() - digits).is_some_and(|before| before.ends_with(b":"))
}

/// Whether a line marks a place of the one above it.
pub fn is_caret(line: &[u8]) -> bool {
    line.contains(&b'^') && line.iter().all(|byte| matches!(byte, b'^' | b' ' | b'\t'))
}

/// Whether a line shows that the message before it is over.
fn ends_message(line: &[u8]) -> bool {
    let text = line.trim_ascii_start();
    let is_end = |words: &&[u8]| text.starts_with(words);
    is_frame(text)
        || [&b"Caused by: "[..], b"Suppressed: ", b"---> ", b"(Use `node ", b"Node.js v", b"... "].iter().any(is_end)
        || line == b"}"
}

/// Reads an exception; its first line is that of the exception, that of a logger who wrote it behind its own words, or of the
/// place where Node stopped.
pub fn read(text: &[u8]) -> Raised<'_> {
    let level = RAISED_LEVEL;
    let first = first_line(text);
    if is_place(first)
        && let Some(raised) = placed(text)
    {
        return raised;
    }
    let margin = first.len() - first.trim_ascii_start().len();
    let at_front = name(first.trim_ascii_start()).map(|name| name.start + margin..name.end + margin);
    let place = at_front.clone().or_else(|| within(first));
    let Some(place) = place else {
        // What it is was said nowhere.
        let at = lines(text).find(|(_, line)| is_frame(line.trim_ascii_start())).map_or(0, |(at, _)| at);
        return Raised { kind: b"", message: b"", said: first, at, level };
    };
    let at = if at_front.is_some() { 0 } else { place.start };
    Raised { at, ..said(text, place.start, place.end, at) }
}

/// An exception whose name stands from `start` to `end`; what it says begins at `from`.
fn said(text: &[u8], start: usize, end: usize, from: usize) -> Raised<'_> {
    let kind = text.get(start..end).unwrap_or_default();
    let over = lines(text).skip_while(|(at, _)| *at <= start).find(|(_, line)| ends_message(line));
    let over = over.map_or(text.len(), |(at, _)| at);
    let rest = between(text, end, over);
    let message = rest.strip_prefix(b":").unwrap_or(rest).trim_ascii();
    let message = message.strip_suffix(b" {").or_else(|| message.strip_suffix(b"{")).unwrap_or(message);
    Raised { kind, message: message.trim_ascii_end(), said: between(text, from, over), at: 0, level: RAISED_LEVEL }
}

/// What stands behind the code that Node shows.
fn placed(text: &[u8]) -> Option<Raised<'_>> {
    let mut behind = lines(text).skip_while(|(_, line)| !is_caret(line)).skip(1);
    let (at, line) = behind.find(|(_, line)| !line.trim_ascii().is_empty())?;
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$');
    let len = line.iter().take_while(|byte| is_part(byte)).count();
    let rest = line.get(len..).unwrap_or_default();
    let is_named = len > 0 && (rest.is_empty() || rest.starts_with(b":") || rest.starts_with(b" ["));
    let end = if is_named && memchr::memmem::find(text, b"\n    at ").is_some() { at + len } else { at };
    Some(said(text, at, end, at))
}

/// Where a name stands behind the words of a logger.
fn within(line: &[u8]) -> Option<std::ops::Range<usize>> {
    let mut from = 0;
    for word in line.split(|byte| *byte == b' ') {
        if from > 0
            && let Some(len) = line.get(from..).and_then(named)
        {
            return Some(from..from + len);
        }
        from += word.len() + 1;
    }
    None
}

/// Reads an exception of Ruby: `/a.rb:3:in 'f': message (RuntimeError)`; `None` where its first line is none.
pub fn ruby(text: &[u8]) -> Option<Raised<'_>> {
    let first = first_line(text);
    let open = memchr::memrchr(b'(', first)?;
    let kind = first.get(open + 1..)?.strip_suffix(b")")?;
    let is_class = kind.first().is_some_and(u8::is_ascii_uppercase)
        && kind.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_'));
    let place = memchr::memmem::find(first, b":in ")?;
    let behind = place + memchr::memmem::find(first.get(place..)?, b": ")? + b": ".len();
    if !is_class || behind > open {
        return None;
    }
    Some(Raised { kind, message: between(first, behind, open), said: first, at: 0, level: RAISED_LEVEL })
}
