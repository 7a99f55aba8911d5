//! What a sink holds of a run, as it is read back from it: values only. How each sink is asked stands with the sink,
//! what the answers mean in `verify`.

use serde::Serialize;
use serde_json::Value;

/// Most spans that are kept of one list; the rest is only counted.
pub const SPANS_MAX: usize = 1_000;

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Empty: what has no RunID.
    pub run_id: &'a str,
    /// Column Source of logferry's own records.
    pub own_source: &'a str,
    /// EventTypes of manifest records.
    pub manifest_events: &'a [&'a str],
}

/// Why a sink could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ReadError {
    /// What, where and what to do.
    pub reason: String,
    /// Another answer may come later: no connection, overload, a fault of the server.
    pub passing: bool,
}

/// One manifest record.
#[derive(Clone, Debug, PartialEq)]
pub struct ManifestDocument {
    pub event_type: String,
    /// Its own column Origin: one state folder and RunID.
    pub origin: String,
    pub vm_name: String,
    /// The object `Fields`.
    pub fields: Value,
}

/// The documents of one origin that lie together in the sink, each record once: an index refuses an id that it has, and
/// of what Azure Monitor stored twice the reader counts the repeats apart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slice {
    pub records: u64,
    pub first_seq: u64,
    pub last_seq: u64,
    /// Sum of Seq; exact below 2^53.
    pub seq_sum: f64,
}

/// How much of one origin a sink holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredOrigin {
    pub origin: String,
    /// Empty where the documents have none.
    pub vm_name: String,
    pub slices: Vec<Slice>,
    /// Documents beyond the first of their record, where the sink could tell.
    pub doubles: u64,
}

impl StoredOrigin {
    pub fn records(&self) -> u64 {
        self.slices.iter().map(|slice| slice.records).sum()
    }

    /// Lowest Seq, 0 where there is no document.
    pub fn first_seq(&self) -> u64 {
        self.slices.iter().map(|slice| slice.first_seq).min().unwrap_or(0)
    }

    pub fn last_seq(&self) -> u64 {
        self.slices.iter().map(|slice| slice.last_seq).max().unwrap_or(0)
    }

    /// Whether two slices reach into each other, so that a record could be there twice.
    pub fn overlaps(&self) -> bool {
        let mut spans: Vec<(u64, u64)> = self.slices.iter().map(|slice| (slice.first_seq, slice.last_seq)).collect();
        spans.sort_unstable();
        spans.windows(2).any(|pair| matches!(pair, [(_, end), (start, _)] if start <= end))
    }

    /// Whether the figures alone prove that 1 to `last` are there, each once, and nothing else.
    pub fn is_exactly(&self, last: u64) -> bool {
        let sum: f64 = self.slices.iter().map(|slice| slice.seq_sum).sum();
        self.records() == last
            && (last == 0 || (self.first_seq() == 1 && self.last_seq() == last && !self.overlaps()))
            && (sum_to(last).is_none_or(|expected| sum == expected))
    }
}

/// 1 + 2 + … + `last` where a double holds it exactly.
fn sum_to(last: u64) -> Option<f64> {
    let sum = u128::from(last) * (u128::from(last) + 1) / 2;
    (sum < 1 << 53).then_some(sum as f64)
}

/// A rising list of numbers as spans: the first [`SPANS_MAX`] whole, of all others how many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spans {
    /// First and last number of each, rising.
    pub spans: Vec<(u64, u64)>,
    /// How many numbers there are in all, also those of spans that are not listed.
    pub numbers: u64,
    /// How many spans are not listed.
    pub more_spans: u64,
    #[serde(skip)]
    last: u64,
}

impl Spans {
    /// Appends `first..=last`, which lies above all before it; nothing where it is empty.
    pub fn push(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        self.numbers += last - first + 1;
        let joins = self.last != 0 && self.last + 1 == first;
        self.last = last;
        if !joins {
            if self.spans.len() < SPANS_MAX {
                self.spans.push((first, last));
            } else {
                self.more_spans += 1;
            }
        } else if let (0, Some(open)) = (self.more_spans, self.spans.last_mut()) {
            open.1 = last;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.numbers == 0
    }

    /// Lists no more than `max` spans.
    pub fn shorten(&mut self, max: usize) {
        let cut = self.spans.len().saturating_sub(max);
        self.spans.truncate(max);
        self.more_spans += cut as u64;
    }
}

/// Which records of one origin are there, by Seq.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// Up to this Seq holes are looked for.
    until: u64,
    /// Different Seq up to `until`.
    pub found: u64,
    /// Those above it.
    pub past: Spans,
    pub holes: Spans,
    /// Seq that are there more than once.
    pub doubled: Spans,
    last: u64,
}

impl Sequence {
    pub fn new(until: u64) -> Self {
        Sequence { until, ..Sequence::default() }
    }

    /// Takes the next Seq that is there, and how often.
    pub fn take(&mut self, seq: u64, times: u64) {
        self.take_all(seq, seq);
        if times > 1 {
            self.doubled.push(seq, seq);
        }
    }

    /// Takes `first..=last`, each there once, above all before.
    pub fn take_all(&mut self, first: u64, last: u64) {
        if first > last || first <= self.last {
            return;
        }
        self.holes.push(self.last + 1, (first - 1).min(self.until));
        self.last = last;
        let within = last.min(self.until);
        if first <= within {
            self.found += within - first + 1;
        }
        self.past.push(first.max(self.until + 1), last);
    }

    /// All have been taken.
    pub fn finish(mut self) -> Self {
        self.holes.push(self.last + 1, self.until);
        self.last = self.last.max(self.until);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(records: u64, first_seq: u64, last_seq: u64) -> Slice {
        let seq_sum = (first_seq..=last_seq).sum::<u64>() as f64;
        Slice { records, first_seq, last_seq, seq_sum }
    }

    #[test]
    fn figures_prove_an_origin_only_where_nothing_else_could_give_them() {
        let check = |slices: &[Slice], last: u64, expected: bool| {
            let stored = StoredOrigin { slices: slices.to_vec(), ..StoredOrigin::default() };
            assert_eq!(stored.is_exactly(last), expected, "{slices:?} for {last}");
        };
        check(&[], 0, true);
        check(&[], 1, false);
        check(&[slice(3, 1, 3)], 3, true);
        check(&[slice(3, 1, 3)], 4, false);
        check(&[slice(3, 1, 3)], 2, false);
        check(&[slice(3, 2, 4)], 3, false);
        check(&[slice(3, 1, 3), slice(2, 4, 5)], 5, true);
        check(&[slice(2, 4, 5), slice(3, 1, 3)], 5, true);
        // 1 2 3 and 3 5: one twice, one missing.
        check(&[slice(3, 1, 3), Slice { records: 2, first_seq: 3, last_seq: 5, seq_sum: 8.0 }], 5, false);
        // 1 2 2 4 in one slice: the sum tells.
        check(&[Slice { records: 4, first_seq: 1, last_seq: 4, seq_sum: 9.0 }], 4, false);
    }

    #[test]
    fn a_sequence_names_holes_doubles_and_what_lies_past_its_end() {
        let check = |until: u64, seqs: &[(u64, u64)], found: u64, holes: &[(u64, u64)], past: &[(u64, u64)]| {
            let mut sequence = Sequence::new(until);
            for &(seq, times) in seqs {
                sequence.take(seq, times);
            }
            let sequence = sequence.finish();
            assert_eq!(sequence.found, found, "{seqs:?}");
            assert_eq!(sequence.holes.spans, holes, "{seqs:?}");
            assert_eq!(sequence.past.spans, past, "{seqs:?}");
        };
        check(3, &[(1, 1), (2, 1), (3, 1)], 3, &[], &[]);
        check(3, &[], 0, &[(1, 3)], &[]);
        check(5, &[(2, 1), (4, 1)], 2, &[(1, 1), (3, 3), (5, 5)], &[]);
        check(2, &[(1, 1), (4, 1), (5, 1), (8, 1)], 1, &[(2, 2)], &[(4, 5), (8, 8)]);
        check(0, &[(1, 1)], 0, &[], &[(1, 1)]);
        check(0, &[], 0, &[], &[]);
        let mut sequence = Sequence::new(12);
        sequence.take_all(1, 3);
        sequence.take(5, 2);
        sequence.take(6, 3);
        sequence.take_all(9, 14);
        let sequence = sequence.finish();
        assert_eq!((sequence.found, sequence.holes.spans), (9, vec![(4, 4), (7, 8)]));
        assert_eq!((sequence.doubled.spans, sequence.past.spans), (vec![(5, 6)], vec![(13, 14)]));
    }

    #[test]
    fn of_very_many_spans_the_first_are_listed_and_all_are_counted() {
        let mut spans = Spans::default();
        for n in 0..SPANS_MAX as u64 + 5 {
            spans.push(n * 3 + 1, n * 3 + 1);
        }
        spans.push(spans.last + 1, spans.last + 10);
        assert_eq!((spans.spans.len(), spans.more_spans, spans.numbers), (SPANS_MAX, 5, SPANS_MAX as u64 + 15));
        spans.shorten(2);
        assert_eq!((spans.spans.len(), spans.more_spans), (2, SPANS_MAX as u64 + 3));
        let mut joined = Spans::default();
        joined.push(1, 2);
        joined.push(3, 3);
        joined.push(5, 4);
        assert_eq!((joined.spans, joined.numbers), (vec![(1, 3)], 3));
    }
}
