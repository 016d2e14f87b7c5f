//! Median, 95th percentile and maximum of samples.

use serde::{Deserialize, Serialize};

/// One contender's figures, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Number of runs that count.
    pub runs: usize,
    /// Middle sample, or the mean of the two middle ones.
    pub median_ms: f64,
    /// Nearest-rank 95th percentile.
    pub p95_ms: f64,
    /// Worst sample.
    pub max_ms: f64,
    /// Time with two owners, summed over all runs.
    pub two_owners_ms: f64,
    /// Runs repeated because the judge stalled in them.
    pub repeated: usize,
    /// The samples in the order they were taken.
    pub samples: Vec<f64>,
}

impl Figures {
    /// The figures of these samples; all zero without any.
    #[must_use]
    pub fn of(samples: Vec<f64>, two_owners_ms: f64, repeated: usize) -> Self {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let median = match count {
            0 => 0.0,
            n if n % 2 == 1 => sorted[n / 2],
            n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        };
        let p95 = (count * 95)
            .div_ceil(100)
            .checked_sub(1)
            .map_or(0.0, |rank| sorted[rank]);
        let max = sorted.last().copied().unwrap_or(0.0);
        Self {
            runs: count,
            median_ms: median,
            p95_ms: p95,
            max_ms: max,
            two_owners_ms,
            repeated,
            samples,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::float_cmp,
        reason = "the values are copied or halved, not computed"
    )]
    fn median_and_percentile_are_those_of_the_sorted_samples() {
        let figures = Figures::of(vec![5.0, 1.0, 3.0], 0.0, 0);
        assert_eq!(
            (figures.median_ms, figures.p95_ms, figures.max_ms),
            (3.0, 5.0, 5.0)
        );
        assert_eq!(Figures::of(vec![4.0, 1.0, 2.0, 3.0], 0.0, 0).median_ms, 2.5);
        let many = (1..=100).map(f64::from).collect();
        assert_eq!(Figures::of(many, 0.0, 0).p95_ms, 95.0);
        assert_eq!(Figures::of(Vec::new(), 0.0, 0).max_ms, 0.0);
    }
}
