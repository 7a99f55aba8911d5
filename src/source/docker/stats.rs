//! What a running Docker source knows about itself, for reports and status. Numbers and known gaps, no lines.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::frame::Stream;
use crate::record::{GapKind, Nanos};

/// Most gaps that are kept one by one; further ones are only counted.
pub const GAPS_MAX: usize = 1_000;

/// An engine that was reached and is away for so long at a stop is gone: one that starts anew listens again by then, or its
/// containers are read on by the next start.
pub(super) const AWAY_MAX: Duration = Duration::from_secs(2);

/// Why lines of a container may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The engine no longer has the line at which reading would go on: its log was rotated or cut.
    Rotated,
    /// The container was removed before its log was read to the end.
    Gone,
    /// The log cannot be read: its driver does not allow it, or the engine refuses again and again.
    Unreadable,
    /// The engine broke the log off in the middle.
    BrokenOff,
    /// The engine left lines out while its log was followed: it rotates faster than it reads.
    Skipped,
    /// The engine rotated its log away before it could be asked whether it left lines out.
    Unproven,
    /// The log driver may drop lines, and says nothing: see [`super::driver`].
    Lossy,
}

impl GapReason {
    /// The kind that counters and manifests know.
    pub fn kind(self) -> GapKind {
        match self {
            GapReason::Rotated | GapReason::Skipped | GapReason::Unproven => GapKind::Rotated,
            GapReason::Gone => GapKind::Gone,
            GapReason::Unreadable => GapKind::Unreadable,
            GapReason::BrokenOff => GapKind::BrokenOff,
            GapReason::Lossy => GapKind::Lossy,
        }
    }
}

/// Lines that may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub container: String,
    pub name: String,
    /// `None`: both.
    pub stream: Option<Stream>,
    pub reason: GapReason,
    /// Time of the last line that was taken up before it; `None`: there was none.
    pub after: Option<Nanos>,
}

/// Shared by the source and whoever reports on it.
#[derive(Debug, Default)]
pub struct Stats {
    pub(super) engine_up: AtomicBool,
    /// The engine's events are heard: what it does not say of its containers did not happen.
    listening: watch::Sender<bool>,
    pub(super) containers: AtomicU64,
    pub(super) following: AtomicU64,
    pub(super) read_bytes: AtomicU64,
    pub(super) reconnects: AtomicU64,
    /// The engine has been asked for all its containers once.
    listed: watch::Sender<bool>,
    /// Names of the containers that run, by id.
    running: watch::Sender<BTreeMap<String, String>>,
    gaps_total: AtomicU64,
    gaps: Mutex<Vec<Gap>>,
}

impl Stats {
    /// The engine answered when it was last asked.
    pub fn engine_up(&self) -> bool {
        self.engine_up.load(Ordering::Relaxed)
    }

    /// Containers that are selected and that the engine knows.
    pub fn containers(&self) -> u64 {
        self.containers.load(Ordering::Relaxed)
    }

    /// Containers whose log is being followed.
    pub fn following(&self) -> u64 {
        self.following.load(Ordering::Relaxed)
    }

    /// Bytes that the engine sent as logs, repeated readings included.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Readings that were begun again after they broke off or had to be let go.
    pub fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }

    /// A container runs under this name, or does not run any more.
    pub(super) fn set_running(&self, id: &str, name: Option<&str>) {
        self.running.send_if_modified(|running| match name {
            Some(_) if running.contains_key(id) => false,
            Some(name) => running.insert(id.to_owned(), name.to_owned()).is_none(),
            None => running.remove(id).is_some(),
        });
    }

    pub(super) fn set_listed(&self) {
        self.listed.send_if_modified(|listed| !std::mem::replace(listed, true));
    }

    /// Whether it is known which containers run: an engine that was never reached may have any.
    pub fn is_listed(&self) -> bool {
        *self.listed.borrow()
    }

    /// Resolves when it is known.
    pub async fn listed(&self) {
        // The sender is `self`: it cannot be gone.
        let _ = self.listed.subscribe().wait_for(|listed| *listed).await;
    }

    /// Names of the selected containers that run, as was last seen.
    pub fn running(&self) -> Vec<String> {
        self.running.borrow().values().cloned().collect()
    }

    pub(super) fn set_listening(&self, listening: bool) {
        self.listening.send_replace(listening);
    }

    /// Whether the engine is there to say what becomes of its containers.
    pub fn listening(&self) -> bool {
        *self.listening.borrow()
    }

    /// Resolves when no selected container runs, or nobody is there to tell: an engine that stops, as it does before us
    /// when the machine goes down, says of no container that it ended.
    pub async fn idle(&self) {
        let mut running = self.running.subscribe();
        tokio::select! {
            // The sender is `self`: it cannot be gone.
            _ = running.wait_for(BTreeMap::is_empty) => {}
            () = self.away() => {}
        }
    }

    /// Resolves when the engine has been away for [`AWAY_MAX`].
    async fn away(&self) {
        let mut listening = self.listening.subscribe();
        loop {
            let _ = listening.wait_for(|listening| !*listening).await;
            if tokio::time::timeout(AWAY_MAX, listening.wait_for(|listening| *listening)).await.is_err() {
                return;
            }
        }
    }

    /// Gaps so far, and the first [`GAPS_MAX`] of them.
    pub fn gaps(&self) -> (u64, Vec<Gap>) {
        let kept = self.gaps.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        (self.gaps_total.load(Ordering::Relaxed), kept)
    }

    pub(super) fn add_gap(&self, gap: Gap) {
        self.gaps_total.fetch_add(1, Ordering::Relaxed);
        let mut gaps = self.gaps.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if gaps.len() < GAPS_MAX {
            gaps.push(gap);
        }
    }
}

/// Counts one up while it lives.
pub(super) struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    pub(super) fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_for_containers_ends_with_the_last_one_or_with_the_engine() {
        let stats = std::sync::Arc::new(Stats::default());
        let waiting = || {
            let (stats, begun) = (std::sync::Arc::clone(&stats), tokio::time::Instant::now());
            tokio::spawn(async move {
                stats.idle().await;
                begun.elapsed()
            })
        };
        let second = Duration::from_secs(1);
        stats.set_listening(true);
        stats.set_running("1", Some("one"));
        let idle = waiting();
        tokio::time::sleep(60 * second).await;
        // Away for a moment: it starts anew.
        stats.set_listening(false);
        tokio::time::sleep(second).await;
        stats.set_listening(true);
        tokio::time::sleep(60 * second).await;
        assert!(!idle.is_finished());
        stats.set_running("1", None);
        assert_eq!(idle.await.expect("no panic"), 121 * second);

        stats.set_running("2", Some("two"));
        let idle = waiting();
        tokio::time::sleep(second).await;
        stats.set_listening(false);
        assert_eq!(idle.await.expect("no panic"), second + AWAY_MAX);
        assert_eq!(waiting().await.expect("no panic"), AWAY_MAX);
    }
}
