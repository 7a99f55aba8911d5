//! Running totals of one origin. They travel in the same write as the records, so they cannot disagree with them.

/// Totals since the origin was first seen. Conservation: `lines = recorded_lines + filtered_lines + sampled_lines`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Lines read; a piece of a line over `max_line` counts as one.
    pub lines: u64,
    /// Bytes of these lines, line ends included.
    pub bytes: u64,
    /// Lines that stand in records, in whole or in part.
    pub recorded_lines: u64,
    /// Lines that a drop rule left out.
    pub filtered_lines: u64,
    /// Lines that sampling or a rate limit left out.
    pub sampled_lines: u64,
    /// Those of them that a rate limit left out and no record tells of yet.
    pub untold_lines: u64,
    /// Records, each part one: the last Seq.
    pub records: u64,
    /// Times that lines are known to be missing, for example in a file that was truncated unread.
    pub gaps: u64,
    /// Bytes that are known to be missing; a gap whose size nobody knows adds none.
    pub gap_bytes: u64,
    /// Kinds of these gaps: a set of [`GapKind`] bits.
    pub gap_kinds: u32,
    /// Records routed to each sink, by route bit. Shorter than the number of sinks: the rest is 0.
    pub routed: Vec<u64>,
}

/// Why lines of an origin are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapKind {
    /// A file was truncated, overwritten or deleted before it was read.
    Truncated,
    /// A container was removed before its log was read to the end.
    Gone,
    /// The engine had rotated its log away.
    Rotated,
    /// The engine does not hand out the log, or the bytes are no text that can be read.
    Unreadable,
    /// The engine broke the log off.
    BrokenOff,
    /// What keeps the log may drop lines, and says nothing.
    Lossy,
}

impl GapKind {
    const ALL: [GapKind; 6] =
        [GapKind::Truncated, GapKind::Gone, GapKind::Rotated, GapKind::Unreadable, GapKind::BrokenOff, GapKind::Lossy];

    /// Its word in manifests.
    pub fn word(self) -> &'static str {
        match self {
            GapKind::Truncated => "truncated",
            GapKind::Gone => "gone",
            GapKind::Rotated => "rotated",
            GapKind::Unreadable => "unreadable",
            GapKind::BrokenOff => "broken_off",
            GapKind::Lossy => "lossy",
        }
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl Counters {
    /// Records routed to the sink with this route bit.
    pub fn routed_to(&self, bit: usize) -> u64 {
        self.routed.get(bit).copied().unwrap_or(0)
    }

    /// Counts one record routed by `bits`.
    pub fn count_route(&mut self, bits: crate::record::RouteBits) {
        let mut rest = bits;
        while rest != 0 {
            let bit = rest.trailing_zeros() as usize;
            if self.routed.len() <= bit {
                self.routed.resize(bit + 1, 0);
            }
            self.routed[bit] += 1;
            rest &= rest - 1;
        }
    }

    /// Notes that lines are missing; `bytes` is 0 where nobody knows how many.
    pub fn count_gap(&mut self, kind: GapKind, bytes: u64) {
        self.gaps += 1;
        self.gap_bytes += bytes;
        self.gap_kinds |= kind.bit();
    }

    /// Notes that so many more bytes are missing in a gap of this kind, which may have been counted before.
    pub fn widen_gap(&mut self, kind: GapKind, bytes: u64) {
        if self.has_gap(kind) {
            self.gap_bytes += bytes;
        } else {
            self.count_gap(kind, bytes);
        }
    }

    /// Whether a gap of this kind was counted.
    pub fn has_gap(&self, kind: GapKind) -> bool {
        self.gap_kinds & kind.bit() != 0
    }

    /// The kinds of gaps, as words.
    pub fn gap_words(&self) -> Vec<&'static str> {
        GapKind::ALL.iter().filter(|kind| self.has_gap(**kind)).map(|kind| kind.word()).collect()
    }

    /// What was added since an earlier state of the same origin.
    #[must_use]
    pub fn since(&self, before: &Counters) -> Counters {
        let routed = self.routed.iter().enumerate().map(|(bit, n)| n.saturating_sub(before.routed_to(bit))).collect();
        Counters {
            lines: self.lines.saturating_sub(before.lines),
            bytes: self.bytes.saturating_sub(before.bytes),
            recorded_lines: self.recorded_lines.saturating_sub(before.recorded_lines),
            filtered_lines: self.filtered_lines.saturating_sub(before.filtered_lines),
            sampled_lines: self.sampled_lines.saturating_sub(before.sampled_lines),
            untold_lines: self.untold_lines.saturating_sub(before.untold_lines),
            records: self.records.saturating_sub(before.records),
            gaps: self.gaps.saturating_sub(before.gaps),
            gap_bytes: self.gap_bytes.saturating_sub(before.gap_bytes),
            gap_kinds: self.gap_kinds & !before.gap_kinds,
            routed,
        }
    }

    /// Adds another origin's totals, for sums.
    pub fn add(&mut self, other: &Counters) {
        self.lines += other.lines;
        self.bytes += other.bytes;
        self.recorded_lines += other.recorded_lines;
        self.filtered_lines += other.filtered_lines;
        self.sampled_lines += other.sampled_lines;
        self.untold_lines += other.untold_lines;
        self.records += other.records;
        self.gaps += other.gaps;
        self.gap_bytes += other.gap_bytes;
        self.gap_kinds |= other.gap_kinds;
        if self.routed.len() < other.routed.len() {
            self.routed.resize(other.routed.len(), 0);
        }
        for (mine, theirs) in self.routed.iter_mut().zip(&other.routed) {
            *mine += theirs;
        }
    }
}
