//! From bytes of a stream to sections of encoded records: split, join, parse, count, route, encode once.
//!
//! Pure computation, called by a source in its own thread or task, once per origin: no I/O, no waiting.
//! A line of text is borrowed from the window that the source read it into until its JSON stands in the section:
//! no map of owned strings is built for it. JSON lines are parsed into an owned value.

mod clean;
pub mod encode;
pub mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod gate;
mod lines;
pub mod lookup;
pub mod metric;
pub mod options;
pub mod parse;
mod put;
pub mod redact;
pub mod rules;
mod seen;
mod take;

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod gate_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::buffer::section::SECTION_TARGET_BYTES;
use crate::buffer::{OriginInfo, Records, Section};
use crate::record::{Constants, Counters, GapKind, Nanos};

use framing::Framer;
pub use framing::{Flush, GROUP_MAX_BYTES, GROUP_MAX_LINES, GROUP_QUIET};
use gate::Gate;
pub use options::{Ansi, MAX_LINE_BYTES, Multiline, Options, OwnColumns, Parser, Pattern, Zone};
pub use parse::format::Format;
use redact::Redaction;
pub use seen::{Formats, Outcome, Seen};

/// When the bytes of a window came about.
pub trait Times {
    /// Time of the line that begins at this offset of the window.
    fn at(&self, offset: usize) -> Nanos;

    /// Whether that is when the line arrived where it is read from, and not when it was read.
    fn are_arrivals(&self) -> bool {
        false
    }
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
    gate: Gate,
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
    /// Memory for the labels of a metric.
    metric_key: Vec<u8>,
    /// Of the last group.
    seen: Seen,
    format_lines: seen::Lines,
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
            framer: Framer::new(options.multiline, options.max_line),
            redaction: Redaction::new(Arc::clone(&options.redactor), position > 0),
            gate: Gate::default(),
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
            metric_key: Vec::new(),
            counters,
            records: Records::default(),
            last_bytes: 0,
            seen: Seen::default(),
            format_lines: [0; Format::ALL.len()],
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

    /// Columns that are the same for every record of the origin, in order.
    pub fn constants(&self) -> impl Iterator<Item = (&str, &str)> {
        self.constants.iter()
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
        self.framer = Framer::new(self.options.multiline, self.options.max_line);
        self.position += bytes;
        self.base = self.position;
        match gap {
            Some(kind) => self.counters.widen_gap(kind, bytes),
            None => self.counters.bytes += bytes,
        }
        self.passed_over = true;
    }

    /// What the last group that was taken was taken for.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Takes complete groups of lines from the front of `window`, which begins at [`Ingest::position`].
    pub fn feed(&mut self, window: &[u8], times: &dyn Times, flush: Flush) -> Fed {
        self.feed_groups(window, times, flush, usize::MAX)
    }

    /// Takes one group from the front of `window`, so that what became of it can be looked at; nothing is consumed where
    /// none is complete.
    pub fn feed_one(&mut self, window: &[u8], times: &dyn Times, flush: Flush) -> Fed {
        self.feed_groups(window, times, flush, 1)
    }

    fn feed_groups(&mut self, window: &[u8], times: &dyn Times, flush: Flush, most: usize) -> Fed {
        let mut consumed = 0;
        let mut section_full = false;
        self.gate.open(times.are_arrivals());
        let mut taken = 0;
        while taken < most
            && let Some(group) = self.framer.next(window, consumed, flush)
        {
            taken += 1;
            if self.has_untold() {
                self.tell_when_due(self.position + group.start as u64, times.at(group.start));
            }
            self.take(window, &group, times.at(group.start));
            self.count_format(group.lines);
            consumed = group.end;
            if self.records.bytes.len() >= SECTION_TARGET_BYTES {
                section_full = true;
                break;
            }
        }
        self.framer.consumed(consumed);
        self.position += consumed as u64;
        if consumed > 0 {
            self.gate.fed();
        }
        Fed { consumed, section_full }
    }

    /// Closes the section under way. `position` is the source's own encoding of where it goes on.
    /// `None` where nothing was consumed since the last one, nothing is to be told and the origin has not `ended`.
    pub fn section(&mut self, position: Vec<u8>, ended: bool) -> Option<Section> {
        let is_same = self.counters.lines == self.section_lines && self.counters.gaps == self.section_gaps;
        let passed_over = std::mem::take(&mut self.passed_over);
        if is_same && self.records.count == 0 && !passed_over && !ended {
            return None;
        }
        self.sum_formats();
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
