//! The loop of one sink: fill, send, advance.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::attempt::{Drain, Shared, deliver};
use super::batch::{Filling, Load, view};
use super::decision::Protocol;
use super::evict::Evictions;
use super::pace::{self, Pace};
use super::retry::Pause;
use super::streak::Streak;
use super::{BATCH_MAX_RECORDS, DeadLetters, Ledger, Replay, Stats};
use crate::buffer::{Behind, Cursor, CursorFile, CursorState, Frame, LogPosition, Reader};
use crate::record::{Nanos, OriginId, RECORD_MAX_BYTES};
use crate::sink::{self, Sink};

/// How long the loop waits before it reads again after the disk failed.
pub(super) const READ_RETRY: Duration = Duration::from_secs(1);

/// Frames that are read before others get their turn.
const FRAMES_AT_ONCE: usize = 2;

/// Why a fill has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filled {
    /// The load is full and no request can be made, or the log is at its end.
    Waiting,
    /// There is more to read.
    Busy,
    /// The log could not be read.
    Unreadable,
}

/// How long a stop may spend on counting what is left.
pub const COUNT_MAX: Duration = Duration::from_secs(1);

/// Delivery cannot go on: the cursor cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    #[error("the cursor of sink {sink} cannot be written: {source}")]
    Cursor { sink: Arc<str>, source: io::Error },
    #[error("delivery to {sink} broke off: {reason}")]
    Broken { sink: Arc<str>, reason: String },
}

/// A load under way.
pub(super) struct InFlight {
    pub number: u64,
    pub records: u64,
    /// How many of them are of which origin.
    pub origins: Vec<(OriginId, u64)>,
    /// The segment that they stand in.
    pub segment: u64,
    end: Cursor,
    /// Set when it is delivered: the origins of its dead letters.
    pub done: Option<Vec<OriginId>>,
}

/// Delivery to one sink.
pub struct Delivery {
    pub(super) shared: Arc<Shared>,
    pub(super) reader: Reader,
    batch_bytes: usize,
    in_flight_max: usize,
    pace: Pace,
    pub(super) progress: watch::Sender<LogPosition>,
    pub(super) frame: Option<Frame>,
    memory: Vec<u8>,
    pub(super) filling: Option<Filling>,
    pub(super) in_flight: VecDeque<InFlight>,
    pub(super) tasks: JoinSet<(u64, io::Result<Vec<OriginId>>)>,
    pub(super) evictions: Evictions,
    next_number: u64,
    last_sent: Option<Instant>,
    /// The note of an earlier process that may have sent records behind the cursor: loads are asked for first until so
    /// many bytes in a row as can be under way at a time turned out not to be there (`Shared::suspect_left`).
    suspect_note: Option<Vec<u8>>,
}

/// What others see of a delivery while it runs.
#[derive(Clone, Debug)]
pub struct Handle {
    pub name: Arc<str>,
    pub stats: Arc<Stats>,
    /// Everything before this place is accepted or dead-lettered.
    pub progress: watch::Receiver<LogPosition>,
    drain: Arc<Drain>,
    shared: Arc<Shared>,
    behind: Behind,
    batch_bytes: usize,
}

/// Where a sink stands with each origin.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    pub dead_lettered: HashMap<OriginId, u64>,
    pub evicted: HashMap<OriginId, u64>,
    /// Records up to the target that are not accepted yet.
    pub buffered: HashMap<OriginId, u64>,
    /// False: there are more, and no time to count them.
    pub counted: bool,
}

/// Someone waits for the sink to have everything, as long as this value lives.
#[derive(Debug)]
pub struct Hurry(Arc<Drain>);

impl Drop for Hurry {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Handle {
    /// Attempts that wait are made now, and wait less from now on, until the value is dropped.
    pub fn hurry(&self) -> Hurry {
        self.drain.begin();
        Hurry(Arc::clone(&self.drain))
    }

    /// A replay of the sink's dead letters, beside the delivery.
    pub fn replay(&self) -> Replay {
        let Shared { name, protocol, sink, dead, .. } = &*self.shared;
        Replay::beside(Arc::clone(name), *protocol, Arc::clone(sink), Arc::clone(dead), self.batch_bytes)
    }

    /// Bytes of the sink's dead letters on disk, those of a replay among them.
    pub fn dead_letter_bytes(&self) -> u64 {
        self.shared.dead.used_bytes()
    }

    /// The folder of dead letters of all sinks.
    pub fn dead_letter_dir(&self) -> &Path {
        self.shared.dead.dir()
    }

    /// Where the sink stands with each origin, of what lies before `target`. Counting takes [`COUNT_MAX`] at most.
    pub async fn standing(&self, target: LogPosition) -> Standing {
        let CursorState { cursor, dead_lettered, evicted, .. } = self.shared.ledger.state();
        let standing = Standing { dead_lettered, evicted, buffered: HashMap::new(), counted: cursor.at >= target };
        if standing.counted {
            return standing;
        }
        let behind = self.behind.clone();
        let until = std::time::Instant::now() + COUNT_MAX;
        let counted = tokio::task::spawn_blocking(move || behind.count(cursor, target, Some(until))).await;
        match counted {
            Ok(Ok((buffered, counted))) => Standing { buffered, counted, ..standing },
            Ok(Err(error)) => {
                tracing::error!(sink = %self.name, %error, "what is left in the buffer cannot be counted");
                standing
            }
            Err(_) => standing,
        }
    }

    /// Records up to `target` that the sink has not passed, however long counting takes; `None`: the log cannot be read.
    pub async fn backlog(&self, target: LogPosition) -> Option<u64> {
        let (behind, cursor) = (self.behind.clone(), self.shared.ledger.cursor());
        let counted = tokio::task::spawn_blocking(move || behind.count(cursor, target, None)).await;
        Some(counted.ok()?.ok()?.0.values().sum())
    }

    /// When the first record up to `target` that the sink has not passed was written, or somewhat before; `None`: there is
    /// none, or the log cannot be read.
    pub async fn oldest(&self, target: LogPosition) -> Option<Nanos> {
        let (behind, cursor) = (self.behind.clone(), self.shared.ledger.cursor());
        tokio::task::spawn_blocking(move || behind.oldest(cursor, target)).await.ok()?.ok()?
    }

    /// Someone waits for the sink to have everything: attempts that wait are made now.
    pub fn begin_drain(&self) {
        self.drain.begin();
    }
}

impl Delivery {
    /// `dead_letter_dir`: where refused records go.
    pub fn new(
        options: &sink::Options,
        sink: Sink,
        reader: Reader,
        cursor: (CursorFile, CursorState),
        dead_letter_dir: &Path,
    ) -> Self {
        let (file, state) = cursor;
        let at = state.cursor.at;
        let batch_bytes = options.batch_bytes.min(sink.body_max_bytes()).max(1);
        let in_flight_max = options.in_flight.max(1);
        let suspect_note = state.in_doubt.then(|| state.note.clone());
        let suspect_window = (batch_bytes + RECORD_MAX_BYTES) * in_flight_max;
        let shared = Shared {
            name: Arc::clone(&options.name),
            protocol: Protocol::of(&options.kind),
            sink: Arc::new(sink),
            stats: Arc::new(Stats::default()),
            ledger: Ledger::new(file, state),
            dead: Arc::new(DeadLetters::new(dead_letter_dir, &options.name)),
            is_replay: false,
            drain: Arc::default(),
            pause: Pause::default(),
            suspect_left: AtomicUsize::new(if suspect_note.is_some() { suspect_window } else { 0 }),
            suspect_window,
            streak: Mutex::new(Streak::default()),
            spare: Mutex::default(),
            logged: Mutex::new(None),
        };
        Delivery {
            shared: Arc::new(shared),
            evictions: Evictions::new(reader.evictions()),
            reader,
            batch_bytes,
            in_flight_max,
            pace: Pace::drawn(Protocol::of(&options.kind), options.max_age),
            progress: watch::Sender::new(at),
            frame: None,
            memory: Vec::new(),
            filling: None,
            in_flight: VecDeque::new(),
            tasks: JoinSet::new(),
            next_number: 0,
            last_sent: None,
            suspect_note,
        }
    }

    pub fn handle(&self) -> Handle {
        Handle {
            name: Arc::clone(&self.shared.name),
            stats: Arc::clone(&self.shared.stats),
            progress: self.progress.subscribe(),
            drain: Arc::clone(&self.shared.drain),
            shared: Arc::clone(&self.shared),
            behind: self.reader.behind(),
            batch_bytes: self.batch_bytes,
        }
    }

    /// Runs until `stop` turns true; requests under way are then dropped, their records are delivered by the next start.
    /// Returns how many records are left in the log, as far as [`COUNT_MAX`] allows to count them.
    ///
    /// # Errors
    /// [`DeliveryError`]: nothing is lost, the cursor stays where it was.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<u64, DeliveryError> {
        let sink = Arc::clone(&self.shared.sink);
        let ready = async move { sink.keep_ready().await };
        tokio::pin!(ready);
        let drain = Arc::clone(&self.shared.drain);
        loop {
            self.make_room().await?;
            let drain_begins = drain.begins();
            let filled = self.fill();
            self.dispatch(filled);
            if filled == Filled::Waiting {
                self.settle_idle()?;
            }
            let sync_due = self.shared.ledger.sync_due();
            let due = self.filling.as_ref().map(|filling| self.due(filling));
            let full = self.filling.as_ref().is_some_and(|filling| self.is_full(&filling.load));
            tokio::select! {
                biased;
                stopped = stop.wait_for(|stop| *stop) => {
                    // A sender that is gone means stop as well.
                    drop(stopped);
                    break;
                }
                Some(done) = self.tasks.join_next() => {
                    self.joined(done)?;
                }
                () = self.evictions.asked() => {}
                // What is due then is due earlier.
                () = drain_begins => {}
                () = sleep_until(sync_due), if sync_due.is_some() => {
                    self.shared.ledger.sync().map_err(|source| self.cursor_error(source))?;
                }
                () = tokio::task::yield_now(), if filled == Filled::Busy => {}
                () = self.reader.more(), if !full && filled == Filled::Waiting && self.frame.is_none() => {}
                () = tokio::time::sleep(READ_RETRY), if filled == Filled::Unreadable => {}
                () = sleep_until(due), if due.is_some() && self.has_request_room() => {}
                never = &mut ready => match never {},
            }
        }
        self.tasks.shutdown().await;
        let settled = self.nothing_under_way() && self.shared.suspect_left.load(Ordering::Relaxed) == 0;
        self.shared.ledger.end(settled).map_err(|source| self.cursor_error(source))?;
        Ok(self.count_left())
    }

    /// Records that are read or readable and not accepted. A load under way counts whole.
    fn count_left(&mut self) -> u64 {
        let mut left: u64 = self.in_flight.iter().filter(|load| load.done.is_none()).map(|load| load.records).sum();
        left += self.filling.as_ref().map_or(0, |filling| filling.load.len() as u64);
        let until = Instant::now() + COUNT_MAX;
        loop {
            if let Some(mut frame) = self.frame.take() {
                while frame.next_record().is_some() {
                    left += 1;
                }
                self.memory = frame.into_bytes();
            }
            if Instant::now() >= until {
                return left;
            }
            match self.reader.try_next(std::mem::take(&mut self.memory)) {
                Ok(Ok(frame)) => self.frame = Some(frame),
                _ => return left,
            }
        }
    }

    fn has_request_room(&self) -> bool {
        self.in_flight.len() + self.evictions.late.len() < self.in_flight_max
    }

    fn nothing_under_way(&self) -> bool {
        self.in_flight.is_empty() && self.evictions.late.is_empty()
    }

    pub(super) fn cursor_error(&self, source: io::Error) -> DeliveryError {
        DeliveryError::Cursor { sink: Arc::clone(&self.shared.name), source }
    }

    fn is_full(&self, load: &Load) -> bool {
        load.len() >= BATCH_MAX_RECORDS || load.batch.body.len() >= self.batch_bytes
    }

    /// Moves records from the log into the load that is being filled, and sends loads that are full while there is
    /// room for requests.
    fn fill(&mut self) -> Filled {
        let mut frames = 0;
        // A quiet sink sends small bodies: no need to hold a whole one for them.
        let spare_bytes = if self.nothing_under_way() { 0 } else { self.batch_bytes };
        loop {
            // A load holds records of one segment: what becomes of that one becomes of all of them.
            let ends = self.frame.as_ref().map(|frame| frame.at.segment);
            let is_over = |filling: &Filling| {
                self.is_full(&filling.load) || ends.is_some_and(|segment| segment != filling.segment)
            };
            if self.filling.as_ref().is_some_and(is_over) {
                if !self.has_request_room() {
                    return Filled::Waiting;
                }
                self.dispatch_now();
            }
            let Some(frame) = &mut self.frame else {
                // A sink that takes little must not keep its thread from the others for the length of a backlog.
                if frames >= FRAMES_AT_ONCE {
                    return Filled::Busy;
                }
                frames += 1;
                match self.reader.try_next(std::mem::take(&mut self.memory)) {
                    Ok(Ok(frame)) => {
                        self.frame = Some(frame);
                        continue;
                    }
                    Ok(Err(memory)) => {
                        self.memory = memory;
                        return Filled::Waiting;
                    }
                    Err(error) => {
                        tracing::error!(sink = %self.shared.name, %error, "the buffer cannot be read");
                        return Filled::Unreadable;
                    }
                }
            };
            match frame.next_record() {
                Some(record) => {
                    let filling = self.filling.get_or_insert_with(|| Filling {
                        load: Load::reuse(self.shared.spare(spare_bytes)),
                        end: record.next,
                        segment: record.next.at.segment,
                        since: Instant::now(),
                    });
                    filling.load.push(&self.shared.sink, &view(&record), record.origin);
                    let before = std::mem::replace(&mut filling.end, record.next);
                    if filling.load.batch.body.len() > self.batch_bytes && filling.load.len() > 1 {
                        if self.in_flight.len() + self.evictions.late.len() >= self.in_flight_max {
                            // No room: the bound is passed by one record until there is.
                            return Filled::Waiting;
                        }
                        // One too many: it begins the next load.
                        let last = filling.load.split_last(self.shared.spare(spare_bytes));
                        let next =
                            Filling { load: last, end: filling.end, segment: filling.segment, since: Instant::now() };
                        filling.end = before;
                        self.dispatch_now();
                        self.filling = Some(next);
                    }
                }
                None => self.end_frame(),
            }
        }
    }

    /// The frame is used up: what ended within it ends behind it, as nothing of this sink lies between.
    fn end_frame(&mut self) {
        let Some(frame) = self.frame.take() else { return };
        let after = frame.after();
        self.memory = frame.into_bytes();
        if let Some(filling) = &mut self.filling {
            filling.end = after;
        } else if let Some(last) = self.in_flight.back_mut() {
            last.end = after;
        }
    }

    /// When a load is sent that does not become full.
    fn due(&self, filling: &Filling) -> Instant {
        self.pace.due(pace::Standing {
            since: filling.since,
            last_sent: self.last_sent,
            under_way: !self.nothing_under_way(),
            draining: self.shared.drain.draining(),
        })
    }

    /// Sends the load that is being filled if it is full, old enough, or nothing else is under way. While there is more to
    /// read it is filled: a backlog costs no more requests than it must.
    fn dispatch(&mut self, filled: Filled) {
        let Some(filling) = &self.filling else { return };
        let due = match filled {
            Filled::Busy => self.pace.oldest(filling.since),
            Filled::Waiting | Filled::Unreadable => self.due(filling),
        };
        if (self.is_full(&filling.load) || due <= Instant::now()) && self.has_request_room() {
            self.dispatch_now();
        }
    }

    fn dispatch_now(&mut self) {
        let Some(Filling { load, end, segment, .. }) = self.filling.take() else { return };
        self.last_sent = Some(Instant::now());
        let number = self.next_number;
        self.next_number += 1;
        let (records, origins) = (load.len() as u64, load.counts());
        self.in_flight.push_back(InFlight { number, records, origins, segment, end, done: None });
        let bytes = load.batch.body.len();
        let take = |left: usize| (left > 0).then(|| left.saturating_sub(bytes));
        let suspect = self.shared.suspect_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        let note = self.suspect_note.clone().filter(|_| suspect);
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move { (number, deliver(&shared, load, note).await) });
    }

    pub(super) fn joined(
        &mut self,
        done: Result<(u64, io::Result<Vec<OriginId>>), JoinError>,
    ) -> Result<(), DeliveryError> {
        let (number, result) = done.map_err(|error| DeliveryError::Broken {
            sink: Arc::clone(&self.shared.name),
            reason: error.to_string(),
        })?;
        let dead = result.map_err(|source| self.cursor_error(source))?;
        if self.was_late(number, &dead)? {
            return Ok(());
        }
        if let Some(load) = self.in_flight.iter_mut().find(|load| load.number == number) {
            load.done = Some(dead);
        }
        self.pass_done()
    }

    /// Moves the cursor over the loads that are delivered, up to the first one that is not.
    pub(super) fn pass_done(&mut self) -> Result<(), DeliveryError> {
        let mut end = None;
        let mut dead = Vec::new();
        while self.in_flight.front().is_some_and(|load| load.done.is_some()) {
            if let Some(load) = self.in_flight.pop_front() {
                end = Some(load.end);
                dead.extend(load.done.unwrap_or_default());
            }
        }
        match end {
            Some(end) => self.advance(end, &dead),
            None => Ok(()),
        }
    }

    fn advance(&mut self, end: Cursor, dead: &[OriginId]) -> Result<(), DeliveryError> {
        self.shared.ledger.advance(end, dead).map_err(|source| self.cursor_error(source))?;
        self.reader.acknowledge(end.at);
        self.progress.send_replace(end.at);
        Ok(())
    }

    /// With nothing to send and nothing under way, all that was read is done with.
    fn settle_idle(&mut self) -> Result<(), DeliveryError> {
        if self.filling.is_some() || self.frame.is_some() || !self.in_flight.is_empty() {
            return Ok(());
        }
        if self.evictions.late.is_empty() {
            // Everything that is there has been answered for: nothing of an earlier process can be under way.
            self.suspect_note = None;
            self.shared.suspect_left.store(0, Ordering::Relaxed);
            self.shared.ledger.settle();
        }
        self.shared.drop_spares();
        let damaged = self.reader.damaged_bytes();
        self.shared.stats.damaged_bytes.store(damaged, Ordering::Relaxed);
        let at = self.reader.position();
        if *self.progress.borrow() < at {
            self.advance(Cursor { at, record: 0 }, &[])?;
        }
        Ok(())
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
