//! Load: turns all sources into one validated configuration.
//!
//! In:  a file, environment variables, flags, the CPUs of this process.
//! Out: a `Config` with the origins of its values, or all errors.

use super::centrifugo;
use super::check;
use super::checked::Config;
use super::cores::usable_cpus;
use super::definition::Section;
use super::keys;
use super::options::Options;
use super::problem::{Problems, Warning};
use super::reference;
use super::source::{Flags, Sources};
use super::warning;
use serde_json::Value;
use std::ffi::OsString;
use std::path::Path;

impl Config {
    /// Merges all sources and validates the result.
    ///
    /// # Errors
    /// All errors in all sources.
    pub(crate) fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &Flags,
    ) -> Result<Self, Problems> {
        Loaded::read(file, environment, flags, &usable_cpus()).map(|loaded| loaded.config)
    }

    /// Settings that are valid but probably not intended: for the log at the start, `config check` and the doctor.
    pub(crate) fn warnings(&self) -> Vec<Warning> {
        warning::collect(self)
    }
}

impl Default for Config {
    /// The default configuration on the CPUs of this process.
    fn default() -> Self {
        Self::load(None, [], &Flags::default()).expect("invariant: every default is within its own range")
    }
}

/// A configuration together with its raw values and their origins, for `config check`.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The validated configuration.
    pub config: Config,
    tree: Value,
    origins: Problems,
}

impl Loaded {
    /// Merges all sources and validates the result, for a process that may run on `usable_cpus`.
    ///
    /// # Errors
    /// All errors in all sources.
    pub(crate) fn read(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &Flags,
        usable_cpus: &[usize],
    ) -> Result<Self, Problems> {
        let Sources { tree, mut problems, ignored_variables, unexpanded_secrets } =
            Sources::read(file, environment, flags);
        let is_known = keys::check(&tree, &Options::fields(), centrifugo::judge, &mut problems);
        let options = Options::read(&tree, "", &mut problems).filter(|_| is_known);
        let config = options.and_then(|options| check::check(options, usable_cpus, &mut problems));
        match config {
            Some(config) if problems.is_empty() => {
                let passed_over = problems.take_passed_over();
                let config = Config { ignored_variables, passed_over, unexpanded_secrets, ..config };
                Ok(Self { config, tree, origins: problems })
            }
            _ => Err(problems),
        }
    }

    /// The warnings and `more` as comments, then the values in effect: one option a line, with the origin of its value.
    pub(crate) fn in_force(&self, more: &[Warning]) -> String {
        let own = self.config.warnings();
        let warnings =
            own.iter().chain(more).map(|warning| reference::comment_of(&format!("warning: {warning}")));
        warnings.chain([reference::in_force(&self.tree, &self.origins)]).collect()
    }
}
