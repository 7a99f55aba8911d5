//! When a body that is not full is sent. Decides from what it is told, and waits for nothing itself.

use std::time::Duration;

use tokio::time::Instant;

use super::decision::Protocol;

/// Least time between two requests that are not full: a quiet sink sends at once, a steady trickle is gathered for so
/// long, which costs less than a request and a sync for each line.
const LEAST: Duration = Duration::from_millis(10);

/// The same where the machines of a fleet share a number of requests a minute (Azure: 12,000 a data collection rule) and
/// someone waits for a drain. Without one the time is `max_age`, one second unless set: 200 machines then stay within it.
const FLEET_DRAIN_LEAST: Duration = Duration::from_millis(100);

/// Most that is added to `max_age` there, as a share of it: each process draws its own part, so that machines that started
/// together do not stay in step.
const FLEET_SPREAD: f64 = 0.25;

/// The pace of one sink.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    max_age: Duration,
    /// Where a fleet shares the requests: time from one to the next while nobody waits for a drain.
    fleet: Option<Duration>,
}

/// Where a sink stands with the body that is being filled.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// When its first record came.
    pub since: Instant,
    /// When the last request went out.
    pub last_sent: Option<Instant>,
    /// Whether one is under way.
    pub under_way: bool,
    pub draining: bool,
}

impl Pace {
    /// `drawn`: from 0 to 1, another one in each process.
    pub fn new(protocol: Protocol, max_age: Duration, drawn: f64) -> Self {
        let fleet = match protocol {
            Protocol::AzureMonitor => Some(max_age.mul_f64(1.0 + FLEET_SPREAD * drawn.clamp(0.0, 1.0))),
            Protocol::Elasticsearch | Protocol::Stream => None,
        };
        Pace { max_age, fleet }
    }

    /// As [`Self::new`], with a part of its own.
    pub fn drawn(protocol: Protocol, max_age: Duration) -> Self {
        // Without random bytes all have the same: that costs the fleet its peace, and no line.
        Self::new(protocol, max_age, f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX))
    }

    /// When the body is sent if it does not become full before.
    pub fn due(&self, standing: Standing) -> Instant {
        let Standing { since, last_sent, under_way, draining } = standing;
        if let Some(pace) = self.fleet.filter(|_| !draining) {
            // Whether or not one is under way: what is shared is their number.
            return last_sent.map_or(since, |sent| sent + pace);
        }
        let least = if self.fleet.is_some() { FLEET_DRAIN_LEAST } else { LEAST };
        match last_sent {
            Some(sent) if !under_way => self.oldest(since).min(sent + least),
            None if !under_way => since,
            _ => self.oldest(since),
        }
    }

    /// When a body is sent although more of it can be read at once.
    pub fn oldest(&self, since: Instant) -> Instant {
        since + self.max_age
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// `since` and what is expected: milliseconds after the last request; the second of `expected` where there was none.
    fn check(protocol: Protocol, drawn: f64, since: u32, under_way: bool, draining: bool, expected: [u32; 2]) {
        let (pace, begin) = (Pace::new(protocol, 1_000 * MS, drawn), Instant::now());
        let [after_one, as_first] = expected.map(|ms| begin + ms * MS);
        let standing = Standing { since: begin + since * MS, last_sent: Some(begin), under_way, draining };
        assert_eq!(pace.due(standing), after_one, "{protocol:?} {drawn} {since} {under_way} {draining}");
        assert_eq!(pace.due(Standing { last_sent: None, ..standing }), as_first, "the first one of all");
    }

    #[test]
    fn a_sink_of_ones_own_sends_at_once_where_nothing_is_under_way() {
        for protocol in [Protocol::Elasticsearch, Protocol::Stream] {
            for draining in [false, true] {
                check(protocol, 0.5, 2, false, draining, [10, 2]);
                check(protocol, 0.5, 700, false, draining, [10, 700]);
                check(protocol, 0.5, 700, true, draining, [1_700, 1_700]);
            }
        }
    }

    #[test]
    fn a_fleet_sends_once_in_max_age_and_a_part_of_it_unless_it_drains() {
        for under_way in [false, true] {
            check(Protocol::AzureMonitor, 0.0, 2, under_way, false, [1_000, 2]);
            check(Protocol::AzureMonitor, 0.4, 2, under_way, false, [1_100, 2]);
            check(Protocol::AzureMonitor, 1.0, 999, under_way, false, [1_250, 999]);
            // The last request is long ago: at once.
            check(Protocol::AzureMonitor, 1.0, 9_000, under_way, false, [1_250, 9_000]);
        }
        check(Protocol::AzureMonitor, 1.0, 2, false, true, [100, 2]);
        check(Protocol::AzureMonitor, 1.0, 2, true, true, [1_002, 1_002]);
    }

    #[test]
    fn machines_that_start_together_do_not_stay_in_step() {
        let begin = Instant::now();
        let standing = Standing { since: begin, last_sent: Some(begin), under_way: false, draining: false };
        let due = |_| Pace::drawn(Protocol::AzureMonitor, 1_000 * MS).due(standing) - begin;
        let times: std::collections::BTreeSet<Duration> = (0..200).map(due).collect();
        let (first, last) = (times.first().expect("times"), times.last().expect("times"));
        assert!(times.len() > 150 && *first >= 1_000 * MS && *last <= 1_250 * MS, "{first:?} to {last:?}");
        assert!(*last - *first > 150 * MS, "{first:?} to {last:?}");
    }
}
