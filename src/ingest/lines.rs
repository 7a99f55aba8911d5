//! The lines of one group between framing and the parsers: which of them say what the record is, and how its message goes
//! on over the others.

use std::borrow::Cow;

use super::parse::traceback::Stack;
use super::parse::{Field, java};
use crate::record::Nanos;

/// The lines of one group, as the parsers get them.
#[derive(Clone, Copy)]
pub(super) struct Lines<'t> {
    /// Without the line end of the last.
    pub(super) text: &'t [u8],
    /// With what was wrapped around it.
    pub(super) whole: &'t [u8],
    pub(super) count: u32,
    /// The exception in the text.
    pub(super) stack: Option<Stack>,
    /// Offset in the stream at which that begins.
    pub(super) stack_begin: u64,
    /// Lines of the group before it.
    pub(super) stack_line: u32,
    /// The group was cut: the number of this piece.
    pub(super) group_piece: Option<u32>,
    /// States of a progress bar that were left out of the text.
    pub(super) overwritten: Option<u32>,
    /// When it was read, or the time of what it was wrapped in.
    pub(super) time: Nanos,
    /// First and last byte in the stream.
    pub(super) extent: (u64, u64),
    pub(super) around: &'t Around<'t>,
}

/// What a container runtime said about a line that it had wrapped.
#[derive(Default)]
pub(super) struct Around<'f> {
    pub(super) is_given: bool,
    pub(super) columns: Vec<(&'static str, String)>,
    pub(super) fields: Vec<Field<'f>>,
}

impl<'t> Lines<'t> {
    /// The line that says what the record is, or the two of java.util.logging.
    pub(super) fn head(&self) -> &'t [u8] {
        if self.count == 1 {
            return self.text;
        }
        let end_of = |from: usize| memchr::memchr(b'\n', &self.text[from..]).map_or(self.text.len(), |at| from + at);
        let first = end_of(0);
        let may_be_two = first < self.text.len() && java::is_first_of_two(&self.text[..first]);
        let second = if may_be_two { end_of(first + 1) } else { first };
        let is_two = self.text.get(first + 1..second).is_some_and(java::is_second_of_two);
        let end = if is_two { second } else { first };
        let head = &self.text[..end];
        if end < self.text.len() { head.strip_suffix(b"\r").unwrap_or(head) } else { head }
    }

    /// The message goes on over the lines that follow the head, up to the stack of an exception.
    pub(super) fn message<'m>(&self, head: &[u8], message: &'m [u8], stack: Option<usize>) -> Cow<'m, [u8]>
    where
        't: 'm,
    {
        if self.count == 1 {
            return Cow::Borrowed(message);
        }
        let text = match stack {
            Some(at) => without_line_end(&self.text[..at]),
            None => self.text,
        };
        let Some(after) = text.get(head.len()..) else { return Cow::Borrowed(message) };
        if message.is_empty() && !head.is_empty() {
            // An empty first line is no part of what it says.
            return Cow::Borrowed(after.trim_ascii_start());
        }
        match head.ends_with(message) {
            true => Cow::Borrowed(&text[head.len() - message.len()..]),
            false => Cow::Owned([message, after].concat()),
        }
    }
}

/// A text without the line end behind it.
pub(super) fn without_line_end(bytes: &[u8]) -> &[u8] {
    // A carriage return alone is part of the text: the last piece of a long line may end in one.
    match bytes.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => bytes,
    }
}
