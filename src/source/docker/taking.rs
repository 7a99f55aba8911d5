//! A reading of a container's log from its first byte to what is appended of it, whoever began it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::Error;
use super::alarm::Alarm;
use super::continuity::Step;
use super::drain::ENGINE_WAIT;
use super::engine::EngineError;
use super::frame::{Damage, Decoder};
use super::held::{self, Held};
use super::reader::{Broken, PAUSE_FIRST, ROOM_POLL, Reader};
use super::reading::{Format, ReadEnd, Reading};
use super::stats::GapReason;
use crate::ingest::Flush;

/// How long a stream stays open while the buffer has no room. It may not for long: an engine that rotates the log skips
/// what an attached client has not read.
const ROOM_WAIT: Duration = Duration::from_secs(1);

impl Reader {
    pub(super) fn open(&mut self, follow: bool) -> Reading {
        let since = self.tracks.since();
        self.opened_at = self.tracks.consumed();
        self.proof.begin(follow);
        tracing::debug!(id = self.id, follow, since, "reading the container's log");
        let format = Format::Engine(Decoder::new(self.terminal));
        Reading::new(self.engine.logs(&self.id, since, follow), format, since)
    }

    /// Takes up the entries that the reading's next bytes make whole; gives its end where it does not go on.
    pub(super) fn absorb(
        &mut self,
        reading: &mut Reading,
        bytes: Result<Bytes, ReadEnd>,
    ) -> Result<Option<ReadEnd>, Error> {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(end) => return Ok(Some(end)),
        };
        if let Some(since) = reading.begin() {
            // Only now: where the engine gives nothing any more, what is held back is the last that there is.
            self.tracks.rewind(since);
        }
        self.tracks.count_read(bytes.len());
        self.proof.arrive();
        reading.decoder.push(&bytes);
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
    pub(super) fn tell_gap(&mut self) -> Result<(), Error> {
        match self.proof.gap() {
            Some(reason) => self.tracks.gap(reason),
            None => Ok(()),
        }
    }

    /// Waits until all that was followed is counted, some seconds at most.
    pub(super) async fn prove(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        let patience = Instant::now() + ENGINE_WAIT;
        let until = deadline.map_or(patience, |deadline| deadline.min(patience));
        for reason in self.proof.settle(until).await {
            self.tracks.gap(reason)?;
        }
        Ok(())
    }

    /// Appends what was made of the stream; false where the buffer has no room for it within [`ROOM_WAIT`].
    pub(super) async fn append_soon(&mut self) -> Result<bool, Error> {
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

    pub(super) async fn append_next(&mut self) -> Result<(), Error> {
        match self.tracks.next_section() {
            Some(section) => self.shared.appender.append(section).await.map_err(|_| Error::BufferClosed),
            None => Ok(()),
        }
    }

    /// The engine's stream cannot be read on. It is read again by position, and may come whole then: an engine also breaks off
    /// where it removes the container. A gap is what breaks off at the same place again.
    fn damaged(&mut self, damage: &Damage) -> Result<ReadEnd, Error> {
        let at = self.tracks.read_end();
        match self.damage {
            Some(known) if known.at == at => self.tell_damage()?,
            _ => self.damage = Some(Broken { at, told: false }),
        }
        Ok(ReadEnd::Failed(EngineError::Unreachable(damage.to_string())))
    }

    /// Counts the gap of a log that was last found damaged, once for each place.
    pub(super) fn tell_damage(&mut self) -> Result<(), Error> {
        match &mut self.damage {
            Some(damage) if !damage.told => {
                damage.told = true;
                self.tracks.gap(GapReason::BrokenOff)
            }
            _ => Ok(()),
        }
    }

    /// Ends a reading: its connection first, then what is to be made of its last bytes.
    pub(super) async fn after_reading(&mut self, reading: Reading, end: &ReadEnd) -> Result<(), Error> {
        let mut decoder = reading.decoder;
        drop(reading.stream);
        self.proof.end();
        if matches!(end, ReadEnd::Eof) {
            self.unread = self.engine.is_podman();
            // It came whole after all.
            self.damage = None;
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
        let mut alarm = Alarm::new(deadline);
        let _permit = tokio::select! {
            permit = shared.readings.acquire() => permit,
            () = alarm.rings() => return Ok(ReadEnd::Overdue),
        };
        let reading = self.open(false);
        self.read(reading, deadline).await
    }

    /// The same of the engine's own file.
    pub(super) async fn read_file(&mut self, held: &Held, deadline: Option<Instant>) -> Result<ReadEnd, Error> {
        if !self.shared.appender.docker_may_read() {
            return Ok(ReadEnd::Full);
        }
        self.opened_at = self.tracks.consumed();
        self.proof.begin(false);
        let reading = Reading::new(held.read(), Format::File(held::Decoder::default()), None);
        self.read(reading, deadline).await
    }

    pub(super) async fn read(&mut self, mut reading: Reading, deadline: Option<Instant>) -> Result<ReadEnd, Error> {
        let mut alarm = Alarm::new(deadline);
        let end = loop {
            tokio::select! {
                bytes = reading.next() => if let Some(end) = self.absorb(&mut reading, bytes)? {
                    break end;
                },
                () = alarm.rings() => break ReadEnd::Overdue,
            }
            if !self.append_soon().await? {
                break ReadEnd::Full;
            }
        };
        self.after_reading(reading, &end).await?;
        Ok(end)
    }
}
