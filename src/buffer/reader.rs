//! One sink's way through the log: frame after frame, never past what is synced.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::format::{self, FRAME_HEADER_BYTES, FrameHeader, FrameKind, SEGMENT_HEADER_BYTES, SectionRef, Table, Take};
use super::queue::{Progress, Shared, lock};
use super::section::{RECORD_HEADER_BYTES, RecordHeader, split_record};
use super::segment::{find_frame, read_frame, segment_name, segments, set_aside};
use super::storage::{Storage, StorageFile, read_full};
use super::{Cursor, LogPosition};
use crate::record::{Constants, OriginId};

mod oldest;
mod tap;

pub use tap::Tap;

/// In the place of a sink's name: the records of all of them.
const ALL_SINKS: &str = "";

/// What a sink needs to know of an origin.
#[derive(Debug, PartialEq, Eq)]
pub struct ReadOrigin {
    pub id: OriginId,
    /// JSON members.
    pub constants: Vec<u8>,
    pub run_id: String,
}

/// One section of a frame.
#[derive(Debug)]
pub struct SectionView {
    pub origin: Arc<ReadOrigin>,
    first_seq: u64,
    /// Its records within the frame's bytes.
    records: Range<usize>,
}

/// A frame in memory, with a place in it.
#[derive(Debug)]
pub struct Frame {
    /// Its first byte in the log.
    pub at: LogPosition,
    /// The byte after it.
    pub end: LogPosition,
    bytes: Vec<u8>,
    sections: Vec<SectionView>,
    mask: u32,
    section: usize,
    /// What is left of the section under way.
    rest: Range<usize>,
    seq: u64,
    record: u32,
}

/// A record of the sink that reads.
#[derive(Clone, Copy, Debug)]
pub struct ReadRecord<'a> {
    pub origin: &'a Arc<ReadOrigin>,
    pub seq: u64,
    pub header: RecordHeader,
    pub members: &'a [u8],
    /// The place after this record.
    pub next: Cursor,
}

impl Frame {
    /// The next record that is routed to the sink; `None` at the end of the frame.
    pub fn next_record(&mut self) -> Option<ReadRecord<'_>> {
        loop {
            while self.rest.is_empty() {
                self.section += 1;
                let view = self.sections.get(self.section - 1)?;
                self.rest = view.records.clone();
                self.seq = view.first_seq;
            }
            let before = self.rest.len();
            let left = {
                let ((header, _), rest) = split_record(self.bytes.get(self.rest.clone())?)?;
                self.record += 1;
                self.seq += 1;
                if header.route & self.mask != 0 { None } else { Some(rest.len()) }
            };
            match left {
                Some(left) => self.rest.start += before - left,
                None => break,
            }
        }
        let start = self.rest.start;
        let ((header, members), rest) = split_record(self.bytes.get(self.rest.clone())?)?;
        self.rest.start = self.rest.end - rest.len();
        let members_at = start + RECORD_HEADER_BYTES;
        let members = members_at..members_at + members.len();
        let next = Cursor { at: self.at, record: self.record };
        Some(ReadRecord {
            origin: &self.sections.get(self.section - 1)?.origin,
            seq: self.seq - 1,
            header,
            members: self.bytes.get(members)?,
            next,
        })
    }

    /// Skips the first `records` records of the frame, whatever their route.
    fn skip(&mut self, records: u32) {
        let mask = std::mem::replace(&mut self.mask, u32::MAX);
        while self.record < records && self.skip_one().is_some() {}
        self.mask = mask;
    }

    fn skip_one(&mut self) -> Option<()> {
        while self.rest.is_empty() {
            self.section += 1;
            let view = self.sections.get(self.section - 1)?;
            self.rest = view.records.clone();
            self.seq = view.first_seq;
        }
        let (_, rest) = split_record(self.bytes.get(self.rest.clone())?)?;
        self.rest.start = self.rest.end - rest.len();
        self.record += 1;
        self.seq += 1;
        Some(())
    }

    /// The place after the whole frame.
    pub fn after(&self) -> Cursor {
        Cursor { at: self.end, record: 0 }
    }

    /// Gives the memory back for the next frame.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// A read that failed; the reader can be asked again.
#[derive(Debug, thiserror::Error)]
#[error("segment {segment} of the buffer cannot be read: {source}")]
pub struct ReadError {
    segment: u64,
    source: io::Error,
}

#[derive(Debug)]
struct OpenSegment {
    number: u64,
    file: Arc<dyn StorageFile>,
    origins: Vec<Option<Arc<ReadOrigin>>>,
    mask: u32,
    has_table: bool,
}

/// Reads the log for one sink.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    name: String,
    bit: usize,
    at: LogPosition,
    skip: u32,
    open: Option<OpenSegment>,
    damaged_bytes: u64,
    /// Damage is set aside and logged; a tap leaves that to the sinks.
    sets_aside: bool,
}

/// Counts what lies behind a cursor of one sink.
#[derive(Clone, Debug)]
pub struct Behind {
    shared: Arc<Shared>,
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    name: String,
    bit: usize,
}

impl Behind {
    /// Records of each origin from `cursor` up to `target`, as far as they are synced. False where `until` passed before
    /// all were counted: then there are more; `None`: however long it takes. Reads the disk: not for a thread of the
    /// runtime.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn count(
        &self,
        cursor: Cursor,
        target: LogPosition,
        until: Option<Instant>,
    ) -> Result<(HashMap<OriginId, u64>, bool), ReadError> {
        let mut counts = HashMap::new();
        let (shared, storage) = (Arc::clone(&self.shared), Arc::clone(&self.storage));
        let mut reader = Reader::new(shared, storage, &self.dir, &self.name, self.bit, cursor);
        let mut memory = Vec::new();
        while reader.at < target {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok((counts, false));
            }
            match reader.try_next(memory)? {
                Ok(mut frame) if frame.at < target => {
                    while let Some(record) = frame.next_record() {
                        *counts.entry(record.origin.id).or_default() += 1;
                    }
                    memory = frame.into_bytes();
                }
                _ => break,
            }
        }
        Ok((counts, true))
    }
}

impl Reader {
    pub(super) fn new(
        shared: Arc<Shared>,
        storage: Arc<dyn Storage>,
        dir: &Path,
        name: &str,
        bit: usize,
        cursor: Cursor,
    ) -> Self {
        Reader {
            progress: shared.progress.subscribe(),
            shared,
            storage,
            dir: dir.to_owned(),
            name: name.to_owned(),
            bit,
            at: cursor.at,
            skip: cursor.record,
            open: None,
            damaged_bytes: 0,
            sets_aside: true,
        }
    }

    /// What is needed to count the records behind a cursor of this sink, while it reads on.
    pub fn behind(&self) -> Behind {
        Behind {
            shared: Arc::clone(&self.shared),
            storage: Arc::clone(&self.storage),
            dir: self.dir.clone(),
            name: self.name.clone(),
            bit: self.bit,
        }
    }

    /// Name of the sink.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes that were skipped because they are damaged.
    pub fn damaged_bytes(&self) -> u64 {
        self.damaged_bytes
    }

    /// Tells the buffer how far the sink has accepted: segments before the lowest such place are deleted.
    pub fn acknowledge(&self, at: LogPosition) {
        let moved = {
            let mut cursors = lock(&self.shared.cursors);
            match cursors.get_mut(self.bit) {
                Some(cursor) if *cursor < at => {
                    *cursor = at;
                    true
                }
                _ => false,
            }
        };
        if moved {
            lock(&self.shared.waiting).cursor_moved = true;
            self.shared.work.notify_one();
        }
    }

    /// The place that the sink is to move over to, counting what it misses, as it comes to be asked for.
    pub fn evictions(&self) -> watch::Receiver<LogPosition> {
        self.shared.evict.subscribe()
    }

    /// Goes on at `at`, the start of a segment, where that is further.
    pub fn skip_to(&mut self, at: LogPosition) {
        if self.at < at {
            self.at = at;
            self.skip = 0;
            self.open = None;
        }
    }

    /// The place up to which everything has been handed out.
    pub fn position(&self) -> LogPosition {
        self.at
    }

    /// The next frame that is synced; the memory back where there is none now. `memory` is reused for its bytes.
    ///
    /// # Errors
    /// The disk cannot be read. Damage is no error: it is set aside, counted and skipped.
    pub fn try_next(&mut self, memory: Vec<u8>) -> Result<Result<Frame, Vec<u8>>, ReadError> {
        let mut memory = memory;
        loop {
            let synced = self.progress.borrow_and_update().synced;
            if self.at >= synced {
                return Ok(Err(memory));
            }
            match self.read(synced, memory).map_err(|source| ReadError { segment: self.at.segment, source })? {
                Ok(frame) => return Ok(Ok(frame)),
                Err(back) => memory = back,
            }
        }
    }

    /// Asks for a sync, and waits until more is synced than [`Reader::try_next`] last saw. Cancel safe.
    pub async fn more(&mut self) {
        self.shared.want_sync();
        if self.progress.changed().await.is_err() {
            // The buffer is gone with its last handle: there is nothing more to come.
            std::future::pending::<()>().await;
        }
    }

    /// The next frame; waits for one.
    ///
    /// # Errors
    /// As [`Reader::try_next`].
    pub async fn next(&mut self, memory: Vec<u8>) -> Result<Frame, ReadError> {
        let mut memory = memory;
        loop {
            match self.try_next(memory)? {
                Ok(frame) => return Ok(frame),
                Err(back) => memory = back,
            }
            self.more().await;
        }
    }

    /// One step towards the next frame: the frame, or the memory back where the step was over something else.
    fn read(&mut self, synced: LogPosition, memory: Vec<u8>) -> io::Result<Result<Frame, Vec<u8>>> {
        if self.open.as_ref().is_none_or(|open| open.number != self.at.segment) {
            self.open_segment()?;
        }
        let Some(open) = &mut self.open else {
            self.next_segment(synced)?;
            return Ok(Err(memory));
        };
        let limit = if self.at.segment == synced.segment { synced.offset } else { open.file.size()? };
        if self.at.offset >= limit {
            self.next_segment(synced)?;
            return Ok(Err(memory));
        }
        match read_frame(open.file.as_ref(), open.number, self.at.offset, limit, memory)? {
            Ok((header, bytes)) => {
                let at = self.at;
                self.at.offset += header.frame_bytes() as u64;
                let skip = std::mem::take(&mut self.skip);
                let sections = open.take_frame(&header, &bytes, &self.name);
                if header.kind == FrameKind::Table {
                    return Ok(Err(bytes));
                }
                let mask = open.mask;
                let mut frame =
                    Frame { at, end: self.at, bytes, sections, mask, section: 0, rest: 0..0, seq: 0, record: 0 };
                frame.skip(skip);
                Ok(Ok(frame))
            }
            Err(memory) => {
                self.skip = 0;
                self.skip_damage(limit)?;
                Ok(Err(memory))
            }
        }
    }

    /// Opens the segment at `self.at`, and reads what stands in it before that: table and definitions.
    fn open_segment(&mut self) -> io::Result<()> {
        self.open = None;
        let number = self.at.segment;
        let file = match self.storage.open(&self.dir.join(segment_name(number))) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut open = OpenSegment { number, file, origins: Vec::new(), mask: 0, has_table: false };
        let mut offset = SEGMENT_HEADER_BYTES as u64;
        self.at.offset = self.at.offset.max(offset);
        let limit = open.file.size()?;
        let mut memory = Vec::new();
        while offset < self.at.offset {
            match read_frame(open.file.as_ref(), number, offset, limit, memory)? {
                Ok((header, bytes)) => {
                    open.take_frame(&header, &bytes, &self.name);
                    offset += header.frame_bytes() as u64;
                    memory = bytes;
                }
                Err(back) => {
                    memory = back;
                    match find_frame(open.file.as_ref(), number, offset + 1, limit)? {
                        Some(next) => offset = next,
                        None => {
                            offset = limit;
                            break;
                        }
                    }
                }
            }
        }
        if self.at.offset != offset {
            // A cursor within damage, or behind the end of what is left, goes on behind it, at a frame's first record.
            self.skip = 0;
        }
        self.at.offset = offset;
        self.open = Some(open);
        Ok(())
    }

    fn next_segment(&mut self, synced: LogPosition) -> io::Result<()> {
        let next = segments(self.storage.as_ref(), &self.dir)?
            .into_iter()
            .find(|&number| number > self.at.segment)
            .unwrap_or(synced.segment);
        self.open = None;
        self.skip = 0;
        self.at = LogPosition { segment: next, offset: 0 };
        Ok(())
    }

    /// Sets the bytes up to the next whole frame aside, and goes on behind them.
    fn skip_damage(&mut self, limit: u64) -> io::Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        // Without its table nobody knows whose the records of a segment are, and which sink they are for.
        let next = if open.has_table {
            find_frame(open.file.as_ref(), open.number, self.at.offset + 1, limit)?.unwrap_or(limit)
        } else {
            limit
        };
        let len = next - self.at.offset;
        if !self.sets_aside {
            self.damaged_bytes += len;
            self.at.offset = next;
            return Ok(());
        }
        let mut bytes = vec![0; len as usize];
        let read = read_full(open.file.as_ref(), &mut bytes, self.at.offset)?;
        let name = format!("{}.{}.damaged", segment_name(open.number), self.at.offset);
        set_aside(self.storage.as_ref(), &self.dir, &name, &bytes[..read])?;
        self.damaged_bytes += len;
        tracing::error!(
            sink = %self.name, segment = open.number, offset = self.at.offset, bytes = len,
            "damaged bytes in the buffer were set aside in quarantine/{name}; records in them are lost"
        );
        self.at.offset = next;
        Ok(())
    }
}

impl OpenSegment {
    /// Learns what a frame says of sinks and origins; returns its sections with records.
    fn take_frame(&mut self, header: &FrameHeader, frame: &[u8], sink: &str) -> Vec<SectionView> {
        let frame = frame.get(..FRAME_HEADER_BYTES + header.len).unwrap_or_default();
        match header.kind {
            FrameKind::Data => index_sections(frame, &mut self.origins),
            FrameKind::Table => {
                if let Some(table) = Table::decode(frame.get(FRAME_HEADER_BYTES..).unwrap_or_default()) {
                    self.take_table(table, sink);
                }
                Vec::new()
            }
        }
    }

    fn take_table(&mut self, table: Table, sink: &str) {
        self.has_table = true;
        self.mask = match sink {
            ALL_SINKS => u32::MAX,
            sink => table.sinks.iter().position(|name| name == sink).map_or(0, |bit| 1 << bit),
        };
        self.origins =
            table.origins.into_iter().map(|origin| Some(Arc::new(read_origin(origin.id, origin.constants)))).collect();
    }
}

fn read_origin(id: OriginId, constants: Vec<u8>) -> ReadOrigin {
    let run_id = Constants::from_members(&constants).run_id().to_owned();
    ReadOrigin { id, constants, run_id }
}

/// Notes the definitions of a data frame, and returns its sections with records. `frame` is without padding.
fn index_sections(frame: &[u8], origins: &mut Vec<Option<Arc<ReadOrigin>>>) -> Vec<SectionView> {
    let mut views = Vec::new();
    let mut take = Take(frame.get(FRAME_HEADER_BYTES..).unwrap_or_default());
    while !take.0.is_empty() {
        match format::take_section(&mut take) {
            Some(SectionRef::Define { index, id, constants, .. }) => {
                let index = index as usize;
                if origins.len() <= index {
                    origins.resize(index + 1, None);
                }
                origins[index] = Some(Arc::new(read_origin(id, constants.to_vec())));
            }
            Some(SectionRef::Data(data)) => {
                let Some(Some(origin)) = origins.get(data.index as usize) else {
                    let records = data.count;
                    tracing::error!(records, "the definition of an origin is damaged: its records are skipped");
                    continue;
                };
                let end = frame.len() - take.0.len();
                let records = end - data.records.len()..end;
                views.push(SectionView { origin: Arc::clone(origin), first_seq: data.first_seq, records });
            }
            Some(SectionRef::Retire { .. }) => {}
            None => {
                tracing::error!("a whole frame of the buffer holds a section that does not fit: its rest is skipped");
                break;
            }
        }
    }
    views
}
