//! Metrics: the daemon's numbers, read as any scraper of OpenMetrics reads them.
//!
//! In:  the text of `/metrics`.
//! Out: samples by name and labels.
//!
//! The whole text is checked on the way: a line that is no comment and no sample fails the test.

/// One line: a name, its labels, a value.
#[derive(Debug, PartialEq)]
pub struct Sample {
    /// Its name, with the suffix that the kind of its family has.
    pub name: String,
    /// Its labels, in the order of the text.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    fn parse(line: &str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}')?),
            None => (series, ""),
        };
        let labels = labels.split(',').filter(|label| !label.is_empty()).map(|label| {
            let (key, value) = label.split_once('=')?;
            Some((key.to_owned(), value.strip_prefix('"')?.strip_suffix('"')?.to_owned()))
        });
        Some(Self {
            name: name.to_owned(),
            labels: labels.collect::<Option<_>>()?,
            value: value.parse().ok()?,
        })
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// All samples of one scrape.
#[derive(Debug)]
pub struct Metrics {
    /// In the order of the text.
    pub samples: Vec<Sample>,
}

impl Metrics {
    /// Reads the text of `/metrics`.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| Sample::parse(line).unwrap_or_else(|| panic!("no sample: {line:?}")));
        Self { samples: samples.collect() }
    }

    /// The samples of that name that have all these labels.
    pub fn select(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name && labels.iter().all(|&(key, value)| sample.label(key) == Some(value))
        })
    }

    /// The sum of a counter or a gauge of whole numbers. Panics where there is no such sample: a misspelled name would
    /// otherwise count as zero.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts, far below 2^53")]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        assert!(self.select(name, labels).next().is_some(), "there is no {name} with {labels:?}");
        self.select(name, labels).map(|sample| sample.value).sum::<f64>() as u64
    }
}
