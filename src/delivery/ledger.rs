//! The durable side of a sink: its cursor file, shared by the loop and its attempts.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::buffer::storage::is_full;
use crate::buffer::{Cursor, CursorFile, CursorState};
use crate::record::OriginId;

/// How long a written cursor may wait for its sync: after a power loss so much is asked for or sent again.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Inner {
    /// `None`: a replay, which has no place in the log.
    file: Option<CursorFile>,
    state: CursorState,
    /// Since when something is written and not synced.
    unsynced: Option<Instant>,
    /// Records were sent whose answer is not known: the note of before they were is kept, as an older one is always right.
    unsettled: bool,
}

/// Cursor, note and counts of one sink.
#[derive(Debug)]
pub struct Ledger {
    inner: Mutex<Inner>,
}

impl Ledger {
    pub fn new(file: CursorFile, state: CursorState) -> Self {
        let unsettled = state.in_doubt;
        Ledger { inner: Mutex::new(Inner { file: Some(file), state, unsynced: None, unsettled }) }
    }

    /// Of a replay: nothing of it is written down.
    pub fn without_file() -> Self {
        let state = CursorState::default();
        Ledger { inner: Mutex::new(Inner { file: None, state, unsynced: None, unsettled: false }) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers, durably, that records are sent from now on, and the sink's note on where to.
    ///
    /// # Errors
    /// The cursor file cannot be written.
    pub fn begin(&self, note: &[u8]) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.state.in_doubt && (inner.unsettled || inner.state.note == note) {
            return Ok(());
        }
        inner.unsettled = true;
        inner.state.in_doubt = true;
        inner.state.note = note.to_vec();
        inner.write()?;
        inner.sync()
    }

    /// All that was ever sent has been answered: the next note may take the place of the one that is kept.
    pub fn settle(&self) {
        self.lock().unsettled = false;
    }

    /// Closes in order: `idle` where no request was under way.
    ///
    /// # Errors
    /// The cursor file cannot be written.
    pub fn end(&self, idle: bool) -> io::Result<()> {
        let mut inner = self.lock();
        if idle && inner.state.in_doubt {
            inner.state.in_doubt = false;
            inner.write()?;
        }
        inner.sync()
    }

    /// Moves the cursor, and counts what went to the dead letters on the way.
    ///
    /// # Errors
    /// The cursor file cannot be written.
    pub fn advance(&self, cursor: Cursor, dead: &[OriginId]) -> io::Result<()> {
        let mut inner = self.lock();
        inner.state.cursor = cursor;
        inner.count_dead(dead);
        inner.write()?;
        if dead.is_empty() {
            inner.unsynced.get_or_insert_with(Instant::now);
            return Ok(());
        }
        // Once the segment is deleted nothing else tells that they were refused.
        inner.sync()
    }

    /// Moves the cursor over a part of the log that is dropped, with what the sink misses of it and what went to the dead
    /// letters. Durable when it returns: nothing is deleted that is not counted, and nothing is counted twice.
    ///
    /// # Errors
    /// The cursor file cannot be written, or there is no room for it; then nothing has changed.
    pub fn evict(&self, cursor: Cursor, evicted: &HashMap<OriginId, u64>, dead: &[OriginId]) -> io::Result<()> {
        let mut inner = self.lock();
        let before = inner.state.clone();
        inner.state.cursor = cursor;
        for (origin, count) in evicted {
            *inner.state.evicted.entry(*origin).or_default() += count;
        }
        inner.count_dead(dead);
        let Inner { file, state, .. } = &mut *inner;
        let written = file.as_mut().map_or(Ok(()), |file| file.write(state));
        if let Err(error) = written {
            inner.state = before;
            return Err(error);
        }
        inner.sync()
    }

    /// Records that were counted as evicted while they were under way, and that the sink has answered for since.
    ///
    /// # Errors
    /// The cursor file cannot be written.
    pub fn answered_late(&self, origins: &[(OriginId, u64)], dead: &[OriginId]) -> io::Result<()> {
        let mut inner = self.lock();
        for (origin, count) in origins {
            if let Some(evicted) = inner.state.evicted.get_mut(origin) {
                *evicted = evicted.saturating_sub(*count);
            }
        }
        inner.state.evicted.retain(|_, count| *count > 0);
        inner.count_dead(dead);
        inner.write()?;
        inner.unsynced.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Place of the first record that is not accepted yet.
    pub fn cursor(&self) -> Cursor {
        self.lock().state.cursor
    }

    /// The cursor, with the counts that belong to it.
    pub fn state(&self) -> CursorState {
        self.lock().state.clone()
    }

    /// When what was written is to be synced, see [`Ledger::sync`]; `None`: all is.
    pub fn sync_due(&self) -> Option<Instant> {
        self.lock().unsynced.map(|since| since + SYNC_INTERVAL)
    }

    /// Makes durable what was written.
    ///
    /// # Errors
    /// The disk failed.
    pub fn sync(&self) -> io::Result<()> {
        self.lock().sync()
    }
}

impl Inner {
    /// Writes the state. A larger file that there is no room for is made later: until then the cursor lags behind,
    /// which costs questions or doubles after a crash, and no record.
    fn write(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        match file.write(&self.state) {
            Err(error) if is_full(&error) => {
                tracing::warn!(%error, "no room to write down what a sink has accepted: free some disk");
                Ok(())
            }
            other => other,
        }
    }

    fn count_dead(&mut self, dead: &[OriginId]) {
        for origin in dead {
            *self.state.dead_lettered.entry(*origin).or_default() += 1;
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.sync()?;
        }
        self.unsynced = None;
        Ok(())
    }
}
