//! Totals by source since the process started, for reports: the differences that committed sections made.

use std::collections::BTreeMap;

use crate::record::Counters;

/// Name of a source (column Source) to what its origins added.
pub type Sums = BTreeMap<String, Counters>;

/// Adds what lies between two states of one origin.
pub(super) fn add_difference(sums: &mut Sums, source: &str, before: &Counters, after: &Counters) {
    if !sums.contains_key(source) {
        sums.insert(source.to_owned(), Counters::default());
    }
    if let Some(sum) = sums.get_mut(source) {
        sum.add(&after.since(before));
    }
}
