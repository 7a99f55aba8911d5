//! The queue between the sources and the writer of the log, and the state that both sides share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot, watch};

use super::{FILES_PAUSE_PERCENT, LogPosition, Options, Section, Snapshot, WhenFull};
use crate::record::OriginId;

/// Most bytes of sections that wait for the writer. At the bound `append` waits: file reading pauses,
/// and the engine's streams are read no further.
pub const QUEUE_MAX_BYTES: usize = 2 * 1024 * 1024;

/// Bytes of a retirement in a frame, at most: twice 32 counts and some.
const RETIREMENT_BYTES: usize = 600;

/// The buffer has stopped and takes nothing more: it was closed, or its disk failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the buffer has stopped")]
pub struct Closed;

/// How far the log has come. All three only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Sections written, counted since start.
    pub written: u64,
    pub appended: LogPosition,
    pub synced: LogPosition,
}

/// An origin that is done with: it has ended, every sink has passed it, and the section that it comes with holds its
/// manifest record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retirement {
    pub origin: OriginId,
    /// Its records in the dead letters of each sink, by route bit.
    pub dead_lettered: Vec<u64>,
    /// Its records that were dropped before each sink had them, by route bit.
    pub evicted: Vec<u64>,
}

/// A section, and the origins that retire by the same write.
#[derive(Debug)]
pub(super) struct Queued {
    pub section: Section,
    pub retire: Vec<Retirement>,
}

impl Queued {
    pub fn weight(&self) -> usize {
        self.section.weight() + self.retire.len() * RETIREMENT_BYTES
    }
}

#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub sections: VecDeque<Queued>,
    /// Who waits for a [`Snapshot`].
    pub asked: Vec<oneshot::Sender<Snapshot>>,
    pub bytes: usize,
    /// Sections ever queued.
    pub queued: u64,
    /// Nothing more is taken; the writer ends when the queue is empty, or at once where `abandon` is set.
    pub closed: bool,
    pub abandon: bool,
    /// A cursor moved: segments may be free to delete.
    pub cursor_moved: bool,
}

/// State shared by appenders, writer, syncer and readers.
#[derive(Debug)]
pub(super) struct Shared {
    pub waiting: Mutex<Waiting>,
    /// The writer waits here.
    pub work: Condvar,
    /// Threads in `append_blocking` wait here.
    pub room: Condvar,
    /// Tasks in `append` wait here.
    pub room_async: Notify,
    pub progress: watch::Sender<Progress>,
    /// Why the buffer failed, once it has.
    pub fatal: watch::Sender<Option<String>>,
    /// The writer has ended.
    pub ended: watch::Sender<bool>,
    /// Bytes of segments that hold something, and the bound for them.
    pub used_bytes: AtomicU64,
    pub max_bytes: u64,
    pub when_full: WhenFull,
    /// Sinks that have not passed this place are to count what they miss and move over it; it only grows.
    pub evict: watch::Sender<LogPosition>,
    pub disk_full: AtomicBool,
    /// Acknowledged position of each sink, by route bit.
    pub cursors: Mutex<Vec<LogPosition>>,
    /// Live origins that have ended: they wait for their manifest.
    pub ended_origins: AtomicU64,
    /// What each source added to the log since the start.
    pub sums: Mutex<super::sums::Sums>,
    /// Set by a reader that has read all that is synced.
    pub sync_wanted: Mutex<bool>,
    /// The syncer waits here.
    pub sync_work: Condvar,
}

/// A lock whose holder panicked is still ours: every critical section here leaves the state whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub fn new(options: &Options, start: LogPosition, cursors: Vec<LogPosition>) -> Self {
        Shared {
            waiting: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            room_async: Notify::new(),
            progress: watch::Sender::new(Progress { written: 0, appended: start, synced: start }),
            fatal: watch::Sender::new(None),
            ended: watch::Sender::new(false),
            used_bytes: AtomicU64::new(0),
            max_bytes: options.max_bytes,
            when_full: options.when_full,
            evict: watch::Sender::new(LogPosition::default()),
            disk_full: AtomicBool::new(false),
            cursors: Mutex::new(cursors),
            ended_origins: AtomicU64::new(0),
            sums: Mutex::default(),
            sync_wanted: Mutex::new(false),
            sync_work: Condvar::new(),
        }
    }

    /// Ends the buffer: nothing more is taken or handed out.
    pub fn fail(&self, reason: String) {
        self.fatal.send_if_modified(|fatal| {
            let first = fatal.is_none();
            if first {
                *fatal = Some(reason);
            }
            first
        });
        self.close(true);
    }

    pub fn close(&self, abandon: bool) {
        {
            let mut waiting = lock(&self.waiting);
            waiting.closed = true;
            waiting.abandon |= abandon;
        }
        self.work.notify_all();
        self.room.notify_all();
        self.room_async.notify_waiters();
        self.want_sync();
    }

    pub fn want_sync(&self) {
        *lock(&self.sync_wanted) = true;
        self.sync_work.notify_all();
    }

    /// Called by the writer when it has taken sections out.
    pub fn made_room(&self) {
        self.room.notify_all();
        self.room_async.notify_waiters();
    }
}

/// The sources' end of the buffer; cheap to clone.
#[derive(Clone, Debug)]
pub struct Appender {
    pub(super) shared: Arc<Shared>,
}

impl Appender {
    /// Queues a section; waits while the queue or the buffer is full.
    ///
    /// # Errors
    /// [`Closed`]: the section was not taken, its lines will be read again after the next start.
    pub async fn append(&self, section: Section) -> Result<(), Closed> {
        self.append_retiring(section, Vec::new()).await
    }

    /// Like [`Appender::append`]; the same write retires these origins.
    ///
    /// # Errors
    /// [`Closed`]: neither was done.
    pub async fn append_retiring(&self, section: Section, retire: Vec<Retirement>) -> Result<(), Closed> {
        let mut queued = Queued { section, retire };
        loop {
            let room = self.shared.room_async.notified();
            tokio::pin!(room);
            // Listens before looking, so that room made in between is not missed.
            room.as_mut().enable();
            match self.try_append(queued)? {
                None => return Ok(()),
                Some(back) => queued = back,
            }
            room.await;
        }
    }

    /// Like [`Appender::append`], without waiting: gives the section back where there is no room.
    ///
    /// # Errors
    /// [`Closed`], as there.
    pub fn offer(&self, section: Section) -> Result<Option<Section>, Closed> {
        let back = self.try_append(Queued { section, retire: Vec::new() })?;
        Ok(back.map(|queued| queued.section))
    }

    /// Like [`Appender::append`], for a thread that is no task of the runtime.
    ///
    /// # Errors
    /// [`Closed`], as there.
    pub fn append_blocking(&self, section: Section) -> Result<(), Closed> {
        let mut waiting = lock(&self.shared.waiting);
        while !waiting.closed && waiting.bytes >= QUEUE_MAX_BYTES {
            waiting = self.shared.room.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        self.push(&mut waiting, Queued { section, retire: Vec::new() })
    }

    /// Like [`Appender::append_retiring`], without waiting.
    #[cfg(test)]
    pub(super) fn queue_retiring(&self, section: Section, retire: Vec<Retirement>) {
        // Closed: the buffer is about to end.
        let _ = self.push(&mut lock(&self.shared.waiting), Queued { section, retire });
    }

    fn try_append(&self, queued: Queued) -> Result<Option<Queued>, Closed> {
        let mut waiting = lock(&self.shared.waiting);
        if !waiting.closed && waiting.bytes >= QUEUE_MAX_BYTES {
            return Ok(Some(queued));
        }
        self.push(&mut waiting, queued).map(|()| None)
    }

    fn push(&self, waiting: &mut Waiting, queued: Queued) -> Result<(), Closed> {
        if waiting.closed {
            return Err(Closed);
        }
        waiting.bytes += queued.weight();
        waiting.queued += 1;
        waiting.sections.push_back(queued);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Files may be read: the queue has room, and the buffer holds less than [`FILES_PAUSE_PERCENT`] of its bound or
    /// makes room by itself.
    pub fn files_may_read(&self) -> bool {
        let used = self.shared.used_bytes.load(Ordering::Relaxed);
        let has_room = used < self.shared.max_bytes / 100 * FILES_PAUSE_PERCENT;
        (has_room || self.shared.when_full == WhenFull::DropOldest) && self.docker_may_read()
    }

    /// Container streams may be read: the queue has room.
    pub fn docker_may_read(&self) -> bool {
        lock(&self.shared.waiting).bytes < QUEUE_MAX_BYTES
    }
}
