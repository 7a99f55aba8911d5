//! What a rate limit wants to know of a file: when it was read to its end, and when it cannot be read on; and when it is to
//! tell what it left out.

use super::Tail;
use crate::buffer::Closed;
use crate::record::time;
use crate::source::file::desk::Desk;

impl Tail {
    /// After a look, or when something was taken up: whether all that is there was read.
    pub fn note_pace(&mut self) {
        let is_at_end = self.at_end();
        if let Some(stream) = self.stream.as_mut().filter(|_| is_at_end) {
            stream.ingest.at_end(time::now());
        }
    }

    /// There is more to read, and it may not be read now.
    pub fn falls_behind(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.ingest.falls_behind(time::now());
        }
    }

    /// Whether a rate limit has left out lines that no record tells of.
    pub fn has_untold(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.ingest.has_untold())
    }

    /// Appends the record that tells of them.
    pub fn tell_left_out(&mut self, desk: &Desk) -> Result<(), Closed> {
        if !self.has_untold() {
            return Ok(());
        }
        let Some((_, _, position)) = self.position(desk) else { return Ok(()) };
        let Some(stream) = &mut self.stream else { return Ok(()) };
        stream.ingest.tell_left_out(time::now());
        match stream.ingest.section(position.encode(), false) {
            Some(section) => desk.appender.append_blocking(section),
            None => Ok(()),
        }
    }
}
