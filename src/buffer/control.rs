//! Handles on the running buffer: flushing, watching, closing. They decide nothing of the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::queue::{Closed, Shared, lock};
use super::sums::Sums;
use super::{LogPosition, Snapshot};

/// The buffer has failed for good; the process ends with 1 and the next start recovers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the buffer failed: {0}")]
pub struct Fatal(pub String);

/// Handle on the running writer.
#[derive(Debug)]
pub struct Control {
    pub(super) shared: Arc<Shared>,
    pub(super) threads: Vec<JoinHandle<()>>,
}

impl Control {
    /// As [`Flusher::flush`].
    ///
    /// # Errors
    /// [`Closed`]: the buffer stopped before that.
    pub async fn flush(&self) -> Result<LogPosition, Closed> {
        self.flusher().flush().await
    }

    /// A handle that outlives this one.
    pub fn flusher(&self) -> Flusher {
        Flusher(Arc::clone(&self.shared))
    }

    /// Resolves when the buffer has failed.
    pub async fn failed(&self) -> Fatal {
        let mut fatal = self.shared.fatal.subscribe();
        match fatal.wait_for(Option::is_some).await {
            Ok(reason) => Fatal(reason.clone().unwrap_or_default()),
            Err(_) => Fatal("its writer is gone".to_owned()),
        }
    }

    /// Why the buffer failed, if it did.
    pub fn failure(&self) -> Option<Fatal> {
        self.shared.fatal.borrow().clone().map(Fatal)
    }

    /// What each source added to the log since the start.
    pub fn sums(&self) -> Sums {
        lock(&self.shared.sums).clone()
    }

    /// A view of [`Control::sums`] that outlives this handle.
    pub fn watch_sums(&self) -> SumsWatch {
        SumsWatch(Arc::clone(&self.shared))
    }

    /// A view of how full the log is that outlives this handle.
    pub fn watch_usage(&self) -> UsageWatch {
        UsageWatch(Arc::clone(&self.shared))
    }

    /// A view of the origins that outlives this handle.
    pub fn watch_origins(&self) -> OriginsWatch {
        OriginsWatch(Arc::clone(&self.shared))
    }

    /// Bytes on disk that hold something.
    pub fn used_bytes(&self) -> u64 {
        self.shared.used_bytes.load(Ordering::Relaxed)
    }

    /// Stops writer and syncer; what is queued is written first, unless `abandon`. What was appended is synced.
    pub fn close(mut self, abandon: bool) {
        self.shared.close(abandon);
        for thread in self.threads.drain(..) {
            // A panic there has been reported by the panic hook; there is nothing to add.
            let _ = thread.join();
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.shared.close(true);
    }
}

/// Brings to the log what waits for it.
#[derive(Clone, Debug)]
pub struct Flusher(Arc<Shared>);

impl Flusher {
    /// Waits until all that is queued now stands in the log, and returns its end.
    ///
    /// # Errors
    /// [`Closed`]: the buffer stopped before that.
    pub async fn flush(&self) -> Result<LogPosition, Closed> {
        if self.0.fatal.borrow().is_some() {
            return Err(Closed);
        }
        let ticket = lock(&self.0.waiting).queued;
        let mut progress = self.0.progress.subscribe();
        let mut ended = self.0.ended.subscribe();
        let reached = tokio::select! {
            biased;
            reached = progress.wait_for(|p| p.written >= ticket) => reached.map_err(|_| Closed)?.appended,
            _ = ended.wait_for(|ended| *ended) => return Err(Closed),
        };
        self.0.want_sync();
        Ok(reached)
    }
}

/// How full the log is, at any time.
#[derive(Clone, Debug)]
pub struct UsageWatch(Arc<Shared>);

impl UsageWatch {
    /// Bytes on disk that hold something.
    pub fn used_bytes(&self) -> u64 {
        self.0.used_bytes.load(Ordering::Relaxed)
    }

    /// Most bytes that the log may take.
    pub fn max_bytes(&self) -> u64 {
        self.0.max_bytes
    }

    /// The disk has no room for the next segment.
    pub fn disk_full(&self) -> bool {
        self.0.disk_full.load(Ordering::Relaxed)
    }

    /// End of the log.
    pub fn appended(&self) -> LogPosition {
        self.0.progress.borrow().appended
    }
}

/// Asks the writer what origins there are, at any time.
#[derive(Clone, Debug)]
pub struct OriginsWatch(Arc<Shared>);

impl OriginsWatch {
    /// Whether any origin has ended and not retired.
    pub fn has_ended(&self) -> bool {
        self.0.ended_origins.load(Ordering::Relaxed) > 0
    }

    /// All origins as of now. The writer answers between two frames.
    ///
    /// # Errors
    /// [`Closed`]: the buffer has stopped.
    pub async fn snapshot(&self) -> Result<Snapshot, Closed> {
        let (sender, answer) = oneshot::channel();
        {
            let mut waiting = lock(&self.0.waiting);
            if waiting.closed {
                return Err(Closed);
            }
            waiting.asked.push(sender);
        }
        self.0.work.notify_one();
        let mut ended = self.0.ended.subscribe();
        tokio::select! {
            biased;
            snapshot = answer => snapshot.map_err(|_| Closed),
            _ = ended.wait_for(|ended| *ended) => Err(Closed),
        }
    }
}

/// What each source added to the log since the start, at any time.
#[derive(Clone, Debug)]
pub struct SumsWatch(Arc<Shared>);

impl SumsWatch {
    pub fn get(&self) -> Sums {
        lock(&self.0.sums).clone()
    }
}
