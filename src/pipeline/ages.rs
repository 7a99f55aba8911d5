//! How long the log has held what a sink has not passed yet: the ends that it had at times gone by. It reads no record.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::buffer::LogPosition;

/// Most ends that are kept. Beyond, every second one is forgotten and half as many are kept from then on: of an outage of a
/// day the age is right to a minute or two.
const MARKS_MAX: usize = 2_048;

/// Where the log ended, and when.
#[derive(Debug)]
pub(super) struct Ages {
    /// Both ascend.
    marks: VecDeque<(LogPosition, Instant)>,
    /// Least time between two of them.
    step: Duration,
}

/// How long something has been in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Known(Duration),
    /// Since before the first look.
    Older,
}

impl Ages {
    /// The log ends here now.
    pub fn new(end: LogPosition, now: Instant) -> Self {
        Ages { marks: [(end, now)].into(), step: Duration::ZERO }
    }

    /// The log ends here now; no sink needs what lies before `lowest`.
    pub fn look(&mut self, end: LogPosition, lowest: LogPosition, now: Instant) {
        // Of those that every sink has passed the last one is kept: what stands behind it is not older.
        while self.marks.get(1).is_some_and(|(at, _)| *at <= lowest) {
            self.marks.pop_front();
            self.step = if self.marks.len() == 1 { Duration::ZERO } else { self.step };
        }
        let step = self.step;
        if self.marks.back().is_none_or(|(at, when)| *at < end && now.saturating_duration_since(*when) >= step) {
            self.marks.push_back((end, now));
        }
        if self.marks.len() > MARKS_MAX {
            let first = self.marks.front().map_or(now, |(_, when)| *when);
            self.step = now.saturating_duration_since(first) / (MARKS_MAX / 2) as u32;
            let mut index = 0;
            self.marks.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }

    /// For how long the log has held what stands at `from`, up to the time between two looks less; what no look has seen, or
    /// is not there yet, for no time.
    pub fn of(&self, from: LogPosition, now: Instant) -> Age {
        match self.marks.front() {
            Some((first, _)) if from < *first => Age::Older,
            _ => {
                let after = self.marks.iter().find(|(at, _)| *at > from);
                Age::Known(after.map_or(Duration::ZERO, |(_, when)| now.saturating_duration_since(*when)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(offset: u64) -> LogPosition {
        LogPosition { segment: 1, offset }
    }

    #[test]
    fn what_a_sink_has_not_passed_is_as_old_as_the_first_look_that_saw_it() {
        let start = Instant::now();
        let mut ages = Ages::new(at(100), start);
        let check = |ages: &Ages, from: u64, seconds: u32, expected: Option<u64>| {
            let expected = expected.map_or(Age::Older, |expected| Age::Known(Duration::from_secs(expected)));
            assert_eq!(ages.of(at(from), start + SECOND * seconds), expected, "{from}");
        };
        check(&ages, 100, 9, Some(0));
        check(&ages, 99, 9, None);
        for (second, end) in [(1, 100), (2, 200), (3, 200), (4, 300)] {
            ages.look(at(end), at(0), start + SECOND * second);
        }
        check(&ages, 50, 10, None);
        check(&ages, 100, 10, Some(8));
        check(&ages, 199, 10, Some(8));
        check(&ages, 200, 10, Some(6));
        check(&ages, 300, 10, Some(0));
        // Passed over, it is forgotten; what is behind it stays known.
        ages.look(at(300), at(250), start + SECOND * 5);
        assert_eq!(ages.marks.len(), 2);
        check(&ages, 199, 10, None);
        check(&ages, 250, 10, Some(6));
    }

    #[test]
    fn a_long_outage_is_remembered_in_bounded_memory() {
        let start = Instant::now();
        let mut ages = Ages::new(at(0), start);
        let day = 24 * 3_600;
        for second in 1..=day {
            ages.look(at(second), at(0), start + SECOND * second as u32);
        }
        assert!(ages.marks.len() <= MARKS_MAX && ages.marks.len() > MARKS_MAX / 4, "{}", ages.marks.len());
        let age = |from: u64| match ages.of(at(from), start + SECOND * day as u32) {
            Age::Known(age) => age.as_secs(),
            Age::Older => panic!("{from} is known"),
        };
        for from in [0, 3_600, day / 2, day - 600] {
            let (found, right) = (age(from), day - from);
            assert!(found <= right && found + 200 > right, "{from}: {found} of {right}");
        }
        assert_eq!(age(day), 0);
        ages.look(at(day + 1), at(day), start + SECOND * (day as u32 + 1));
        ages.look(at(day + 2), at(day + 1), start + SECOND * (day as u32 + 2));
        assert_eq!((ages.marks.len(), ages.step), (2, Duration::ZERO), "the outage is over");
    }
}
