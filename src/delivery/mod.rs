//! From the log to the sinks: one loop for each sink fills batches, sends them, decides what an answer means,
//! and moves the cursor over the contiguous prefix of what was accepted.
//!
//! **Invariant: a slow or dead sink never holds another back**; they share nothing but the log.
//! **Invariant: the cursor passes a record only when the sink accepted it, it stands in the dead letters on disk, or it
//! is counted as evicted by the same write.**

mod attempt;
mod batch;
pub mod deadletter;
pub mod decision;
mod evict;
mod ledger;
mod letter;
mod pace;
mod replay;
mod requests;
pub mod retry;
mod run;
mod streak;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

pub use batch::view;
pub use deadletter::DeadLetters;
pub use ledger::Ledger;
pub use replay::{Replay, ReplayError, Replayed, count_lines};
pub use requests::{Counted, Requests};
pub use run::{Delivery, DeliveryError, Handle, Hurry, Standing};

/// Most records of one batch, so that the answers for all of them stay small.
pub const BATCH_MAX_RECORDS: usize = 20_000;

/// What a sink has done since the process started; read by reports while it works.
#[derive(Debug, Default)]
pub struct Stats {
    pub accepted: AtomicU64,
    pub dead_lettered: AtomicU64,
    /// Of these, how many were kept without their document: the dead letters had reached their bound.
    pub without_document: AtomicU64,
    /// Records that were dropped from a full buffer before the sink had them.
    pub evicted: AtomicU64,
    /// Records that were dropped like this and for which no answer can come any more: it only grows.
    pub evicted_for_good: AtomicU64,
    /// Records sent again although nobody can tell whether the sink has them.
    pub possible_doubles: AtomicU64,
    pub requests: AtomicU64,
    /// Requests that did not end in acceptance.
    pub failed_requests: AtomicU64,
    /// How requests ended, and how long they took.
    pub ended_requests: Requests,
    /// Bytes of the buffer that were damaged and skipped: records in them never reach the sink.
    pub damaged_bytes: AtomicU64,
    /// Why the sink does not accept at the moment.
    fault: Mutex<Option<String>>,
}

impl Stats {
    fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Records that the sink is done with, one way or the other: it only grows.
    pub fn done(&self) -> u64 {
        let counters = [&self.accepted, &self.dead_lettered, &self.evicted_for_good];
        counters.iter().map(|counter| counter.load(Ordering::Relaxed)).sum()
    }

    /// Whether no answer may yet come for records that were dropped.
    pub fn has_none_late(&self) -> bool {
        self.evicted.load(Ordering::Relaxed) == self.evicted_for_good.load(Ordering::Relaxed)
    }

    /// Why the sink does not accept at the moment, in one line.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Notes a fault or its end; returns what was noted before.
    fn set_fault(&self, fault: Option<String>) -> Option<String> {
        std::mem::replace(&mut *self.fault.lock().unwrap_or_else(std::sync::PoisonError::into_inner), fault)
    }
}
