//! A look at the log as it grows: it starts at the end, holds no segment against deletion, and moves no cursor.
//! Writers and sinks do nothing for it and never wait for it.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;

use super::{ALL_SINKS, Behind, Frame, ReadError, Reader};
use crate::buffer::{Cursor, LogPosition, SEGMENT_BYTES};

/// Reads what is appended from now on.
#[derive(Debug)]
pub struct Tap {
    reader: Reader,
    /// The writer has ended.
    ended: watch::Receiver<bool>,
    /// The segment that was read last.
    segment: u64,
    missed: bool,
}

impl Behind {
    /// A look at what one sink gets from now on; without a name, at what any sink gets. Reads the disk: not for a thread
    /// of the runtime.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn tap(&self, sink: Option<&str>) -> io::Result<Tap> {
        let synced = self.shared.progress.borrow().synced;
        let cursor = Cursor { at: synced, record: 0 };
        let (shared, storage) = (Arc::clone(&self.shared), Arc::clone(&self.storage));
        let ended = shared.ended.subscribe();
        let name = sink.unwrap_or(ALL_SINKS);
        let mut reader = Reader::new(shared, storage, &self.dir, name, self.bit, cursor);
        reader.sets_aside = false;
        // With the file open, nothing is missed if the segment is deleted before its next frame is read.
        reader.open_segment()?;
        Ok(Tap { reader, ended, segment: synced.segment, missed: false })
    }
}

impl Tap {
    /// As [`Reader::try_next`]; damage and deleted segments are passed over, see [`Tap::take_missed`].
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn try_next(&mut self, memory: Vec<u8>) -> Result<Result<Frame, Vec<u8>>, ReadError> {
        let damaged = self.reader.damaged_bytes;
        let next = self.reader.try_next(memory)?;
        let segment = self.reader.at.segment;
        self.missed |= segment > self.segment + 1 || self.reader.damaged_bytes > damaged;
        self.segment = segment;
        Ok(next)
    }

    /// Whether something was passed over since the last call; nobody knows how many records that were.
    pub fn take_missed(&mut self) -> bool {
        std::mem::take(&mut self.missed)
    }

    /// Waits until more is synced, without asking for a sync; false: the log has ended. Cancel safe.
    pub async fn more(&mut self) -> bool {
        tokio::select! {
            biased;
            changed = self.reader.progress.changed() => changed.is_ok(),
            _ = self.ended.wait_for(|ended| *ended) => false,
        }
    }

    /// Bytes of the log that are synced and not read yet, about.
    pub fn lag_bytes(&self) -> u64 {
        let LogPosition { segment, offset } = self.reader.at;
        let synced = self.reader.progress.borrow().synced;
        if segment >= synced.segment {
            return synced.offset.saturating_sub(offset);
        }
        // A segment that is not the newest was cut to its length.
        let size = self.reader.open.as_ref().and_then(|open| open.file.size().ok()).unwrap_or(0);
        (synced.segment - segment - 1) * SEGMENT_BYTES + size.saturating_sub(offset) + synced.offset
    }
}
