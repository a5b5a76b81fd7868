//! Keys: what stands in the raw tree and is no option.
//!
//! In:  the tree, all options, and what another daemon's keys ask for.
//! Out: a refusal or a warning for every key that no table has, and for what is to be a table and is none.
//!
//! What options hold is read by themselves (`definition`).

use super::centrifugo::Verdict;
use super::definition::{Field, Shape, is_unset, join, show, walk};
use super::problem::{Problem, Problems, nearest};
use serde_json::Value;

/// What is known of keys, whatever table they stand in.
struct Known<'k> {
    /// Every option.
    options: &'k [Field],
    /// What a key that is none of them is, by its path and its value.
    judge: fn(&str, &Value) -> Verdict,
}

/// True exactly when nothing is refused: every key of `tree` is one of `options`, or asks for nothing that matters here.
pub(super) fn check(
    tree: &Value,
    options: &[Field],
    judge: fn(&str, &Value) -> Verdict,
    problems: &mut Problems,
) -> bool {
    Known { options, judge }.check_table(tree, options, "", problems)
}

impl Known<'_> {
    /// Refuses what is not a table, and every key that no field has, there and in the tables within.
    fn check_table(&self, table: &Value, fields: &[Field], path: &str, problems: &mut Problems) -> bool {
        let Some(keys) = table.as_object() else {
            // It may be what one of these options is to hold, a secret among them.
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

    /// The tables that an option holds.
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

    /// A key that none of `fields` has.
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

    /// An option of another section that has exactly this name.
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
