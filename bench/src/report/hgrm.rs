//! Hgrm: latencies in HdrHistogram's text format.
//!
//! In:  a histogram of nanoseconds.
//! Out: its percentile distribution in milliseconds, as HdrHistogram's plotter and other tools read it.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use crate::units::real;

/// How finely the tail is told: so many lines for each halving of what is left. HdrHistogram's own default.
const LINES_PER_HALVING: u32 = 5;
const NS_PER_MS: f64 = 1e6;

/// The distribution as text.
pub fn render(histogram: &Histogram<u64>) -> String {
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    for step in histogram.iter_quantiles(LINES_PER_HALVING) {
        let quantile = step.quantile_iterated_to();
        let value = real(step.value_iterated_to()) / NS_PER_MS;
        let count = histogram.count_between(0, step.value_iterated_to());
        let rest = if quantile < 1.0 {
            format!("{:14.2}", 1.0 / (1.0 - quantile))
        } else {
            format!("{:>14}", "inf")
        };
        let _ = writeln!(text, "{value:12.6} {quantile:14.12} {count:10} {rest}");
    }
    let _ = writeln!(
        text,
        "#[Mean    = {:12.6}, StdDeviation   = {:12.6}]\n#[Max     = {:12.6}, Total count    = {:12}]\n\
         #[Buckets = {:12}, SubBuckets     = {:12}]",
        histogram.mean() / NS_PER_MS,
        histogram.stdev() / NS_PER_MS,
        real(histogram.max()) / NS_PER_MS,
        histogram.len(),
        histogram.buckets(),
        2048
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn every_line_has_the_four_columns_that_plotters_read() {
        let text = render(&sample::latencies());
        let mut lines = text.lines();
        let heads: Vec<_> = lines.next().expect("a head").split_whitespace().collect();
        assert_eq!(heads, ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
        let rows: Vec<Vec<&str>> = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert!(rows.len() > 20 && rows.iter().all(|row| row.len() == 4));
        let last = rows.last().expect("rows");
        assert_eq!((last[1], last[2], last[3]), ("1.000000000000", "99999", "inf"));
        let counts: Vec<u64> = rows.iter().map(|row| row[2].parse().expect("a count")).collect();
        assert!(counts.is_sorted());
    }
}
