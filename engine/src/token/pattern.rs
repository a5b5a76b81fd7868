//! Pattern: the operator's regular expression for `aud` or `iss`.
//!
//! In:  its text.
//! Out: whether it matches anywhere in a claim, as in Go's `regexp`; `^` and `$` anchor it.
//!
//! Matching takes time linear in the claim's length: no claim can make it slow.

use std::str::FromStr;

use regex::Regex;

/// A regular expression; compared by its text.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// True exactly when some part of the text matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl FromStr for Pattern {
    type Err = regex::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Regex::new(text).map(Self)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}
