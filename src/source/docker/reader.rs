//! The task of one container: follows its log, reads it to the end after it stopped, and waits for its next run.
//!
//! ```text
//!            ┌────────── running ──────────┐
//!            ▼                             │
//!         follow ──end of stream, error──▶ look ──not running──▶ read to the end ──▶ idle ──started, changed──▶ look
//!         attached ──the same, no room──▶   └──no such container──▶ the held file, end of the origins
//! ```
//!
//! The end of a stream proves nothing: the engine ends it on an exit, on its own restart, and a proxy when it is quiet for
//! long. What the engine says about the container decides. A reading that begins after the engine said that the container
//! does not run has all of its log, an unterminated last line too.

use std::future::pending;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bollard::models::ContainerStateStatusEnum;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::container::{Container, Exit, Life};
use super::continuity::Step;
use super::engine::{Engine, EngineError};
use super::frame::{Damage, Decoder};
use super::held::{self, Held};
use super::opening::Attachment;
use super::reading::{Format, ReadEnd, Reading};
use super::recount::Proof;
use super::signal::{Left, Signal, Target};
use super::stats::{Counted, GapReason};
use super::tracks::Tracks;
use super::{Error, Shared};
use crate::buffer::LiveOrigin;
use crate::ingest::Flush;
use crate::record::time;

/// How long after its `die` event the stream of a container may stay open.
const DIE_GRACE: Duration = Duration::from_secs(15);

/// Pauses before a failed reading is tried again: the first, and the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often a place among the followed containers is tried for again, while there are too many.
const PERMIT_POLL: Duration = Duration::from_secs(1);

/// How long a stream stays open while the buffer has no room. It may not for long: an engine that rotates the log skips
/// what an attached client has not read.
const ROOM_WAIT: Duration = Duration::from_secs(1);

/// How often a full buffer is looked at again.
pub(super) const ROOM_POLL: Duration = Duration::from_millis(50);

/// How long the exit of a container that is gone is waited for: the engine says it before it removes the container, but a
/// machine under load may be late to hear it.
pub(super) const EXIT_WAIT: Duration = Duration::from_secs(5);

/// After so many refusals in a row the log counts as unreadable until the container's next run.
const REFUSALS_MAX: u32 = 8;

/// How long a drain waits for an engine that does not answer.
pub(super) const ENGINE_WAIT: Duration = Duration::from_secs(10);

/// What to do next.
#[derive(Debug)]
pub(super) enum Next {
    Look,
    Follow,
    Attached,
    /// Read to the end: the container did not run when the engine was asked.
    Rest(Life),
    Idle(Life),
    Gone,
    /// The source has ended.
    Stop,
}

/// The task of one container.
pub(super) struct Reader {
    pub(super) shared: Arc<Shared>,
    engine: Engine,
    pub(super) id: String,
    name: String,
    terminal: bool,
    pub(super) tracks: Tracks,
    proof: Proof,
    pub(super) signals: mpsc::Receiver<Signal>,
    /// What it prints comes from here, until that ends or is let go.
    pub(super) attached: Option<Attachment>,
    /// The engine's own file of its log, where that is to be had when the engine removes the container.
    pub(super) held: Option<Held>,
    log_path: Option<PathBuf>,
    /// The engine's words for the start of its last run.
    started_at: String,
    /// It ran when its reading began.
    runs: bool,
    /// How its run ended, as an event said, until that is recorded.
    exited: Option<Exit>,
    pause: Duration,
    refusals: u32,
    /// Consumed bytes when the present reading was opened.
    opened_at: u64,
    /// The last stream ended at once: to be asked for again after a pause only, where the container runs.
    fruitless: bool,
    /// Bytes that were read where the engine's stream was last found damaged.
    damaged_at: Option<u64>,
    /// The end of the log was not reached since the container was last known to run.
    pub(super) unread: bool,
    /// The gap of a log that cannot be read has been noted.
    unreadable: bool,
    /// Where the last reading of a running container came to that is not followed.
    pub(super) polled: Option<u64>,
}

impl Reader {
    pub(super) fn new(
        shared: Arc<Shared>,
        engine: Engine,
        container: Container,
        live: Vec<LiveOrigin>,
        signals: mpsc::Receiver<Signal>,
    ) -> Result<Reader, Error> {
        let (id, name) = (container.candidate.id.clone(), container.candidate.name.clone());
        let (terminal, log_path) = (container.terminal, container.log_path.clone());
        let (runs, started_at) = (container.life.running, container.life.started_at.clone());
        shared.stats.set_running(&id, runs.then_some(name.as_str()));
        let proof = Proof::new(&shared, &engine, &container, live.is_empty());
        let tracks = Tracks::resume(Arc::clone(&shared), container, live)?;
        Ok(Reader {
            shared,
            engine,
            id,
            name,
            terminal,
            tracks,
            proof,
            signals,
            attached: None,
            held: None,
            log_path,
            started_at,
            runs,
            exited: None,
            pause: PAUSE_FIRST,
            refusals: 0,
            opened_at: 0,
            fruitless: false,
            damaged_at: None,
            unread: true,
            unreadable: false,
            polled: None,
        })
    }

    /// Until the container is gone or the source ends.
    ///
    /// # Errors
    /// [`Error`]: the buffer has stopped.
    pub(super) async fn run(mut self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let _counted = Counted::new(&shared.stats.containers);
        self.append_all().await?;
        let mut next = match self.attached.is_some() {
            true => Next::Attached,
            // It may not run for long.
            false if self.runs => Next::Follow,
            false => Next::Look,
        };
        let ended = loop {
            next = match next {
                Next::Look => self.look().await?,
                Next::Follow if self.engine.is_podman() => self.poll().await?,
                Next::Follow => self.follow(&shared).await?,
                Next::Attached => self.follow_attached(&shared).await?,
                Next::Rest(life) => self.rest(life).await?,
                Next::Idle(life) => self.idle(life).await?,
                Next::Gone => break self.gone().await,
                Next::Stop => break Ok(()),
            };
        };
        shared.stats.set_running(&self.id, None);
        ended
    }

    /// The engine has no such container any more.
    async fn gone(&mut self) -> Result<(), Error> {
        self.shared.stats.set_running(&self.id, None);
        let drains = self.await_exit().await;
        self.read_held().await?;
        if self.unread && !self.tracks.are_at_end() && !self.unreadable {
            self.tracks.gap(GapReason::Gone)?;
        } else if self.proof.is_gone_late() {
            self.tracks.gap(GapReason::Unproven)?;
        }
        self.tracks.feed_all(Flush::All);
        self.exit_of_gone()?;
        self.shared.seen().account(&self.id, time::now());
        self.tracks.end();
        self.append_all().await?;
        for target in drains {
            self.answer(target);
        }
        Ok(())
    }

    /// Records how its last run ended, as far as that is known.
    fn exit_of_gone(&mut self) -> Result<(), Error> {
        let has_run = !Life { started_at: self.started_at.clone(), ..Life::default() }.is_unborn();
        if self.exited.is_some() || (has_run && !self.tracks.has_exit(&self.started_at)) {
            let unknown = || Exit { started_at: self.started_at.clone(), ..Exit::default() };
            let exit = self.exited.take().unwrap_or_else(unknown);
            self.tracks.exit(&exit)?;
        }
        Ok(())
    }

    /// Waits a moment for how the last run ended, where that is not known; drains that were asked for meanwhile.
    async fn await_exit(&mut self) -> Vec<Target> {
        let mut drains = Vec::new();
        let is_over = Life { started_at: self.started_at.clone(), ..Life::default() }.is_unborn();
        let end = Instant::now() + EXIT_WAIT;
        while self.exited.is_none() && !is_over && !self.tracks.has_exit(&self.started_at) {
            match tokio::time::timeout_at(end, self.signals.recv()).await {
                Ok(Some(Signal::Died(exit))) => self.died(exit),
                Ok(Some(Signal::Drain(target))) => {
                    drains.push(target);
                    break;
                }
                Ok(Some(Signal::Started | Signal::Look)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        drains
    }

    /// Notes how the run ended.
    pub(super) fn died(&mut self, exit: Exit) {
        self.exited = Some(Exit { started_at: self.started_at.clone(), ..exit });
        self.refresh_held();
    }

    pub(super) fn refresh_held(&mut self) {
        if let Some(held) = &mut self.held {
            held.refresh();
        }
    }

    /// Reads what the engine wrote to its log file before it removed it.
    async fn read_held(&mut self) -> Result<(), Error> {
        let Some(held) = self.held.take().filter(|held| !held.is_empty()) else { return Ok(()) };
        let unread = self.unread;
        while let ReadEnd::Full = self.read_file(&held, None).await? {
            sleep(ROOM_POLL).await;
        }
        // A file that was rotated away before it could be held proves nothing.
        self.unread = unread && (self.unread || !self.tracks.are_through());
        Ok(())
    }

    /// Asks the engine what the container does.
    async fn look(&mut self) -> Result<Next, Error> {
        match self.engine.inspect(&self.id).await {
            Ok(None) => Ok(Next::Gone),
            Ok(Some(inspected)) => {
                let life = Life::of_inspect(&inspected);
                self.started_at.clone_from(&life.started_at);
                self.log_path = super::container::log_path(&inspected);
                self.shared.stats.set_running(&self.id, life.running.then_some(self.name.as_str()));
                self.exited.clone_from(&life.exit);
                if !life.running {
                    return Ok(Next::Rest(life));
                }
                if std::mem::take(&mut self.fruitless) {
                    return self.back_off(Next::Follow).await;
                }
                Ok(Next::Follow)
            }
            Err(error) => {
                tracing::debug!(id = self.id, %error, "container could not be inspected");
                // What it printed while nobody listened is known when its log is read, not before.
                self.unread = true;
                self.back_off(Next::Look).await
            }
        }
    }

    async fn follow(&mut self, shared: &Shared) -> Result<Next, Error> {
        self.unread = true;
        let Ok(permit) = shared.follows.try_acquire() else { return self.wait(PERMIT_POLL, Next::Follow).await };
        if !shared.appender.docker_may_read() {
            return self.wait(ROOM_POLL, Next::Follow).await;
        }
        let following = Counted::new(&shared.stats.following);
        let mut reading = self.open(true);
        let mut overdue: Option<Instant> = None;
        // One timer for all that is due, set anew only where that changes: this loop turns once a line.
        let (mut timer, mut due) = (pin!(sleep(Duration::ZERO)), None);
        let end = loop {
            let next_due = [self.tracks.due(), self.proof.due(), overdue].into_iter().flatten().min();
            if let Some(next_due) = next_due.filter(|next| Some(*next) != due) {
                timer.as_mut().reset(next_due);
            }
            due = next_due;
            tokio::select! {
                signal = self.signals.recv() => match signal {
                    None => return Ok(Next::Stop),
                    Some(Signal::Drain(target)) => {
                        drop(reading);
                        self.drain(target).await?;
                        return Ok(Next::Look);
                    }
                    Some(Signal::Died(exit)) => {
                        self.died(exit);
                        overdue = Some(Instant::now() + DIE_GRACE);
                    }
                    Some(Signal::Started) => overdue = None,
                    Some(Signal::Look) => self.refresh_held(),
                },
                bytes = reading.next() => {
                    let absorbed = match bytes {
                        Ok(bytes) => self.absorb(&mut reading, &bytes)?,
                        Err(end) => Some(end),
                    };
                    if let Some(end) = absorbed {
                        break end;
                    }
                }
                () = timer.as_mut(), if due.is_some() => {
                    let now = Instant::now();
                    due = None;
                    self.tracks.on_due(now);
                    if overdue.is_some_and(|at| at <= now) {
                        tracing::debug!(id = self.id, "the stream did not end with its container");
                        break ReadEnd::Overdue;
                    }
                }
            }
            self.tell_gap()?;
            if self.proof.is_stuck() {
                break ReadEnd::Doubtful;
            }
            if !self.append_soon().await? {
                break ReadEnd::Full;
            }
        };
        drop((permit, following));
        self.after_reading(reading, &end).await?;
        match end {
            ReadEnd::Eof | ReadEnd::Overdue => Ok(Next::Look),
            ReadEnd::Doubtful => Ok(Next::Follow),
            ReadEnd::Full => self.wait(ROOM_POLL, Next::Follow).await,
            ReadEnd::Failed(error) => self.failed(error).await,
        }
    }

    async fn rest(&mut self, life: Life) -> Result<Next, Error> {
        match self.read_to_end(None).await? {
            ReadEnd::Eof => {
                if !self.was_whole().await {
                    return self.back_off(Next::Look).await;
                }
                self.prove(None).await?;
                self.tracks.rest();
                if let Some(exit) = &life.exit {
                    self.tracks.exit(exit)?;
                }
                self.exited = None;
                self.append_all().await?;
                Ok(Next::Idle(life))
            }
            ReadEnd::Full | ReadEnd::Overdue | ReadEnd::Doubtful => self.wait(ROOM_POLL, Next::Look).await,
            ReadEnd::Failed(error) => self.failed(error).await,
        }
    }

    /// Whether the end of a reading that has just ended was that of the log. Podman also ends one where it removes the log
    /// meanwhile, so it has to have the container still.
    async fn was_whole(&mut self) -> bool {
        if self.engine.is_podman() {
            let state = self.engine.inspect(&self.id).await.ok().flatten().and_then(|inspected| inspected.state);
            self.unread = state.is_none_or(|state| state.status == Some(ContainerStateStatusEnum::REMOVING));
        }
        !self.unread
    }

    /// Waits until the container runs again, has run, or is gone.
    async fn idle(&mut self, life: Life) -> Result<Next, Error> {
        loop {
            let signal = self.signals.recv().await;
            let drain = match signal {
                None => return Ok(Next::Stop),
                Some(Signal::Drain(target)) => Some(target),
                Some(Signal::Started) => return Ok(Next::Look),
                Some(Signal::Died(_) | Signal::Look) => None,
            };
            let now = match self.engine.inspect(&self.id).await {
                Ok(None) => Some(Next::Gone),
                Ok(Some(inspected)) if Life::of_inspect(&inspected) == life => None,
                Ok(Some(_)) => Some(Next::Look),
                Err(_) => None,
            };
            match (drain, now) {
                (Some(target), Some(Next::Look)) => {
                    self.drain(target).await?;
                    return Ok(Next::Look);
                }
                (Some(target), now) => {
                    self.answer(target);
                    if let Some(next) = now {
                        return Ok(next);
                    }
                }
                (None, Some(next)) => return Ok(next),
                (None, None) => {}
            }
        }
    }

    fn open(&mut self, follow: bool) -> Reading {
        let since = self.tracks.since();
        self.opened_at = self.tracks.consumed();
        self.proof.begin(follow);
        tracing::debug!(id = self.id, follow, since, "reading the container's log");
        let format = Format::Engine(Decoder::new(self.terminal));
        Reading::new(self.engine.logs(&self.id, since, follow), format, since)
    }

    /// Takes up the entries that `bytes` make whole; gives the end of the reading where it cannot go on.
    fn absorb(&mut self, reading: &mut Reading, bytes: &[u8]) -> Result<Option<ReadEnd>, Error> {
        if let Some(since) = reading.begin() {
            // Only now: where the engine gives nothing any more, what is held back is the last that there is.
            self.tracks.rewind(since);
        }
        self.tracks.count_read(bytes.len());
        self.proof.arrive();
        reading.decoder.push(bytes);
        loop {
            match reading.decoder.next_entry() {
                Ok(Some(entry)) => match self.proof.entry(&entry) {
                    Step::Take if self.tracks.take(entry)? => {}
                    Step::Leave => {}
                    Step::Take | Step::Reread => return Ok(Some(ReadEnd::Doubtful)),
                },
                Ok(None) => return Ok(None),
                Err(damage) => return Ok(Some(self.damaged(&damage)?)),
            }
        }
    }

    /// Tells what was found missing in what was followed.
    fn tell_gap(&mut self) -> Result<(), Error> {
        match self.proof.gap() {
            Some(reason) => self.tracks.gap(reason),
            None => Ok(()),
        }
    }

    /// Waits until all that was followed is counted, some seconds at most.
    async fn prove(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        let patience = Instant::now() + ENGINE_WAIT;
        let until = deadline.map_or(patience, |deadline| deadline.min(patience));
        for reason in self.proof.settle(until).await {
            self.tracks.gap(reason)?;
        }
        Ok(())
    }

    /// Appends what was made of the stream; false where the buffer has no room for it within [`ROOM_WAIT`].
    async fn append_soon(&mut self) -> Result<bool, Error> {
        let patience = Instant::now() + ROOM_WAIT;
        while self.tracks.has_sections() {
            if self.shared.appender.docker_may_read() {
                self.append_next().await?;
            } else if Instant::now() < patience {
                sleep(ROOM_POLL).await;
            } else {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Appends all that was made, however long that takes: no stream is open.
    pub(super) async fn append_all(&mut self) -> Result<(), Error> {
        while self.tracks.has_sections() {
            self.append_next().await?;
        }
        Ok(())
    }

    async fn append_next(&mut self) -> Result<(), Error> {
        match self.tracks.next_section() {
            Some(section) => self.shared.appender.append(section).await.map_err(|_| Error::BufferClosed),
            None => Ok(()),
        }
    }

    /// The engine's stream cannot be read on. It is read again by position; the gap is noted once for each place.
    fn damaged(&mut self, damage: &Damage) -> Result<ReadEnd, Error> {
        // Up to there it is the same in each reading, whatever was consumed meanwhile.
        let place = Some(self.tracks.read_end());
        if self.damaged_at != place {
            self.damaged_at = place;
            self.tracks.gap(GapReason::BrokenOff)?;
        }
        Ok(ReadEnd::Failed(EngineError::Unreachable(damage.to_string())))
    }

    /// Ends a reading: its connection first, then what is to be made of its last bytes.
    async fn after_reading(&mut self, reading: Reading, end: &ReadEnd) -> Result<(), Error> {
        let mut decoder = reading.decoder;
        drop(reading.stream);
        self.proof.end();
        if matches!(end, ReadEnd::Eof) {
            self.unread = self.engine.is_podman();
            if let Some(entry) = decoder.last_entry() {
                self.tracks.take_last(entry)?;
            }
        } else {
            self.shared.stats.reconnects.fetch_add(1, Ordering::Relaxed);
        }
        self.tracks.feed_all(Flush::No);
        self.append_all().await?;
        self.fruitless = self.tracks.consumed() == self.opened_at;
        if !self.fruitless {
            self.pause = PAUSE_FIRST;
            self.refusals = 0;
        }
        Ok(())
    }

    /// Reads what the log holds now. What is left unconsumed then is an open group or an unterminated line.
    pub(super) async fn read_to_end(&mut self, deadline: Option<Instant>) -> Result<ReadEnd, Error> {
        if !self.shared.appender.docker_may_read() {
            return Ok(ReadEnd::Full);
        }
        let shared = Arc::clone(&self.shared);
        let _permit = tokio::select! {
            permit = shared.readings.acquire() => permit,
            () = at(deadline) => return Ok(ReadEnd::Overdue),
        };
        let reading = self.open(false);
        self.read(reading, deadline).await
    }

    /// The same of the engine's own file.
    async fn read_file(&mut self, held: &Held, deadline: Option<Instant>) -> Result<ReadEnd, Error> {
        if !self.shared.appender.docker_may_read() {
            return Ok(ReadEnd::Full);
        }
        self.opened_at = self.tracks.consumed();
        self.proof.begin(false);
        let reading = Reading::new(held.read(), Format::File(held::Decoder::default()), None);
        self.read(reading, deadline).await
    }

    async fn read(&mut self, mut reading: Reading, deadline: Option<Instant>) -> Result<ReadEnd, Error> {
        let end = loop {
            tokio::select! {
                bytes = reading.next() => {
                    let absorbed = match bytes {
                        Ok(bytes) => self.absorb(&mut reading, &bytes)?,
                        Err(end) => Some(end),
                    };
                    if let Some(end) = absorbed {
                        break end;
                    }
                }
                () = at(deadline) => break ReadEnd::Overdue,
            }
            if !self.append_soon().await? {
                break ReadEnd::Full;
            }
        };
        self.after_reading(reading, &end).await?;
        Ok(end)
    }

    /// A drain's part: the log as it is now is its target. A reading without follow that begins after the drain was asked
    /// for has, at its end, every line that the engine had then.
    pub(super) async fn drain(&mut self, target: Target) -> Result<(), Error> {
        let patience = Instant::now() + ENGINE_WAIT;
        let is_past = |instant: Option<Instant>| instant.is_some_and(|instant| Instant::now() >= instant);
        let mut unchanged = None;
        let life = match self.engine.inspect(&self.id).await {
            Ok(Some(inspected)) => Life::of_inspect(&inspected),
            Ok(None) | Err(_) => Life::default(),
        };
        loop {
            let mut end = self.read_to_end(target.deadline).await?;
            if matches!(end, ReadEnd::Failed(_))
                && let Some(held) = self.take_file()
            {
                // The engine has stopped before us, or removes the container: its file has what it did not get to send.
                end = self.read_file(&held, target.deadline).await?;
                self.held = Some(held);
            }
            match end {
                ReadEnd::Eof => {}
                ReadEnd::Doubtful => continue,
                ReadEnd::Overdue => {
                    self.tracks.feed_all(Flush::All);
                    break;
                }
                ReadEnd::Full if !is_past(target.deadline) => {
                    sleep(ROOM_POLL).await;
                    continue;
                }
                ReadEnd::Failed(EngineError::Unreachable(_))
                    if !is_past(Some(patience)) && !is_past(target.deadline) && !self.is_gone().await =>
                {
                    sleep(ROOM_POLL).await;
                    continue;
                }
                end => {
                    self.tracks.feed_all(Flush::All);
                    // One that was removed meanwhile has no log to be read to its end: what came of it is all.
                    if self.is_gone().await {
                        self.exit_of_gone()?;
                    } else {
                        tracing::warn!(id = self.id, reason = %end, "the container's log was not read to its end");
                    }
                    break;
                }
            }
            self.tracks.feed_all(Flush::Group);
            if self.tracks.held() == 0 {
                break;
            }
            // An unterminated line: taken as it is once it stayed as it is, or time is up.
            let end = Some(self.tracks.read_end());
            if unchanged != end && !is_past(target.deadline) {
                unchanged = end;
                let settled = Instant::now() + target.settle;
                sleep_until(target.deadline.map_or(settled, |deadline| deadline.min(settled))).await;
                if !is_past(target.deadline) {
                    continue;
                }
            }
            self.tracks.feed_all(Flush::All);
            break;
        }
        self.prove(target.deadline).await?;
        if let Some(exit) = &life.exit {
            self.tracks.exit(exit)?;
        }
        self.append_all().await?;
        self.answer(target);
        Ok(())
    }

    async fn is_gone(&mut self) -> bool {
        matches!(self.engine.inspect(&self.id).await, Ok(None))
    }

    /// The engine's own file of the log, where it can be read.
    fn take_file(&mut self) -> Option<Held> {
        let held = self.held.take().filter(|held| !held.is_empty());
        held.or_else(|| self.log_path.as_deref().and_then(Held::all))
    }

    fn answer(&self, target: Target) {
        let left = Left { origins: self.tracks.origins(), bytes: self.tracks.held() };
        if target.done.send(left).is_err() {
            tracing::debug!(id = self.id, "the drain was over before this container");
        }
    }

    /// The engine did not give the log.
    pub(super) async fn failed(&mut self, error: EngineError) -> Result<Next, Error> {
        let EngineError::Refused { status, ref message } = error else {
            tracing::debug!(id = self.id, %error, "the container's log broke off");
            return self.back_off(Next::Look).await;
        };
        if status == 404 {
            // Driver local has no file before the first start, which is as good as no container to the engine.
            return match self.engine.inspect(&self.id).await {
                Ok(None) => Ok(Next::Gone),
                Ok(Some(_)) | Err(_) => self.back_off(Next::Look).await,
            };
        }
        self.refusals = self.refusals.saturating_add(1);
        let by_driver = status == 501 || message.contains("does not support reading");
        if !by_driver && self.refusals < REFUSALS_MAX {
            tracing::debug!(id = self.id, %error, "the engine refused the container's log");
            return self.back_off(Next::Look).await;
        }
        // What was attached to from its start to its end is whole without a log.
        if !self.unreadable && self.unread {
            self.unreadable = true;
            tracing::warn!(id = self.id, %error, "the engine does not give the container's log");
            self.tracks.gap(GapReason::Unreadable)?;
        }
        self.refusals = 0;
        let life = match self.engine.inspect(&self.id).await {
            Ok(None) => return Ok(Next::Gone),
            Ok(Some(inspected)) => Life::of_inspect(&inspected),
            Err(_) => return self.back_off(Next::Look).await,
        };
        if let Some(exit) = &life.exit {
            self.tracks.exit(exit)?;
            self.append_all().await?;
        }
        Ok(Next::Idle(life))
    }

    /// Waits longer each time, until a reading brings bytes.
    async fn back_off(&mut self, next: Next) -> Result<Next, Error> {
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        self.wait(pause, next).await
    }

    /// Waits, or until something happens to the container.
    pub(super) async fn wait(&mut self, pause: Duration, next: Next) -> Result<Next, Error> {
        let signal = tokio::time::timeout(pause, self.signals.recv()).await;
        match signal {
            Err(_) => Ok(next),
            Ok(Some(Signal::Died(exit))) => {
                self.died(exit);
                Ok(next)
            }
            Ok(None) => Ok(Next::Stop),
            Ok(Some(Signal::Started | Signal::Look)) => Ok(Next::Look),
            Ok(Some(Signal::Drain(target))) => {
                self.drain(target).await?;
                Ok(Next::Look)
            }
        }
    }
}

/// At `instant`; never, where there is none.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
