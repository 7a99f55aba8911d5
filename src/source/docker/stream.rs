//! One stream of one container on its way through ingest: the bytes that are read and not yet consumed, their times, and
//! the position after what was consumed. No input or output.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use super::driver::Pieces;
use super::position::{self, Anchor, Finder, Found, LineEnd, Position};
use crate::buffer::section::Records;
use crate::buffer::{OriginInfo, Section};
use crate::ingest::{Fed, Flush, GROUP_QUIET, Ingest, Times};
use crate::record::{Counters, GapKind, Nanos};

/// An empty window keeps no more memory than this, in bytes: most containers are quiet most of the time.
const KEPT_BYTES: usize = 16 * 1024;

/// An origin and how far it got: what a stream begins with.
#[derive(Clone, Debug)]
pub(super) struct Begin {
    pub(super) info: Arc<OriginInfo>,
    pub(super) position: Position,
    pub(super) counters: Counters,
}

impl Begin {
    /// A section without records: for what is known of the origin now, but no line says.
    pub(super) fn section(&self, ended: bool) -> Section {
        Section {
            origin: Arc::clone(&self.info),
            position: self.position.encode(),
            counters: self.counters.clone(),
            ended,
            first_seq: self.counters.records + 1,
            base: self.position.bytes,
            records: Records::default(),
        }
    }
}

/// One entry of the engine's log that stands in the window, or the rest of it.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Stream offset of its first byte.
    begin: u64,
    time: Nanos,
    nth: u64,
    /// Hash of its whole payload, where that ends a line.
    hash: Option<u64>,
}

/// The entries of a window, in order.
#[derive(Debug, Default)]
struct Marks {
    /// Stream offset of the window's first byte.
    base: u64,
    entries: VecDeque<Mark>,
}

impl Times for Marks {
    fn are_arrivals(&self) -> bool {
        true
    }

    fn at(&self, offset: usize) -> Nanos {
        let place = self.base + offset as u64;
        let behind = self.entries.partition_point(|mark| mark.begin <= place);
        // A line that the engine cut has the time of its first piece, as each of its pieces has.
        self.entries.get(behind.saturating_sub(1)).map_or(0, |mark| mark.time)
    }
}

/// A new entry, or the new rest of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fresh<'a> {
    time: Nanos,
    nth: u64,
    hash: Option<u64>,
    bytes: &'a [u8],
}

/// What [`Track::admit`] says about an entry.
#[derive(Clone, Copy, Debug)]
pub(super) enum Admitted<'a> {
    /// Taken up before.
    Old,
    New(Fresh<'a>),
    /// New, and what stood before it is unknown: the origin has to end before the entry is pushed to a new one.
    AfterGap(Fresh<'a>),
}

/// One stream.
pub(super) struct Track {
    info: Arc<OriginInfo>,
    ingest: Ingest,
    /// After what was consumed.
    position: Position,
    finder: Finder,
    window: Vec<u8>,
    marks: Marks,
    /// Time of the last entry, for entries whose own cannot be read.
    last_time: Option<Nanos>,
    /// Bytes of the window that ingest has not seen.
    unfed: usize,
    /// When what is held back has been quiet for [`GROUP_QUIET`]; `None`: nothing is, or that was done.
    quiet_at: Option<Instant>,
    /// Something of the origin stands in the buffer's log.
    known: bool,
    /// What stands in the window came by attach, without the engine's times.
    attached: bool,
}

impl Track {
    /// `ingest` is made for `begin`; `since` is that of the present reading; `known`: the origin stands in the log.
    pub(super) fn new(begin: Begin, ingest: Ingest, since: Option<Nanos>, known: bool) -> Track {
        let Begin { info, position, .. } = begin;
        Track {
            info,
            ingest,
            finder: Finder::new(&position, since),
            window: Vec::new(),
            marks: Marks { base: position.bytes, entries: VecDeque::new() },
            position,
            last_time: None,
            unfed: 0,
            quiet_at: None,
            known,
            attached: false,
        }
    }

    pub(super) fn position(&self) -> &Position {
        &self.position
    }

    /// Whether a section of the origin was made, or it was found in the log.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// Origin, position and totals as they are now.
    pub(super) fn begin(&self) -> Begin {
        Begin { info: Arc::clone(&self.info), position: self.position, counters: self.ingest.counters().clone() }
    }

    /// The origin ended before the entry that is pushed next; the reading goes on under another.
    pub(super) fn replace_origin(&mut self, begin: Begin, ingest: Ingest) {
        self.window.clear();
        self.marks = Marks { base: begin.position.bytes, entries: VecDeque::new() };
        self.unfed = 0;
        self.info = begin.info;
        self.position = begin.position;
        self.ingest = ingest;
        self.known = false;
    }

    /// A new reading begins: what was not consumed comes again.
    pub(super) fn rewind(&mut self, since: Option<Nanos>) {
        self.window.clear();
        self.ingest.rewind();
        self.marks.entries.clear();
        self.unfed = 0;
        self.quiet_at = None;
        self.attached = false;
        self.finder = Finder::new(&self.position, since);
    }

    /// Whether the present reading has shown all that was taken up before it.
    pub(super) fn is_through(&self) -> bool {
        self.finder.is_through()
    }

    /// Time of the last entry that was read.
    pub(super) fn last_time(&self) -> Option<Nanos> {
        self.last_time
    }

    /// Puts what came by attach behind the window.
    pub(super) fn push_attached(&mut self, bytes: &[u8], time: Nanos) {
        self.attached = true;
        self.last_time = Some(time);
        self.marks.entries.push_back(Mark { begin: self.read_end(), time, nth: 0, hash: None });
        self.window.extend_from_slice(bytes);
        self.unfed += bytes.len();
    }

    /// Stream offset behind the last byte that was read.
    pub(super) fn read_end(&self) -> u64 {
        self.position.bytes + self.window.len() as u64
    }

    /// Bytes that were read and not consumed.
    pub(super) fn held(&self) -> usize {
        self.window.len()
    }

    /// Bytes that ingest has not been asked about.
    pub(super) fn unfed(&self) -> usize {
        self.unfed
    }

    /// When an open group has to be closed.
    pub(super) fn quiet_at(&self) -> Option<Instant> {
        self.quiet_at
    }

    /// Finds out whether an entry is new. `now` gives its time where it has none and none came before it.
    pub(super) fn admit<'a>(&mut self, time: Option<Nanos>, payload: &'a [u8], now: fn() -> Nanos) -> Admitted<'a> {
        let time = time.or(self.last_time).unwrap_or_else(now);
        self.last_time = Some(time);
        let hash = || payload.ends_with(b"\n").then(|| position::hash(payload));
        match self.finder.next(time, payload) {
            Found::Old => Admitted::Old,
            Found::New { from, nth } => {
                Admitted::New(Fresh { time, nth, hash: hash(), bytes: payload.get(from..).unwrap_or_default() })
            }
            Found::Lost { nth } => Admitted::AfterGap(Fresh { time, nth, hash: hash(), bytes: payload }),
        }
    }

    /// True where the window ends in the middle of a line that `next` does not continue: it was left unterminated when the
    /// container ended, and has to be flushed first.
    pub(super) fn is_cut_before(&self, next: &Fresh<'_>, pieces: Pieces) -> bool {
        let goes_on = |mark: &Mark| pieces.go_on(mark.time, self.read_end() - mark.begin, next.time);
        !self.window.is_empty() && self.marks.entries.back().is_some_and(|mark| mark.hash.is_none() && !goes_on(mark))
    }

    /// Puts a new entry behind the window.
    pub(super) fn push(&mut self, fresh: &Fresh<'_>) {
        if fresh.bytes.is_empty() {
            return;
        }
        let Fresh { time, nth, hash, bytes } = *fresh;
        self.marks.entries.push_back(Mark { begin: self.read_end(), time, nth, hash });
        self.window.extend_from_slice(bytes);
        self.unfed += bytes.len();
    }

    /// Whether a gap of this kind was noted.
    pub(super) fn has_gap(&self, kind: GapKind) -> bool {
        self.ingest.counters().has_gap(kind)
    }

    /// Notes that lines are missing; it stands in the log with the next section.
    pub(super) fn count_gap(&mut self, kind: GapKind) {
        self.ingest.count_gap(kind, 0);
    }

    /// Lets ingest consume what it can of the window.
    pub(super) fn feed(&mut self, flush: Flush, now: Instant) -> Fed {
        let fed = self.ingest.feed(&self.window, &self.marks, flush);
        if !matches!(flush, Flush::No) {
            self.quiet_at = None;
        } else if self.unfed > 0 {
            self.quiet_at = Some(now + GROUP_QUIET);
        }
        self.unfed = 0;
        let consumed = fed.consumed.min(self.window.len());
        self.advance(consumed as u64);
        self.window.drain(..consumed);
        if self.window.is_empty() {
            self.quiet_at = self.quiet_at.filter(|_| self.ingest.has_untold());
            if self.window.capacity() > KEPT_BYTES {
                self.window = Vec::new();
                self.marks.entries = VecDeque::new();
            }
        }
        fed
    }

    /// Moves the position behind `consumed` more bytes, while they still stand in the window.
    fn advance(&mut self, consumed: u64) {
        let window_end = self.read_end();
        let end = self.marks.base + consumed;
        if self.attached {
            self.count_lines(consumed as usize);
        }
        while let Some(mark) = self.marks.entries.front().copied() {
            let mark_end = self.marks.entries.get(1).map_or(window_end, |next| next.begin);
            if mark_end > end {
                break;
            }
            if let Some(hash) = mark.hash {
                let latest = self.position.anchor.map_or(mark.time, |anchor| anchor.latest.max(mark.time));
                self.position.anchor =
                    Some(Anchor { time: mark.time, latest, hash, nth: mark.nth, end: mark_end, counted: false });
                self.position.lines += 1;
            }
            self.marks.entries.pop_front();
        }
        if consumed > 0 {
            self.position.at_end = false;
        }
        self.position.bytes = end;
        self.marks.base = end;
    }

    /// Moves the anchor to the last of the lines that end within the first bytes of the window.
    fn count_lines(&mut self, consumed: usize) {
        let taken = &self.window[..consumed.min(self.window.len())];
        let Some(newline) = memchr::memrchr(b'\n', taken) else { return };
        let begin = memchr::memrchr(b'\n', &taken[..newline]).map(|before| before + 1);
        // The first line of the window may have begun before it.
        let is_whole = self.position.anchor.map_or(0, |anchor| anchor.end) == self.marks.base;
        let hash = match begin.or(is_whole.then_some(0)) {
            Some(begin) => {
                let mut end = LineEnd::default();
                end.push(&taken[begin..=newline]);
                end.take()
            }
            None => 0,
        };
        self.position.lines += memchr::memchr_iter(b'\n', taken).count() as u64;
        let time = self.marks.at(newline);
        let latest = self.position.anchor.map_or(time, |anchor| anchor.latest.max(time));
        let (nth, end) = (self.position.lines, self.marks.base + newline as u64 + 1);
        self.position.anchor = Some(Anchor { time, latest, hash, nth, end, counted: true });
    }

    /// Whether a rate limit has left out lines that no record tells of.
    pub(super) fn has_untold(&self) -> bool {
        self.ingest.has_untold()
    }

    /// Has it told, at the time of the last line.
    pub(super) fn tell_left_out(&mut self, now: fn() -> Nanos) {
        self.quiet_at = self.quiet_at.filter(|_| !self.window.is_empty());
        self.ingest.tell_left_out(self.last_time.unwrap_or_else(now));
    }

    /// What ingest has made since the last section, with the position after it; `beside` as [`Position::beside`] says.
    pub(super) fn section(&mut self, beside: Option<u64>) -> Option<Section> {
        self.position.beside = beside;
        let section = self.ingest.section(self.position.encode(), false);
        self.known |= section.is_some();
        section
    }

    /// A section without records that says that the log was read to its end, where the last one did not say so.
    pub(super) fn end_section(&mut self) -> Option<Section> {
        if self.position.at_end || !self.known {
            return None;
        }
        self.position.at_end = true;
        Some(self.begin().section(false))
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
