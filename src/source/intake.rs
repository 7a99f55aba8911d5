//! Takes up a stream that is read once from its front to its end: bytes in, sections out. Its position is the offset in
//! the stream; where the bytes come from is the caller's.

use crate::buffer::{Appender, Closed};
use crate::ingest::{Flush, Ingest};
use crate::record::{GapKind, time};

/// Byte order marks of UTF-16; that of UTF-32 begins like one of them.
const UTF_16: [&[u8; 2]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Whether the bytes that begin a stream say that it is in UTF-16.
pub fn is_utf_16(head: &[u8]) -> bool {
    UTF_16.iter().any(|mark| head.starts_with(*mark))
}

/// How many zero bytes stand at the front.
pub(super) fn leading_zeros(bytes: &[u8]) -> u64 {
    bytes.iter().position(|&byte| byte != 0).unwrap_or(bytes.len()) as u64
}

/// One origin on its way into the buffer.
pub(super) struct Intake<'a> {
    ingest: Ingest,
    /// Bytes from the position on that were read and are not taken up yet.
    window: Vec<u8>,
    unreadable: bool,
    appender: &'a Appender,
}

impl<'a> Intake<'a> {
    pub fn new(ingest: Ingest, appender: &'a Appender) -> Self {
        // Without a line, only what is no text leaves that gap.
        let unreadable = ingest.counters().lines == 0 && ingest.counters().has_gap(GapKind::Unreadable);
        Intake { ingest, window: Vec::new(), unreadable, appender }
    }

    pub fn holds_back(&self) -> bool {
        self.ingest.holds_back()
    }

    /// Whether it is in UTF-16: its lines would be garbled, so that none is taken up and all of it is a gap.
    pub fn is_unreadable(&self) -> bool {
        self.unreadable
    }

    /// Takes up bytes; `end`: the origin ends with them.
    pub fn take(&mut self, bytes: &[u8], flush: Flush, end: bool) -> Result<(), Closed> {
        self.window.extend_from_slice(bytes);
        if self.ingest.position() == 0 && is_utf_16(&self.window) {
            self.unreadable = true;
        }
        if self.unreadable {
            if !self.window.is_empty() {
                self.ingest.pass_over(self.window.len() as u64, Some(GapKind::Unreadable));
                self.window.clear();
            }
            return self.append(end);
        }
        let zeros = if self.ingest.is_new() { leading_zeros(&self.window) } else { 0 };
        if zeros > 0 {
            // What was a hole in the file that this was.
            self.ingest.pass_over(zeros, None);
            self.window.drain(..usize::try_from(zeros).unwrap_or(usize::MAX).min(self.window.len()));
        }
        loop {
            let fed = self.ingest.feed(&self.window, &time::now(), flush);
            self.window.drain(..fed.consumed);
            self.append(end && !fed.section_full)?;
            if !fed.section_full {
                return Ok(());
            }
        }
    }

    /// Notes that the stream breaks off here; once, however often it is read. All that was given is taken up.
    pub fn break_off(&mut self) -> Result<(), Closed> {
        self.take(&[], Flush::All, false)?;
        if self.ingest.counters().has_gap(GapKind::Unreadable) {
            return Ok(());
        }
        self.ingest.count_gap(GapKind::Unreadable, 0);
        self.append(false)
    }

    fn append(&mut self, end: bool) -> Result<(), Closed> {
        let position = self.ingest.position().to_le_bytes().to_vec();
        match self.ingest.section(position, end) {
            Some(section) => self.appender.append_blocking(section),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_tells_utf_16() {
        let check = |head: &[u8], expected: bool| assert_eq!(is_utf_16(head), expected, "{head:?}");
        check(b"\xff\xfea\0", true);
        check(b"\xfe\xff\0a", true);
        check(b"\xef\xbb\xbf", false);
        check(b"\xff", false);
        check(b"", false);
    }
}
