//! When the first record behind a cursor was written, about: for what an earlier process left.

use std::io;
use std::sync::Arc;

use super::{Behind, ReadError, Reader};
use crate::buffer::segment::{read_header, segment_name};
use crate::buffer::{Cursor, LogPosition};
use crate::record::Nanos;

impl Behind {
    /// A time that is not later than that of writing: when the segment was begun, or the record's own time, whichever is
    /// later. `None`: the sink has nothing between `cursor` and `target`. Reads the disk: not for a thread of the runtime.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn oldest(&self, cursor: Cursor, target: LogPosition) -> Result<Option<Nanos>, ReadError> {
        let (shared, storage) = (Arc::clone(&self.shared), Arc::clone(&self.storage));
        let mut reader = Reader::new(shared, storage, &self.dir, &self.name, self.bit, cursor);
        // Damage is for the sink itself to find.
        reader.sets_aside = false;
        let mut memory = Vec::new();
        while reader.at < target {
            let Ok(mut frame) = reader.try_next(memory)? else { break };
            if let Some(record) = frame.next_record() {
                let time = record.header.time;
                let segment = frame.at.segment;
                let begun = self.begun(segment).map_err(|source| ReadError { segment, source })?;
                return Ok(Some(begun.map_or(time, |begun| begun.max(time))));
            }
            memory = frame.into_bytes();
        }
        Ok(None)
    }

    /// When a segment was begun; `None`: it is gone.
    fn begun(&self, segment: u64) -> io::Result<Option<Nanos>> {
        match self.storage.open(&self.dir.join(segment_name(segment))) {
            Ok(file) => Ok(read_header(file.as_ref())?.ok().map(|header| header.created)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
