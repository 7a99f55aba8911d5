//! The durable side of a sink: its cursor file, shared by the loop and its attempts.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::buffer::{Cursor, CursorFile, CursorState};
use crate::record::OriginId;

/// How long a written cursor may wait for its sync: after a power loss so much is asked for or sent again.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Inner {
    file: CursorFile,
    state: CursorState,
    synced: Instant,
}

/// Cursor, note and counts of one sink.
#[derive(Debug)]
pub struct Ledger {
    inner: Mutex<Inner>,
}

impl Ledger {
    pub fn new(file: CursorFile, state: CursorState) -> Self {
        Ledger { inner: Mutex::new(Inner { file, state, synced: Instant::now() }) }
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
        if inner.state.in_doubt && inner.state.note == note {
            return Ok(());
        }
        inner.state.in_doubt = true;
        inner.state.note = note.to_vec();
        inner.write()?;
        inner.file.sync()
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
        inner.file.sync()
    }

    /// Moves the cursor, and counts what went to the dead letters on the way.
    ///
    /// # Errors
    /// The cursor file cannot be written.
    pub fn advance(&self, cursor: Cursor, dead: &[OriginId]) -> io::Result<()> {
        let mut inner = self.lock();
        inner.state.cursor = cursor;
        for origin in dead {
            *inner.state.dead_lettered.entry(*origin).or_default() += 1;
        }
        inner.write()?;
        if inner.synced.elapsed() >= SYNC_INTERVAL {
            inner.file.sync()?;
            inner.synced = Instant::now();
        }
        Ok(())
    }
}

impl Inner {
    fn write(&mut self) -> io::Result<()> {
        self.file.write(&self.state)
    }
}
