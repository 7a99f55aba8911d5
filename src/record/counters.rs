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
    /// Lines that sampling left out.
    pub sampled_lines: u64,
    /// Records, each part one: the last Seq.
    pub records: u64,
    /// Records routed to each sink, by route bit. Shorter than the number of sinks: the rest is 0.
    pub routed: Vec<u64>,
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
            records: self.records.saturating_sub(before.records),
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
        self.records += other.records;
        if self.routed.len() < other.routed.len() {
            self.routed.resize(other.routed.len(), 0);
        }
        for (mine, theirs) in self.routed.iter_mut().zip(&other.routed) {
            *mine += theirs;
        }
    }
}
