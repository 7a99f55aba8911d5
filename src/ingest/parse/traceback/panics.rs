//! Panics of Go and of Rust.

use super::{PANIC_LEVEL, RAISED_LEVEL, Raised, between, first_line, lines};

const PANIC: &[u8] = b"panic: ";
const FATAL: &[u8] = b"fatal error: ";
const GOROUTINE: &[u8] = b"goroutine ";
const THREAD: &[u8] = b"thread '";
const PANICKED: &[u8] = b" panicked at ";
/// What Rust writes behind the message.
const BACKTRACE: &[u8] = b"stack backtrace:";
const NOTE: &[u8] = b"note: ";

/// Whether a line is that of a panic of Go.
pub fn is_go_panic(line: &[u8]) -> bool {
    line.starts_with(PANIC) || line.starts_with(FATAL)
}

/// Whether a line begins the stack of a goroutine: `goroutine 7 [running]:`.
pub fn is_goroutine(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(GOROUTINE) else { return false };
    rest.first().is_some_and(u8::is_ascii_digit) && rest.ends_with(b"]:")
}

pub(super) fn begins_go(text: &[u8]) -> bool {
    let first = first_line(text);
    is_go_panic(first) || is_goroutine(first)
}

/// Whether a line is that of a panic of Rust: `thread 'main' panicked at src/main.rs:3:5:`.
pub fn begins_rust(line: &[u8]) -> bool {
    line.starts_with(THREAD) && memchr::memmem::find(first_line(line), PANICKED).is_some()
}

/// Whether a line of a panic of Rust is followed by its message: Rust 1.73 and later.
pub fn is_told_below(line: &[u8]) -> bool {
    line.trim_ascii_end().ends_with(b":")
}

/// Whether a line is what Rust writes behind a message.
pub fn ends_rust_message(line: &[u8]) -> bool {
    line.starts_with(BACKTRACE) || line.starts_with(NOTE)
}

pub fn is_note(line: &[u8]) -> bool {
    line.starts_with(NOTE)
}

/// Reads a panic of Go, or the stack that a program logged; the latter has no message of its own.
pub fn go(text: &[u8]) -> Raised<'_> {
    let first = first_line(text);
    let head = [PANIC, FATAL].into_iter().find(|head| text.starts_with(head));
    let Some(head) = head else {
        return Raised { kind: b"", message: b"", said: first, at: 0, level: RAISED_LEVEL };
    };
    let over = lines(text).find(|(_, line)| is_goroutine(line) || line.starts_with(b"[signal "));
    let over = over.map_or(text.len(), |(at, _)| at);
    let kind = &head[..head.len() - b": ".len()];
    Raised { kind, message: between(text, head.len(), over), said: between(text, 0, over), at: 0, level: PANIC_LEVEL }
}

/// Reads a panic of Rust.
pub fn rust(text: &[u8]) -> Raised<'_> {
    let first = first_line(text);
    let over = lines(text).find(|(_, line)| ends_rust_message(line)).map_or(text.len(), |(at, _)| at);
    let message = match is_told_below(first) {
        true => between(text, first.len(), over),
        // Before Rust 1.73: `panicked at 'message', src/main.rs:3:5`.
        false => {
            let from = memchr::memmem::find(first, PANICKED).map_or(0, |at| at + PANICKED.len());
            let told = between(text, from, over);
            let quoted = told.strip_prefix(b"'").and_then(|told| {
                let end = memchr::memmem::rfind(told, b"', ")?;
                told.get(..end)
            });
            quoted.unwrap_or(told)
        }
    };
    Raised { kind: b"panic", message, said: between(text, 0, over), at: 0, level: PANIC_LEVEL }
}
