//! What of an origin becomes no record: the decisions of [`super::rules`] carried out and counted, the bucket of the rate
//! limit, and the record that tells how much it left out.
//!
//! The bucket goes by when lines arrive, never by a time that they carry themselves. An engine of containers says when it
//! took a line. Of a file only the time of reading is known, and a backlog is read far faster than it was written: so a file
//! is limited only from when it was once read to its end, and what piles up while it cannot be read has what the limit gives
//! in that time, however long it was.

use super::Ingest;
use super::encode::Columns;
use super::rules::{Candidate, Limit};
use super::seen::Outcome;
use crate::record::{EventId, Nanos};

/// EventType of the record that tells how many lines a rate limit left out.
pub const EVENT: &str = "logferry.rate_limit";

/// Longest that lines are left out without a record that tells so, while lines go on to come, in nanoseconds.
const TELL_EVERY: u64 = 10_000_000_000;

/// A time that is earlier than the one before by more than this, in nanoseconds, comes of a clock that was set.
const DISORDER_MAX: Nanos = 1_000_000_000;

/// How the reading of lines without a time of arrival stands to their writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pace {
    /// Never at the end yet: nobody knows how old what is read is.
    #[default]
    Unknown,
    /// At the end when last looked at: what comes next is new.
    Live,
    /// What is read has come since it was at the end.
    Behind,
}

/// What is left of a rate limit at a time.
#[derive(Debug, Default)]
struct Bucket {
    /// Records that may come now; more than the burst only while behind.
    tokens: f64,
    /// When that was so; `None`: no line came yet.
    at: Option<Nanos>,
    pace: Pace,
    /// Records beyond the limit so far.
    beyond: u64,
}

impl Bucket {
    fn refill(&mut self, limit: &Limit, now: Nanos, is_capped: bool) {
        let burst = limit.burst as f64;
        let Some(at) = self.at else {
            (self.tokens, self.at) = (burst, Some(now));
            return;
        };
        let passed = now.saturating_sub(at);
        if passed > 0 {
            self.tokens += passed as f64 / 1e9 * limit.per_second as f64;
        }
        if !(-DISORDER_MAX..=0).contains(&passed) {
            self.at = Some(now);
        }
        if is_capped {
            self.tokens = self.tokens.min(burst);
        }
    }

    /// Whether a record that arrived then is kept; `exact`: it is known when it arrived.
    fn admits(&mut self, limit: &Limit, arrived: Nanos, exact: bool) -> bool {
        if !exact && self.pace == Pace::Unknown {
            return true;
        }
        self.refill(limit, arrived, exact || self.pace == Pace::Live);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return true;
        }
        self.beyond += 1;
        limit.then_keep_one_in > 0 && self.beyond.is_multiple_of(limit.then_keep_one_in)
    }
}

/// What one origin knows of the group of lines under way, and of its rate limit.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Lines of the group, or of the record of it, that is being taken.
    lines: u64,
    arrived: Nanos,
    /// The times of this window say when its lines arrived.
    exact: bool,
    bucket: Bucket,
    /// Since when lines are left out that no record tells of.
    untold_since: Option<Nanos>,
}

impl Gate {
    /// A window begins.
    pub(super) fn open(&mut self, are_arrivals: bool) {
        self.exact = are_arrivals;
    }

    /// A group of lines begins.
    pub(super) fn begin(&mut self, lines: u32, arrived: Nanos) {
        (self.lines, self.arrived) = (u64::from(lines), arrived);
    }

    /// The record that comes next is made of so many lines of the group.
    pub(super) fn record_has(&mut self, lines: u32) {
        self.lines = u64::from(lines);
    }

    /// Something was taken of the window: what comes next is later than the last look at the end.
    pub(super) fn fed(&mut self) {
        if self.bucket.pace == Pace::Live {
            self.bucket.pace = Pace::Behind;
        }
    }
}

impl Ingest {
    /// All that there is has been fed. Only the rate limit of lines without a time of arrival wants to know.
    pub fn at_end(&mut self, now: Nanos) {
        if let Some(limit) = self.options.filter.limit() {
            self.gate.bucket.refill(limit, now, true);
            self.gate.bucket.pace = Pace::Live;
        }
    }

    /// There is more that cannot be fed now.
    pub fn falls_behind(&mut self, now: Nanos) {
        if let Some(limit) = self.options.filter.limit()
            && self.gate.bucket.pace == Pace::Live
        {
            self.gate.bucket.refill(limit, now, true);
            self.gate.bucket.pace = Pace::Behind;
        }
    }

    /// Whether a rate limit has left out lines that no record tells of.
    pub fn has_untold(&self) -> bool {
        self.counters.untold_lines > 0
    }

    /// Makes the record that tells how many lines a rate limit has left out, where there are some that none tells of. All of
    /// the window that is settled was consumed.
    pub fn tell_left_out(&mut self, now: Nanos) {
        self.tell_left_out_at(self.position, now);
    }

    /// The same before the byte `at` of the stream, once it is due.
    pub(super) fn tell_when_due(&mut self, at: u64, now: Nanos) {
        // What a process before this one left untold is told at once.
        let is_due = self.gate.untold_since.is_none_or(|since| now.abs_diff(since) >= TELL_EVERY);
        if is_due {
            self.tell_left_out_at(at, now);
        }
    }

    fn tell_left_out_at(&mut self, at: u64, now: Nanos) {
        self.gate.untold_since = None;
        let lines = std::mem::take(&mut self.counters.untold_lines);
        if lines == 0 {
            return;
        }
        let message = format!("{lines} lines were left out by the rate limit of their source");
        let fields = format!("{{\"LeftOutLines\":{lines}}}");
        let columns = Columns {
            time: now,
            logger: Some(b"logferry"),
            level: Some(b"WARNING"),
            message: message.as_bytes(),
            columns: &[("EventType", EVENT.to_owned())],
            fields: fields.as_bytes(),
            ..Columns::default()
        };
        // It covers no byte, as no record of lines does; and two of them never stand at one place, as a line is left out
        // between them.
        let route = self.route(&columns);
        self.push(&columns, route, (at, at), None);
    }

    /// Whether the record of the group under way is left out; its lines are counted then.
    pub(super) fn leaves_out(&mut self, columns: &Columns<'_>, (begin, end): (u64, u64)) -> bool {
        let filter = &self.options.filter;
        if filter.is_empty() {
            return false;
        }
        let event_id = EventId::new(self.info.id, begin, end, 0);
        let candidate = Candidate { columns, constants: &self.constants, event_id };
        if let Some((rule, count)) = filter.drops(&candidate) {
            self.seen.outcome = Outcome::Dropped { rule };
            let lines = std::mem::take(&mut self.gate.lines);
            count.add(lines);
            self.counters.recorded_lines -= lines;
            self.counters.filtered_lines += lines;
            return true;
        }
        if candidate.is_protected() {
            return false;
        }
        let sampled = filter.samples(&candidate);
        let limited = || {
            let limit = filter.limit()?;
            let is_kept = self.gate.bucket.admits(limit, self.gate.arrived, self.gate.exact);
            (!is_kept).then_some((Outcome::Limited, &*limit.count))
        };
        let sampled = sampled.map(|(rule, count)| (Outcome::Sampled { rule }, count));
        let Some((outcome, count)) = sampled.or_else(limited) else { return false };
        self.seen.outcome = outcome;
        let lines = std::mem::take(&mut self.gate.lines);
        count.add(lines);
        self.counters.recorded_lines -= lines;
        self.counters.sampled_lines += lines;
        if outcome == Outcome::Limited {
            self.counters.untold_lines += lines;
            self.gate.untold_since.get_or_insert(self.gate.arrived);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::rules::{Count, Kind};

    const SECOND: Nanos = 1_000_000_000;

    fn limit(burst: u64, per_second: u64, then_keep_one_in: u64) -> Limit {
        Limit { burst, per_second, then_keep_one_in, count: Count::new(Kind::RateLimit, "s") }
    }

    /// How many of so many records at a time are kept.
    fn kept(bucket: &mut Bucket, limit: &Limit, records: u64, at: Nanos, exact: bool) -> u64 {
        (0..records).filter(|_| bucket.admits(limit, at, exact)).count() as u64
    }

    #[test]
    fn a_burst_is_kept_then_one_in_so_many_then_what_a_second_gives() {
        let (limit, mut bucket) = (limit(100, 10, 50), Bucket::default());
        assert_eq!(kept(&mut bucket, &limit, 100, 0, true), 100);
        assert_eq!(kept(&mut bucket, &limit, 500, 0, true), 10);
        assert_eq!(kept(&mut bucket, &limit, 500, 2 * SECOND, true), 20 + 9);
        assert_eq!(kept(&mut bucket, &limit, 100, 1000 * SECOND, true), 100, "the bucket is full again");
    }

    #[test]
    fn without_one_in_so_many_none_is_kept_beyond_it() {
        let (limit, mut bucket) = (limit(5, 1, 0), Bucket::default());
        assert_eq!(kept(&mut bucket, &limit, 1000, 0, true), 5);
    }

    #[test]
    fn a_clock_that_is_set_back_limits_nobody_for_longer() {
        let (limit, mut bucket) = (limit(5, 1, 0), Bucket::default());
        assert_eq!(kept(&mut bucket, &limit, 5, 10_000 * SECOND, true), 5);
        assert_eq!(kept(&mut bucket, &limit, 5, 0, true), 0);
        assert_eq!(kept(&mut bucket, &limit, 5, 3 * SECOND, true), 3);
    }

    #[test]
    fn times_that_are_a_little_out_of_order_give_nothing_twice() {
        let (limit, mut bucket) = (limit(1, 1, 0), Bucket::default());
        assert_eq!(kept(&mut bucket, &limit, 9, SECOND, true), 1);
        let late: u64 = (0..100).map(|n| kept(&mut bucket, &limit, 1, SECOND + (n % 2) * SECOND / 2, true)).sum();
        assert_eq!(late, 0);
    }

    #[test]
    fn what_was_written_before_it_was_read_is_not_limited_by_the_speed_of_reading() {
        let (limit, mut bucket) = (limit(10, 10, 0), Bucket::default());
        assert_eq!(kept(&mut bucket, &limit, 5_000, SECOND, false), 5_000, "a backlog of unknown age");
        bucket.refill(&limit, 2 * SECOND, true);
        bucket.pace = Pace::Live;
        assert_eq!(kept(&mut bucket, &limit, 500, 100 * SECOND, false), 10, "at the end: it has just come");
        bucket.pace = Pace::Behind;
        assert_eq!(kept(&mut bucket, &limit, 5_000, 160 * SECOND, false), 600, "a minute's worth of it");
        bucket.refill(&limit, 300 * SECOND, true);
        assert_eq!(kept(&mut bucket, &limit, 5_000, 300 * SECOND, false), 10, "nothing is saved up at the end");
    }
}
