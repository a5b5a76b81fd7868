//! Problem: all errors of a configuration, reported together.
//!
//! In:  the full path of a key, the origin of its value, what was found, and what is allowed.
//! Out: the error text for the operator.
//!
//! The text never contains the value of a secret.

use clap::ValueEnum;
use std::collections::BTreeMap;
use std::fmt;

/// How to treat keys and variables that are not options.
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
    /// The default: no source set it.
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

/// One error in the configuration. The operator must fix it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Full path, such as `client.ping_interval`; empty if the whole source cannot be read.
    pub key: String,
    /// The source of the value.
    pub origin: Origin,
    /// The error: what was found.
    pub found: String,
    /// The allowed values, in words; may be empty.
    pub allowed: String,
    /// The most similar valid name.
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

/// One setting that is valid but probably not intended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    /// The option's full path, or the name of a variable.
    pub key: String,
    /// The finding and its consequence.
    pub found: String,
    /// How to fix it.
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

/// All problems of one configuration; never empty when returned as an error.
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

    /// Hides the found value in all problems from index `first` on, because it is a secret.
    pub(super) fn hide_since(&mut self, first: usize) {
        for problem in &mut self.list[first..] {
            problem.found = "found a value that is not shown, because it is a secret".into();
        }
    }

    /// Adds a problem: the value at `key` is not allowed.
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

    /// Reports a key or a variable that is not an option. True exactly when that is only a warning.
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

    /// Adds a warning: the setting at `key` is ignored.
    pub(super) fn pass_over(&mut self, key: &str, found: &str, advice: &str) {
        let warning = Warning { key: key.to_owned(), found: found.into(), advice: advice.into() };
        self.passed_over.push(warning);
    }

    /// Takes the warnings about ignored keys and variables.
    pub(super) fn take_passed_over(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.passed_over)
    }

    /// The variable or flag that set `key` or a table around it. If there is none: the file, or the default without a
    /// file.
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

/// The candidate that is most similar to `name`, if any is similar enough to be a typo.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|c| (strsim::damerau_levenshtein(name, c), c))
        .filter(|(distance, c)| *distance <= (c.len().max(name.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}
