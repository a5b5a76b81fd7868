//! Problem: everything that is wrong with a configuration, in one go.
//!
//! In:  a key's full path, where its value came from, what was found, what is allowed.
//! Out: the text that an operator reads.
//!
//! No secret is ever repeated here: what a secret holds is shown as its type only.

use clap::ValueEnum;
use std::collections::BTreeMap;
use std::fmt;

/// What becomes of keys and variables that are no option.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum UnknownKeys {
    /// Report each as an error.
    #[default]
    Refuse,
    /// Print a warning for each.
    Warn,
}

/// Where a value came from: `file holdfast.toml`, `environment HOLDFAST_LOG_LEVEL`, `flag --listen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// No one set it.
    Default,
    /// The file named by `--config`.
    File(String),
    /// An environment variable.
    Environment(String),
    /// A command-line flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::File(name) => write!(f, "file {name}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One thing that is wrong, always the operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Full path, such as `client.ping_interval`; empty when the source as a whole cannot be read.
    pub key: String,
    /// Where the offending value was set.
    pub origin: Origin,
    /// What is wrong and what was found.
    pub found: String,
    /// What would be right; may be empty.
    pub allowed: String,
    /// The nearest right name.
    pub did_you_mean: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.origin, self.found)?,
            key => write!(f, "{key} ({}): {}", self.origin, self.found)?,
        }
        if !self.allowed.is_empty() {
            write!(f, "; allowed: {}", self.allowed)?;
        }
        if let Some(name) = &self.did_you_mean {
            write!(f, "; did you mean {name}?")?;
        }
        Ok(())
    }
}

/// One thing that is allowed, and likely not what the operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    /// The option's full path, or the name of a variable.
    pub key: String,
    /// What is so, and what may come of it.
    pub found: String,
    /// What would be better.
    pub advice: String,
}

impl Warning {
    pub(super) fn new(key: impl Into<String>, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { key: key.into(), found: found.into(), advice: advice.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.key, self.found, self.advice)
    }
}

/// All problems of one configuration; never empty when it is returned as an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    origins: BTreeMap<String, Origin>,
    file: Option<String>,
    unknown_keys: UnknownKeys,
    passed_over: Vec<Warning>,
}

impl Problems {
    pub(super) fn new(
        file: Option<String>,
        origins: BTreeMap<String, Origin>,
        unknown_keys: UnknownKeys,
    ) -> Self {
        Self { list: Vec::new(), origins, file, unknown_keys, passed_over: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Takes what was found out of every problem from the `first`th on: it was a secret.
    pub(super) fn hide_since(&mut self, first: usize) {
        for problem in &mut self.list[first..] {
            problem.found = "found a value that is not shown, because it is a secret".into();
        }
    }

    /// A value at `key` is not what its definition allows.
    pub(super) fn refuse(&mut self, key: &str, found: impl Into<String>, allowed: impl Into<String>) {
        let problem = Problem {
            key: key.to_owned(),
            origin: self.origin(key),
            found: found.into(),
            allowed: allowed.into(),
            did_you_mean: None,
        };
        self.list.push(problem);
    }

    pub(super) fn push(&mut self, problem: Problem) {
        self.list.push(problem);
    }

    /// A key or a variable that is no option. Answers whether that is well all the same.
    pub(super) fn unknown(&mut self, problem: Problem) -> bool {
        let is_well = self.unknown_keys == UnknownKeys::Warn;
        if is_well {
            let key = match &problem.origin {
                Origin::Environment(name) if problem.key.is_empty() => name.clone(),
                _ => problem.key,
            };
            let advice = match problem.did_you_mean {
                Some(name) => format!("did you mean {name}?"),
                None => "remove it".into(),
            };
            self.passed_over.push(Warning { key, found: "no such option: it is ignored".into(), advice });
        } else {
            self.list.push(problem);
        }
        is_well
    }

    /// A key that asks for something without a meaning here.
    pub(super) fn pass_over(&mut self, key: &str, found: &str, advice: &str) {
        let warning = Warning { key: key.to_owned(), found: found.into(), advice: advice.into() };
        self.passed_over.push(warning);
    }

    /// What was passed over so far.
    pub(super) fn take_passed_over(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.passed_over)
    }

    /// The layer that set `key`, or set a table that holds it; what no layer overrode is the file's.
    pub(super) fn origin(&self, key: &str) -> Origin {
        let within = |outer: &str| {
            key.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.origins
            .iter()
            .filter(|(path, _)| within(path))
            .max_by_key(|(path, _)| path.len())
            .map(|(_, origin)| origin.clone())
            .or_else(|| self.file.clone().map(Origin::File))
            .unwrap_or(Origin::Default)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.list.len() {
            1 => writeln!(f, "the configuration has 1 error:")?,
            n => writeln!(f, "the configuration has {n} errors:")?,
        }
        for (i, problem) in self.list.iter().enumerate() {
            write!(f, "{}  {problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The name among `candidates` that a hurried hand most likely meant by `name`.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|c| (strsim::damerau_levenshtein(name, c), c))
        .filter(|(distance, c)| *distance <= (c.len().max(name.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}
