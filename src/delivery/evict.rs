//! Room in a full buffer: a sink that has not passed the oldest segment counts what it misses of it, and moves its cursor
//! over it. When that is asked for the buffer decides; nothing is deleted here.
//!
//! **Invariant: what a sink misses is counted by the write that moves its cursor**, synced before the buffer hears of it:
//! a crash at any moment leaves the segment and no count, or the count and a segment that no cursor needs.
//!
//! A load that is under way is in memory and goes on: it counts as evicted until the sink has answered for it, and as
//! delivered from then on. One that was only being filled is dropped.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::run::{Delivery, DeliveryError, InFlight, READ_RETRY};
use crate::buffer::storage::is_full;
use crate::buffer::{Cursor, LogPosition};
use crate::record::OriginId;

/// How often a sink that goes on losing records says so.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// What a sink was asked to drop, and what of it may still come.
pub(super) struct Evictions {
    wanted: watch::Receiver<LogPosition>,
    /// When to try again, after the disk failed.
    retry: Option<Instant>,
    /// Loads under way that count as evicted.
    pub late: Vec<InFlight>,
    said: Option<Instant>,
    /// Records dropped since then.
    unsaid: u64,
}

impl Evictions {
    pub fn new(wanted: watch::Receiver<LogPosition>) -> Self {
        Evictions { wanted, retry: None, late: Vec::new(), said: None, unsaid: 0 }
    }

    /// Resolves when there may be something to do. Cancel safe.
    pub async fn asked(&mut self) {
        match self.retry {
            Some(at) => tokio::time::sleep_until(at).await,
            None => {
                if self.wanted.changed().await.is_err() {
                    // The buffer is gone, and asks for nothing more.
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Records under way that count as evicted.
    fn late_records(&self) -> u64 {
        self.late.iter().map(|load| load.records).sum()
    }

    /// How many dropped records are to be told of now, if any.
    fn due_to_say(&mut self, records: u64) -> Option<u64> {
        self.unsaid += records;
        let due = self.said.is_none_or(|said| said.elapsed() >= LOG_INTERVAL);
        if !due || self.unsaid == 0 {
            return None;
        }
        self.said = Some(Instant::now());
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl Delivery {
    /// Moves the sink over what the buffer wants to drop.
    pub(super) async fn make_room(&mut self) -> Result<(), DeliveryError> {
        let to = *self.evictions.wanted.borrow_and_update();
        if self.shared.ledger.cursor().at >= to {
            self.evictions.retry = None;
            return Ok(());
        }
        if self.evictions.retry.is_some_and(|at| at > Instant::now()) {
            return Ok(());
        }
        self.evictions.retry = None;
        // What has been answered by now is not missed.
        while let Some(done) = self.tasks.try_join_next() {
            self.joined(done)?;
        }
        let cursor = self.shared.ledger.cursor();
        if cursor.at >= to {
            return Ok(());
        }
        let behind = self.reader.behind();
        let counted = tokio::task::spawn_blocking(move || behind.count(cursor, to, None)).await;
        let mut missed = match counted {
            Ok(Ok((missed, _))) => missed,
            Ok(Err(error)) => return self.cannot_drop(&error.to_string()),
            Err(error) => return self.cannot_drop(&error.to_string()),
        };
        let dead = self.take_out_delivered(to, &mut missed);
        match self.shared.ledger.evict(Cursor { at: to, record: 0 }, &missed, &dead) {
            Ok(()) => {}
            Err(error) if is_full(&error) => return self.cannot_drop(&error.to_string()),
            Err(error) => return Err(self.cursor_error(error)),
        }
        let before = self.evictions.late_records();
        self.forget_before(to);
        let late = self.evictions.late_records() - before;
        self.tell(missed.values().sum(), late);
        self.reader.acknowledge(to);
        self.progress.send_replace(to);
        self.pass_done()
    }

    /// Takes loads that were delivered out of turn out of what is missed; gives the origins of their dead letters.
    fn take_out_delivered(&self, to: LogPosition, missed: &mut HashMap<OriginId, u64>) -> Vec<OriginId> {
        let mut dead = Vec::new();
        for load in self.in_flight.iter().filter(|load| load.segment < to.segment) {
            let Some(of_load) = &load.done else { continue };
            dead.extend_from_slice(of_load);
            for (origin, count) in &load.origins {
                if let Some(missed) = missed.get_mut(origin) {
                    *missed = missed.saturating_sub(*count);
                }
            }
        }
        missed.retain(|_, count| *count > 0);
        dead
    }

    /// Goes on at `to` with everything that was read before it.
    fn forget_before(&mut self, to: LogPosition) {
        while self.in_flight.front().is_some_and(|load| load.segment < to.segment) {
            let under_way = self.in_flight.pop_front().filter(|load| load.done.is_none());
            self.evictions.late.extend(under_way);
        }
        self.filling.take_if(|filling| filling.segment < to.segment);
        self.frame.take_if(|frame| frame.at < to);
        self.reader.skip_to(to);
    }

    /// The records of a load that counted as evicted have been answered for; false where there is no such load.
    pub(super) fn was_late(&mut self, number: u64, dead: &[OriginId]) -> Result<bool, DeliveryError> {
        let Some(at) = self.evictions.late.iter().position(|load| load.number == number) else { return Ok(false) };
        let load = self.evictions.late.swap_remove(at);
        self.shared.ledger.answered_late(&load.origins, dead).map_err(|source| self.cursor_error(source))?;
        let records = load.records;
        self.shared.stats.evicted.fetch_sub(records, Ordering::Relaxed);
        Ok(true)
    }

    /// `late`: how many of them are under way, so that an answer may still come.
    fn tell(&mut self, records: u64, late: u64) {
        self.shared.stats.evicted.fetch_add(records, Ordering::Relaxed);
        self.shared.stats.evicted_for_good.fetch_add(records.saturating_sub(late), Ordering::Relaxed);
        if let Some(records) = self.evictions.due_to_say(records) {
            tracing::error!(
                sink = %self.shared.name, records,
                "the buffer is full: its oldest records were dropped and will not reach this sink; see why it is behind, or raise buffer.max_bytes"
            );
        }
    }

    /// Nothing is dropped that cannot be counted: the buffer stays full until it can.
    fn cannot_drop(&mut self, reason: &str) -> Result<(), DeliveryError> {
        self.evictions.retry = Some(Instant::now() + READ_RETRY);
        tracing::error!(sink = %self.shared.name, reason, "the buffer is full, and what would be dropped cannot be counted: reading waits");
        Ok(())
    }
}

#[cfg(test)]
#[path = "evict_tests.rs"]
mod tests;
