//! How fast sources read and sinks accept, over the last seconds, and since when the log holds what a sink lacks. It looks at
//! counters that are there anyway.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::ages::{Age, Ages};
use crate::buffer::{LogPosition, SumsWatch, UsageWatch};
use crate::delivery::Handle;

/// How often the counters are noted.
const LOOK: Duration = Duration::from_secs(1);

/// Counters that are kept: rates are over so many seconds.
const LOOKS_MAX: usize = 10;

/// Least time that a rate is over: less says more of the moment than of the speed.
const SPAN_MIN: Duration = Duration::from_millis(100);

/// Notes counters for as long as a clone of it lives.
#[derive(Clone)]
pub(super) struct Rates {
    sums: SumsWatch,
    sinks: Vec<Handle>,
    noted: Arc<Noted>,
}

struct Noted {
    ages: Mutex<Ages>,
    looks: Mutex<VecDeque<Look>>,
    noting: Mutex<Option<AbortHandle>>,
}

impl Drop for Noted {
    fn drop(&mut self) {
        if let Some(noting) = self.noting.get_mut().unwrap_or_else(PoisonError::into_inner) {
            noting.abort();
        }
    }
}

/// Counters of one moment.
#[derive(Clone, Debug)]
struct Look {
    at: Instant,
    /// Lines by source.
    lines: BTreeMap<String, u64>,
    /// Accepted records by sink.
    accepted: BTreeMap<Arc<str>, u64>,
}

/// Rates of one moment.
#[derive(Debug)]
pub(super) struct Speeds {
    from: Look,
    to: Look,
}

impl Rates {
    /// Called before any record is read.
    pub fn start(sums: SumsWatch, usage: UsageWatch, sinks: Vec<Handle>) -> Self {
        let ages = Mutex::new(Ages::new(usage.appended(), Instant::now()));
        let noted = Noted { ages, looks: Mutex::default(), noting: Mutex::default() };
        let rates = Rates { sums, sinks, noted: Arc::new(noted) };
        let (sums, sinks, noted) = (rates.sums.clone(), rates.sinks.clone(), Arc::downgrade(&rates.noted));
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(LOOK);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let Some(noted) = noted.upgrade() else { return };
                let end = usage.appended();
                let lowest = sinks.iter().map(|sink| *sink.progress.borrow()).min().unwrap_or(end);
                lock(&noted.ages).look(end, lowest, Instant::now());
                let mut looks = lock(&noted.looks);
                if looks.len() >= LOOKS_MAX {
                    looks.pop_front();
                }
                looks.push_back(look(&sums, &sinks));
            }
        });
        *lock(&rates.noted.noting) = Some(task.abort_handle());
        rates
    }

    /// The speed over the time since the oldest counters that are kept.
    pub fn now(&self) -> Speeds {
        let to = look(&self.sums, &self.sinks);
        let from = lock(&self.noted.looks).front().cloned();
        Speeds { from: from.unwrap_or_else(|| to.clone()), to }
    }

    /// For how long the log has held what stands at `from`.
    pub fn age(&self, from: LogPosition) -> Age {
        lock(&self.noted.ages).of(from, Instant::now())
    }
}

/// A holder that panicked left whole figures.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look(sums: &SumsWatch, sinks: &[Handle]) -> Look {
    let accepted = |sink: &Handle| (Arc::clone(&sink.name), sink.stats.accepted.load(Ordering::Relaxed));
    Look {
        at: Instant::now(),
        lines: sums.get().into_iter().map(|(name, sum)| (name, sum.lines)).collect(),
        accepted: sinks.iter().map(accepted).collect(),
    }
}

impl Speeds {
    /// Lines a second, to a tenth.
    pub fn of_source(&self, name: &str) -> f64 {
        // A source that was not there before had read nothing.
        self.per_second(self.from.lines.get(name), self.to.lines.get(name))
    }

    /// Records a second, to a tenth.
    pub fn of_sink(&self, name: &str) -> f64 {
        self.per_second(self.from.accepted.get(name), self.to.accepted.get(name))
    }

    fn per_second(&self, from: Option<&u64>, to: Option<&u64>) -> f64 {
        let span = self.to.at.saturating_duration_since(self.from.at);
        if span < SPAN_MIN {
            return 0.0;
        }
        let count = to.copied().unwrap_or(0).saturating_sub(from.copied().unwrap_or(0));
        (count as f64 / span.as_secs_f64() * 10.0).round() / 10.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_difference_over_the_time_and_needs_some_time() {
        let start = Instant::now();
        let look = |ms: u64, lines: &[(&str, u64)], accepted: u64| Look {
            at: start + Duration::from_millis(ms),
            lines: lines.iter().map(|(name, lines)| ((*name).to_owned(), *lines)).collect(),
            accepted: [(Arc::from("es"), accepted)].into(),
        };
        let check = |from: &Look, to: &Look, expected: (f64, f64, f64)| {
            let speeds = Speeds { from: from.clone(), to: to.clone() };
            assert_eq!((speeds.of_source("a"), speeds.of_source("new"), speeds.of_sink("es")), expected);
        };
        let from = look(0, &[("a", 100)], 50);
        check(&from, &look(2_000, &[("a", 1_100), ("new", 3)], 51), (500.0, 1.5, 0.5));
        check(&from, &look(3_000, &[("a", 200)], 50), (33.3, 0.0, 0.0));
        check(&from, &look(99, &[("a", 200)], 60), (0.0, 0.0, 0.0));
        check(&from, &from, (0.0, 0.0, 0.0));
    }
}
