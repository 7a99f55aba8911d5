//! The one writer of the log: takes waiting sections into frames, rolls segments, deletes what every sink has, and
//! retires the origins that it is told to.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::format::{
    self, FRAME_HEADER_BYTES, FrameKind, RetiredSum, SEGMENT_HEADER_BYTES, SegmentHeader, Table, TableOrigin,
};
use super::queue::{Queued, Retirement, Shared, Waiting, lock};
use super::segment::segment_name;
use super::storage::{Storage, StorageFile, is_full};
use super::sums::{add_difference, add_retired};
use super::sync::{SyncTarget, Tail, mark_synced, sync, sync_loop};
use super::{
    Control, FRAME_TARGET_BYTES, LiveOrigin, LogPosition, OriginInfo, RemovedSink, Section, Snapshot, WhenFull,
};
use crate::record::{Constants, Counters, OriginId};

/// The newest state of an origin.
#[derive(Clone, Debug)]
pub(super) struct Live {
    /// Its index in the current segment, once it stands there.
    pub index: Option<u32>,
    pub info: Arc<OriginInfo>,
    pub position: Vec<u8>,
    pub counters: Counters,
    pub ended: bool,
    pub removed: Vec<RemovedSink>,
    /// End of the frame that holds its last section.
    pub last: LogPosition,
    /// Column Source of its constants, once it was needed.
    pub source: Option<String>,
}

/// What recovery hands to the writer.
#[derive(Debug)]
pub(super) struct Start {
    pub shared: Arc<Shared>,
    pub storage: Arc<dyn Storage>,
    pub dir: PathBuf,
    pub log_id: [u8; 16],
    pub segment_bytes: u64,
    /// How often a writer that waits for room looks again by itself.
    pub room_poll: Duration,
    pub sync: Duration,
    /// Number of the segment to begin.
    pub segment: u64,
    /// Sequence of the next frame.
    pub sequence: u64,
    pub sinks: Vec<String>,
    /// In an order, so that the same history gives the same bytes.
    pub live: BTreeMap<OriginId, Live>,
    pub retired: Vec<RetiredSum>,
    /// Older segments and their lengths.
    pub closed: BTreeMap<u64, u64>,
}

pub(super) struct Writer {
    start: Start,
    tail: Arc<Tail>,
    /// `None` while there is no room for the first segment.
    file: Option<Arc<dyn StorageFile>>,
    offset: u64,
    segment_len: u64,
    next_index: u32,
    frame: Vec<u8>,
    written: u64,
}

/// Whether the writer goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    GoOn,
    Stop,
}

/// Begins the next segment. Where there is no room for it the writer waits, while the sinks read what is there.
///
/// # Errors
/// The segment cannot be made for another reason.
pub(super) fn begin(mut start: Start) -> io::Result<(Writer, Arc<Tail>)> {
    let shared = Arc::clone(&start.shared);
    let made = match make_segment(&mut start) {
        Ok(made) => Some(made),
        Err(error) if is_full(&error) => None,
        Err(error) => return Err(error),
    };
    let ended = start.live.values().filter(|live| live.ended).count();
    shared.ended_origins.store(ended as u64, Ordering::Relaxed);
    let target = SyncTarget {
        file: None,
        appended: LogPosition { segment: start.segment, offset: 0 },
        sequence: start.sequence - 1,
    };
    let tail = Arc::new(Tail {
        synced_sequence: AtomicU64::new(start.sequence - 1),
        target: Mutex::new(target),
        syncing: Mutex::default(),
    });
    let next_index = start.live.len() as u32;
    let mut writer = Writer {
        start,
        tail: Arc::clone(&tail),
        file: None,
        offset: 0,
        segment_len: 0,
        next_index,
        frame: Vec::new(),
        written: 0,
    };
    if let Some(made) = made {
        writer.begin(made);
    }
    Ok((writer, tail))
}

/// Begins the next segment, see [`begin`], and starts the threads.
///
/// # Errors
/// As [`begin`]; no thread can be started.
pub(super) fn spawn(start: Start) -> io::Result<Control> {
    let (shared, interval) = (Arc::clone(&start.shared), start.sync);
    let (writer, tail) = begin(start)?;
    let guards = [Guard(Arc::clone(&shared)), Guard(Arc::clone(&shared))];
    let [of_writer, of_syncer] = guards;
    let syncer_shared = Arc::clone(&shared);
    let threads = vec![
        std::thread::Builder::new().name("buffer-writer".to_owned()).spawn(move || {
            let _guard = of_writer;
            writer.run();
        })?,
        std::thread::Builder::new().name("buffer-sync".to_owned()).spawn(move || {
            let _guard = of_syncer;
            sync_loop(&syncer_shared, &tail, interval);
        })?,
    ];
    Ok(Control { shared, threads })
}

/// Ends the buffer where its thread panics: nobody is left waiting for it.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("one of its threads panicked".to_owned());
            self.0.ended.send_replace(true);
        }
    }
}

struct Made {
    file: Arc<dyn StorageFile>,
    offset: u64,
    len: u64,
}

/// Creates segment `start.segment` with header and table, durable with its folder, and numbers the live origins anew.
fn make_segment(start: &mut Start) -> io::Result<Made> {
    let mut table = Table { sinks: start.sinks.clone(), retired: start.retired.clone(), origins: Vec::new() };
    for (index, (id, live)) in start.live.iter_mut().enumerate() {
        live.index = Some(index as u32);
        table.origins.push(TableOrigin {
            id: *id,
            descriptor: live.info.descriptor.clone(),
            constants: live.info.constants.clone(),
            position: live.position.clone(),
            counters: live.counters.clone(),
            ended: live.ended,
            removed: live.removed.clone(),
        });
    }
    let mut frame = Vec::new();
    format::begin_frame(&mut frame);
    table.encode(&mut frame);
    format::finish_frame(&mut frame, FrameKind::Table, start.segment, start.sequence, start.sequence - 1);
    let header =
        SegmentHeader { segment: start.segment, created: crate::record::time::now(), log_id: start.log_id }.encode();
    let offset = (SEGMENT_HEADER_BYTES + frame.len()) as u64;
    // A table of very many origins must not leave a segment without room for data.
    let len = start.segment_bytes.max(offset + start.segment_bytes / 2);
    let path = start.dir.join(segment_name(start.segment));
    let file = start.storage.create(&path, len)?;
    let written = file
        .write_all_at(&header, 0)
        .and_then(|()| file.write_all_at(&frame, SEGMENT_HEADER_BYTES as u64))
        .and_then(|()| file.sync())
        .and_then(|()| start.storage.sync_dir(&start.dir));
    if let Err(error) = written {
        // It never held data; left behind it would be removed by recovery.
        let _ = start.storage.remove(&path);
        return Err(error);
    }
    start.sequence += 1;
    Ok(Made { file, offset, len })
}

impl Writer {
    /// Writes one frame of what waits, if anything does; for a simulation that takes the thread's place.
    #[cfg(test)]
    pub fn step(&mut self) -> io::Result<()> {
        if self.file.is_none() && self.make_when_there_is_room(false)? == Step::Stop {
            return Ok(());
        }
        if lock(&self.start.shared.waiting).sections.is_empty() {
            return Ok(());
        }
        let (sections, _) = self.wait_for_work();
        self.write_all(sections).map(drop)
    }

    #[cfg(test)]
    pub fn retired(&self) -> &[RetiredSum] {
        &self.start.retired
    }

    fn run(mut self) {
        if self.file.is_none() {
            match self.make_when_there_is_room(false) {
                Ok(Step::GoOn) => {}
                Ok(Step::Stop) => return self.ended(),
                Err(error) => self.failed(&error),
            }
        }
        loop {
            let (sections, step) = self.wait_for_work();
            match self.write_all(sections).map(|done| if done == Step::GoOn { step } else { done }) {
                Ok(Step::GoOn) => {}
                Ok(Step::Stop) => break,
                Err(error) => {
                    self.failed(&error);
                    break;
                }
            }
        }
        self.ended();
    }

    fn failed(&self, error: &io::Error) {
        tracing::error!(segment = self.start.segment, %error, "the buffer cannot be written");
        self.start.shared.fail(format!("segment {}: {error}", self.path().display()));
    }

    fn ended(&self) {
        self.start.shared.close(true);
        self.start.shared.ended.send_replace(true);
    }

    fn path(&self) -> PathBuf {
        self.start.dir.join(segment_name(self.start.segment))
    }

    /// Takes what waits, up to a frame; or learns that the end has come.
    fn wait_for_work(&mut self) -> (Vec<Queued>, Step) {
        let shared = Arc::clone(&self.start.shared);
        let mut waiting = lock(&shared.waiting);
        loop {
            self.answer(&mut waiting);
            if waiting.abandon {
                return (Vec::new(), Step::Stop);
            }
            if !waiting.sections.is_empty() || std::mem::take(&mut waiting.cursor_moved) {
                break;
            }
            if waiting.closed {
                return (Vec::new(), Step::Stop);
            }
            waiting = shared.work.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let mut sections = Vec::new();
        let mut bytes = 0;
        while bytes < FRAME_TARGET_BYTES
            && let Some(queued) = waiting.sections.pop_front()
        {
            bytes += queued.weight();
            sections.push(queued);
        }
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        drop(waiting);
        shared.made_room();
        (sections, Step::GoOn)
    }

    /// Tells who asked what origins there are.
    fn answer(&self, waiting: &mut Waiting) {
        if waiting.asked.is_empty() {
            return;
        }
        let lowest = self.lowest_cursor();
        let passed = |live: &Live| live.ended && lowest.is_some_and(|lowest| live.last <= lowest);
        let live = |live: &Live| LiveOrigin {
            info: Arc::clone(&live.info),
            position: live.position.clone(),
            counters: live.counters.clone(),
            ended: live.ended,
            removed: live.removed.clone(),
        };
        let snapshot = Snapshot {
            at: LogPosition { segment: self.start.segment, offset: self.offset },
            live: self.start.live.values().map(live).collect(),
            passed: self.start.live.iter().filter(|(_, live)| passed(live)).map(|(id, _)| *id).collect(),
            retired: self.start.retired.clone(),
        };
        for asked in waiting.asked.drain(..) {
            // Who asked may be gone by now.
            let _ = asked.send(snapshot.clone());
        }
    }

    fn write_all(&mut self, queued: Vec<Queued>) -> io::Result<Step> {
        self.delete_consumed()?;
        if queued.is_empty() {
            return Ok(Step::GoOn);
        }
        let mut estimate = FRAME_HEADER_BYTES + 16;
        let (mut sections, mut retire) = (Vec::with_capacity(queued.len()), Vec::new());
        for one in queued {
            let origin = &one.section.origin;
            estimate += one.weight() + origin.descriptor.len() + origin.constants.len();
            estimate += one.section.counters.routed.len() * 8 + 96;
            sections.push(one.section);
            retire.extend(one.retire);
        }
        if self.offset + estimate as u64 > self.segment_len && self.roll()? == Step::Stop {
            return Ok(Step::Stop);
        }
        let end = self.build_frame(&sections, &retire);
        self.write_frame()?;
        self.apply(sections, &retire, end);
        Ok(Step::GoOn)
    }

    /// Encodes a frame into `self.frame`; returns the log position after it.
    fn build_frame(&mut self, sections: &[Section], retire: &[Retirement]) -> LogPosition {
        let mut frame = std::mem::take(&mut self.frame);
        format::begin_frame(&mut frame);
        for section in sections {
            let live = self.start.live.entry(section.origin.id).or_insert_with(|| Live {
                index: None,
                info: Arc::clone(&section.origin),
                position: Vec::new(),
                counters: Counters::default(),
                ended: false,
                removed: Vec::new(),
                last: LogPosition::default(),
                source: None,
            });
            if !Arc::ptr_eq(&live.info, &section.origin) {
                if live.info != section.origin {
                    live.index = None;
                }
                live.info = Arc::clone(&section.origin);
            }
            let index = *live.index.get_or_insert_with(|| {
                let index = self.next_index;
                self.next_index += 1;
                let info = &section.origin;
                format::put_define(&mut frame, index, info.id, &info.descriptor, &info.constants);
                index
            });
            format::put_data(&mut frame, index, section);
        }
        for Retirement { origin, dead_lettered, evicted } in retire {
            if let Some(index) = self.start.live.get(origin).and_then(|live| live.index) {
                format::put_retire(&mut frame, index, dead_lettered, evicted);
            }
        }
        let synced = self.tail.synced_sequence.load(Ordering::Acquire);
        format::finish_frame(&mut frame, FrameKind::Data, self.start.segment, self.start.sequence, synced);
        let end = LogPosition { segment: self.start.segment, offset: self.offset + frame.len() as u64 };
        self.frame = frame;
        end
    }

    /// Writes `self.frame` at the end of the segment; waits where a file system without preallocation is full.
    fn write_frame(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Err(io::Error::other("there is no segment to write to")) };
        loop {
            match file.write_all_at(&self.frame, self.offset) {
                Ok(()) => return Ok(()),
                Err(error) if is_full(&error) => {
                    file.set_len(self.offset)?;
                    self.say_full(&error);
                    if self.wait_for_room(true) == Step::Stop {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The frame is in the file: its sections are the newest state, and readers may learn of it.
    fn apply(&mut self, sections: Vec<Section>, retire: &[Retirement], end: LogPosition) {
        self.written += sections.len() as u64;
        for section in sections {
            if let Some(live) = self.start.live.get_mut(&section.origin.id) {
                let source = live.source.get_or_insert_with(|| {
                    Constants::from_members(&live.info.constants).get("Source").unwrap_or_default().to_owned()
                });
                add_difference(&mut lock(&self.start.shared.sums), source, &live.counters, &section.counters);
                if section.ended && !live.ended {
                    self.start.shared.ended_origins.fetch_add(1, Ordering::Relaxed);
                }
                live.position = section.position;
                live.counters = section.counters;
                live.ended = section.ended;
                live.last = end;
            }
        }
        for Retirement { origin, dead_lettered, evicted } in retire {
            if let Some(live) = self.start.live.remove(origin) {
                if live.ended {
                    self.start.shared.ended_origins.fetch_sub(1, Ordering::Relaxed);
                }
                add_retired(&mut self.start.retired, &live, dead_lettered, evicted);
            }
        }
        self.offset = end.offset;
        {
            let mut target = lock(&self.tail.target);
            target.appended = end;
            target.sequence = self.start.sequence;
        }
        self.start.sequence += 1;
        self.publish_used();
        self.start.shared.progress.send_modify(|p| {
            p.appended = end;
            p.written = self.written;
        });
        // Under its lock, or the syncer could miss the call between looking and waiting.
        drop(lock(&self.start.shared.sync_wanted));
        self.start.shared.sync_work.notify_all();
    }

    fn lowest_cursor(&self) -> Option<LogPosition> {
        lock(&self.start.shared.cursors).iter().min().copied()
    }

    /// Closes the segment and begins the next one, as soon as there is room for it.
    fn roll(&mut self) -> io::Result<Step> {
        if let Some(file) = self.file.take() {
            file.set_len(self.offset)?;
            let end = LogPosition { segment: self.start.segment, offset: self.offset };
            sync(&self.start.shared, &self.tail, file.as_ref(), end, self.start.sequence - 1)?;
            self.start.closed.insert(self.start.segment, self.offset);
            self.start.segment += 1;
        }
        self.make_when_there_is_room(true)
    }

    /// Makes the next segment, as soon as there is room for it; `in_hand`: a frame waits for it.
    fn make_when_there_is_room(&mut self, in_hand: bool) -> io::Result<Step> {
        loop {
            self.delete_consumed()?;
            let closed: u64 = self.start.closed.values().sum();
            self.start.shared.used_bytes.store(closed, Ordering::Relaxed);
            let bound_is_reached =
                closed + self.start.segment_bytes > self.start.shared.max_bytes && !self.all_is_consumed();
            if bound_is_reached {
                self.ask_for_eviction();
            } else {
                match make_segment(&mut self.start) {
                    Ok(made) => {
                        self.begin(made);
                        return Ok(Step::GoOn);
                    }
                    Err(error) if is_full(&error) => self.say_full(&error),
                    Err(error) => return Err(error),
                }
            }
            if self.wait_for_room(in_hand) == Step::Stop {
                return Ok(Step::Stop);
            }
        }
    }

    /// One segment is left, kept for its table, and every sink has passed it: a single frame over the bound made it so
    /// long, and waiting would not make it shorter.
    fn all_is_consumed(&self) -> bool {
        let Some(lowest) = self.lowest_cursor() else { return false };
        let ends = self.start.closed.iter().map(|(&segment, &offset)| LogPosition { segment, offset });
        self.start.closed.len() == 1 && ends.max().is_some_and(|end| end <= lowest)
    }

    /// Where the oldest may be dropped: has the sinks that hold the oldest segment move over it. The newest closed one
    /// stays: it holds the newest whole table.
    fn ask_for_eviction(&self) {
        let oldest = self.start.closed.keys().next();
        let Some(oldest) = oldest.filter(|_| self.start.closed.len() > 1) else { return };
        if self.start.shared.when_full == WhenFull::DropOldest {
            let behind_it = LogPosition { segment: oldest + 1, offset: 0 };
            self.start.shared.evict.send_if_modified(|to| {
                let further = *to < behind_it;
                if further {
                    *to = behind_it;
                }
                further
            });
        }
    }

    fn begin(&mut self, made: Made) {
        if self.start.shared.disk_full.swap(false, Ordering::Relaxed) {
            tracing::info!("the disk has room again, reading goes on");
        }
        self.file = Some(Arc::clone(&made.file));
        self.offset = made.offset;
        self.segment_len = made.len;
        self.next_index = self.start.live.len() as u32;
        let position = LogPosition { segment: self.start.segment, offset: made.offset };
        {
            let mut target = lock(&self.tail.target);
            *target = SyncTarget { file: Some(made.file), appended: position, sequence: self.start.sequence - 1 };
        }
        mark_synced(&self.start.shared, &self.tail, position, self.start.sequence - 1);
        self.start.shared.progress.send_modify(|p| p.appended = position);
        self.publish_used();
    }

    fn say_full(&self, error: &io::Error) {
        if !self.start.shared.disk_full.swap(true, Ordering::Relaxed) {
            let dir = self.start.dir.display();
            tracing::error!(%error, "no room for the buffer in {dir}: reading waits, nothing is lost; free some disk");
        }
    }

    /// Waits for a cursor to move, for a while at most; not where all that there was to write is written, and no more comes.
    fn wait_for_room(&self, in_hand: bool) -> Step {
        let mut waiting = lock(&self.start.shared.waiting);
        self.answer(&mut waiting);
        let is_over = |waiting: &Waiting| waiting.abandon || waiting.closed && !in_hand && waiting.sections.is_empty();
        if !is_over(&waiting) && !std::mem::take(&mut waiting.cursor_moved) {
            let work = &self.start.shared.work;
            waiting = work.wait_timeout(waiting, self.start.room_poll).unwrap_or_else(PoisonError::into_inner).0;
            waiting.cursor_moved = false;
        }
        if is_over(&waiting) { Step::Stop } else { Step::GoOn }
    }

    /// Deletes the closed segments that every sink has passed.
    fn delete_consumed(&mut self) -> io::Result<()> {
        let Some(lowest) = self.lowest_cursor() else { return Ok(()) };
        let mut deleted = false;
        while let Some(entry) = self.start.closed.first_entry() {
            let end = LogPosition { segment: *entry.key(), offset: *entry.get() };
            if lowest < end {
                break;
            }
            // The newest whole table must stay until the next segment has one.
            if self.file.is_none() && end.segment + 1 == self.start.segment {
                break;
            }
            let path = self.start.dir.join(segment_name(end.segment));
            match self.start.storage.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // One after the other: a hole between segments then always means that one was lost.
            self.start.storage.sync_dir(&self.start.dir)?;
            entry.remove();
            deleted = true;
        }
        if deleted {
            self.publish_used();
        }
        Ok(())
    }

    fn publish_used(&self) {
        let closed: u64 = self.start.closed.values().sum();
        self.start.shared.used_bytes.store(closed + self.offset, Ordering::Relaxed);
    }
}
