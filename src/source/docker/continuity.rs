//! Whether a log that is followed came whole. Pure: it looks at entries as they come, says when to read again by position
//! and what has to be counted again; [`super::recount`] asks the engine.
//!
//! # What engines do
//! An engine that rotates its log follows one file to its end and then opens the newest. Where two rotations happened
//! meanwhile, it leaves out every file between, and says so in its own log at most. The engines up to 20.10 also give
//! a file twice where they were late, and break off in the middle of a rotation. Both were seen with a container that
//! writes as fast as it can: at 10 MB a file, a follower that never waited missed half of the lines, and got thousands
//! twice. A reading without follow has neither fault: the engine opens all files at once.
//!
//! # What shows
//! - **A step back**: within one stream, times do not go backwards but where the clock is set back. What follows a step
//!   back is left until the last entry that was taken comes by again. Where it does not, the log is read again by
//!   position, which finds the place for certain. Where the step is still there then, it was the clock.
//! - **A jump**: what is left out is at least one whole file, written between the entry before it and the one after it.
//!   At [`WRITTEN_MAX`] that takes a time, so no lines are missing between entries that are closer to each other. Nor can
//!   any be before one whole file was delivered.
//!
//! A jump is no proof of the contrary: most containers are quiet most of the time. So
//! - where both sides of it came at once, they had waited in the engine, which was late; and where the log would have grown
//!   by a good part of a file at its usual pace, the engine may have slept. There the log is read again by position before
//!   anything behind the jump is taken. What the engine still has comes then, what it has not is a gap;
//! - else, as after any pause, the entries from the one before the jump on are
//!   counted, and the engine is asked for the same stretch without follow before it can be rotated away. As many entries in
//!   between as were taken prove that none is missing: those taken are some of those in the log. More are a gap. A
//!   stretch that the engine no longer has when it is asked is a gap, too.
//!
//! So a skip is seen wherever it happens, and what is read twice are stretches with pauses in them, in logs that have been
//! rotated or are about to be. It cannot be seen where the container, and with it its log, is removed between a skip
//! after a pause and the count, nor at a clock of the engine that is set back in the very moment.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::driver::Rotation;
use super::frame::{Entry, Stream};
use crate::record::Nanos;

/// More than an engine can write of one log, in bytes a nanosecond: 369 MB/s were measured with lines of 16 KiB and an
/// otherwise idle machine, 60 MB/s with short ones.
pub const WRITTEN_MAX: u64 = 1;

/// A stretch is counted again after this long …
pub const RECOUNT_AFTER: Duration = Duration::from_secs(5);

/// … or when it may be this part of what the engine keeps beside the file that it writes.
const RECOUNT_SHARE: u64 = 8;

/// Bytes that an entry of usual text takes in the log beside its payload.
const USUAL_ENTRY_BYTES: u64 = 80;

/// A jump in which a steady log grows by this part of a file is no pause of its own.
const STEADY_SHARE: f64 = 0.25;

/// The pace of a log is taken over so long.
const PACE_NANOS: Nanos = 2_000_000_000;

/// Less of it is as good as that: a few lines at once are no pace.
const PACE_LEAST_NANOS: Nanos = 500_000_000;

/// A file that is given again comes as fast as the engine can read. What has not come to its known end by then is none.
const REPLAY_MAX: Duration = Duration::from_secs(1);

/// Pauses between two readings for the sake of a jump: the first, and the longest, where nothing was found by them.
const REREAD_PAUSE_FIRST: Duration = Duration::from_millis(250);
const REREAD_PAUSE_MAX: Duration = Duration::from_secs(60);

/// A step back that is still there after so many new readings is the clock's.
const REREADS_MAX: u8 = 2;

/// Stretches of readings that have ended which wait to be counted; further ones are gaps.
const STRETCHES_MAX: usize = 16;

/// An entry as it is known again: the n-th of its stream and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub stream: Stream,
    pub time: Nanos,
    pub nth: u64,
    /// Bytes of its payload.
    pub length: usize,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    time: Nanos,
    count: u64,
    ended: bool,
}

/// Numbers the entries of one reading.
#[derive(Clone, Debug, Default)]
pub struct Marker {
    /// Of each stream the time of the last entry, how many of that time there were, and whether it ended its line.
    runs: [Option<Run>; 2],
}

impl Marker {
    /// The next entry. One without a time that can be read has that of the one before it.
    pub fn mark(&mut self, entry: &Entry<'_>) -> Mark {
        let run = &mut self.runs[entry.stream as usize];
        let time = entry.time.or(run.map(|run| run.time)).unwrap_or(Nanos::MIN);
        let nth = run.filter(|run| run.time == time).map_or(1, |run| run.count + 1);
        *run = Some(Run { time, count: nth, ended: entry.payload.ends_with(b"\n") });
        Mark { stream: entry.stream, time, nth, length: entry.payload.len() }
    }

    /// Whether an entry of this stream and time stands behind a later one, and whether it may be the last one again. The
    /// pieces of one line have one time; a line that has the time of the one before it is as good as never seen.
    fn step_back(&self, stream: Stream, time: Option<Nanos>) -> (bool, bool) {
        let (Some(run), Some(time)) = (self.runs[stream as usize], time) else { return (false, false) };
        (time < run.time, time == run.time && run.ended)
    }
}

/// So many entries were taken after `from`, the last of them `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub from: Mark,
    pub to: Mark,
    pub entries: u64,
    /// The engine was late when it gave this: it is not only quiet.
    pub late: bool,
}

/// What to do with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Take,
    /// Leave it: it was taken before.
    Leave,
    /// Leave it and all that comes behind it; read the log again by position.
    Reread,
}

/// How much a log grows, by the times of its entries.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    /// Bytes a nanosecond.
    rate: f64,
    since: Option<Nanos>,
    bytes: u64,
}

impl Pace {
    /// One more entry.
    fn add(&mut self, time: Nanos, bytes: u64) {
        let since = *self.since.get_or_insert(time);
        if time.saturating_sub(since) >= PACE_NANOS {
            (self.rate, self.since, self.bytes) = (self.present(since, time), Some(time), 0);
        }
        self.bytes += bytes;
    }

    /// Up to `time`, the last entry's.
    fn rate(&self, time: Nanos) -> f64 {
        self.since.map_or(self.rate, |since| self.rate.max(self.present(since, time)))
    }

    fn present(&self, since: Nanos, time: Nanos) -> f64 {
        self.bytes as f64 / time.saturating_sub(since).max(PACE_LEAST_NANOS) as f64
    }
}

/// A file that is given again.
#[derive(Clone, Debug)]
struct Replay {
    /// The last entry that was taken, and the first that came behind it.
    until: Mark,
    first: Mark,
    began: Instant,
    marker: Marker,
}

/// The stretch under way.
#[derive(Clone, Copy, Debug)]
struct Open {
    from: Mark,
    /// Entries of the reading up to `from`.
    at: u64,
    since: Instant,
    /// About as many bytes of the log were delivered behind `from`.
    bytes: u64,
    late: bool,
}

/// Watches over the followed log of one container.
#[derive(Debug)]
pub struct Continuity {
    /// `None`: one file, of which nothing is left to count.
    rotation: Option<Rotation>,
    /// Least time that a whole file takes to be written.
    jump: Nanos,
    /// The log has had no more bytes than this.
    written: u64,
    /// The present reading follows.
    following: bool,
    /// When it was opened, by the wall clock: what is older stood in the log then, and came without a fault.
    opened: Nanos,
    /// It has come to what was written since.
    live: bool,
    marker: Marker,
    last: Option<Mark>,
    /// Latest time of both streams.
    latest: Nanos,
    entries: u64,
    /// When the present bytes came, and when the last entry did.
    arrived: Instant,
    last_arrived: Instant,
    pace: Pace,
    replay: Option<Replay>,
    open: Option<Open>,
    closed: VecDeque<Stretch>,
    /// A stretch was let go uncounted.
    overflowed: bool,
    /// Both sides of that for which the log is read again, and how often it was.
    judged: Option<(Mark, Mark)>,
    judged_times: u8,
    /// The new reading has come to that place.
    judged_seen: bool,
    next_reread: Instant,
    reread_pause: Duration,
}

impl Continuity {
    /// `rotation`: `None` for one file. `is_new`: nothing of the log was taken up before.
    pub fn new(rotation: Option<Rotation>, is_new: bool, now: Instant) -> Continuity {
        let file_bytes = rotation.map_or(0, |rotation| rotation.file_bytes);
        Continuity {
            rotation,
            jump: Nanos::try_from(file_bytes / WRITTEN_MAX).unwrap_or(Nanos::MAX),
            written: if is_new { 0 } else { file_bytes },
            following: false,
            opened: Nanos::MIN,
            live: false,
            marker: Marker::default(),
            last: None,
            latest: Nanos::MIN,
            entries: 0,
            arrived: now,
            last_arrived: now,
            pace: Pace::default(),
            replay: None,
            open: None,
            closed: VecDeque::new(),
            overflowed: false,
            judged: None,
            judged_times: 0,
            judged_seen: false,
            next_reread: now,
            reread_pause: REREAD_PAUSE_FIRST,
        }
    }

    /// A reading begins; `wall` is the time of day.
    pub fn begin(&mut self, wall: Nanos, follow: bool) {
        self.end();
        self.following = follow;
        self.opened = wall;
        self.live = false;
        self.replay = None;
        (self.pace.since, self.pace.bytes) = (None, 0);
        self.marker = Marker::default();
        self.last = None;
        self.latest = Nanos::MIN;
        self.entries = 0;
    }

    /// The reading has ended, however that was.
    pub fn end(&mut self) {
        if let Some(stretch) = self.close() {
            self.put_back(stretch);
        }
        self.following = false;
    }

    /// Bytes of the reading came.
    pub fn arrive(&mut self, now: Instant) {
        self.arrived = now;
    }

    /// The next entry of the reading.
    pub fn entry(&mut self, entry: &Entry<'_>) -> Step {
        let length = entry.payload.len() as u64;
        if let Some(rotation) = &self.rotation {
            let most = rotation.entry_bytes.saturating_add(length.saturating_mul(rotation.byte_bytes));
            self.written = self.written.saturating_add(most);
        }
        if !self.following {
            return Step::Take;
        }
        if let Some(replay) = self.replay.take() {
            return self.replayed(replay, entry);
        }
        let (back, again) = self.marker.step_back(entry.stream, entry.time);
        let before = self.marker.clone();
        let mark = self.marker.mark(entry);
        self.live |= mark.time >= self.opened;
        self.learn(mark);
        if self.live
            && let Some(last) = self.last
        {
            let step = if back || again { self.stepped_back(last, mark, back) } else { self.jumped(last, mark) };
            if step != Step::Take {
                self.marker = before;
                return if step == Step::Leave { self.replay(last, mark, entry) } else { step };
            }
        }
        self.last = Some(mark);
        self.last_arrived = self.arrived;
        self.latest = self.latest.max(mark.time);
        self.entries += 1;
        self.pace.add(mark.time, length + USUAL_ENTRY_BYTES);
        if let Some(open) = &mut self.open {
            open.bytes += length + USUAL_ENTRY_BYTES;
        }
        Step::Take
    }

    /// Whether a new reading found anything, from what it has in place of the jump.
    fn learn(&mut self, mark: Mark) {
        if let Some((from, to)) = self.judged
            && self.last == Some(from)
            && self.judged_times == 0
        {
            let same = mark == to;
            self.reread_pause = if same { (self.reread_pause * 2).min(REREAD_PAUSE_MAX) } else { REREAD_PAUSE_FIRST };
            self.judged = self.judged.filter(|_| same);
            self.judged_seen = true;
        }
    }

    /// An entry comes behind a later one of its stream, or one of the same time.
    fn stepped_back(&mut self, last: Mark, mark: Mark, back: bool) -> Step {
        let judged = self.judged == Some((last, mark));
        if judged && self.judged_times >= REREADS_MAX {
            return Step::Take;
        }
        if back { Step::Leave } else { self.judge_back(last, mark) }
    }

    fn judge_back(&mut self, last: Mark, mark: Mark) -> Step {
        let judged = self.judged == Some((last, mark));
        self.judged_times = if judged { self.judged_times + 1 } else { 1 };
        self.judged = Some((last, mark));
        Step::Reread
    }

    /// What comes may be a file that is given again.
    fn replay(&mut self, until: Mark, first: Mark, entry: &Entry<'_>) -> Step {
        self.replayed(Replay { until, first, began: self.arrived, marker: Marker::default() }, entry)
    }

    fn replayed(&mut self, mut replay: Replay, entry: &Entry<'_>) -> Step {
        let mark = replay.marker.mark(entry);
        let Replay { until, first, began, .. } = replay;
        if mark == until {
            return Step::Leave;
        }
        let is_past = mark.stream == until.stream && mark.time > until.time;
        if is_past || self.arrived.saturating_duration_since(began) > REPLAY_MAX {
            return self.judge_back(until, first);
        }
        self.replay = Some(replay);
        Step::Leave
    }

    fn jumped(&mut self, last: Mark, mark: Mark) -> Step {
        let Some(rotation) = &self.rotation else { return Step::Take };
        let jump = mark.time.saturating_sub(self.latest);
        if jump < self.jump || self.written < rotation.file_bytes {
            return Step::Take;
        }
        let between = self.arrived.saturating_duration_since(self.last_arrived);
        let late = between < Duration::from_nanos(jump.unsigned_abs()) / 2;
        let slept = self.pace.rate(self.latest) * jump as f64 >= rotation.file_bytes as f64 * STEADY_SHARE;
        let judged = self.judged == Some((last, mark));
        if !judged && (slept || (late && self.arrived >= self.next_reread)) {
            // Where the last one did not even find its place, the engine is faster than any reading.
            if self.judged.is_some() && self.judged_times == 0 && !self.judged_seen {
                self.reread_pause = (self.reread_pause * 2).min(REREAD_PAUSE_MAX);
            }
            self.judged = Some((last, mark));
            (self.judged_times, self.judged_seen) = (0, false);
            self.next_reread = self.arrived + self.reread_pause;
            return Step::Reread;
        }
        let open = Open { from: last, at: self.entries, since: self.arrived, bytes: 0, late: false };
        self.open.get_or_insert(open).late |= late;
        Step::Take
    }

    /// When a replay that did not come to its end has to be given up; `None`: there is none.
    pub fn replay_due(&self) -> Option<Instant> {
        self.replay.as_ref().map(|replay| replay.began + REPLAY_MAX)
    }

    /// Gives it up where that is due: the log has to be read again by position.
    pub fn give_up_replay(&mut self, now: Instant) -> bool {
        let Some(Replay { until, first, .. }) = self.replay.take_if(|replay| now >= replay.began + REPLAY_MAX) else {
            return false;
        };
        self.judge_back(until, first);
        true
    }

    /// When a stretch has to be counted; `None`: there is none.
    pub fn due(&self) -> Option<Instant> {
        if !self.closed.is_empty() || self.overflowed {
            return Some(self.arrived);
        }
        let open = self.open.as_ref()?;
        let kept = self.rotation.map_or(0, |rotation| rotation.file_bytes.saturating_mul(rotation.files - 1));
        Some(if open.bytes >= kept / RECOUNT_SHARE { self.arrived } else { open.since + RECOUNT_AFTER })
    }

    /// A stretch that has to be counted now; at an end all of them.
    pub fn next_stretch(&mut self, now: Instant, at_end: bool) -> Option<Stretch> {
        if let Some(closed) = self.closed.pop_front() {
            return Some(closed);
        }
        if at_end || self.due().is_some_and(|due| due <= now) { self.close() } else { None }
    }

    /// A stretch could not be counted; it waits again.
    pub fn put_back(&mut self, stretch: Stretch) {
        if self.closed.len() < STRETCHES_MAX {
            self.closed.push_back(stretch);
        } else {
            self.overflowed = true;
        }
    }

    /// Whether a stretch was let go without being counted, since this was last asked.
    pub fn take_overflow(&mut self) -> bool {
        std::mem::take(&mut self.overflowed)
    }

    /// What is under way or waits is part of a gap that was counted.
    pub fn forget(&mut self) {
        self.open = None;
        self.closed.clear();
        self.overflowed = false;
    }

    /// Something waits to be counted in which the engine was late.
    pub fn is_late(&self) -> bool {
        self.overflowed || self.open.is_some_and(|open| open.late) || self.closed.iter().any(|stretch| stretch.late)
    }

    fn close(&mut self) -> Option<Stretch> {
        let open = self.open.take()?;
        let entries = self.entries.saturating_sub(open.at);
        let to = self.last.filter(|_| entries > 0)?;
        Some(Stretch { from: open.from, to, entries, late: open.late })
    }
}

/// Counts the entries of a stretch in another reading of the log.
#[derive(Clone, Debug)]
pub struct Recount {
    stretch: Stretch,
    marker: Marker,
    /// Entries behind `from`; `None`: that has not come yet.
    behind: Option<u64>,
}

/// What a count has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// No entry is missing.
    Whole,
    /// There are more than were taken.
    Skipped,
    /// The reading does not hold the stretch.
    Absent,
}

impl Recount {
    pub fn new(stretch: Stretch) -> Recount {
        Recount { stretch, marker: Marker::default(), behind: None }
    }

    /// The next entry; `None`: go on.
    pub fn entry(&mut self, entry: &Entry<'_>) -> Option<Counted> {
        let mark = self.marker.mark(entry);
        let Stretch { from, to, entries, .. } = self.stretch;
        let Some(behind) = &mut self.behind else {
            if mark == from {
                self.behind = Some(0);
            }
            return (mark.stream == from.stream && mark.time > from.time).then_some(Counted::Absent);
        };
        *behind += 1;
        if *behind > entries {
            return Some(Counted::Skipped);
        }
        // Fewer: some were given twice, none is missing.
        (mark == to).then_some(Counted::Whole)
    }
}

#[cfg(test)]
#[path = "continuity_tests.rs"]
mod tests;
