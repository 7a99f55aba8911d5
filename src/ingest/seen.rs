//! What was seen of one group of lines and what became of it: noted in passing, in a few bytes, and summed up for each
//! source, for whoever wants to know why. Nothing is decided here.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Ingest;
use super::parse::format::Format;

/// Most formats of one group, one within the other: what wraps it, its head, what follows that, a traceback.
const FORMATS_MAX: usize = 4;

/// What became of a group of lines. `rule`: index in its list of the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It is a record, or several.
    #[default]
    Recorded,
    /// A rule of `record.drop` left it out.
    Dropped { rule: usize },
    /// A rule of `record.sample` left it out.
    Sampled { rule: usize },
    /// The rate limit of its source left it out.
    Limited,
}

/// What the last group was taken for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    formats: [Format; FORMATS_MAX],
    count: u8,
    pub outcome: Outcome,
}

impl Seen {
    /// From the outermost to the innermost; one that is not known by name is [`Format::Plain`].
    pub fn formats(&self) -> &[Format] {
        self.formats.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// The one that its lines are counted under: the innermost, a traceback aside where there is another.
    pub fn format(&self) -> Format {
        let parsed = self.formats().iter().rev().find(|format| **format != Format::Traceback);
        parsed.or(self.formats().last()).copied().unwrap_or_default()
    }

    /// With these.
    #[cfg(test)]
    pub(crate) fn of(formats: &[Format], outcome: Outcome) -> Self {
        let mut seen = Seen { outcome, ..Seen::default() };
        formats.iter().for_each(|format| seen.note(*format));
        seen
    }

    pub(super) fn note(&mut self, format: Format) {
        if let Some(place) = self.formats.get_mut(usize::from(self.count)) {
            *place = format;
            self.count += 1;
        }
    }
}

/// Lines of one stream by format, since its last section.
pub(super) type Lines = [u64; Format::ALL.len()];

/// Lines of one source by what they were taken for, since the process started. Written once a section.
#[derive(Debug)]
pub struct Formats(Vec<AtomicU64>);

impl Default for Formats {
    fn default() -> Self {
        Formats(Format::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }
}

impl Formats {
    /// Formats that were seen, and their lines.
    pub fn counts(&self) -> Vec<(Format, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        Format::ALL.iter().copied().zip(counts).filter(|(_, count)| *count > 0).collect()
    }
}

impl Ingest {
    /// Counts the lines of the group that was taken.
    pub(super) fn count_format(&mut self, lines: u32) {
        if let Some(count) = self.format_lines.get_mut(self.seen.format() as usize) {
            *count += u64::from(lines);
        }
    }

    /// Adds what was counted to the figures of the source.
    pub(super) fn sum_formats(&mut self) {
        for (lines, sum) in self.format_lines.iter_mut().zip(&self.options.formats.0) {
            if *lines > 0 {
                sum.fetch_add(std::mem::take(lines), Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_stand_in_their_order_and_are_bounded() {
        let mut seen = Seen::default();
        assert_eq!((seen.formats(), seen.outcome), (&[][..], Outcome::Recorded));
        for format in [Format::Cri, Format::Klog, Format::Json, Format::Traceback, Format::Head] {
            seen.note(format);
        }
        assert_eq!(seen.formats(), [Format::Cri, Format::Klog, Format::Json, Format::Traceback]);
    }

    #[test]
    fn lines_count_under_the_innermost_format() {
        let check =
            |formats: &[Format], expected: Format| assert_eq!(Seen::of(formats, Outcome::Recorded).format(), expected);
        check(&[], Format::Plain);
        check(&[Format::Cri, Format::Plain], Format::Plain);
        check(&[Format::PythonDashed, Format::Traceback], Format::PythonDashed);
        check(&[Format::Traceback], Format::Traceback);
        check(&[Format::Syslog, Format::Json], Format::Json);
    }
}
