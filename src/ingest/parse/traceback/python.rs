//! Python's tracebacks: plain, chained, of groups, of a file that does not parse, as loguru and rich draw them, and what the
//! interpreter says when it dies.

use super::{PANIC_LEVEL, RAISED_LEVEL, Raised, between, lines};
use crate::ingest::parse::level;

pub const TRACEBACK: &[u8] = b"Traceback (most recent call last):";
pub const GROUP: &[u8] = b"  + Exception Group Traceback (most recent call last):";
/// What parts the exceptions of a chain.
const CHAINS: [&[u8]; 2] = [
    b"During handling of the above exception, another exception occurred:",
    b"The above exception was the direct cause of the following exception:",
];
/// Begins the stack that `stack_info` adds.
pub const STACK_INFO: &[u8] = b"Stack (most recent call last):";
/// What the interpreter says when it dies.
pub const FATAL: &[u8] = b"Fatal Python error: ";
/// A frame, and the first line of what says that a file does not parse.
pub const FRAME: &[u8] = b"  File \"";
/// Before the lines of the outermost group.
const GROUP_MARGIN: &[u8] = b"  | ";
/// The corner with which rich begins a traceback, and what it writes in that line.
const CORNER: &[u8] = "╭─".as_bytes();
const BOXED: &[u8] = b"Traceback (most recent call last)";

/// Longest name of an exception with its modules, in bytes.
const NAME_MAX_BYTES: usize = 300;

/// Length of the name of an exception, where a line begins with one as Python ends a traceback: `a.b.Error: message`, or the
/// name alone.
pub fn name(line: &[u8]) -> Option<usize> {
    let is_part =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'<' | b'>') || *byte >= 0x80;
    let len = line.iter().take(NAME_MAX_BYTES + 1).take_while(|byte| is_part(byte)).count();
    let (name, rest) = line.split_at(len);
    // 0xe2 begins the characters that boxes are drawn with, which no name has.
    let begins = name
        .first()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_' || (*byte >= 0x80 && *byte != 0xe2));
    let ends = rest.is_empty() || rest == b":" || rest.starts_with(b": ");
    // `INFO: …` is a line of a logger.
    let is_level = len >= 3 && name.iter().all(u8::is_ascii_uppercase) && level::known(name).is_some();
    // One word in small letters is a word of a sentence.
    let is_class =
        !name.first().is_some_and(u8::is_ascii_lowercase) || name.contains(&b'.') || name.ends_with(b"error");
    (begins && ends && is_class && len <= NAME_MAX_BYTES && !is_level && name.last() != Some(&b'.')).then_some(len)
}

/// Whether a line begins what says that a file does not parse: `  File "a.py", line 1`, without the name of a function.
pub fn begins_unparsed(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(FRAME) else { return false };
    let Some(at) = memchr::memmem::find(rest, b"\", line ") else { return false };
    let number = rest.get(at + b"\", line ".len()..).unwrap_or_default();
    !number.is_empty() && number.iter().all(u8::is_ascii_digit)
}

/// Whether a line is the upper edge of the box that rich draws around a traceback.
pub fn begins_box(line: &[u8]) -> bool {
    line.starts_with(CORNER) && memchr::memmem::find(line, BOXED).is_some()
}

/// Reads what ends in an exception, or was cut off before it.
pub fn read(text: &[u8]) -> Raised<'_> {
    if let Some(what) = text.strip_prefix(FATAL) {
        let message = super::first_line(what).trim_ascii();
        let kind = &FATAL[..FATAL.len() - b": ".len()];
        return Raised { kind, message, said: super::first_line(text), at: 0, level: PANIC_LEVEL };
    }
    let mut found = None;
    // Of what is said of it; `None`: that of the text.
    let mut end = None;
    let mut in_stack = text.starts_with(FRAME);
    let mut in_group = false;
    for (at, line) in lines(text) {
        let is_group = line.starts_with(GROUP);
        if is_group || line.starts_with(TRACEBACK) || begins_box(line) {
            (in_stack, in_group) = (true, is_group);
            end = end.or(Some(at));
        } else if in_stack {
            let margin = if in_group { GROUP_MARGIN } else { b"" };
            if let Some(len) = line.strip_prefix(margin).and_then(name) {
                found = Some((at + margin.len(), len));
                // What follows are the exceptions of the group.
                end = in_group.then_some(at + line.len());
                in_stack = false;
            }
        } else if line.starts_with(STACK_INFO) || is_chain(line) {
            end = end.or(Some(at));
        }
    }
    let level = RAISED_LEVEL;
    let Some((at, len)) = found else {
        return Raised { kind: b"", message: b"", said: super::first_line(text), at: 0, level };
    };
    let end = end.unwrap_or(text.len());
    Raised {
        kind: text.get(at..at + len).unwrap_or_default(),
        message: between(text, at + len + b":".len(), end),
        said: between(text, at, end),
        at: 0,
        level,
    }
}

/// Whether a line parts the exceptions of a chain.
pub fn is_chain(line: &[u8]) -> bool {
    CHAINS.iter().any(|chain| line.starts_with(chain))
}
