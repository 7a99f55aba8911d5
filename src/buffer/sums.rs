//! Totals: by source since the process started, for reports, from the differences that committed sections made; and of the
//! origins of a run that have retired.

use std::collections::BTreeMap;

use super::format::RetiredSum;
use super::writer::Live;
use crate::record::{Constants, Counters};

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

/// Adds an origin's counters to the sums of its run.
pub(super) fn add_retired(retired: &mut Vec<RetiredSum>, live: &Live, dead_lettered: &[u64], evicted: &[u64]) {
    let constants = Constants::from_members(&live.info.constants);
    let run_id = constants.run_id();
    if !retired.iter().any(|sum| sum.run_id == run_id) {
        retired.push(RetiredSum { run_id: run_id.to_owned(), ..RetiredSum::default() });
    }
    if let Some(sum) = retired.iter_mut().find(|sum| sum.run_id == run_id) {
        sum.origins += 1;
        sum.counters.add(&live.counters);
        for (all, of_one) in [(&mut sum.dead_lettered, dead_lettered), (&mut sum.evicted, evicted)] {
            if all.len() < of_one.len() {
                all.resize(of_one.len(), 0);
            }
            for (all, one) in all.iter_mut().zip(of_one) {
                *all += one;
            }
        }
        for removed in &live.removed {
            removed.clone().add_to(&mut sum.removed);
        }
    }
}
