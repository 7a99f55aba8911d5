//! Asks the engine again for stretches of a followed log that [`super::continuity`] names, beside the following. Takes nothing
//! up.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Shared;
use super::container::Container;
use super::continuity::{Continuity, Counted, Recount, Step, Stretch};
use super::driver::Risk;
use super::engine::{Engine, EngineError, Streamed};
use super::frame::{Decoder, Entry};
use super::stats::GapReason;
use crate::record::{Nanos, time};

/// Longest time that the answer for one stretch may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Questions that may fail in a row, and the pause between them.
const ATTEMPTS_MAX: u32 = 3;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(200);

/// An engine that gave no answer is left alone so long.
const ENGINE_PAUSE: Duration = Duration::from_secs(5);

/// How often a running count is looked after.
const COUNT_POLL: Duration = Duration::from_millis(20);

/// A gap stands for whatever was skipped within this time of it: an engine that cannot keep up is not asked even more.
const GAP_COVERS: Duration = Duration::from_secs(1);

/// Entries that may have been written behind a stretch when the engine is asked for its end, beside as many as its own.
const WRITTEN_SINCE: u64 = 4_000;

/// What a question has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Whole,
    Skipped,
    /// The engine no longer had the stretch.
    RotatedAway,
    /// The engine did not answer.
    Unanswered(Stretch),
    /// The container is gone. `late` as [`Stretch::late`] says.
    Gone {
        late: bool,
    },
}

/// Proves that the followed log of one container came whole.
pub(super) struct Proof {
    shared: Arc<Shared>,
    engine: Engine,
    id: String,
    terminal: bool,
    /// As [`super::driver::Rotation::compressed`] says.
    compressed: bool,
    /// `None`: the engine does not rotate this log.
    continuity: Option<Box<Continuity>>,
    running: JoinSet<Verdict>,
    /// When a gap was last told.
    told: Option<Instant>,
    /// Nothing is asked before.
    next_ask: Instant,
}

impl Proof {
    /// `is_new`: nothing of the log was taken up before.
    pub(super) fn new(shared: &Arc<Shared>, engine: &Engine, container: &Container, is_new: bool) -> Proof {
        let (rotation, risk) = (container.driver.rotation, container.driver.risk);
        let rotates = rotation.is_some() || matches!(risk, Risk::OneFile { .. });
        let continuity = rotates.then(|| Box::new(Continuity::new(rotation, is_new, Instant::now())));
        Proof {
            shared: Arc::clone(shared),
            engine: engine.clone(),
            id: container.candidate.id.clone(),
            terminal: container.terminal,
            compressed: rotation.is_some_and(|rotation| rotation.compressed),
            continuity,
            running: JoinSet::new(),
            told: None,
            next_ask: Instant::now(),
        }
    }

    /// A reading of the log begins.
    pub(super) fn begin(&mut self, follow: bool) {
        if let Some(continuity) = &mut self.continuity {
            continuity.begin(time::now(), follow);
        }
    }

    /// It has ended.
    pub(super) fn end(&mut self) {
        if let Some(continuity) = &mut self.continuity {
            continuity.end();
        }
    }

    /// Bytes of it came.
    pub(super) fn arrive(&mut self) {
        if let Some(continuity) = &mut self.continuity {
            continuity.arrive(Instant::now());
        }
    }

    /// Its next entry.
    pub(super) fn entry(&mut self, entry: &Entry<'_>) -> Step {
        self.continuity.as_mut().map_or(Step::Take, |continuity| continuity.entry(entry))
    }

    /// When [`Self::gap`] or [`Self::is_stuck`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        let continuity = self.continuity.as_ref()?;
        let count = if self.running.is_empty() {
            continuity.due().map(|due| due.max(self.next_ask))
        } else {
            Some(Instant::now() + COUNT_POLL)
        };
        [count, continuity.replay_due()].into_iter().flatten().min()
    }

    /// Whether the reading has to be ended: what it gives cannot be told apart.
    pub(super) fn is_stuck(&mut self) -> bool {
        self.continuity.as_mut().is_some_and(|continuity| continuity.give_up_replay(Instant::now()))
    }

    /// The gap that was found since this was last asked. Has the next stretch counted where one is due.
    pub(super) fn gap(&mut self) -> Option<GapReason> {
        self.continuity.as_ref()?;
        let now = Instant::now();
        let verdict = self.running.try_join_next().and_then(Result::ok);
        let gap = verdict.and_then(|verdict| self.judge(verdict, false));
        self.ask(now, false);
        gap
    }

    /// Counts all that is left to be counted, until then at most; gives the gaps.
    pub(super) async fn settle(&mut self, until: Instant) -> Vec<GapReason> {
        let mut gaps = Vec::new();
        self.end();
        loop {
            self.ask(Instant::now(), true);
            match timeout_at(until, self.running.join_next()).await {
                Ok(Some(Ok(verdict))) => gaps.extend(self.judge(verdict, true)),
                Ok(Some(Err(_))) => {}
                Ok(None) => return gaps,
                Err(_) => {
                    tracing::debug!(id = self.id, "no time to count again what was followed");
                    return gaps;
                }
            }
        }
    }

    /// The container is gone, and with it what would have been counted: whether lines may be missing.
    pub(super) fn is_gone_late(&mut self) -> bool {
        self.running.abort_all();
        self.continuity.as_ref().is_some_and(|continuity| continuity.is_late())
    }

    /// Has the next stretch counted, one at a time.
    fn ask(&mut self, now: Instant, at_end: bool) {
        let Some(continuity) = &mut self.continuity else { return };
        if self.told.is_some_and(|told| now < told + GAP_COVERS) {
            continuity.forget();
        }
        if !self.running.is_empty() || (now < self.next_ask && !at_end) {
            return;
        }
        if continuity.take_overflow() {
            self.running.spawn(async { Verdict::RotatedAway });
            return;
        }
        let Some(stretch) = continuity.next_stretch(now, at_end) else { return };
        let question = Question {
            shared: Arc::clone(&self.shared),
            engine: self.engine.clone(),
            id: self.id.clone(),
            terminal: self.terminal,
            compressed: self.compressed,
            stretch,
        };
        self.running.spawn(question.verdict());
    }

    /// The gap that a verdict means, where none was told a moment ago. An engine that is away is asked again when it is back;
    /// at an end there is no later.
    fn judge(&mut self, verdict: Verdict, at_end: bool) -> Option<GapReason> {
        let gap = match verdict {
            Verdict::Whole => return None,
            Verdict::Unanswered(stretch) if !at_end => {
                self.continuity.as_mut()?.put_back(stretch);
                self.next_ask = Instant::now() + ENGINE_PAUSE;
                return None;
            }
            Verdict::Gone { late } | Verdict::Unanswered(Stretch { late, .. }) => {
                late.then_some(GapReason::Unproven)?
            }
            Verdict::Skipped => GapReason::Skipped,
            Verdict::RotatedAway => GapReason::Unproven,
        };
        let now = Instant::now();
        let covered = self.told.is_some_and(|told| now < told + GAP_COVERS);
        self.told = Some(now);
        (!covered).then_some(gap)
    }
}

/// One stretch, to be asked for.
struct Question {
    shared: Arc<Shared>,
    engine: Engine,
    id: String,
    terminal: bool,
    compressed: bool,
    stretch: Stretch,
}

impl Question {
    async fn verdict(self) -> Verdict {
        let Stretch { from, entries, late, .. } = self.stretch;
        let Ok(_permit) = self.shared.readings.acquire().await else { return Verdict::Unanswered(self.stretch) };
        // Where the engine may leave out what `since` asks for, it is not asked so.
        let since = (!self.compressed).then(|| from.time.saturating_sub(1));
        // The end of the log first, which the engine finds without reading what is before it. Where that is not enough,
        // because more was skipped or written than thought, all of it.
        let end = entries.saturating_mul(2).saturating_add(WRITTEN_SINCE);
        let mut counted = self.asked(since, Some(end)).await;
        if !matches!(counted, Ok(Counted::Whole)) {
            counted = self.asked(since, None).await;
        }
        let verdict = match counted {
            Ok(Counted::Whole) => Verdict::Whole,
            Ok(Counted::Skipped) => Verdict::Skipped,
            Ok(Counted::Absent) => Verdict::RotatedAway,
            Err(EngineError::Refused { status: 404 | 409, .. }) => Verdict::Gone { late },
            Err(_) => Verdict::Unanswered(self.stretch),
        };
        tracing::debug!(id = self.id, entries, after = from.time, ?verdict, "counted again");
        verdict
    }

    /// Asks until there is an answer, some times at most.
    async fn asked(&self, since: Option<Nanos>, tail: Option<u64>) -> Result<Counted, EngineError> {
        let mut attempt = 1;
        loop {
            let body = self.engine.retained(&self.id, since, tail);
            let late = || EngineError::Unreachable(format!("no answer within {} s", ANSWER_MAX.as_secs()));
            let counted = timeout(ANSWER_MAX, self.count(body)).await.unwrap_or_else(|_| Err(late()));
            match counted {
                Err(EngineError::Unreachable(_)) if attempt < ATTEMPTS_MAX => {
                    attempt += 1;
                    sleep(ATTEMPT_PAUSE).await;
                }
                counted => return counted,
            }
        }
    }

    async fn count(&self, mut body: Streamed<bytes::Bytes>) -> Result<Counted, EngineError> {
        let mut decoder = Decoder::new(self.terminal);
        let mut recount = Recount::new(self.stretch);
        let unread = |damage: super::Damage| EngineError::Unreachable(damage.to_string());
        while let Some(bytes) = body.next().await {
            decoder.push(&bytes?);
            while let Some(entry) = decoder.next_entry().map_err(unread)? {
                if let Some(counted) = recount.entry(&entry) {
                    return Ok(counted);
                }
            }
        }
        let last = decoder.last_entry().and_then(|entry| recount.entry(&entry));
        Ok(last.unwrap_or(Counted::Absent))
    }
}
