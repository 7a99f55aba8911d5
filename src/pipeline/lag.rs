//! How many records each sink lacks, at no cost while it is known: what was routed to it less what it is done with. Only
//! what an earlier process left has to be counted, once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::buffer::{Sums, SumsWatch, UsageWatch};
use crate::delivery::Handle;

/// Longest that who asks waits for what an earlier process left to be counted; the next one gets the figure then.
const COUNT_WAIT: Duration = Duration::from_secs(1);

/// What a sink lacks.
#[derive(Debug)]
pub(super) struct Lag {
    usage: UsageWatch,
    sums: SumsWatch,
    sink: Handle,
    bit: usize,
    /// What it had been routed and was not done with, more than it lacked then.
    base: Mutex<Base>,
    /// Held by who counts.
    counting: tokio::sync::Mutex<()>,
}

/// Routed less done, where the sink lacked nothing.
#[derive(Clone, Copy, Debug)]
enum Base {
    Unknown,
    Known(i128),
}

/// Records that were routed to a sink since the process started.
pub(super) fn routed(sums: &Sums, bit: usize) -> u64 {
    sums.values().map(|sum| sum.routed_to(bit)).sum()
}

impl Lag {
    /// `bit`: the sink's place among the routes. Called before any record is read.
    pub fn new(sink: Handle, bit: usize, sums: SumsWatch, usage: UsageWatch) -> Self {
        let is_new = *sink.progress.borrow() >= usage.appended();
        let base = if is_new { Base::Known(0) } else { Base::Unknown };
        Lag { usage, sums, sink, bit, base: Mutex::new(base), counting: tokio::sync::Mutex::default() }
    }

    fn base(&self) -> MutexGuard<'_, Base> {
        self.base.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Routed less done: more by what it was before the first record.
    fn open(&self) -> i128 {
        // In this order a record is never done with before it is routed.
        let done = self.sink.stats.done();
        i128::from(routed(&self.sums.get(), self.bit)) - i128::from(done)
    }

    /// Records that are not delivered and not given up; `None`: they are still being counted.
    pub async fn records(self: &Arc<Self>) -> Option<u64> {
        let before = self.open();
        let target = self.usage.appended();
        if *self.sink.progress.borrow() >= target {
            // Where nothing has moved meanwhile, and no answer may yet come for what was evicted: what was lost to damage, or
            // delivered twice, is out of the figure again.
            if self.open() == before && self.usage.appended() == target && self.sink.stats.has_none_late() {
                *self.base() = Base::Known(before);
            }
            return Some(0);
        }
        if let Base::Known(base) = *self.base() {
            return Some(u64::try_from(before - base).unwrap_or(0));
        }
        if self.counting.try_lock().is_err() {
            return None;
        }
        // It goes on, and is not begun anew, where that takes longer.
        let this = Arc::clone(self);
        let counting = tokio::spawn(async move { this.count().await });
        tokio::time::timeout(COUNT_WAIT, counting).await.ok()?.ok()?
    }

    async fn count(&self) -> Option<u64> {
        let _counting = self.counting.lock().await;
        if let Base::Known(base) = *self.base() {
            return Some(u64::try_from(self.open() - base).unwrap_or(0));
        }
        let open = self.open();
        let lacks = self.sink.backlog(self.usage.appended()).await?;
        *self.base() = Base::Known(open - i128::from(lacks));
        Some(lacks)
    }
}
