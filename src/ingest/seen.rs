//! What was seen of one group of lines and what became of it: noted in passing, in a few bytes, for whoever wants to know
//! why. Nothing is decided here.

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
}
