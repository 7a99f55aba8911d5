//! The durable buffer: one append-only log on disk that all sources write and every sink reads with its own cursor.
//! It knows bytes only: no column, no sink protocol, no line.
//!
//! # The format (version 1, little endian, crc32c)
//!
//! `DIR/00000000000000000001.seg`, `…2.seg`, …: segments of up to [`SEGMENT_BYTES`], preallocated so that a full
//! disk shows when a segment is made and not when a record is at stake; a closed segment is cut to its length.
//!
//! ```text
//! segment = header, table frame, data frame …, zeros up to the preallocated length
//! header  = "LFRYSEG\x01"  version u32  0 u32  segment u64  created i64 (ns)  log id [16]  0 [12]  crc u32      64 bytes
//! frame   = "LFRM"  crc u32  len u32  kind u16  0 u16  segment u64  sequence u64  synced u64  payload  zeros to 8  40 + len
//! table   = sinks, sums of retired origins, live origins with position, counters and removed sinks (kind 1)
//! data    = section …                                                              (kind 2)
//! section = 1 define: index u32, origin [16], descriptor, constants
//!         | 2 data:   index u32, flags u8, position, counters, first Seq u64, base u64, count u32, records
//!         | 3 retire: index u32, dead letters of each sink, evicted records of each sink
//! record  = time i64  EventID [16]  begin u32  extent u32  route u32  len u32  JSON members                      40 + len
//! ```
//!
//! The crc of a frame covers its header after the crc field and its payload. `sequence` counts frames over the whole
//! log. `synced` is the highest sequence that was known to be on disk when the frame was written. `index` numbers the
//! origins of one segment: first those of the table, then each definition; it is never reused within a segment.
//! Names of sinks stand in the table of each segment; bit `n` of a route means the n-th name *of that segment*.
//!
//! # Constraints
//!
//! - **Invariant: the log is the checkpoint.** Records, the position after them and the counters are one write.
//! - **Invariant: a sink reads only what is synced.** Writers go on while one sync covers all that waited.
//! - **Invariant: a segment is begun only when everything before it is synced**, and is itself synced, with its folder,
//!   before it takes a data frame. So recovery needs the newest segment with a whole table, and nothing older.
//! - A sync that fails ends the process: the page cache may have dropped what it could not write. The restart recovers.
//! - A cursor never points past the synced log.
//! - **Invariant: a segment is deleted only when every cursor has passed it.** Where the oldest is dropped to make room
//!   ([`WhenFull::DropOldest`]), the writer asks for it, the sinks that hold it count what they miss and move their
//!   cursors over it by one synced write each, and the segment goes as any other does.
//!
//! # What is torn, and what is damaged
//!
//! | found | meaning | done |
//! |---|---|---|
//! | newest segment without whole header and table | crash while it was made; it never held data | removed, the one before is newest |
//! | an invalid frame, and no later frame says that it was synced | crash; no sink has seen it | the segment is cut there |
//! | an invalid frame, and a later frame proves that it was synced | damage | set aside in `quarantine/`, counted, reading goes on after it |
//! | an older segment without whole header or table | damage | set aside whole, counted |
//! | no segment between two others | lost: they are deleted from the oldest on | noted in `quarantine/`, counted |
//! | a segment of a newer version or of another log | not ours | refused with its name: never overwritten |
//! | zeros after a frame | end of the segment | nothing |

mod abandon;
mod control;
mod cursor;
#[cfg(test)]
pub(crate) mod detached;
mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod queue;
mod reader;
mod recovery;
pub mod section;
mod segment;
pub mod storage;
mod sums;
mod sync;
mod writer;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::record::{Counters, OriginId};

pub use control::{Control, Fatal, Flusher, OriginsWatch, SumsWatch, UsageWatch};
pub use cursor::{Cursor, CursorFile, CursorState};
pub use format::{RemovedSink, RetiredSum};
pub use queue::{Appender, Closed, QUEUE_MAX_BYTES, Retirement};
pub use reader::{Behind, Frame, ReadOrigin, ReadRecord, Reader, SectionView, Tap};
pub use recovery::{OpenError, open};
pub use section::{OriginInfo, Records, Section};
pub use sums::Sums;

/// Length of a segment, in bytes, where `max_bytes` allows it.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Shortest segment, in bytes: holds the largest frame and some.
pub const SEGMENT_MIN_BYTES: u64 = 8 * 1024 * 1024;

/// Least size of a buffer, in bytes: four of the shortest segments.
pub const BUFFER_MIN_BYTES: u64 = 4 * SEGMENT_MIN_BYTES;

/// A frame takes waiting sections up to this many bytes; one more section may pass it.
pub const FRAME_TARGET_BYTES: usize = 2 * 1024 * 1024;

/// Share of `max_bytes`, in percent, from which on files are not read: they are a buffer themselves.
pub const FILES_PAUSE_PERCENT: u64 = 90;

/// What is done when the buffer is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Reading waits: files from [`FILES_PAUSE_PERCENT`] on, everything at the bound.
    #[default]
    Block,
    /// Reading goes on: the oldest segment is dropped for the sinks that have not passed it, and counted.
    DropOldest,
}

/// Options of the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Most bytes that the segments take on disk; at least [`BUFFER_MIN_BYTES`].
    pub max_bytes: u64,
    pub when_full: WhenFull,
    /// The longest that an appended record waits for a sync when no sink waits for it.
    pub sync: Duration,
}

/// Where the buffer is and what reads it.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Folder of the segments.
    pub dir: PathBuf,
    /// Folder of the cursors.
    pub cursor_dir: PathBuf,
    pub options: Options,
    /// Names of the sinks; the index is the route bit.
    pub sinks: Vec<String>,
}

/// A place in the log: the end of a frame, or the start of the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    pub segment: u64,
    /// Bytes from the start of the segment.
    pub offset: u64,
}

/// One origin found in the log at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveOrigin {
    pub info: Arc<OriginInfo>,
    pub position: Vec<u8>,
    pub counters: Counters,
    pub ended: bool,
    /// What became of its records in sinks that are not configured any more.
    pub removed: Vec<RemovedSink>,
}

/// All origins of the log at one moment, for manifests.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// End of the log at that moment: the counters are of what stands before it.
    pub at: LogPosition,
    pub live: Vec<LiveOrigin>,
    /// Those of `live` that have ended and that every sink has passed.
    pub passed: Vec<OriginId>,
    pub retired: Vec<RetiredSum>,
}

/// What recovery found.
#[derive(Debug, Default)]
pub struct Recovered {
    pub origins: Vec<LiveOrigin>,
    /// Bytes cut off as torn: no sink had seen them, the sources read them again.
    pub torn_bytes: u64,
    /// Bytes set aside as damaged: records in them are lost to sinks that had not passed them.
    pub damaged_bytes: u64,
    /// Segments that are gone from between others: records in them are lost to sinks that had not passed them.
    pub missing_segments: u64,
    /// Sinks that were there before and are not configured any more.
    pub removed_sinks: Vec<String>,
}

/// An open buffer: hand the appender to the sources and one reader to each sink.
#[derive(Debug)]
pub struct Buffer {
    pub appender: Appender,
    /// One for each name of [`Setup::sinks`], in that order.
    pub readers: Vec<Reader>,
    pub recovered: Recovered,
    pub control: Control,
}
