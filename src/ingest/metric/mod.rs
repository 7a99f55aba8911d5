//! Metrics that the user makes out of records: which records count for which series, and the series. How they are shown is
//! another's affair.
//!
//! A record counts when it is made, once, however many parts it has, and before any rule that leaves it out: what is not
//! stored can still be counted. Its labels come out of its redacted columns. Counting is at least once, as reading is: lines
//! that are read again after a kill count again; nothing here is kept over a restart.
//!
//! Values of labels come from outside, so what they can make is bounded: [`SERIES_MAX`] series a metric, further ones count
//! together under the label [`OVERFLOW`]; and [`LABEL_MAX_BYTES`] a value.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::encode::Columns;
use super::{Ingest, lookup};
use crate::record::{Histogram, Rule};

#[cfg(test)]
mod tests;

/// Most series of one metric; what further combinations of labels would be counts in one series more.
pub const SERIES_MAX: usize = 1_000;

/// The label, with the value `true`, of that series.
pub const OVERFLOW: &str = "overflow";

/// Longest value of a label, in bytes; longer ones are cut between characters.
pub const LABEL_MAX_BYTES: usize = 128;

/// Behind each value of a label in a key: no byte of UTF-8.
const VALUE_END: u8 = 0xff;

/// What a family of series shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Counter,
    Gauge,
    /// Upper bounds, ascending.
    Histogram(Vec<f64>),
}

/// Series that have a name in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    pub name: String,
    pub help: String,
    pub kind: Kind,
    /// Names of labels, in the order in which they are shown.
    pub labels: Vec<String>,
}

/// What is done with a value. A histogram takes what is added as an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Add,
    Subtract,
    Set,
}

/// One `[[record.metric]]`: which records count, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Index of its family.
    pub family: usize,
    /// `None`: every record.
    pub when: Option<Rule>,
    pub op: Op,
    /// What [`lookup::value`] is to find; `None`: one.
    pub value: Option<String>,
    /// The same for each label of the family.
    pub labels: Vec<String>,
}

/// All metrics of a configuration; shared by all sources.
#[derive(Debug, Default)]
pub struct Metrics {
    definitions: Vec<Definition>,
    families: Vec<(Family, Mutex<Series>)>,
}

/// The series of a family, and what did not become one.
#[derive(Debug, Default)]
struct Series {
    /// By the values of the labels, each with [`VALUE_END`] behind it.
    by_labels: HashMap<Box<[u8]>, Figure>,
    overflow: Option<Figure>,
    skipped: Skipped,
}

/// Records that a definition was about and that changed nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// They have no such value.
    pub missing: u64,
    /// It is no finite number, or would make none of the figure, or less than nothing where a counter can only grow.
    pub unfit: u64,
}

/// The figure of one series.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    Number(f64),
    Histogram(Histogram),
}

/// A family as it is now.
#[derive(Debug)]
pub struct Shown<'a> {
    pub family: &'a Family,
    /// Values of the labels and the figure, in order.
    pub series: Vec<(Vec<String>, Figure)>,
    /// Of all that no series was left for.
    pub overflow: Option<Figure>,
    pub skipped: Skipped,
}

impl Metrics {
    /// Each definition's `family` is an index of `families`, and has a source for each of its labels.
    pub fn new(families: Vec<Family>, definitions: Vec<Definition>) -> Self {
        let families = families.into_iter().map(|family| {
            let mut series = Series::default();
            if family.labels.is_empty() {
                // Its one series is there from the start: nothing yet is a figure too.
                series.by_labels.insert(Box::default(), Figure::new(&family.kind));
            }
            (family, Mutex::new(series))
        });
        Metrics { definitions, families: families.collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.definitions.is_empty()
    }

    /// What the families have come to, by name.
    pub fn shown(&self) -> Vec<Shown<'_>> {
        let shown = self.families.iter().map(|(family, series)| {
            let (by_labels, overflow, skipped) = {
                let series = lock(series);
                let by_labels: Vec<(Box<[u8]>, Figure)> =
                    series.by_labels.iter().map(|(key, figure)| (key.clone(), figure.clone())).collect();
                (by_labels, series.overflow.clone(), series.skipped)
            };
            let series = by_labels.into_iter().map(|(key, figure)| (values(&key), figure));
            let mut series: Vec<(Vec<String>, Figure)> = series.collect();
            series.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            Shown { family, series, overflow, skipped }
        });
        let mut shown: Vec<Shown<'_>> = shown.collect();
        shown.sort_by(|a, b| a.family.name.cmp(&b.family.name));
        shown
    }

    /// Counts a record of which `value_of` gives what it holds. `key` is memory for the values of its labels.
    fn count<'v>(
        &self,
        matches: impl Fn(&Rule) -> bool,
        value_of: impl Fn(&str) -> Option<Cow<'v, [u8]>>,
        key: &mut Vec<u8>,
    ) {
        for definition in &self.definitions {
            if !definition.when.as_ref().is_none_or(&matches) {
                continue;
            }
            let Some((family, series)) = self.families.get(definition.family) else { continue };
            let number = match &definition.value {
                None => Ok(1.0),
                Some(name) => number(value_of(name), &family.kind),
            };
            key.clear();
            for name in &definition.labels {
                put_value(key, &value_of(name).unwrap_or_default());
            }
            let mut series = lock(series);
            match number {
                Ok(number) => series.count(family, definition.op, number, key),
                Err(Unfit::Missing) => series.skipped.missing += 1,
                Err(Unfit::NoNumber) => series.skipped.unfit += 1,
            }
        }
    }
}

/// A holder that panicked left whole figures.
fn lock(series: &Mutex<Series>) -> MutexGuard<'_, Series> {
    series.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a value changes nothing.
enum Unfit {
    Missing,
    NoNumber,
}

fn number(value: Option<Cow<'_, [u8]>>, kind: &Kind) -> Result<f64, Unfit> {
    let value = value.ok_or(Unfit::Missing)?;
    let text = std::str::from_utf8(&value).map_err(|_| Unfit::NoNumber)?;
    let number: f64 = text.trim().parse().map_err(|_| Unfit::NoNumber)?;
    let is_fit = number.is_finite() && (number >= 0.0 || *kind != Kind::Counter);
    is_fit.then_some(number).ok_or(Unfit::NoNumber)
}

/// Appends the value of a label as it is shown: text, not too long.
fn put_value(key: &mut Vec<u8>, value: &[u8]) {
    // A replaced byte has three.
    let text = String::from_utf8_lossy(value.get(..LABEL_MAX_BYTES).unwrap_or(value));
    let mut end = text.len().min(LABEL_MAX_BYTES);
    if value.len() > LABEL_MAX_BYTES {
        // A character that was cut in two is left out.
        end = end.min(text.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
    }
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    key.extend_from_slice(text.get(..end).unwrap_or_default().as_bytes());
    key.push(VALUE_END);
}

/// The values of the labels that a key is made of.
fn values(key: &[u8]) -> Vec<String> {
    let values = key.split_inclusive(|byte| *byte == VALUE_END);
    values
        .map(|value| String::from_utf8_lossy(value.strip_suffix(&[VALUE_END]).unwrap_or(value)).into_owned())
        .collect()
}

impl Series {
    fn count(&mut self, family: &Family, op: Op, number: f64, key: &[u8]) {
        let is_full = self.by_labels.len() >= SERIES_MAX;
        let figure = match self.by_labels.get_mut(key) {
            Some(figure) => figure,
            None if is_full => self.overflow.get_or_insert_with(|| Figure::new(&family.kind)),
            None => self.by_labels.entry(key.into()).or_insert_with(|| Figure::new(&family.kind)),
        };
        if !figure.take(&family.kind, op, number) {
            self.skipped.unfit += 1;
        }
    }
}

impl Figure {
    fn new(kind: &Kind) -> Self {
        match kind {
            Kind::Counter | Kind::Gauge => Figure::Number(0.0),
            Kind::Histogram(_) => Figure::Histogram(Histogram::default()),
        }
    }

    /// False where it would be no number any more: then it stays what it is.
    fn take(&mut self, kind: &Kind, op: Op, number: f64) -> bool {
        match (self, kind) {
            (Figure::Histogram(histogram), Kind::Histogram(bounds)) => histogram.observe(bounds, number),
            (Figure::Number(figure), _) => {
                let next = match op {
                    Op::Add => *figure + number,
                    Op::Subtract => *figure - number,
                    Op::Set => number,
                };
                if next.is_finite() {
                    *figure = next;
                }
                next.is_finite()
            }
            (Figure::Histogram(_), _) => false,
        }
    }
}

impl Ingest {
    /// Counts a record for the metrics that it is about.
    pub(super) fn count_metrics(&mut self, columns: &Columns<'_>) {
        let mut key = std::mem::take(&mut self.metric_key);
        let constants = &self.constants;
        let value = |name: &str| lookup::value(columns, constants, name);
        self.options.metrics.count(|rule: &Rule| rule.matches(value), value, &mut key);
        self.metric_key = key;
    }
}
