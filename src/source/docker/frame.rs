//! Bytes of the engine's log stream into log entries. Pure: no input or output, no position.
//!
//! Without a terminal each entry is one frame: `[kind, 0, 0, 0, length as u32 big endian]`, then `timestamp payload`.
//! With a terminal there are no frames: entries follow each other as `timestamp payload`, and a payload ends at its
//! newline or, where the engine cut a long line (16 KiB) or the container ended in the middle of one, right before the
//! next timestamp. Such a timestamp is told from text by its time: it is the entry's own (a further piece of the same
//! line) or later (an entry after a restart), while what a program prints about itself was before.

use thiserror::Error;

use super::timestamp;
use crate::record::Nanos;

/// Largest entry in bytes. Engines cut lines at 16 KiB, some log drivers at 1 MiB; over this it is no length.
pub const ENTRY_MAX_BYTES: usize = 4 * 1024 * 1024;

const HEADER_BYTES: usize = 8;

/// Which stream of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// Its name in column Stream.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// One entry of the engine's log: a line with its newline, a piece of a long line, or an unterminated end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub stream: Stream,
    /// When the engine read it; `None` where there is no timestamp that can be read.
    pub time: Option<Nanos>,
    pub payload: &'a [u8],
}

/// The stream cannot be read on from here: close it and go on by position.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    /// The engine's own words in the stream (frame kind 3), such as `Error grabbing logs: …`.
    #[error("the engine broke the log off: {0}")]
    Engine(String),
    #[error("the log stream has a frame of unknown kind {0}")]
    Kind(u8),
    #[error("the log stream has a frame of {0} bytes, over the {ENTRY_MAX_BYTES} that one may have")]
    TooLong(usize),
}

/// Takes bytes as they arrive and gives the entries that are whole.
#[derive(Debug)]
pub struct Decoder {
    terminal: bool,
    /// Bytes that arrived; those before `at` have been given.
    buffer: Vec<u8>,
    at: usize,
    /// With a terminal: bytes after `at` in which no end of the entry was found.
    scanned: usize,
}

impl Decoder {
    /// `terminal`: the container has a TTY, the stream has no frames.
    pub fn new(terminal: bool) -> Self {
        Decoder { terminal, buffer: Vec::new(), at: 0, scanned: 0 }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at == self.buffer.len() {
            self.buffer.clear();
        } else {
            self.buffer.drain(..self.at);
        }
        self.at = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole entry; `None` where more bytes are needed.
    ///
    /// # Errors
    /// [`Damage`]: what follows cannot be told apart any more.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, Damage> {
        if self.terminal { Ok(self.next_raw(false)) } else { self.next_framed() }
    }

    /// After the end of the stream and after [`Self::next_entry`] gave `None`: the last entry of a terminal, which has no end of
    /// its own. An unfinished frame is not given: the engine broke off there.
    pub fn last_entry(&mut self) -> Option<Entry<'_>> {
        if self.terminal { self.next_raw(true) } else { None }
    }

    fn next_framed(&mut self) -> Result<Option<Entry<'_>>, Damage> {
        loop {
            let rest = &self.buffer[self.at..];
            let Some((header, rest)) = rest.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
            let [kind, _, _, _, length @ ..] = *header;
            let length = u32::from_be_bytes(length) as usize;
            if kind > 3 {
                return Err(Damage::Kind(kind));
            }
            if length > ENTRY_MAX_BYTES {
                return Err(Damage::TooLong(length));
            }
            if rest.len() < length {
                return Ok(None);
            }
            let begin = self.at + HEADER_BYTES;
            self.at = begin + length;
            let body = &self.buffer[begin..self.at];
            let stream = match kind {
                1 => Stream::Stdout,
                2 => Stream::Stderr,
                3 => return Err(Damage::Engine(String::from_utf8_lossy(body).trim().to_owned())),
                _ => continue, // what was typed into the container is no output of it
            };
            return Ok(Some(entry(stream, body)));
        }
    }

    fn next_raw(&mut self, ended: bool) -> Option<Entry<'_>> {
        let rest = &self.buffer[self.at..];
        let own = timestamp::parse(rest);
        let payload = own.map_or(0, |(_, length)| length);
        let from = self.scanned.max(payload);
        // An entry that ends before its newline shows by the timestamp that follows it.
        let newline = memchr::memchr(b'\n', rest.get(from..)?).map(|found| from + found + 1);
        let line = &rest[..newline.unwrap_or(rest.len())];
        let next = own.and_then(|(time, _)| next_timestamp(line, from.max(payload + 1), time));
        let end = match next.or(newline) {
            Some(end) => end,
            None if (ended || rest.len() > ENTRY_MAX_BYTES) && !rest.is_empty() => rest.len(),
            None => {
                self.scanned = rest.len().saturating_sub(timestamp::BYTES_MAX);
                return None;
            }
        };
        let begin = self.at;
        self.at += end;
        self.scanned = 0;
        Some(entry(Stream::Stdout, &self.buffer[begin..self.at]))
    }
}

/// Where in `line`, at `from` or later, a timestamp of `time` or later begins.
fn next_timestamp(line: &[u8], from: usize, time: Nanos) -> Option<usize> {
    const DATE_BYTES: usize = "2006-01-02".len();
    let search = line.get(from..)?;
    memchr::memchr_iter(b'T', search).find_map(|found| {
        let begin = (from + found).checked_sub(DATE_BYTES).filter(|begin| *begin >= from)?;
        let (other, _) = timestamp::parse(line.get(begin..)?)?;
        (other >= time).then_some(begin)
    })
}

fn entry(stream: Stream, body: &[u8]) -> Entry<'_> {
    match timestamp::parse(body) {
        Some((time, length)) => Entry { stream, time: Some(time), payload: &body[length..] },
        None => Entry { stream, time: None, payload: body },
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
