//! The way of one load from the first attempt to the last answer: send, decide, wait, ask, split, set aside.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::batch::{BODY_SLACK_BYTES, Load, Sealed};
use super::decision::{Decision, ItemDecision, Protocol, decide};
use super::letter::{Refusal, Refused};
use super::retry::{Pause, Schedule};
use super::streak::Streak;
use super::{DeadLetters, Ledger, Stats};
use crate::record::OriginId;
use crate::sink::{Asked, Batch, ItemAnswer, SendOutcome, Sink};

/// After so many attempts in a row whose outcome is not known a large body is sent in halves.
const UNKNOWN_SPLIT: u32 = 3;

/// Bodies up to this many bytes are not split for that.
const UNKNOWN_SPLIT_BYTES: usize = 128 * 1024;

/// How often a fault that lasts is said again.
const FAULT_LOG_INTERVAL: Duration = Duration::from_secs(30);

/// What the loop of a sink and its attempts share.
#[derive(Debug)]
pub struct Shared {
    pub name: Arc<str>,
    pub sink: Arc<Sink>,
    pub protocol: Protocol,
    pub stats: Arc<Stats>,
    pub ledger: Ledger,
    pub dead: Arc<DeadLetters>,
    /// What is sent are dead letters: each refusal is believed, as none can lose anything.
    pub is_replay: bool,
    pub drain: Arc<Drain>,
    pub pause: Pause,
    /// Bytes, from the next load on, that an earlier process may have sent; see `Delivery::suspect_note`.
    pub suspect_left: AtomicUsize,
    /// Most bytes that can be under way at a time.
    pub suspect_window: usize,
    pub streak: Mutex<Streak>,
    /// Memory of delivered batches: at most as many as are under way at a time.
    pub spare: Mutex<Vec<Batch>>,
    /// When a fault was last said, and whether it was one of the sink.
    pub logged: Mutex<Option<(Instant, bool)>>,
}

/// Whether someone waits for the sink to have everything.
#[derive(Debug, Default)]
pub struct Drain {
    /// How many wait.
    draining: AtomicUsize,
    /// Ends every wait at once.
    begun: Notify,
}

impl Drain {
    /// Attempts that wait are made now, and wait less from now on.
    pub fn begin(&self) {
        self.draining.fetch_add(1, Ordering::Relaxed);
        self.begun.notify_waiters();
    }

    /// One waits no more.
    pub fn end(&self) {
        self.draining.fetch_sub(1, Ordering::Relaxed);
    }

    /// Resolves when a drain begins after this call, awaited by then or not.
    pub fn begins(&self) -> Notified<'_> {
        self.begun.notified()
    }

    /// Waits so long, or until a drain begins. One that was `known` when the wait was chosen does not end it.
    async fn wait(&self, wait: Duration, known: bool) {
        let begun = self.begun.notified();
        tokio::pin!(begun);
        begun.as_mut().enable();
        if known {
            return tokio::time::sleep(wait).await;
        }
        if self.draining() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = begun => {}
        }
    }

    pub(super) fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed) > 0
    }
}

/// Records of a load that are still to be delivered.
struct Piece {
    load: Arc<Sealed>,
    range: Range<usize>,
    /// Some of them may be stored already: ask first. The note is what was remembered before they were first sent.
    unsure: Option<Vec<u8>>,
    /// Attempts in a row whose outcome is not known.
    unknown: u32,
}

impl Piece {
    /// Records that no attempt has been made with, or that are known not to be stored.
    fn fresh(load: Sealed) -> Self {
        let range = 0..load.len();
        Piece { load: Arc::new(load), range, unsure: None, unknown: 0 }
    }

    /// Two halves, each as unsure as the whole.
    fn halves(self) -> (Piece, Piece) {
        let Piece { load, range, unsure, .. } = self;
        let middle = range.start + range.len() / 2;
        let half = |range| Piece { load: Arc::clone(&load), range, unsure: unsure.clone(), unknown: 0 };
        (half(range.start..middle), half(middle..range.end))
    }
}

enum Step {
    Done,
    /// Try these again, after the wait.
    Again(Piece, Duration),
    Two(Piece, Piece),
}

/// Delivers a load to the end, however long that takes; returns the origin of each record that was dead-lettered.
/// `note`: as of an earlier process, if it may have sent some of these records already.
///
/// # Errors
/// The cursor file cannot be written.
pub async fn deliver(shared: &Shared, load: Load, note: Option<Vec<u8>>) -> io::Result<Vec<OriginId>> {
    let load = Arc::new(load.seal());
    let mut work = VecDeque::from([Piece { load: Arc::clone(&load), range: 0..load.len(), unsure: note, unknown: 0 }]);
    let mut schedule = Schedule::default();
    let mut new_credentials = false;
    let mut dead = Vec::new();
    while let Some(piece) = work.pop_front() {
        let draining = shared.drain.draining();
        if let Some(left) = shared.pause.left() {
            shared.drain.wait(left, draining).await;
        }
        schedule.set_draining(draining);
        match shared.step(piece, &mut schedule, &mut new_credentials, &mut dead).await? {
            Step::Done => schedule = Schedule::default(),
            Step::Two(first, second) => {
                work.push_front(second);
                work.push_front(first);
            }
            Step::Again(piece, wait) => {
                work.push_front(piece);
                shared.drain.wait(wait, draining).await;
            }
        }
    }
    if let Some(batch) = Arc::into_inner(load).and_then(|load| Arc::into_inner(load.batch)) {
        shared.give_back(batch);
    }
    Ok(dead)
}

/// The answers to one call, sorted.
#[derive(Default)]
struct Sorted {
    accepted: usize,
    /// To the dead letters.
    refused: Vec<(usize, Refusal)>,
    /// To be sent again.
    left: Vec<usize>,
    /// Why, and whether that is the fault of the sink itself.
    status: u16,
    reason: String,
    of_sink: bool,
}

/// These records of a load, as a load of their own, after the wait.
fn again(load: &Sealed, numbers: Vec<usize>, wait: Duration) -> Step {
    Step::Again(Piece::fresh(load.select(numbers)), wait)
}

impl Shared {
    /// A batch with room for `bytes`, made or used before.
    pub fn spare(&self, bytes: usize) -> Batch {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| Batch { body: Vec::with_capacity(bytes + BODY_SLACK_BYTES), ..Batch::default() })
    }

    fn give_back(&self, mut batch: Batch) {
        batch.truncate(0);
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
    }

    /// Frees what is kept for the next load: there is none in sight.
    pub fn drop_spares(&self) {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn step(
        &self,
        mut piece: Piece,
        schedule: &mut Schedule,
        new_credentials: &mut bool,
        dead: &mut Vec<OriginId>,
    ) -> io::Result<Step> {
        if let Some(note) = piece.unsure.take() {
            match self.ask(piece, note, schedule).await {
                Ok(None) => return Ok(Step::Done),
                Ok(Some(rest)) => piece = rest,
                Err((piece, wait)) => return Ok(Step::Again(piece, wait)),
            }
        }
        let note = match self.sink.note().await {
            Ok(note) => note,
            Err(outcome) => {
                let wait = self.not_ready(&outcome, schedule);
                return Ok(Step::Again(piece, wait));
            }
        };
        self.ledger.begin(&note)?;
        Stats::add(&self.stats.requests, 1);
        let sent = Instant::now();
        let outcome = self.sink.send(&piece.load.batch, piece.range.clone()).await;
        self.stats.ended_requests.count(self.protocol, &outcome, sent.elapsed());
        let decision = decide(self.protocol, &outcome, piece.range.len());
        if decision != Decision::Accept {
            Stats::add(&self.stats.failed_requests, 1);
        }
        Ok(match decision {
            Decision::Accept => {
                *new_credentials = false;
                self.accepted(piece.range.len());
                Step::Done
            }
            Decision::Retry { after } => {
                let wait = self.asked(after, schedule.after_fault(after));
                Step::Again(piece, self.fault(&outcome, wait, false))
            }
            Decision::SinkFault { after } => {
                let wait = self.asked(after, schedule.after_sink_fault(after));
                Step::Again(piece, self.fault(&outcome, wait, true))
            }
            Decision::Ask => {
                let wait = self.fault(&outcome, schedule.after_fault(None), false);
                let unknown = piece.unknown + 1;
                let piece = Piece { unsure: Some(note), unknown, ..piece };
                let is_large = piece.load.batch.slice(&piece.range).len() > UNKNOWN_SPLIT_BYTES;
                if unknown >= UNKNOWN_SPLIT && is_large && piece.range.len() > 1 {
                    // A server that finds a body too large may cut the connection before its answer is read.
                    let (first, second) = piece.halves();
                    Step::Two(first, second)
                } else {
                    Step::Again(piece, wait)
                }
            }
            Decision::NewCredentials => {
                self.sink.forget_credentials().await;
                // Once at once; where new ones are refused as well, it is a fault of the sink.
                let first = !std::mem::replace(new_credentials, true);
                let wait = if first { Duration::ZERO } else { schedule.after_sink_fault(None) };
                Step::Again(piece, self.fault(&outcome, wait, true))
            }
            Decision::Split => {
                let (first, second) = piece.halves();
                Step::Two(first, second)
            }
            Decision::Reject => self.reject_one(piece, &outcome, schedule, dead).await,
            Decision::Items(items) => self.items(piece, &outcome, &items, schedule, dead).await,
        })
    }

    /// Has every request wait where the server `asked` for it; hands `wait` back.
    fn asked(&self, asked: Option<Duration>, wait: Duration) -> Duration {
        if asked.is_some() {
            self.pause.begin(wait);
        }
        wait
    }

    /// The wait after a question that must be answered before anything is sent.
    fn not_ready(&self, outcome: &SendOutcome, schedule: &mut Schedule) -> Duration {
        let (wait, of_sink) = match decide(self.protocol, outcome, 1) {
            Decision::SinkFault { after } => (schedule.after_sink_fault(after), true),
            Decision::Retry { after } => (schedule.after_fault(after), false),
            _ => (schedule.after_fault(None), false),
        };
        self.fault(outcome, wait, of_sink)
    }

    /// Finds out which records the sink holds; the piece that is left to send, if any.
    async fn ask(
        &self,
        piece: Piece,
        note: Vec<u8>,
        schedule: &mut Schedule,
    ) -> Result<Option<Piece>, (Piece, Duration)> {
        match self.sink.ask(&piece.load.batch, piece.range.clone(), &note).await {
            Asked::SafeToSend => Ok(Some(piece)),
            Asked::CannotTell { reason } => {
                Stats::add(&self.stats.possible_doubles, piece.range.len());
                tracing::debug!(sink = %self.name, records = piece.range.len(), reason, "sent again, may double");
                Ok(Some(piece))
            }
            Asked::Holds(held) => {
                if held.contains(&true) {
                    // So more may be there behind them.
                    self.suspect_left.store(self.suspect_window, Ordering::Relaxed);
                }
                let first = piece.range.start;
                let missing: Vec<usize> =
                    held.iter().enumerate().filter(|(_, held)| !**held).map(|(n, _)| first + n).collect();
                self.accepted(held.len() - missing.len());
                if missing.is_empty() {
                    return Ok(None);
                }
                Ok(Some(Piece::fresh(piece.load.select(missing))))
            }
            Asked::Failed { reason } => {
                let wait = self.fault(&SendOutcome::NotSent { reason }, schedule.after_fault(None), false);
                Err((Piece { unsure: Some(note), ..piece }, wait))
            }
        }
    }

    async fn reject_one(
        &self,
        piece: Piece,
        outcome: &SendOutcome,
        schedule: &mut Schedule,
        dead: &mut Vec<OriginId>,
    ) -> Step {
        let SendOutcome::Refused { status, reason, .. } = outcome else {
            return Step::Again(piece, self.fault(outcome, schedule.after_sink_fault(None), true));
        };
        let refusal = Refusal { status: *status, kind: "request".to_owned(), reason: reason.clone() };
        let number = piece.range.start;
        let before = self.streak().clone();
        if !self.is_replay && !self.streak().believes(&refusal) {
            return Step::Again(piece, self.fault(outcome, schedule.after_sink_fault(None), true));
        }
        if let Err(wait) = self.bury(&piece.load, &[(number, refusal)], dead, before, schedule) {
            return Step::Again(piece, wait);
        }
        Step::Done
    }

    fn streak(&self) -> std::sync::MutexGuard<'_, Streak> {
        self.streak.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sorts the answers for single records; what is left is tried again as a load of its own.
    async fn items(
        &self,
        piece: Piece,
        outcome: &SendOutcome,
        decisions: &[ItemDecision],
        schedule: &mut Schedule,
        dead: &mut Vec<OriginId>,
    ) -> Step {
        let SendOutcome::Items(answers) = outcome else { return Step::Again(piece, Duration::ZERO) };
        let first = piece.range.start;
        let before = self.streak().clone();
        let sorted = self.sort(answers, decisions, first);
        self.count_accepted(sorted.accepted);
        if let Err(wait) = self.bury(&piece.load, &sorted.refused, dead, before, schedule) {
            // Nothing is passed over: what was refused is tried again with the rest.
            let mut left: Vec<usize> = sorted.left.into_iter().chain(sorted.refused.iter().map(|(n, _)| *n)).collect();
            left.sort_unstable();
            return again(&piece.load, left, wait);
        }
        if sorted.left.is_empty() {
            return Step::Done;
        }
        let fault = SendOutcome::Refused { status: sorted.status, retry_after: None, reason: sorted.reason };
        let wait = if sorted.of_sink { schedule.after_sink_fault(None) } else { schedule.after_fault(None) };
        let wait = self.fault(&fault, wait, sorted.of_sink);
        again(&piece.load, sorted.left, wait)
    }

    /// Goes through the answers in their order, as one accepted record ends a streak of refusals.
    fn sort(&self, answers: &[ItemAnswer], decisions: &[ItemDecision], first: usize) -> Sorted {
        let mut sorted = Sorted::default();
        let mut streak = self.streak();
        for (n, (decision, answer)) in decisions.iter().zip(answers).enumerate() {
            let number = first + n;
            let of_sink = match decision {
                ItemDecision::Accept => {
                    streak.accepted();
                    sorted.accepted += 1;
                    continue;
                }
                ItemDecision::Reject => {
                    let refusal =
                        Refusal { status: answer.status, kind: answer.kind.clone(), reason: answer.reason.clone() };
                    if self.is_replay || streak.believes(&refusal) {
                        sorted.refused.push((number, refusal));
                        continue;
                    }
                    true
                }
                ItemDecision::Retry => false,
                ItemDecision::SinkFault => true,
            };
            sorted.left.push(number);
            if sorted.status == 0 || (of_sink && !sorted.of_sink) {
                sorted.status = answer.status;
                sorted.reason = format!("{} {}", answer.kind, answer.reason);
            }
            sorted.of_sink |= of_sink;
        }
        sorted
    }

    /// Puts refused records into the dead letters; where that fails the streak is as it was `before`, and the wait is given.
    fn bury(
        &self,
        load: &Sealed,
        refused: &[(usize, Refusal)],
        dead: &mut Vec<OriginId>,
        before: Streak,
        schedule: &mut Schedule,
    ) -> Result<(), Duration> {
        let Some((_, first)) = refused.first() else { return Ok(()) };
        let letters = refused.iter().filter_map(|(n, refusal)| {
            let document = self.sink.document(load.batch.slice(&(*n..*n + 1)));
            let (id, origin) = (*load.batch.ids.get(*n)?, load.origin(*n)?);
            Some(Refused { id, origin: origin.id, run_id: &origin.run_id, document, refusal })
        });
        let path = self.dead.path().display();
        let written = match self.is_replay {
            true => self.dead.append_again(letters).map(|()| 0),
            false => self.dead.append(letters),
        };
        match written {
            Ok(without_document) => Stats::add(&self.stats.without_document, without_document),
            Err(error) => {
                tracing::error!(sink = %self.name, %error, "dead letters cannot be written to {path}: nothing is passed over");
                *self.streak() = before;
                let reason = format!("dead letters cannot be written: {error}");
                return Err(self.fault(&SendOutcome::NotSent { reason }, schedule.after_fault(None), false));
            }
        }
        dead.extend(refused.iter().filter_map(|(n, _)| load.origin(*n)).map(|origin| origin.id));
        Stats::add(&self.stats.dead_lettered, refused.len());
        let (records, status, kind) = (refused.len(), first.status, &first.kind);
        tracing::warn!(sink = %self.name, records, status, kind, "refused by the sink, kept in {path}");
        Ok(())
    }

    /// Counts records that were accepted, after the streak has been walked through in its order.
    fn count_accepted(&self, records: usize) {
        if records == 0 {
            return;
        }
        Stats::add(&self.stats.accepted, records);
        if self.stats.set_fault(None).is_some() {
            *self.logged.lock().unwrap_or_else(PoisonError::into_inner) = None;
            tracing::info!(sink = %self.name, "the sink accepts again");
        }
    }

    fn accepted(&self, records: usize) {
        if records > 0 {
            self.streak().accepted();
        }
        self.count_accepted(records);
    }

    /// Says why an attempt failed, not more often than a reader can bear; hands `wait` back.
    fn fault(&self, outcome: &SendOutcome, wait: Duration, of_sink: bool) -> Duration {
        let reason = match outcome {
            SendOutcome::Refused { status, reason, .. } => format!("{status}: {reason}"),
            SendOutcome::Unknown { reason } => format!("no usable answer: {reason}"),
            SendOutcome::NotSent { reason } => format!("not sent: {reason}"),
            SendOutcome::Accepted | SendOutcome::Items(_) => String::new(),
        };
        let first = self.stats.set_fault(Some(reason.clone())).is_none();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        // A fault of the sink is said at once also behind one that would have passed: somebody has to do something.
        let is_due =
            |(at, was_of_sink): (Instant, bool)| at.elapsed() >= FAULT_LOG_INTERVAL || (of_sink && !was_of_sink);
        if first || logged.is_none_or(is_due) {
            *logged = Some((Instant::now(), of_sink));
            let retry_in_ms = wait.as_millis() as u64;
            if of_sink {
                tracing::error!(sink = %self.name, reason, retry_in_ms, "the sink refuses: everything is kept and sent again");
            } else {
                tracing::warn!(sink = %self.name, reason, retry_in_ms, "the sink does not accept at the moment");
            }
        }
        wait
    }
}
