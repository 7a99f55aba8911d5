//! How long to wait before the next attempt: the only user of the `backoff` crate.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backoff::backoff::Backoff as _;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use tokio::time::Instant;

/// Longest wait after a passing fault, before jitter.
pub const RETRY_MAX: Duration = Duration::from_secs(30);
/// Longest wait after a fault of the sink itself, before jitter.
pub const SINK_FAULT_MAX: Duration = Duration::from_secs(60);

/// Longest wait of our own while a drain waits for the sink: its deadline may be near.
pub const DRAIN_MAX: Duration = Duration::from_secs(2);

const RETRY_FIRST: Duration = Duration::from_millis(250);
const SINK_FAULT_FIRST: Duration = Duration::from_secs(5);
/// Waits are spread by this share to both sides, so that a fleet does not pulse.
const JITTER: f64 = 0.3;

/// The waits after one fault, each about twice the one before. It never gives up.
#[derive(Debug)]
pub struct Schedule {
    passing: ExponentialBackoff,
    sink_fault: ExponentialBackoff,
    draining: bool,
}

impl Default for Schedule {
    fn default() -> Self {
        let schedule = |first: Duration, max: Duration| {
            ExponentialBackoffBuilder::new()
                .with_initial_interval(first)
                .with_max_interval(max)
                .with_multiplier(2.0)
                .with_randomization_factor(JITTER)
                .with_max_elapsed_time(None)
                .build()
        };
        let (passing, sink_fault) = (schedule(RETRY_FIRST, RETRY_MAX), schedule(SINK_FAULT_FIRST, SINK_FAULT_MAX));
        Schedule { passing, sink_fault, draining: false }
    }
}

impl Schedule {
    /// Whether a drain waits: our own waits are then at most [`DRAIN_MAX`], the server's wishes stay.
    pub fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    fn bounded(&self, own: Duration) -> Duration {
        if self.draining { own.min(DRAIN_MAX) } else { own }
    }

    /// The wait after a passing fault. The server's own wish comes first, as it is at least.
    pub fn after_fault(&mut self, server: Option<Duration>) -> Duration {
        let own = self.passing.next_backoff().unwrap_or(RETRY_MAX);
        let own = self.bounded(own);
        match server {
            // Jitter on top only: earlier than asked for would be refused again.
            Some(server) => server + own.min(server / 4 + RETRY_FIRST),
            None => own,
        }
    }

    /// The wait after a fault of the sink itself.
    pub fn after_sink_fault(&mut self, server: Option<Duration>) -> Duration {
        let own = self.sink_fault.next_backoff().unwrap_or(SINK_FAULT_MAX);
        let own = self.bounded(own);
        own.max(server.unwrap_or_default())
    }
}

/// Until when a server wants no attempt at all: what it says to one request holds for those beside it.
#[derive(Debug, Default)]
pub struct Pause(Mutex<Option<Instant>>);

impl Pause {
    /// The server asked for a wait, and so long it will be.
    pub fn begin(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut pause = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *pause = Some(pause.map_or(until, |earlier| earlier.max(until)));
    }

    /// What is left of it; `None`: nothing.
    pub fn left(&self) -> Option<Duration> {
        let until = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_never_end() {
        let mut schedule = Schedule::default();
        let first = schedule.after_fault(None);
        assert!(first >= RETRY_FIRST.mul_f64(0.69) && first <= RETRY_FIRST.mul_f64(1.31));
        let mut last = first;
        for _ in 0..1_000 {
            last = schedule.after_fault(None);
            assert!(last <= RETRY_MAX.mul_f64(1.31));
        }
        assert!(last >= RETRY_MAX.mul_f64(0.69));
        assert!(schedule.after_sink_fault(None) >= SINK_FAULT_FIRST.mul_f64(0.69));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_lasts_as_long_as_the_longest_that_was_asked_for() {
        let (pause, second) = (Pause::default(), Duration::from_secs(1));
        assert_eq!(pause.left(), None);
        pause.begin(9 * second);
        pause.begin(2 * second);
        assert_eq!(pause.left(), Some(9 * second));
        tokio::time::advance(8 * second).await;
        assert_eq!(pause.left(), Some(second));
        tokio::time::advance(second).await;
        assert_eq!(pause.left(), None);
    }

    #[test]
    fn a_fleet_does_not_come_back_all_at_once() {
        let nth = |n: usize| {
            let mut schedule = Schedule::default();
            (0..=n).map(|_| schedule.after_fault(None)).last().unwrap_or_default()
        };
        for n in [0, 20] {
            let waits: std::collections::BTreeSet<Duration> = (0..200).map(|_| nth(n)).collect();
            let (first, last) = (waits.first().expect("waits"), waits.last().expect("waits"));
            assert!(waits.len() > 150 && last.as_secs_f64() > first.as_secs_f64() * 1.4, "{first:?} to {last:?}");
        }
    }

    #[test]
    fn a_drain_shortens_our_own_waits_only() {
        let mut schedule = Schedule::default();
        schedule.set_draining(true);
        for _ in 0..20 {
            assert!(schedule.after_fault(None) <= DRAIN_MAX && schedule.after_sink_fault(None) <= DRAIN_MAX);
        }
        assert!(schedule.after_fault(Some(Duration::from_secs(9))) >= Duration::from_secs(9));
    }

    #[test]
    fn the_servers_wait_is_never_cut() {
        let mut schedule = Schedule::default();
        let server = Duration::from_secs(8);
        for _ in 0..20 {
            let wait = schedule.after_fault(Some(server));
            assert!(wait >= server && wait <= server + Duration::from_secs(3), "{wait:?}");
        }
    }
}
