//! From bytes of a stream to sections of encoded records: split, join, parse, route, encode once.
//!
//! Pure computation, called by a source in its own thread or task, once per origin: no I/O, no waiting.
//! A line of text is borrowed from the window that the source read it into until its JSON stands in the section:
//! no map of owned strings is built for it. JSON lines are parsed into an owned value.

mod clean;
pub mod encode;
pub mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod lines;
pub mod options;
mod overwritten;
pub mod parse;
mod put;
pub mod redact;
mod take;

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::buffer::section::SECTION_TARGET_BYTES;
use crate::buffer::{OriginInfo, Records, Section};
use crate::record::{Constants, Counters, GapKind, Nanos};

use framing::Framer;
pub use framing::{Flush, GROUP_MAX_BYTES, GROUP_MAX_LINES, GROUP_QUIET};
pub use options::{Ansi, MAX_LINE_BYTES, Multiline, Options, Parser, Pattern, Start, Zone};
use redact::Redaction;

/// When the bytes of a window came about.
pub trait Times {
    /// Time of the line that begins at this offset of the window.
    fn at(&self, offset: usize) -> Nanos;
}

/// One time for a whole window: when it was read.
impl Times for Nanos {
    fn at(&self, _offset: usize) -> Nanos {
        *self
    }
}

/// What a call of [`Ingest::feed`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// Bytes at the front of the window that are settled: drop them.
    pub consumed: usize,
    /// It stopped because the section is full: take it, and call again with the rest.
    pub section_full: bool,
}

/// Ingest of one origin.
#[derive(Debug)]
pub struct Ingest {
    options: Arc<Options>,
    info: Arc<OriginInfo>,
    constants: Constants,
    default_logger: Option<Arc<str>>,
    framer: Framer,
    redaction: Redaction,
    /// The line over `max_line` under way is written over by its own states.
    redraws: bool,
    /// Stream offset of the first byte that is not settled.
    position: u64,
    counters: Counters,
    /// Position and Seq at the start of the section under way.
    base: u64,
    first_seq: u64,
    records: Records,
    /// Bytes of the records of the last section: the next one begins with so much room.
    last_bytes: usize,
    /// Lines and gaps at the start of the section under way.
    section_lines: u64,
    section_gaps: u64,
    /// Bytes were passed over since.
    passed_over: bool,
}

impl Ingest {
    /// `position`: offset in the stream of the first byte that `feed` will be given; `counters`: totals before it.
    pub fn new(
        options: Arc<Options>,
        info: Arc<OriginInfo>,
        constants: Constants,
        position: u64,
        counters: Counters,
    ) -> Self {
        Ingest {
            framer: Framer::new(options.multiline.clone(), options.max_line),
            redaction: Redaction::new(Arc::clone(&options.redactor), position > 0),
            redraws: false,
            options,
            info,
            constants,
            default_logger: None,
            position,
            base: position,
            first_seq: counters.records + 1,
            section_lines: counters.lines,
            section_gaps: counters.gaps,
            passed_over: false,
            counters,
            records: Records::default(),
            last_bytes: 0,
        }
    }

    /// LoggerName of records whose lines name none.
    #[must_use]
    pub fn with_default_logger(mut self, logger: String) -> Self {
        self.default_logger = Some(self.options.redactor.column("LoggerName", logger).into());
        self
    }

    /// Stream offset after what has been consumed.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Totals of the origin so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether no line has been taken yet.
    pub fn is_new(&self) -> bool {
        self.counters.lines == 0
    }

    /// Whether bytes are held back that a flush would take: an open group or an unfinished line.
    pub fn holds_back(&self) -> bool {
        self.framer.holds_back()
    }

    /// The window begins anew at [`Ingest::position`]: what was seen of bytes that are not consumed is forgotten.
    pub fn rewind(&mut self) {
        self.framer.reset();
    }

    /// Notes that lines of the stream are missing; `bytes` is 0 where nobody knows how many.
    pub fn count_gap(&mut self, kind: GapKind, bytes: u64) {
        self.counters.count_gap(kind, bytes);
    }

    /// Goes on behind `bytes` bytes of the stream that make no line; `gap`: lines are missing with them. Nothing is held back
    /// and the last section has been taken.
    pub fn pass_over(&mut self, bytes: u64, gap: Option<GapKind>) {
        self.framer = Framer::new(self.options.multiline.clone(), self.options.max_line);
        self.position += bytes;
        self.base = self.position;
        match gap {
            Some(kind) => self.counters.widen_gap(kind, bytes),
            None => self.counters.bytes += bytes,
        }
        self.passed_over = true;
    }

    /// Takes complete groups of lines from the front of `window`, which begins at [`Ingest::position`].
    pub fn feed(&mut self, window: &[u8], times: &dyn Times, flush: Flush) -> Fed {
        let mut consumed = 0;
        let mut section_full = false;
        while let Some(group) = self.framer.next(window, consumed, flush) {
            self.take(window, &group, times.at(group.start));
            consumed = group.end;
            if self.records.bytes.len() >= SECTION_TARGET_BYTES {
                section_full = true;
                break;
            }
        }
        self.framer.consumed(consumed);
        self.position += consumed as u64;
        Fed { consumed, section_full }
    }

    /// Closes the section under way. `position` is the source's own encoding of where it goes on.
    /// `None` where nothing was consumed since the last one and the origin has not `ended`.
    pub fn section(&mut self, position: Vec<u8>, ended: bool) -> Option<Section> {
        let is_same = self.counters.lines == self.section_lines && self.counters.gaps == self.section_gaps;
        let passed_over = std::mem::take(&mut self.passed_over);
        if is_same && !passed_over && !ended {
            return None;
        }
        let section = Section {
            origin: Arc::clone(&self.info),
            position,
            counters: self.counters.clone(),
            ended,
            first_seq: self.first_seq,
            base: self.base,
            records: std::mem::take(&mut self.records),
        };
        self.last_bytes = section.records.bytes.len();
        self.base = self.position;
        self.first_seq = self.counters.records + 1;
        self.section_lines = self.counters.lines;
        self.section_gaps = self.counters.gaps;
        Some(section)
    }
}
