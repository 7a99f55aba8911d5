//! The syncer: makes durable what was written while it was busy with the sync before. One sync at a time, whoever asks.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::LogPosition;
use super::queue::{Shared, lock};
use super::storage::StorageFile;

/// What the syncer has to sync.
#[derive(Debug)]
pub(super) struct SyncTarget {
    /// `None` while there is no room for the first segment.
    pub file: Option<Arc<dyn StorageFile>>,
    pub appended: LogPosition,
    pub sequence: u64,
}

/// What writer and syncer share.
#[derive(Debug)]
pub(super) struct Tail {
    pub target: Mutex<SyncTarget>,
    /// One sync at a time, with what follows from it: the system reports a failed write-back to one caller only.
    pub syncing: Mutex<()>,
    /// Sequence up to which frames are known to be on disk.
    pub synced_sequence: AtomicU64,
}

/// Syncs a file of the log and says so; a failure ends the buffer.
pub(super) fn sync(
    shared: &Shared,
    tail: &Tail,
    file: &dyn StorageFile,
    position: LogPosition,
    sequence: u64,
) -> io::Result<()> {
    let _one_at_a_time = lock(&tail.syncing);
    if let Some(reason) = shared.fatal.borrow().as_ref() {
        return Err(io::Error::other(reason.clone()));
    }
    match file.sync() {
        Ok(()) => {
            mark_synced(shared, tail, position, sequence);
            Ok(())
        }
        Err(error) => {
            tracing::error!(%error, segment = position.segment, "sync of the buffer failed");
            shared.fail(format!("sync of segment {} failed: {error}", position.segment));
            Err(error)
        }
    }
}

pub(super) fn mark_synced(shared: &Shared, tail: &Tail, position: LogPosition, sequence: u64) {
    tail.synced_sequence.fetch_max(sequence, Ordering::AcqRel);
    shared.progress.send_if_modified(|p| {
        let further = position > p.synced;
        if further {
            p.synced = position;
        }
        further
    });
}

/// Syncs what was appended: at once when a reader waits for it, else after `interval`.
pub(super) fn sync_loop(shared: &Shared, tail: &Tail, interval: Duration) {
    let mut unsynced_since: Option<Instant> = None;
    loop {
        {
            let mut wanted = lock(&shared.sync_wanted);
            loop {
                let (closed, writer_done) = {
                    let waiting = lock(&shared.waiting);
                    (waiting.closed, waiting.closed && waiting.abandon)
                };
                let behind = {
                    let progress = *shared.progress.borrow();
                    progress.appended > progress.synced
                };
                if behind && unsynced_since.is_none() {
                    unsynced_since = Some(Instant::now());
                }
                let age = unsynced_since.map(|since| since.elapsed());
                if behind && (closed || *wanted || age.is_some_and(|age| age >= interval)) {
                    *wanted = false;
                    break;
                }
                // The writer ends with `abandon`: nothing more is appended, and all that was is synced.
                if writer_done && !behind {
                    return;
                }
                if !behind {
                    unsynced_since = None;
                }
                let wait = age.map_or(interval, |age| interval.saturating_sub(age)).max(Duration::from_millis(1));
                wanted = shared.sync_work.wait_timeout(wanted, wait).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        unsynced_since = None;
        if sync_appended(shared, tail).is_err() {
            return;
        }
    }
}

/// Makes durable all that was appended until now.
pub(super) fn sync_appended(shared: &Shared, tail: &Tail) -> io::Result<()> {
    let (file, appended, sequence) = {
        let target = lock(&tail.target);
        (target.file.clone(), target.appended, target.sequence)
    };
    match file {
        Some(file) if appended > shared.progress.borrow().synced => {
            sync(shared, tail, file.as_ref(), appended, sequence)
        }
        _ => Ok(()),
    }
}
