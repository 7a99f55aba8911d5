//! The cursor of one sink: how far the log has been accepted, and what only the sink knows.
//!
//! A cursor file has two slots of equal size, each with a generation and a checksum. The slot that was last synced is
//! never written to: a write that a power loss tears leaves it. It grows by a new file that is renamed over the old one.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LogPosition;
use super::format::{Take, put_blob};
use super::storage::{Storage, StorageFile, read_full};
use crate::record::OriginId;

const MAGIC: &[u8; 8] = b"LFRYCUR\x01";
/// Smallest slot, in bytes: a cursor without dead letters fits many times.
const SLOT_MIN_BYTES: u64 = 4096;

/// Place of the first record that is not accepted yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Start of the frame.
    pub at: LogPosition,
    /// Records of that frame, of any origin and route, that come before.
    pub record: u32,
}

/// All that a cursor file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CursorState {
    pub cursor: Cursor,
    /// Records behind the cursor may have been sent: a process began to send, and has not ended in order since.
    pub in_doubt: bool,
    /// What the sink asked to remember before sending, see `Sink::note`.
    pub note: Vec<u8>,
    /// Records dead-lettered, by origin.
    pub dead_lettered: HashMap<OriginId, u64>,
    /// Records that the cursor passed without the sink having them, as their segment was dropped; by origin.
    pub evicted: HashMap<OriginId, u64>,
    /// Records that the sink had not accepted when it was taken out of the configuration; by origin.
    pub abandoned: HashMap<OriginId, u64>,
}

impl CursorState {
    fn encode(&self, generation: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + (self.dead_lettered.len() + self.evicted.len()) * 24);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[0; 8]); // length and checksum, filled in below
        out.extend_from_slice(&generation.to_le_bytes());
        out.extend_from_slice(&self.cursor.at.segment.to_le_bytes());
        out.extend_from_slice(&self.cursor.at.offset.to_le_bytes());
        out.extend_from_slice(&self.cursor.record.to_le_bytes());
        out.push(u8::from(self.in_doubt));
        put_blob(&mut out, &self.note);
        for counts in [&self.dead_lettered, &self.evicted, &self.abandoned] {
            out.extend_from_slice(&(counts.len() as u32).to_le_bytes());
            // In order: one state has one form.
            let mut counts: Vec<_> = counts.iter().collect();
            counts.sort_unstable();
            for (origin, count) in counts {
                out.extend_from_slice(&origin.0);
                out.extend_from_slice(&count.to_le_bytes());
            }
        }
        let body_len = (out.len() - 16) as u32;
        let crc = crc32c::crc32c(&out[16..]);
        out[8..12].copy_from_slice(&body_len.to_le_bytes());
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(slot: &[u8]) -> Option<(u64, Self)> {
        let mut take = Take(slot);
        if take.bytes(8)? != MAGIC {
            return None;
        }
        let (len, crc) = (take.u32()?, take.u32()?);
        let body = take.bytes(len as usize)?;
        if crc32c::crc32c(body) != crc {
            return None;
        }
        let mut take = Take(body);
        let generation = take.u64()?;
        let at = LogPosition { segment: take.u64()?, offset: take.u64()? };
        let cursor = Cursor { at, record: take.u32()? };
        let in_doubt = take.u8()? != 0;
        let note = take.blob()?.to_vec();
        let dead_lettered = take_counts(&mut take)?;
        let evicted = take_counts(&mut take)?;
        let abandoned = take_counts(&mut take)?;
        Some((generation, CursorState { cursor, in_doubt, note, dead_lettered, evicted, abandoned }))
    }
}

fn take_counts(take: &mut Take<'_>) -> Option<HashMap<OriginId, u64>> {
    (0..take.u32()?).map(|_| Some((OriginId(take.array()?), take.u64()?))).collect()
}

/// The file of one cursor, open for writing.
#[derive(Debug)]
pub struct CursorFile {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    file: Arc<dyn StorageFile>,
    slot_bytes: u64,
    generation: u64,
    /// The slot that is on disk for sure; the other one takes every write until the next sync.
    synced_slot: u64,
    /// Something was written since the last sync.
    written: bool,
}

impl CursorFile {
    /// Opens a cursor, or makes one at `start`; `start` is also taken where no slot can be read (then the third value is true).
    ///
    /// # Errors
    /// The folder or file cannot be read or written.
    pub fn open(storage: Arc<dyn Storage>, path: &Path, start: Cursor) -> io::Result<(Self, CursorState, bool)> {
        let file = match storage.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let state = CursorState { cursor: start, ..CursorState::default() };
                let cursor_file = Self::make(storage, path, &state, 1, SLOT_MIN_BYTES)?;
                return Ok((cursor_file, state, false));
            }
            Err(error) => return Err(error),
        };
        let slot_bytes = file.size()? / 2;
        let mut newest: Option<(u64, CursorState, u64, Vec<u8>)> = None;
        for slot in 0..2 {
            let mut bytes = vec![0; slot_bytes as usize];
            let read = read_full(file.as_ref(), &mut bytes, slot * slot_bytes)?;
            bytes.truncate(read);
            if let Some((generation, state)) = CursorState::decode(&bytes)
                && newest.as_ref().is_none_or(|(g, ..)| *g < generation)
            {
                newest = Some((generation, state, slot, bytes));
            }
        }
        match newest {
            Some((generation, state, synced_slot, bytes)) => {
                // What a killed process wrote last is in the page cache only, perhaps the file's name, too. Where a sync of it
                // failed it is clean there: written again it is dirty, and the sync means what it says. The very same bytes:
                // torn over themselves they stay whole.
                file.write_all_at(&bytes, synced_slot * slot_bytes)?;
                file.sync()?;
                sync_folder(storage.as_ref(), path)?;
                let path = path.to_owned();
                Ok((
                    CursorFile { storage, path, file, slot_bytes, generation, synced_slot, written: false },
                    state,
                    false,
                ))
            }
            None => {
                let state = CursorState { cursor: start, ..CursorState::default() };
                let cursor_file = Self::make(storage, path, &state, 1, SLOT_MIN_BYTES)?;
                Ok((cursor_file, state, true))
            }
        }
    }

    /// A new file under a temporary name, synced, then renamed to its place.
    fn make(
        storage: Arc<dyn Storage>,
        path: &Path,
        state: &CursorState,
        generation: u64,
        slot_bytes: u64,
    ) -> io::Result<Self> {
        let temporary = path.with_extension("new");
        match storage.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = storage.create(&temporary, slot_bytes * 2)?;
        // Both slots take their room now: without preallocation a full disk would show when a cursor has to move.
        let mut bytes = state.encode(generation);
        bytes.resize((slot_bytes * 2) as usize, 0);
        file.write_all_at(&bytes, 0)?;
        file.sync()?;
        storage.rename(&temporary, path)?;
        sync_folder(storage.as_ref(), path)?;
        Ok(CursorFile { storage, path: path.to_owned(), file, slot_bytes, generation, synced_slot: 0, written: false })
    }

    /// Writes the state; durable after the next [`CursorFile::sync`], whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, state: &CursorState) -> io::Result<()> {
        let generation = self.generation + 1;
        let bytes = state.encode(generation);
        if bytes.len() as u64 > self.slot_bytes {
            let slot_bytes = (bytes.len() as u64 * 2).next_power_of_two();
            *self = Self::make(Arc::clone(&self.storage), &self.path, state, generation, slot_bytes)?;
            return Ok(());
        }
        // A write that fails may have torn the one before it: until one succeeds the other slot alone counts.
        self.written = false;
        self.file.write_all_at(&bytes, (1 - self.synced_slot) * self.slot_bytes)?;
        self.generation = generation;
        self.written = true;
        Ok(())
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// The disk failed.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        if std::mem::take(&mut self.written) {
            self.synced_slot = 1 - self.synced_slot;
        }
        Ok(())
    }
}

fn sync_folder(storage: &dyn Storage, path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| storage.sync_dir(dir))
}

#[cfg(test)]
mod tests {
    use super::super::storage::Disk;
    use super::*;

    fn state(n: u64) -> CursorState {
        CursorState {
            cursor: Cursor { at: LogPosition { segment: n, offset: n * 8 }, record: n as u32 },
            in_doubt: n % 2 == 1,
            note: vec![b'n'; n as usize],
            dead_lettered: (0..n).map(|i| (OriginId([i as u8; 16]), i)).collect(),
            evicted: (1..n).map(|i| (OriginId([i as u8; 16]), i * 3)).collect(),
            abandoned: (2..n).map(|i| (OriginId([i as u8; 16]), i * 5)).collect(),
        }
    }

    fn open(path: &Path) -> (CursorFile, CursorState, bool) {
        CursorFile::open(Arc::new(Disk), path, Cursor::default()).expect("cursor")
    }

    #[test]
    fn the_newest_state_is_read_back_also_after_the_file_has_grown() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("es.cursor");
        assert_eq!(open(&path).1, CursorState::default());
        for n in [1, 2, 3, 250, 4] {
            let (mut file, _, _) = open(&path);
            file.write(&state(n)).expect("write");
            let (_, read, reset) = open(&path);
            assert_eq!((read, reset), (state(n), false));
        }
    }

    #[test]
    fn a_torn_write_leaves_the_state_before_it() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("es.cursor");
        let (mut file, _, _) = open(&path);
        file.write(&state(1)).expect("write");
        file.sync().expect("sync");
        let before = std::fs::read(&path).expect("read");
        // Without a sync between them both go to the same slot: the synced one stays whole.
        file.write(&state(3)).expect("write");
        file.write(&state(2)).expect("write");
        let after = std::fs::read(&path).expect("read");
        let changed: Vec<usize> = (0..before.len()).filter(|&i| before[i] != after[i]).collect();
        for torn_at in changed.iter().take(60).skip(1) {
            let mut torn = after.clone();
            torn[*torn_at..].copy_from_slice(&before[*torn_at..]);
            std::fs::write(&path, &torn).expect("write");
            let (_, read, reset) = open(&path);
            assert!(!reset);
            assert!(read == state(1) || read == state(2), "torn at {torn_at}");
        }
    }

    #[test]
    fn an_unreadable_file_starts_anew_and_says_so() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("es.cursor");
        std::fs::write(&path, vec![0xff; 8192]).expect("write");
        let start = Cursor { at: LogPosition { segment: 3, offset: 64 }, record: 0 };
        let (_, read, reset) = CursorFile::open(Arc::new(Disk), &path, start).expect("cursor");
        assert_eq!((read.cursor, reset), (start, true));
    }
}
