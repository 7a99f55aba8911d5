//! One container's part of a drain: its log is read to where it ends when the drain is asked for.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::Error;
use super::container::Life;
use super::engine::EngineError;
use super::held::Held;
use super::reader::{ROOM_POLL, Reader};
use super::reading::ReadEnd;
use super::signal::{Left, Target};
use crate::ingest::Flush;

/// How long a drain waits for an engine that does not answer.
pub(super) const ENGINE_WAIT: Duration = Duration::from_secs(10);

impl Reader {
    /// A drain's part: the log as it is now is its target. A reading without follow that begins after the drain was asked
    /// for has, at its end, every line that the engine had then.
    pub(super) async fn drain(&mut self, target: Target) -> Result<(), Error> {
        let patience = Instant::now() + ENGINE_WAIT;
        let is_past = |instant: Option<Instant>| instant.is_some_and(|instant| Instant::now() >= instant);
        let mut unchanged = None;
        // One that is away is not asked: at a socket that systemd holds that can take long.
        let is_away = !self.shared.stats.listening();
        let life = match is_away {
            true => Life::default(),
            false => match self.engine.inspect(&self.id).await {
                Ok(Some(inspected)) => Life::of_inspect(&inspected),
                Ok(None) | Err(_) => Life::default(),
            },
        };
        loop {
            let end = match is_away {
                true => self.read_by_file(target.deadline).await?,
                false => None,
            };
            let mut end = match end {
                Some(end) => end,
                None => self.read_to_end(target.deadline).await?,
            };
            if matches!(end, ReadEnd::Failed(_))
                && let Some(by_file) = self.read_by_file(target.deadline).await?
            {
                end = by_file;
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
                        self.tell_damage()?;
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

    /// The engine has stopped before us, or removes the container: its file has what it did not get to send. `None`: there
    /// is no file that can be read.
    async fn read_by_file(&mut self, deadline: Option<Instant>) -> Result<Option<ReadEnd>, Error> {
        let Some(held) = self.take_file() else { return Ok(None) };
        let end = self.read_file(&held, deadline).await?;
        self.held = Some(held);
        Ok(Some(end))
    }

    pub(super) async fn is_gone(&mut self) -> bool {
        matches!(self.engine.inspect(&self.id).await, Ok(None))
    }

    /// The engine's own file of the log, where it can be read.
    pub(super) fn take_file(&mut self) -> Option<Held> {
        let held = self.held.take().filter(|held| !held.is_empty());
        held.or_else(|| self.log_path.as_deref().and_then(Held::all))
    }

    pub(super) fn answer(&self, target: Target) {
        let left = Left { origins: self.tracks.origins(), bytes: self.tracks.held() };
        if target.done.send(left).is_err() {
            tracing::debug!(id = self.id, "the drain was over before this container");
        }
    }
}
