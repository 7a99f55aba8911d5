//! For tests of sources: an appender without a log behind it. What it takes is collected, not written.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::queue::{Shared, lock};
use super::{Appender, LogPosition, Options, Section, WhenFull};

const MAX_BYTES: u64 = 1 << 30;

/// Takes out what an [`Appender`] queued.
pub(crate) struct Detached {
    shared: Arc<Shared>,
}

/// An appender and the end at which its sections come out.
pub(crate) fn detached() -> (Appender, Detached) {
    let options = Options { max_bytes: MAX_BYTES, when_full: WhenFull::Block, sync: Duration::ZERO };
    let shared = Arc::new(Shared::new(&options, LogPosition::default(), Vec::new()));
    (Appender { shared: Arc::clone(&shared) }, Detached { shared })
}

impl Detached {
    /// The sections that were appended since the last call; waits up to `limit` for the first one.
    pub fn take(&self, limit: Duration) -> Vec<Section> {
        let waiting = lock(&self.shared.waiting);
        let mut waiting = self
            .shared
            .work
            .wait_timeout_while(waiting, limit, |waiting| waiting.sections.is_empty())
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        waiting.bytes = 0;
        let taken = waiting.sections.drain(..).map(|queued| queued.section).collect();
        drop(waiting);
        self.shared.made_room();
        taken
    }

    /// The log behind the appender is full, or has room again.
    pub fn set_full(&self, full: bool) {
        self.shared.used_bytes.store(if full { MAX_BYTES } else { 0 }, Ordering::Relaxed);
    }

    /// The buffer stops.
    pub fn close(&self) {
        self.shared.close(true);
    }
}
