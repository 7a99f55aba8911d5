//! Observations counted by how large they are, as Prometheus has them. It knows no clock and no name.

/// Upper bounds for times in seconds, where nobody gives others: from an index nearby to an answer of a language model.
pub const SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// Observations of one series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Observations by the first bound that they are not above; one more for those above all. Empty before the first one.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// Counts a finite value; false where the sum would be none any more. `bounds` ascend and are the same for all
    /// observations.
    pub fn observe(&mut self, bounds: &[f64], value: f64) -> bool {
        let sum = self.sum + value;
        if !sum.is_finite() {
            return false;
        }
        self.counts.resize(bounds.len() + 1, 0);
        let at = bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum = sum;
        true
    }

    /// Each bound with the number of observations that are not above it, and that of all at the end, under infinity.
    pub fn cumulative<'a>(&'a self, bounds: &'a [f64]) -> impl Iterator<Item = (f64, u64)> + 'a {
        let mut below = 0;
        let counts = self.counts.iter().copied().chain(std::iter::repeat(0));
        bounds.iter().copied().chain([f64::INFINITY]).zip(counts).map(move |(bound, count)| {
            below += count;
            (bound, below)
        })
    }

    /// Of all observations together.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_counts_for_every_bound_that_it_is_not_above() {
        let bounds = [1.0, 2.5];
        let mut histogram = Histogram::default();
        let check = |histogram: &Histogram, expected: [u64; 3], sum: f64| {
            let found: Vec<(f64, u64)> = histogram.cumulative(&bounds).collect();
            assert_eq!(found, [(1.0, expected[0]), (2.5, expected[1]), (f64::INFINITY, expected[2])]);
            assert_eq!((histogram.count(), histogram.sum()), (expected[2], sum));
        };
        check(&histogram, [0, 0, 0], 0.0);
        for value in [-1.0, 1.0, 1.5, 2.5, 100.0] {
            assert!(histogram.observe(&bounds, value));
        }
        check(&histogram, [2, 4, 5], 104.0);
        assert!(histogram.observe(&bounds, f64::MAX) && !histogram.observe(&bounds, f64::MAX));
        assert_eq!((histogram.count(), histogram.sum()), (6, f64::MAX));
    }

    #[test]
    fn bounds_ascend() {
        assert!(SECONDS.is_sorted_by(|a, b| a < b));
    }
}
