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
//!
//! The states are here; [`super::taking`] is a reading, [`super::drain`] a drain's part, [`super::gone`] the end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::ContainerStateStatusEnum;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::alarm::Alarm;
use super::container::{Container, Exit, Life};
use super::engine::{Engine, EngineError};
use super::held::Held;
use super::opening::Attachment;
use super::reading::ReadEnd;
use super::recount::Proof;
use super::signal::{Signal, Target};
use super::stats::{Counted, GapReason};
use super::tracks::Tracks;
use super::{Error, Shared};
use crate::buffer::LiveOrigin;

/// How long after its `die` event the stream of a container may stay open.
const DIE_GRACE: Duration = Duration::from_secs(15);

/// Pauses before a failed reading is tried again: the first, and the longest.
pub(super) const PAUSE_FIRST: Duration = Duration::from_millis(100);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often a place among the followed containers is tried for again, while there are too many.
const PERMIT_POLL: Duration = Duration::from_secs(1);

/// How often a full buffer is looked at again.
pub(super) const ROOM_POLL: Duration = Duration::from_millis(50);

/// After so many refusals in a row the log counts as unreadable until the container's next run.
const REFUSALS_MAX: u32 = 8;

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

/// A place in a log at which a reading broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// Bytes that were read up to there: the same in each reading, whatever was consumed meanwhile.
    pub(super) at: u64,
    /// The gap is counted.
    pub(super) told: bool,
}

/// The task of one container.
pub(super) struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) engine: Engine,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) terminal: bool,
    pub(super) tracks: Tracks,
    pub(super) proof: Proof,
    pub(super) signals: mpsc::Receiver<Signal>,
    /// What it prints comes from here, until that ends or is let go.
    pub(super) attached: Option<Attachment>,
    /// The engine's own file of its log, where that is to be had when the engine removes the container.
    pub(super) held: Option<Held>,
    pub(super) log_path: Option<PathBuf>,
    /// The engine's words for the start of its last run.
    pub(super) started_at: String,
    /// It ran when its reading began.
    pub(super) runs: bool,
    /// How its run ended, as an event said, until that is recorded.
    pub(super) exited: Option<Exit>,
    /// Drains that are answered when it is gone.
    pub(super) waiting: Vec<Target>,
    pub(super) pause: Duration,
    pub(super) refusals: u32,
    /// Consumed bytes when the present reading was opened.
    pub(super) opened_at: u64,
    /// The last stream ended at once: to be asked for again after a pause only, where the container runs.
    pub(super) fruitless: bool,
    /// Where the engine's stream was last found damaged.
    pub(super) damage: Option<Broken>,
    /// The end of the log was not reached since the container was last known to run.
    pub(super) unread: bool,
    /// The gap of a log that cannot be read has been noted.
    pub(super) unreadable: bool,
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
            waiting: Vec::new(),
            pause: PAUSE_FIRST,
            refusals: 0,
            opened_at: 0,
            fruitless: false,
            damage: None,
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
        let mut alarm = Alarm::new(None);
        let end = loop {
            alarm.set([self.tracks.due(), self.proof.due(), overdue].into_iter().flatten().min());
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
                bytes = reading.next() => if let Some(end) = self.absorb(&mut reading, bytes)? {
                    break end;
                },
                () = alarm.rings() => {
                    let now = Instant::now();
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
                (Some(target), Some(Next::Gone)) => {
                    // What is left of it is taken up first.
                    self.waiting.push(target);
                    return Ok(Next::Gone);
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
