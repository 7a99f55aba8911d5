//! A container that the engine does not have any more: what is left of it, and how it ended.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Error;
use super::container::{Exit, is_unborn};
use super::reader::{ROOM_POLL, Reader};
use super::reading::ReadEnd;
use super::signal::Signal;
use super::stats::GapReason;
use crate::ingest::Flush;
use crate::record::time;

/// How long the exit of a container that is gone is waited for: the engine says it before it removes the container, but a
/// machine under load may be late to hear it.
pub(super) const EXIT_WAIT: Duration = Duration::from_secs(5);

impl Reader {
    /// The engine has no such container any more.
    pub(super) async fn gone(&mut self) -> Result<(), Error> {
        self.shared.stats.set_running(&self.id, None);
        self.await_exit().await;
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
        for target in std::mem::take(&mut self.waiting) {
            self.answer(target);
        }
        Ok(())
    }

    /// Records how its last run ended, as far as that is known.
    pub(super) fn exit_of_gone(&mut self) -> Result<(), Error> {
        let has_run = !is_unborn(&self.started_at);
        // Without a start that is known, what it printed says that it ran.
        let has_run = has_run && (!self.started_at.is_empty() || self.tracks.consumed() > 0);
        if self.exited.is_some() || (has_run && !self.tracks.has_exit(&self.started_at)) {
            let unknown = || Exit { started_at: self.started_at.clone(), ..Exit::default() };
            let exit = self.exited.take().unwrap_or_else(unknown);
            self.tracks.exit(&exit)?;
        }
        Ok(())
    }

    /// Waits a moment for how the last run ended, where that is not known; drains that were asked for meanwhile.
    pub(super) async fn await_exit(&mut self) {
        let is_over = is_unborn(&self.started_at);
        let end = Instant::now() + EXIT_WAIT;
        while self.waiting.is_empty() && self.exited.is_none() && !is_over && !self.tracks.has_exit(&self.started_at) {
            match tokio::time::timeout_at(end, self.signals.recv()).await {
                Ok(Some(Signal::Died(exit))) => self.died(exit),
                Ok(Some(Signal::Drain(target))) => self.waiting.push(target),
                Ok(Some(Signal::Started | Signal::Look)) => {}
                Ok(None) | Err(_) => break,
            }
        }
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
    pub(super) async fn read_held(&mut self) -> Result<(), Error> {
        let Some(held) = self.held.take().filter(|held| !held.is_empty()) else { return Ok(()) };
        let unread = self.unread;
        while let ReadEnd::Full = self.read_file(&held, None).await? {
            sleep(ROOM_POLL).await;
        }
        // A file that was rotated away before it could be held proves nothing.
        self.unread = unread && (self.unread || !self.tracks.are_through());
        Ok(())
    }
}
