//! The loop of the file thread: waits for hints, looks, reads fairly, keeps time. It decides when, the modules beside
//! it decide what: `observe` which files there are, `copies` which are copies, `targets` when a drain is done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::desk::Desk;
use super::roster::{Roster, TailId};
use super::tail::{Condition, Fault, Flushed, Place, ReadOutcome, State, Tail};
use super::targets::Target;
use super::wake::{Signals, Wake};
use super::watch::Watch;
use super::{Error, Timing};
use crate::buffer::Closed;
use crate::ingest::Flush;
use crate::source::READ_BYTES;

/// How often it is asked whether files may be read again, while they may not.
const PRESSURE_POLL: Duration = Duration::from_millis(5);

/// Shortest time between two walks over everything.
const SURVEY_PAUSE: Duration = Duration::from_millis(20);

/// A walk is not repeated before this many times the time that the last one took.
const SURVEY_SHARE: u32 = 4;

pub(super) struct Engine {
    pub desk: Desk,
    pub roster: Roster,
    pub watch: Watch,
    pub timing: Timing,
    pub wake: Arc<Wake>,
    /// Most files that are held open.
    pub handles_max: usize,
    /// Files that are there but cannot be opened, with their size; each was reported once.
    pub refused: BTreeMap<PathBuf, u64>,
    /// For each source: no origin of it was in the log at the start, so `start_at` applies to what is there now.
    pub untouched: Vec<bool>,
    /// The first walk is not over yet.
    pub starting: bool,
    pub targets: Vec<Target>,
    /// The walk that has just ended may have missed something.
    pub survey_again: bool,
    /// Files that were renamed before anything of them was read.
    pub unread_moved: BTreeSet<TailId>,
    ready: VecDeque<TailId>,
    /// Tails for which something is to be done at a time.
    timed: BTreeSet<TailId>,
    next_survey: Instant,
    survey_ended: Instant,
    survey_took: Duration,
}

impl Engine {
    pub fn new(desk: Desk, roster: Roster, watch: Watch, timing: Timing, wake: Arc<Wake>) -> Self {
        let now = Instant::now();
        let untouched = desk
            .sources
            .iter()
            .map(|source| !roster.remembered.iter().any(|known| *known.descriptor.source == *source.name))
            .collect();
        Engine {
            desk,
            roster,
            watch,
            timing,
            wake,
            handles_max: super::handles_max(),
            refused: BTreeMap::new(),
            untouched,
            starting: true,
            targets: Vec::new(),
            survey_again: false,
            unread_moved: BTreeSet::new(),
            ready: VecDeque::new(),
            timed: BTreeSet::new(),
            next_survey: now,
            survey_ended: now,
            survey_took: Duration::ZERO,
        }
    }

    /// Serves until a stop is done or nobody can send one any more.
    pub fn run(&mut self) -> Result<(), Error> {
        let outcome = self.serve();
        self.wake.end();
        outcome.map_err(|Closed| Error::BufferClosed)
    }

    fn serve(&mut self) -> Result<(), Closed> {
        loop {
            if Instant::now() >= self.next_survey {
                self.take_survey()?;
            }
            let stalled = self.turns()?;
            self.keep_time()?;
            if self.meet_targets()? {
                return Ok(());
            }
            let signals = self.wait(stalled);
            if signals.closed && signals.controls.is_empty() && self.targets.is_empty() {
                tracing::debug!("nobody is left to stop the file source, it ends");
                return Ok(());
            }
            for control in signals.controls {
                self.take_survey()?;
                self.begin_target(control)?;
            }
            if signals.all_changed {
                self.survey_soon();
            }
            self.heed(signals.changed, &signals.renames)?;
        }
    }

    /// Waits for the next thing to do. A busy writer causes a hint for each write: a pause lets them add up.
    fn wait(&mut self, stalled: bool) -> Signals {
        let now = Instant::now();
        if !self.ready.is_empty() && !stalled {
            return self.wake.wait(now);
        }
        let mut until = self.timed.iter().filter_map(|id| self.due(*id)).min().unwrap_or(self.next_survey);
        if !self.targets.is_empty() {
            until = until.min(now + super::targets::TARGET_POLL);
        }
        if stalled {
            until = until.min(now + PRESSURE_POLL);
        }
        // What is overdue could not be done, mostly because the buffer is full: it is tried again, but not all the time.
        until = until.max(now + PRESSURE_POLL).min(self.next_survey);
        let mut signals = self.wake.wait(until);
        if !signals.changed.is_empty() && signals.controls.is_empty() && !self.timing.wake_pause.is_zero() {
            std::thread::sleep(self.timing.wake_pause);
            let more = self.wake.wait(Instant::now());
            signals.controls.extend(more.controls);
            signals.all_changed |= more.all_changed;
            signals.renames.extend(more.renames);
            signals.closed |= more.closed;
            for (path, hint) in more.changed {
                signals.changed.entry(path).or_default().add(hint);
            }
        }
        signals
    }

    /// Looks at everything at the next opportunity, but not all the time.
    pub fn survey_soon(&mut self) {
        let pause = SURVEY_PAUSE.max(self.survey_took * SURVEY_SHARE);
        self.next_survey = self.next_survey.min(self.survey_ended + pause);
    }

    fn take_survey(&mut self) -> Result<(), Closed> {
        let begun = Instant::now();
        self.survey()?;
        self.survey_ended = Instant::now();
        self.survey_took = self.survey_ended - begun;
        self.next_survey = self.survey_ended + self.timing.poll.max(self.survey_took * SURVEY_SHARE);
        if std::mem::take(&mut self.survey_again) {
            self.survey_soon();
        }
        Ok(())
    }

    /// Puts a tail into the queue of those to be looked at.
    pub fn queue(&mut self, id: TailId) {
        if let Some(tail) = self.roster.get_mut(id)
            && !tail.queued
        {
            tail.queued = true;
            self.ready.push_back(id);
        }
    }

    /// One turn for each tail that waits for one. True where the buffer wants no more for now.
    fn turns(&mut self) -> Result<bool, Closed> {
        for _ in 0..self.ready.len() {
            let Some(id) = self.ready.pop_front() else { break };
            let Some(tail) = self.roster.get_mut(id) else { continue };
            tail.queued = false;
            let stalled = match tail.state {
                State::Fresh => self.begin(id)?,
                State::Held { .. } => {
                    self.weigh(id)?;
                    false
                }
                State::Live | State::Done => self.advance(id)?,
                State::Truncated { .. } | State::Skipped => false,
            };
            self.retime(id);
            if stalled {
                if let Some(tail) = self.roster.get_mut(id)
                    && !tail.queued
                {
                    tail.queued = true;
                    self.ready.push_front(id);
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks at a file and reads once from it. True where there is something to read that may not be read now.
    pub fn advance(&mut self, id: TailId) -> Result<bool, Closed> {
        if !self.hold(id)? {
            return Ok(false);
        }
        match self.look_at(id) {
            Some(Condition::Intact) => {}
            Some(Condition::Rewritten) => {
                self.rewritten(id)?;
                return Ok(false);
            }
            None => return Ok(false),
        }
        let Some(tail) = self.roster.get_mut(id) else { return Ok(false) };
        if tail.at_end() {
            tail.note_pace();
            return Ok(false);
        }
        if !self.desk.appender.files_may_read() {
            tail.falls_behind();
            return Ok(true);
        }
        tail.state = State::Live;
        match tail.read(&mut self.desk) {
            Ok(ReadOutcome::Took(new)) => {
                if new == READ_BYTES || (new > 0 && !tail.at_end()) {
                    self.queue(id);
                }
            }
            Ok(ReadOutcome::Rewritten) => self.rewritten(id)?,
            Err(Fault::Io(error)) => self.trouble(id, &error),
            Err(Fault::Closed) => return Err(Closed),
        }
        Ok(false)
    }

    /// Looks at a file that is held; `None` where that fails, which is reported.
    pub fn look_at(&mut self, id: TailId) -> Option<Condition> {
        let tail = self.roster.get_mut(id)?;
        match tail.inspect() {
            Ok(condition) => {
                if std::mem::take(&mut tail.trouble) {
                    tracing::info!(path = %tail.path.display(), "file can be read again");
                }
                Some(condition)
            }
            Err(error) => {
                self.trouble(id, &error);
                None
            }
        }
    }

    /// Something is wrong with one file: said once, tried again at each poll.
    pub fn trouble(&mut self, id: TailId, error: &io::Error) {
        let Some(tail) = self.roster.get_mut(id) else { return };
        if !tail.trouble {
            tracing::warn!(path = %tail.path.display(), %error, "file cannot be read, it is tried again at each poll");
        }
        tail.trouble = true;
        tail.check = true;
        if tail.place == Place::Here {
            tail.handle = None;
        }
    }

    /// Keeps the list of tails with timers right after a tail changed.
    pub fn retime(&mut self, id: TailId) {
        if self.due(id).is_some() {
            self.timed.insert(id);
        } else {
            self.timed.remove(&id);
        }
    }

    /// When something is to be done about a tail without a hint.
    fn due(&self, id: TailId) -> Option<Instant> {
        self.roster.get(id).and_then(|tail| due(tail, &self.timing))
    }

    /// Does what is due.
    fn keep_time(&mut self) -> Result<(), Closed> {
        if !self.desk.appender.files_may_read() {
            return Ok(());
        }
        let now = Instant::now();
        let due: Vec<TailId> =
            self.timed.iter().copied().filter(|id| self.due(*id).is_none_or(|due| due <= now)).collect();
        for id in due {
            self.act(id, now)?;
            self.retime(id);
        }
        Ok(())
    }

    fn act(&mut self, id: TailId, now: Instant) -> Result<(), Closed> {
        let Some(tail) = self.roster.get(id) else { return Ok(()) };
        match (tail.state, tail.place) {
            (State::Held { .. }, _) => self.weigh(id),
            (State::Truncated { .. }, _) => self.give_up_generation(id),
            (State::Skipped | State::Done, Place::Deleted { .. }) => {
                self.roster.remove(id);
                Ok(())
            }
            (State::Skipped | State::Done, _) => Ok(()),
            (State::Fresh | State::Live, _) => self.act_on_quiet(id, now),
        }
    }

    /// A file has not grown for a while: flushes what is held back, ends what is gone.
    fn act_on_quiet(&mut self, id: TailId, now: Instant) -> Result<(), Closed> {
        // A last look, as the end of an origin and an unfinished line that is taken cannot be taken back.
        if !self.hold(id)? {
            return Ok(());
        }
        match self.look_at(id) {
            Some(Condition::Intact) => {}
            Some(Condition::Rewritten) => return self.rewritten(id),
            None => return Ok(()),
        }
        let Some(tail) = self.roster.get_mut(id) else { return Ok(()) };
        if !tail.at_end() {
            self.queue(id);
            return Ok(());
        }
        match tail.place {
            Place::Deleted { since } if now >= since.max(tail.grown) + self.timing.gone_quiet => {
                tail.end(&self.desk)?;
                self.roster.remove(id);
            }
            Place::Away { since } if now >= since.max(tail.grown) + self.timing.rotated_quiet => {
                tail.end(&self.desk)?;
                tail.handle = None;
            }
            _ => {
                let gone = tail.renamed && now >= tail.grown + self.timing.gone_quiet;
                if gone && tail.flushed < Flushed::All {
                    tail.flush(Flush::All, &self.desk)?;
                } else if tail.flushed < Flushed::Group && now >= tail.grown + self.timing.group_quiet {
                    tail.flush(Flush::Group, &self.desk)?;
                }
            }
        }
        Ok(())
    }
}

/// When something is to be done about a tail without a hint; pure.
fn due(tail: &Tail, timing: &Timing) -> Option<Instant> {
    if tail.trouble {
        // Tried again at the next poll.
        return None;
    }
    match (tail.state, tail.place) {
        (State::Held { since, changed, .. }, _) => {
            Some((changed + timing.copy_proof).min(since + super::copies::HOLD_MAX))
        }
        (State::Truncated { since, .. }, _) => Some(since + timing.copy_proof),
        (State::Skipped | State::Done, Place::Deleted { since }) => Some(since),
        (State::Skipped | State::Done, _) => None,
        // Still to be read: its turn comes first, and the timers follow.
        _ if !tail.at_end() => None,
        (State::Fresh | State::Live, Place::Deleted { since }) => Some(since.max(tail.grown) + timing.gone_quiet),
        (State::Fresh | State::Live, place) => {
            let held_back = tail.held_back() > 0 || tail.has_untold();
            let group = (held_back && tail.flushed < Flushed::Group).then_some(tail.grown + timing.group_quiet);
            let rest =
                (held_back && tail.renamed && tail.flushed < Flushed::All).then_some(tail.grown + timing.gone_quiet);
            let end = match place {
                Place::Away { since } => Some(since.max(tail.grown) + timing.rotated_quiet),
                _ => None,
            };
            [group, rest, end].into_iter().flatten().min()
        }
    }
}
