//! Opening the log: finds the newest whole segment, replays it, cuts the torn tail, and begins a segment of its own.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::abandon::abandon;
use super::format::{self, FRAME_HEADER_BYTES, FrameKind, HeaderFault, RetiredSum, SEGMENT_HEADER_BYTES, Table, Take};
use super::queue::{Appender, Shared};
use super::reader::Reader;
use super::segment::{find_frame, find_frame_where, read_frame, read_header, segment_name, segments, set_aside};
use super::storage::{Storage, StorageFile};
use super::sums::add_retired;
use super::writer::{self, Live};
use super::{
    Buffer, Cursor, CursorFile, CursorState, LiveOrigin, LogPosition, OriginInfo, Recovered, SEGMENT_BYTES,
    SEGMENT_MIN_BYTES, Setup,
};
use crate::record::OriginId;

/// Why a buffer cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the buffer in {dir:?} cannot be opened: {source}")]
    Io { dir: PathBuf, source: io::Error },
    #[error(
        "{path:?} was written by a later logferry (format {version}): start that one, or give this one another state.dir"
    )]
    Version { path: PathBuf, version: u32 },
    #[error("{path:?} belongs to another buffer: move it away; it is never overwritten")]
    Foreign { path: PathBuf },
}

/// What the newest segments tell.
#[derive(Debug, Default)]
pub(super) struct Found {
    log_id: Option<[u8; 16]>,
    pub sinks: Vec<String>,
    pub retired: Vec<RetiredSum>,
    pub live: BTreeMap<OriginId, Live>,
    /// Length of each whole segment.
    pub closed: BTreeMap<u64, u64>,
    next_segment: u64,
    next_sequence: u64,
    torn_bytes: u64,
    damaged_bytes: u64,
    missing_segments: u64,
}

/// How often a writer that waits for room looks again by itself.
const ROOM_POLL: Duration = Duration::from_secs(1);

/// What has other values in tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub segment_bytes: u64,
    pub room_poll: Duration,
}

/// A log that was recovered, and is not written yet.
pub(super) struct Opened {
    pub start: writer::Start,
    pub readers: Vec<Reader>,
    pub recovered: Recovered,
    pub cursors: Vec<(CursorFile, CursorState)>,
}

/// Opens the buffer in `setup.dir`, or makes one, and starts its threads. Returns it with the cursor of each sink.
///
/// # Errors
/// [`OpenError`]; a torn tail and damage are none.
pub fn open(setup: &Setup, storage: Arc<dyn Storage>) -> Result<(Buffer, Vec<(CursorFile, CursorState)>), OpenError> {
    let segment_bytes = (setup.options.max_bytes / 4).clamp(SEGMENT_MIN_BYTES, SEGMENT_BYTES);
    let sizes = Sizes { segment_bytes, room_poll: ROOM_POLL };
    let Opened { start, readers, recovered, cursors } = recover(setup, Arc::clone(&storage), sizes)?;
    let shared = Arc::clone(&start.shared);
    let io_error = |source| OpenError::Io { dir: setup.dir.clone(), source };
    let control = writer::spawn(start).map_err(io_error)?;
    // Until the first table of this start says what they missed, their cursors do.
    if shared.progress.borrow().appended.offset > 0 {
        for name in &recovered.removed_sinks {
            set_cursor_aside(setup, storage.as_ref(), name).map_err(io_error)?;
        }
    }
    Ok((Buffer { appender: Appender { shared }, readers, recovered, control }, cursors))
}

/// Finds out what the log holds, and opens the cursors.
///
/// # Errors
/// As [`open`].
pub(super) fn recover(setup: &Setup, storage: Arc<dyn Storage>, sizes: Sizes) -> Result<Opened, OpenError> {
    let io_error = |source: io::Error| OpenError::Io { dir: setup.dir.clone(), source };
    storage.create_dir_all(&setup.dir).map_err(io_error)?;
    storage.create_dir_all(&setup.cursor_dir).map_err(io_error)?;
    let mut found = find(&setup.dir, storage.as_ref())?;
    let removed_sinks: Vec<String> =
        found.sinks.iter().filter(|name| !name.is_empty() && !setup.sinks.contains(name)).cloned().collect();
    let end = LogPosition { segment: found.next_segment, offset: 0 };
    for name in &removed_sinks {
        abandon(setup, &storage, &mut found, name, end).map_err(io_error)?;
    }
    remap_routes(&mut found, &setup.sinks);

    let mut cursors = Vec::new();
    for name in &setup.sinks {
        cursors.push(open_cursor(setup, &storage, &found, name, end).map_err(io_error)?);
    }
    let positions: Vec<LogPosition> = cursors.iter().map(|(_, state)| state.cursor.at).collect();
    let shared = Arc::new(Shared::new(&setup.options, end, positions));
    let recovered = recovered(&found, removed_sinks);
    let log_id = match found.log_id {
        Some(id) => id,
        None => OriginId::random().map_err(io_error)?.0,
    };
    let start = writer::Start {
        shared: Arc::clone(&shared),
        storage: Arc::clone(&storage),
        dir: setup.dir.clone(),
        log_id,
        segment_bytes: sizes.segment_bytes,
        room_poll: sizes.room_poll,
        sync: setup.options.sync,
        segment: found.next_segment,
        sequence: found.next_sequence,
        sinks: setup.sinks.clone(),
        live: found.live,
        retired: found.retired,
        closed: found.closed,
    };
    let readers = setup
        .sinks
        .iter()
        .zip(&cursors)
        .enumerate()
        .map(|(bit, (name, (_, state)))| {
            Reader::new(Arc::clone(&shared), Arc::clone(&storage), &setup.dir, name, bit, state.cursor)
        })
        .collect();
    Ok(Opened { start, readers, recovered, cursors })
}

fn recovered(found: &Found, removed_sinks: Vec<String>) -> Recovered {
    let origins = found
        .live
        .values()
        .map(|live| LiveOrigin {
            info: Arc::clone(&live.info),
            position: live.position.clone(),
            counters: live.counters.clone(),
            ended: live.ended,
            removed: live.removed.clone(),
        })
        .collect();
    Recovered {
        origins,
        torn_bytes: found.torn_bytes,
        damaged_bytes: found.damaged_bytes,
        missing_segments: found.missing_segments,
        removed_sinks,
    }
}

pub(super) fn cursor_path(setup: &Setup, sink: &str) -> PathBuf {
    setup.cursor_dir.join(format!("{sink}.cursor"))
}

/// The cursor of a sink. A sink that the log does not know yet begins at its end.
fn open_cursor(
    setup: &Setup,
    storage: &Arc<dyn Storage>,
    found: &Found,
    sink: &str,
    end: LogPosition,
) -> io::Result<(CursorFile, CursorState)> {
    let known = found.sinks.iter().any(|name| name == sink);
    let first = found.closed.keys().next().copied().unwrap_or(end.segment);
    let start = if known { LogPosition { segment: first, offset: 0 } } else { end };
    let start = Cursor { at: start, record: 0 };
    let path = cursor_path(setup, sink);
    let (mut file, mut state, reset) = CursorFile::open(Arc::clone(storage), &path, start)?;
    // A log that is older than its cursor was restored from elsewhere, or made anew.
    let elsewhere = state.cursor.at > end;
    if reset || elsewhere {
        tracing::error!(sink, "the cursor was unreadable or not of this log: everything still buffered is sent again");
        // Nobody knows how much of it the sink has: all of it is asked for.
        state.in_doubt = true;
        state.note.clear();
    }
    if (elsewhere || !known) && state.cursor != start {
        state.cursor = start;
        state.dead_lettered.clear();
        state.evicted.clear();
        state.abandoned.clear();
    }
    // Taken out by a start that could not write a table, and back: it never sees what it was moved over.
    for (id, count) in std::mem::take(&mut state.abandoned) {
        *state.evicted.entry(id).or_default() += count;
    }
    // What an origin that has retired lost stands in the sums of its run.
    state.dead_lettered.retain(|id, _| found.live.contains_key(id));
    state.evicted.retain(|id, _| found.live.contains_key(id));
    file.write(&state)?;
    file.sync()?;
    Ok((file, state))
}

/// A sink that is not configured any more holds no segment; its cursor is kept under another name.
fn set_cursor_aside(setup: &Setup, storage: &dyn Storage, sink: &str) -> io::Result<()> {
    let path = cursor_path(setup, sink);
    match storage.rename(&path, &path.with_extension("removed")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => storage.sync_dir(&setup.cursor_dir),
    }
}

/// Brings the routed counts of the old sinks into the order of the new ones.
fn remap_routes(found: &mut Found, sinks: &[String]) {
    let old_bits: Vec<Option<usize>> =
        sinks.iter().map(|name| found.sinks.iter().position(|old| old == name)).collect();
    let remap = |routed: &mut Vec<u64>| {
        *routed = old_bits.iter().map(|bit| bit.and_then(|bit| routed.get(bit).copied()).unwrap_or(0)).collect();
    };
    for live in found.live.values_mut() {
        remap(&mut live.counters.routed);
    }
    for sum in &mut found.retired {
        remap(&mut sum.counters.routed);
        remap(&mut sum.dead_lettered);
        remap(&mut sum.evicted);
    }
}

/// Looks at the segments, newest first, until one has a whole table; replays that one and cuts its torn tail.
fn find(dir: &Path, storage: &dyn Storage) -> Result<Found, OpenError> {
    let io_error = |source: io::Error| OpenError::Io { dir: dir.to_owned(), source };
    let mut found = Found { next_segment: 1, next_sequence: 1, ..Found::default() };
    let numbers = segments(storage, dir).map_err(io_error)?;
    found.next_segment = numbers.last().map_or(1, |last| last + 1);
    // All headers before anything is changed: what is not ours is refused as it is.
    let mut whole = BTreeMap::new();
    for &number in numbers.iter().rev() {
        whole.insert(number, has_header(&mut found, number, dir, storage)?);
    }
    for missing in numbers.windows(2).filter(|pair| pair[0] + 1 < pair[1]).map(|pair| pair[0] + 1..pair[1]) {
        note_missing(&mut found, missing, dir, storage).map_err(io_error)?;
    }
    let mut replayed = false;
    for (&number, &whole) in whole.iter().rev() {
        let path = dir.join(segment_name(number));
        let file = storage.open(&path).map_err(io_error)?;
        let len = if replayed {
            // An older segment is read by the sinks that need it; its damage is found there.
            if whole { Some(file.size().map_err(io_error)?) } else { None }
        } else if whole {
            replay(&mut found, file.as_ref(), number, dir, storage).map_err(io_error)?
        } else {
            None
        };
        match len {
            Some(len) => {
                replayed = true;
                found.closed.insert(number, len);
            }
            None => {
                let older = replayed;
                drop_segment(&mut found, file.as_ref(), &path, number, older, dir, storage).map_err(io_error)?;
            }
        }
    }
    Ok(found)
}

/// Whether a segment has a whole header of its own. The newest one says which log this is.
fn has_header(found: &mut Found, number: u64, dir: &Path, storage: &dyn Storage) -> Result<bool, OpenError> {
    let io_error = |source: io::Error| OpenError::Io { dir: dir.to_owned(), source };
    let path = dir.join(segment_name(number));
    let file = storage.open(&path).map_err(io_error)?;
    match read_header(file.as_ref()).map_err(io_error)? {
        Ok(header) if *found.log_id.get_or_insert(header.log_id) != header.log_id => Err(OpenError::Foreign { path }),
        Ok(header) => Ok(header.segment == number),
        Err(HeaderFault::Version(version)) => Err(OpenError::Version { path, version }),
        Err(HeaderFault::NotWhole) => Ok(false),
    }
}

/// Segments are deleted from the oldest on: those that are missing between others were lost. That stays known: as a file
/// for each in the quarantine.
fn note_missing(found: &mut Found, missing: std::ops::Range<u64>, dir: &Path, storage: &dyn Storage) -> io::Result<()> {
    let is_kept = |name: &str| storage.open(&dir.join("quarantine").join(name)).is_ok();
    // One that was set aside as damaged is counted already.
    for number in missing.filter(|number| !is_kept(&segment_name(*number))) {
        found.missing_segments += 1;
        let name = format!("{}.missing", segment_name(number));
        if !is_kept(&name) {
            tracing::error!(segment = number, "a segment of the buffer is missing: records in it are lost");
            set_aside(storage, dir, &name, b"")?;
        }
    }
    Ok(())
}

/// Removes a segment without a whole header and table: a start that was cut short. One that holds records all the same,
/// or that others were begun after, is damage, and set aside.
fn drop_segment(
    found: &mut Found,
    file: &dyn StorageFile,
    path: &Path,
    number: u64,
    older: bool,
    dir: &Path,
    storage: &dyn Storage,
) -> io::Result<()> {
    let len = file.size()?;
    if older || holds_data(file, number, len)? {
        tracing::error!(segment = number, bytes = len, "a damaged segment of the buffer was set aside in quarantine/");
        found.damaged_bytes += len;
        storage.create_dir_all(&dir.join("quarantine"))?;
        storage.rename(path, &dir.join("quarantine").join(segment_name(number)))?;
    } else {
        storage.remove(path)?;
        // No sink was ever there, and a number that is left out would look like a segment that was lost.
        found.next_segment = number;
    }
    storage.sync_dir(dir)
}

/// Whether any frame of data is whole: a segment takes one only when its header and table are on disk.
fn holds_data(file: &dyn StorageFile, number: u64, limit: u64) -> io::Result<bool> {
    Ok(find_frame_where(file, number, 0, limit, |header| header.kind == FrameKind::Data)?.is_some())
}

/// Replays a segment into `found` and makes its whole part durable; its length, or `None` where the table is not whole.
fn replay(
    found: &mut Found,
    file: &dyn StorageFile,
    number: u64,
    dir: &Path,
    storage: &dyn Storage,
) -> io::Result<Option<u64>> {
    let limit = file.size()?;
    let mut offset = SEGMENT_HEADER_BYTES as u64;
    let (header, mut memory) = match read_frame(file, number, offset, limit, Vec::new())? {
        Ok((header, bytes)) if header.kind == FrameKind::Table => (header, bytes),
        _ => return Ok(None),
    };
    let Some(table) = Table::decode(&memory[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.len]) else {
        return Ok(None);
    };
    let mut indexes = take_table(found, table, number);
    found.next_sequence = header.sequence + 1;
    offset += header.frame_bytes() as u64;
    let mut synced = header.synced;
    let mut frames = vec![(header.sequence, SEGMENT_HEADER_BYTES as u64)];
    loop {
        match read_frame(file, number, offset, limit, memory)? {
            Ok((header, bytes)) => {
                let end = offset + header.frame_bytes() as u64;
                let payload = &bytes[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.len];
                replay_frame(found, payload, &mut indexes, LogPosition { segment: number, offset: end });
                found.next_sequence = header.sequence + 1;
                synced = synced.max(header.synced);
                frames.push((header.sequence, offset));
                offset = end;
                memory = bytes;
            }
            Err(back) => {
                memory = back;
                match durable_frame_after(file, number, offset, limit, found.next_sequence)? {
                    Some(next) => {
                        let bytes = next - offset;
                        tracing::error!(
                            segment = number,
                            offset,
                            bytes,
                            "damaged bytes in the buffer, see quarantine/"
                        );
                        keep_damage(file, number, offset, bytes, dir, storage)?;
                        found.damaged_bytes += bytes;
                        offset = next;
                    }
                    None => break,
                }
            }
        }
    }
    found.torn_bytes += torn_len(file, offset, limit)?;
    // Frames that no later one proves durable may be in the page cache only, and clean there: a sync that failed marks
    // them so. Written again they are dirty, and the sync below means what it says. The same goes for the header.
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    if super::storage::read_full(file, &mut bytes, 0)? == SEGMENT_HEADER_BYTES {
        file.write_all_at(&bytes, 0)?;
    }
    for (_, at) in frames.into_iter().filter(|(sequence, _)| *sequence > synced) {
        memory = match read_frame(file, number, at, offset, memory)? {
            Ok((_, bytes)) => {
                file.write_all_at(&bytes, at)?;
                bytes
            }
            Err(back) => back,
        };
    }
    file.set_len(offset)?;
    file.sync()?;
    storage.sync_dir(dir)?;
    Ok(Some(offset))
}

fn keep_damage(
    file: &dyn StorageFile,
    number: u64,
    offset: u64,
    len: u64,
    dir: &Path,
    storage: &dyn Storage,
) -> io::Result<()> {
    let mut bytes = vec![0; len as usize];
    let read = super::storage::read_full(file, &mut bytes, offset)?;
    let name = format!("{}.{offset}.damaged", segment_name(number));
    set_aside(storage, dir, &name, &bytes[..read])
}

/// The next whole frame after an invalid one, if it proves that what stood before it had been synced:
/// then the invalid bytes are damage, else they are a torn tail together with all that follows.
fn durable_frame_after(
    file: &dyn StorageFile,
    number: u64,
    offset: u64,
    limit: u64,
    expected: u64,
) -> io::Result<Option<u64>> {
    let Some(first) = find_frame(file, number, offset + 1, limit)? else { return Ok(None) };
    let proof = find_frame_where(file, number, first, limit, |header| header.synced >= expected)?;
    Ok(proof.map(|_| first))
}

/// Bytes behind the last whole frame that are no zeros: how much was torn.
fn torn_len(file: &dyn StorageFile, offset: u64, limit: u64) -> io::Result<u64> {
    let mut chunk = vec![0; 64 * 1024];
    let mut at = offset;
    let mut last = offset;
    while at < limit {
        let read = super::storage::read_full(file, &mut chunk, at)?;
        if read == 0 {
            break;
        }
        if let Some(index) = chunk[..read].iter().rposition(|&byte| byte != 0) {
            last = at + index as u64 + 1;
        }
        at += read as u64;
    }
    Ok(last - offset)
}

fn take_table(found: &mut Found, table: Table, number: u64) -> HashMap<u32, OriginId> {
    found.sinks = table.sinks;
    found.retired = table.retired;
    let mut indexes = HashMap::new();
    for (index, origin) in table.origins.into_iter().enumerate() {
        indexes.insert(index as u32, origin.id);
        let info = OriginInfo { id: origin.id, descriptor: origin.descriptor, constants: origin.constants };
        found.live.insert(
            origin.id,
            Live {
                index: None,
                info: Arc::new(info),
                position: origin.position,
                counters: origin.counters,
                ended: origin.ended,
                removed: origin.removed,
                // Its last section stands in an older segment: passed for sure once this one is reached.
                last: LogPosition { segment: number, offset: 0 },
                source: None,
            },
        );
    }
    indexes
}

fn replay_frame(found: &mut Found, payload: &[u8], indexes: &mut HashMap<u32, OriginId>, end: LogPosition) {
    let mut take = Take(payload);
    while !take.0.is_empty() {
        match format::take_section(&mut take) {
            Some(format::SectionRef::Define { index, id, descriptor, constants }) => {
                indexes.insert(index, id);
                let info = Arc::new(OriginInfo { id, descriptor: descriptor.to_vec(), constants: constants.to_vec() });
                let live = found.live.entry(id).or_insert_with(|| Live {
                    index: None,
                    info: Arc::clone(&info),
                    position: Vec::new(),
                    counters: Default::default(),
                    ended: false,
                    removed: Vec::new(),
                    last: end,
                    source: None,
                });
                live.info = info;
            }
            Some(format::SectionRef::Data(data)) => {
                if let Some(live) = indexes.get(&data.index).and_then(|id| found.live.get_mut(id)) {
                    live.position = data.position.to_vec();
                    live.counters = data.counters;
                    live.ended = data.ended;
                    live.last = end;
                }
            }
            Some(format::SectionRef::Retire { index, dead_lettered, evicted }) => {
                if let Some(live) = indexes.get(&index).and_then(|id| found.live.remove(id)) {
                    add_retired(&mut found.retired, &live, &dead_lettered, &evicted);
                }
            }
            None => break,
        }
    }
}
