//! One reading of a container's log: a request to the engine, its bytes, and how it ended. Takes nothing up.

use std::fmt;

use bytes::Bytes;
use futures_util::StreamExt;

use super::engine::{EngineError, Streamed};
use super::frame::{Damage, Decoder, Entry};
use super::held;
use crate::record::Nanos;

/// How a reading ended.
#[derive(Debug)]
pub(super) enum ReadEnd {
    /// The engine ended it.
    Eof,
    /// It did not begin, or broke off.
    Failed(EngineError),
    /// The buffer has no room.
    Full,
    /// What follows is doubtful, and comes again in a reading by position.
    Doubtful,
    /// The deadline of the drain passed, or the stream should have ended long ago.
    Overdue,
}

impl fmt::Display for ReadEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadEnd::Eof => f.write_str("end of the log"),
            ReadEnd::Failed(error) => write!(f, "{error}"),
            ReadEnd::Full => f.write_str("the buffer is full"),
            ReadEnd::Doubtful => f.write_str("the engine may have skipped lines or given them twice"),
            ReadEnd::Overdue => f.write_str("no time left"),
        }
    }
}

/// How the bytes of a reading stand for entries.
pub(super) enum Format {
    /// As the engine sends them.
    Engine(Decoder),
    /// As the engine writes them to its log file.
    File(held::Decoder),
}

impl Format {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        match self {
            Format::Engine(decoder) => decoder.push(bytes),
            Format::File(decoder) => decoder.push(bytes),
        }
    }

    /// The next whole entry; `None` where more bytes are needed.
    ///
    /// # Errors
    /// [`Damage`]: what follows cannot be told apart any more.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry<'_>>, Damage> {
        match self {
            Format::Engine(decoder) => decoder.next_entry(),
            Format::File(decoder) => Ok(decoder.next_entry()),
        }
    }

    /// After the end of the stream: see [`Decoder::last_entry`].
    pub(super) fn last_entry(&mut self) -> Option<Entry<'_>> {
        match self {
            Format::Engine(decoder) => decoder.last_entry(),
            Format::File(_) => None,
        }
    }
}

/// A reading of the container's log.
pub(super) struct Reading {
    pub(super) stream: Streamed<Bytes>,
    pub(super) decoder: Format,
    /// From when on it was asked for; `None`: from the start.
    since: Option<Nanos>,
    /// It has had bytes.
    begun: bool,
}

impl Reading {
    pub(super) fn new(stream: Streamed<Bytes>, decoder: Format, since: Option<Nanos>) -> Reading {
        Reading { stream, decoder, since, begun: false }
    }

    /// For its first bytes: since when it was asked for.
    pub(super) fn begin(&mut self) -> Option<Option<Nanos>> {
        (!std::mem::replace(&mut self.begun, true)).then_some(self.since)
    }

    /// The next bytes, or how the reading ended. Nothing is lost where this is dropped.
    pub(super) async fn next(&mut self) -> Result<Bytes, ReadEnd> {
        match self.stream.next().await {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(error)) => Err(ReadEnd::Failed(error)),
            None => Err(ReadEnd::Eof),
        }
    }
}
