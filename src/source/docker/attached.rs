//! A container that we are attached to since before its start: its streams come as it writes them, whatever the engine
//! makes of its log. For containers that the engine removes when they end, and those without a log, see
//! [`super::opening`].
//!
//! **Invariant: who is attached never waits**: a container blocks where the engine cannot pass on what it writes. Where the
//! buffer has no room the stream is let go, and the log is read instead.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep};

use super::container::Life;
use super::reader::{Next, ROOM_POLL, Reader};
use super::signal::Signal;
use super::stats::Counted;
use super::{Error, Shared};
use crate::ingest::Flush;
use crate::record::time;

/// How long the buffer may have no room before the stream is let go. The engine keeps about a megabyte meanwhile.
const ROOM_WAIT: Duration = Duration::from_millis(100);

/// How often it is looked whether there is room.
const ROOM_LOOK: Duration = Duration::from_millis(5);

impl Reader {
    /// Takes up what comes until the engine ends it, or there is no room.
    pub(super) async fn follow_attached(&mut self, shared: &Shared) -> Result<Next, Error> {
        let Some(mut attachment) = self.attached.take() else { return Ok(Next::Look) };
        self.unread = true;
        let _following = Counted::new(&shared.stats.following);
        let (mut timer, mut due) = (pin!(sleep(Duration::ZERO)), None);
        // When we came it was only created, as a rule: that it runs is told by its start, or by what it writes.
        let mut runs = self.runs;
        loop {
            let next_due = self.tracks.due();
            if let Some(next_due) = next_due.filter(|next| Some(*next) != due) {
                timer.as_mut().reset(next_due);
            }
            due = next_due;
            tokio::select! {
                signal = self.signals.recv() => match signal {
                    None => return Ok(Next::Stop),
                    Some(Signal::Drain(target)) => {
                        // What the engine has of it now is in its log.
                        drop(attachment);
                        self.drain(target).await?;
                        return Ok(Next::Look);
                    }
                    Some(Signal::Died(exit)) => self.died(exit),
                    Some(Signal::Started) => {
                        self.now_runs(&mut runs);
                        self.refresh_held();
                    }
                    Some(Signal::Look) => self.refresh_held(),
                },
                piece = attachment.stream.next() => match piece {
                    Some(Ok((stream, bytes))) => {
                        self.now_runs(&mut runs);
                        self.tracks.count_read(bytes.len());
                        self.tracks.take_attached(stream, &bytes, time::now())?;
                    }
                    Some(Err(error)) => {
                        tracing::debug!(id = self.id, %error, "the attached stream broke off");
                        shared.stats.reconnects.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    None => {
                        self.unread = !attachment.is_whole;
                        break;
                    }
                },
                () = timer.as_mut(), if due.is_some() => {
                    due = None;
                    self.tracks.on_due(Instant::now());
                }
            }
            if !self.offer_soon().await? {
                tracing::debug!(id = self.id, "no room: the attached stream is let go");
                shared.stats.reconnects.fetch_add(1, Ordering::Relaxed);
                drop(attachment);
                self.append_all().await?;
                return self.wait(ROOM_POLL, Next::Look).await;
            }
        }
        drop(attachment);
        if (Life { started_at: self.started_at.clone(), ..Life::default() }).is_unborn() {
            // It has been started since, at a time that is not known, and may be gone by now.
            self.started_at.clear();
        }
        // With its file at hand the unterminated end is read there; else this is all of it that there may ever be.
        let has_file = self.held.as_ref().is_some_and(|held| !held.is_empty());
        self.tracks.feed_all(if has_file { Flush::No } else { Flush::All });
        self.append_all().await?;
        Ok(Next::Look)
    }

    fn now_runs(&self, runs: &mut bool) {
        if !std::mem::replace(runs, true) {
            self.shared.stats.set_running(&self.id, Some(&self.name));
        }
    }

    /// Hands over what was made; false where there is no room for it for [`ROOM_WAIT`].
    async fn offer_soon(&mut self) -> Result<bool, Error> {
        let patience = Instant::now() + ROOM_WAIT;
        while let Some(section) = self.tracks.next_section() {
            let Some(back) = self.shared.appender.offer(section).map_err(|_| Error::BufferClosed)? else { continue };
            self.tracks.put_back(back);
            if Instant::now() >= patience {
                return Ok(false);
            }
            sleep(ROOM_LOOK).await;
        }
        Ok(true)
    }
}
