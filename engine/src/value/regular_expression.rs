//! Regular expression: the operator's regular expression for `aud` or `iss`.
//!
//! In:  its text.
//! Out: whether it matches anywhere in a claim, as in Go's `regexp`; `^` and `$` anchor it.
//!
//! Matching takes time linear in the claim's length: no claim can make it slow.

use std::str::FromStr;

use regex::Regex;

/// A regular expression; compared by its text.
#[derive(Debug, Clone)]
pub(crate) struct RegularExpression(Regex);

impl RegularExpression {
    /// True exactly when some part of the text matches.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl FromStr for RegularExpression {
    type Err = regex::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Regex::new(text).map(Self)
    }
}

impl PartialEq for RegularExpression {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_matches_any_part_of_a_text_unless_it_is_anchored() {
        let expression = |text: &str| text.parse::<RegularExpression>().unwrap();
        assert!(expression("app").is_match("my-app-1"));
        assert!(!expression("^app$").is_match("my-app-1") && expression("^app$").is_match("app"));
        assert!(expression("").is_match(""));
    }

    #[test]
    fn expressions_are_equal_where_their_texts_are() {
        let expression = |text: &str| text.parse::<RegularExpression>().unwrap();
        assert_eq!(expression("a|b"), expression("a|b"));
        assert_ne!(expression("a|b"), expression("b|a"));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in ["(", "[a", "*a"] {
            assert!(text.parse::<RegularExpression>().is_err(), "{text}");
        }
    }
}
