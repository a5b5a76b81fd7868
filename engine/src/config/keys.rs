//! Keys: finds the keys of the raw tree that are not options.
//!
//! In:  the tree, all options, and a judgment of other keys (`centrifugo`).
//! Out: an error or a warning for each unknown key, and an error for each value that must be a table and is not.
//!
//! The options read their own values (`definition`).

use super::centrifugo::Verdict;
use super::definition::{Field, Shape, is_unset, join, show, walk};
use super::problem::{Problem, Problems, nearest};
use serde_json::Value;

/// Knowledge about keys that holds in every table.
struct Known<'k> {
    /// All options.
    options: &'k [Field],
    /// Judges any other key by its path and its value.
    judge: fn(&str, &Value) -> Verdict,
}

/// Checks all keys of `tree`. True exactly when none is refused: each is one of `options`, or may be ignored.
pub(super) fn check(
    tree: &Value,
    options: &[Field],
    judge: fn(&str, &Value) -> Verdict,
    problems: &mut Problems,
) -> bool {
    Known { options, judge }.check_table(tree, options, "", problems)
}

impl Known<'_> {
    /// Checks the keys of a table and of its nested tables. Refuses a value that is not a table.
    fn check_table(&self, table: &Value, fields: &[Field], path: &str, problems: &mut Problems) -> bool {
        let Some(keys) = table.as_object() else {
            // A text here may be the value of one of these options, even a secret: do not show it.
            let found = if table.is_string() { "a text".to_owned() } else { show(table) };
            problems.refuse(path, format!("found {found}"), "a table of options");
            return false;
        };
        let mut known = true;
        for (key, value) in keys {
            let full = join(path, key);
            known &= match fields.iter().find(|field| field.key == key) {
                Some(field) => self.check_within(value, &field.about.shape, &full, problems),
                None => self.check_stranger(value, fields, path, key, problems),
            };
        }
        known
    }

    /// Checks the tables in the value of an option.
    fn check_within(&self, value: &Value, shape: &Shape, path: &str, problems: &mut Problems) -> bool {
        match shape {
            Shape::Section { fields, .. } if !is_unset(value) => {
                self.check_table(value, fields, path, problems)
            }
            Shape::Tables(fields) => {
                let items = value.as_array().into_iter().flatten().enumerate();
                items.fold(true, |known, (i, item)| {
                    self.check_table(item, fields, &format!("{path}[{i}]"), problems) && known
                })
            }
            _ => true,
        }
    }

    /// Handles a key that is not one of `fields`.
    fn check_stranger(
        &self,
        value: &Value,
        fields: &[Field],
        path: &str,
        key: &str,
        problems: &mut Problems,
    ) -> bool {
        let full = join(path, key);
        match (self.judge)(&full, value) {
            Verdict::Dormant => return true,
            Verdict::Section => return self.check_table(value, &[], &full, problems),
            Verdict::Unsupported(advice) => {
                let found = format!("Holdfast does not have this option of Centrifugo v6; {advice}");
                problems.refuse(&full, found, "");
                return false;
            }
            Verdict::PassedOver(why) => {
                problems.pass_over(&full, "changes nothing here", why);
                return true;
            }
            Verdict::Unknown => {}
        }
        let names = || fields.iter().map(|field| field.key);
        let did_you_mean = nearest(key, names()).map(|name| join(path, name)).or_else(|| self.elsewhere(key));
        let problem = Problem {
            origin: problems.origin(&full),
            key: full,
            found: "no such option".into(),
            allowed: names().collect::<Vec<_>>().join(", "),
            did_you_mean,
        };
        problems.unknown(problem)
    }

    /// The path of the first option with exactly this name in any section.
    fn elsewhere(&self, key: &str) -> Option<String> {
        let mut found = None;
        walk(self.options, "", &mut |path, field| {
            if field.key == key && found.is_none() {
                found = Some(path.to_owned());
            }
        });
        found
    }
}
