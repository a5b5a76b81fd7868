//! Marks: what happened while a load ran, as whoever made it happen wrote it down.
//!
//! In:  a file of lines, each a time in seconds since 1970 and words; when the run began.
//! Out: the same on the run's own time.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// Further lines are left out: a plot with more says nothing.
const MARKS_MAX: usize = 32;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mark {
    /// Seconds since the first connection.
    pub at_s: f64,
    /// In words.
    pub what: String,
}

/// Reads the file.
///
/// # Errors
/// A sentence for the operator: it cannot be read, or has another kind of line.
pub fn read(path: &Path, began: SystemTime) -> Result<Vec<Mark>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("--marks: cannot read {}: {error}", path.display()))?;
    parse(&text, began).map_err(|line| {
        format!("--marks: {}: a line is a time in seconds since 1970 and words, not {line:?}", path.display())
    })
}

fn parse(text: &str, began: SystemTime) -> Result<Vec<Mark>, String> {
    let began_s = began.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let mark = |line: &str| {
        let (at, what) = line.trim().split_once(' ')?;
        let at_s: f64 = at.parse().ok().filter(|at: &f64| at.is_finite())?;
        Some(Mark { at_s: at_s - began_s, what: what.trim().to_owned() })
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty()).take(MARKS_MAX);
    lines.map(|line| mark(line).ok_or_else(|| line.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_mark_is_on_the_runs_own_time() {
        let began = UNIX_EPOCH + Duration::from_secs(1_000);
        let marks = parse("1002.5 a node is killed\n\n  1010 it is back \n", began).expect("well-formed");
        let expected = [(2.5, "a node is killed"), (10.0, "it is back")];
        assert_eq!(marks, expected.map(|(at_s, what)| Mark { at_s, what: what.to_owned() }));
    }

    #[test]
    fn another_kind_of_line_is_named() {
        for line in ["soon a node is killed", "1002", "NaN what"] {
            assert_eq!(parse(line, UNIX_EPOCH), Err(line.to_owned()));
        }
    }
}
