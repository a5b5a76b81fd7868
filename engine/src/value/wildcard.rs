//! Wildcard: patterns with wildcards, for channels that a call means and for origins of pages.
//!
//! In:  a pattern; names.
//! Out: whether the whole name matches; whether any name of a kind does.
//!
//! | written | stands for |
//! |---|---|
//! | `*` | any text, or none |
//! | `?` | any one character |
//! | `[abc]`, `[a-z]` | one of these characters |
//! | `[!abc]`, `[!a-z]` | one other character |
//! | `{a,b}` | one of these patterns |
//! | `\x` | `x` itself |
//!
//! All alternatives are one machine with a bit for each character that is still to come (the shift-and method of
//! Baeza-Yates and Gonnet, 1992). So a character of a name costs the same, whatever it is and whatever came before:
//! at most [`STATES_MAX`] / 64 words. Worst case: 1 MiB for the table of a pattern.

use std::{collections::HashSet, hash::Hash, iter::Peekable, ops::RangeInclusive, str::Chars};

/// The longest pattern.
const PATTERN_BYTES_MAX: usize = 1024;

/// Characters of all alternatives together, written out, and one more for each.
const STATES_MAX: usize = 2048;

/// How deep alternatives may lie within each other.
const DEPTH_MAX: usize = 8;

/// Words of a row, at most.
const WORDS_MAX: usize = STATES_MAX.div_ceil(64);

/// Characters that have a row of their own in the table.
const ASCII: u32 = 128;

/// A pattern that is ready to be matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wildcard {
    /// Words of a row.
    words: usize,
    /// Where each row's characters begin, in order; the first 128 rows have one character each.
    begins: Vec<u32>,
    /// For each row, the states that one of its characters moves on.
    moves: Vec<u64>,
    /// The states that any character leaves as they are: before a `*` is over.
    stays: Vec<u64>,
    first: Vec<u64>,
    last: Vec<u64>,
}

/// One character of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
struct One {
    /// Any text may come before it.
    after_any: bool,
    is: Is,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Is {
    /// One of these ranges, or with `false` none of them.
    Of(Vec<RangeInclusive<char>>, bool),
    /// The end of the name.
    End,
}

/// Alternatives, without the `End`; and whether any text may come after the last character.
type Written = Vec<(Vec<One>, bool)>;

impl Wildcard {
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let all: Vec<One> = written(text)?
            .into_iter()
            .flat_map(|(ones, after_any)| ones.into_iter().chain([One { after_any, is: Is::End }]))
            .collect();
        Ok(Self::of(&all))
    }

    fn of(all: &[One]) -> Self {
        let words = all.len().div_ceil(64);
        let mut begins: Vec<u32> = (0..=ASCII).collect();
        for one in all {
            if let Is::Of(ranges, _) = &one.is {
                for range in ranges {
                    begins.extend([*range.start() as u32, *range.end() as u32 + 1]);
                }
            }
        }
        begins.sort_unstable();
        begins.dedup();
        let set = |row: &mut [u64], at: usize| row[at / 64] |= 1 << (at % 64);
        let (mut stays, mut first, mut last) = (vec![0; words], vec![0; words], vec![0; words]);
        let mut moves = vec![0; words * begins.len()];
        let mut begins_one = true;
        for (at, one) in all.iter().enumerate() {
            if one.after_any {
                set(&mut stays, at);
            }
            if begins_one {
                set(&mut first, at);
            }
            begins_one = one.is == Is::End;
            match &one.is {
                Is::End => set(&mut last, at),
                Is::Of(ranges, of_them) => {
                    for (row, &begin) in moves.chunks_exact_mut(words).zip(&begins) {
                        let is_in = |range: &RangeInclusive<char>| {
                            (*range.start() as u32..=*range.end() as u32).contains(&begin)
                        };
                        if ranges.iter().any(is_in) == *of_them {
                            set(row, at);
                        }
                    }
                }
            }
        }
        Self { words, begins, moves, stays, first, last }
    }

    /// True exactly when the whole name matches.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let mut space = [0; WORDS_MAX];
        let states = &mut space[..self.words];
        states.copy_from_slice(&self.first);
        for char in name.chars() {
            let char = char as u32;
            let row = match usize::try_from(char) {
                Ok(row) if char < ASCII => row,
                _ => self.begins.partition_point(|&begin| begin <= char) - 1,
            };
            let moves = &self.moves[row * self.words..][..self.words];
            let mut carry = 0;
            let mut any = 0;
            for ((state, moves), stays) in states.iter_mut().zip(moves).zip(&self.stays) {
                let moved = *state & moves;
                *state = (*state & stays) | (moved << 1) | carry;
                carry = moved >> 63;
                any |= *state;
            }
            if any == 0 {
                return false;
            }
        }
        states.iter().zip(&self.last).any(|(state, last)| state & last != 0)
    }

    /// True exactly when it matches some ASCII text of a kind: one that `step` leads from `start` to where `is_end`
    /// holds. Worst case: 128 steps for each pair of a place there and a character here.
    pub(crate) fn matches_some<S: Copy + Eq + Hash>(
        &self,
        start: S,
        step: impl Fn(S, char) -> Option<S>,
        is_end: impl Fn(S) -> bool,
    ) -> bool {
        let has = |row: &[u64], at: usize| row[at / 64] & (1 << (at % 64)) != 0;
        let mut open: Vec<(S, usize)> =
            (0..self.words * 64).filter(|&at| has(&self.first, at)).map(|at| (start, at)).collect();
        let mut seen: HashSet<(S, usize)> = open.iter().copied().collect();
        while let Some((place, at)) = open.pop() {
            if has(&self.last, at) && is_end(place) {
                return true;
            }
            for (char, moves) in ('\0'..='\x7f').zip(self.moves.chunks_exact(self.words)) {
                let Some(next) = step(place, char) else { continue };
                let stayed = has(&self.stays, at).then_some(at);
                let moved = has(moves, at).then_some(at + 1);
                let new = stayed.into_iter().chain(moved).map(|at| (next, at));
                open.extend(new.filter(|pair| seen.insert(*pair)));
            }
        }
        false
    }
}

/// The alternatives, written out, each as a pattern and with a `*` for whatever may stand in a place where more than a few
/// characters may.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn alternatives(text: &str) -> Result<Vec<(Wildcard, String)>, String> {
    let alone = |(mut ones, after_any): (Vec<One>, bool)| {
        let outline = outline(&ones, after_any);
        ones.push(One { after_any, is: Is::End });
        (Wildcard::of(&ones), outline)
    };
    Ok(written(text)?.into_iter().map(alone).collect())
}

fn outline(ones: &[One], any_after: bool) -> String {
    let mut outline = String::new();
    for One { after_any, is } in ones {
        if *after_any {
            outline.push('*');
        }
        outline.push(match is {
            Is::Of(ranges, true) if ranges.iter().all(|range| range.start() == range.end()) => {
                *ranges[0].start()
            }
            _ => '*',
        });
    }
    if any_after {
        outline.push('*');
    }
    outline
}

fn written(text: &str) -> Result<Written, String> {
    if text.len() > PATTERN_BYTES_MAX {
        return Err(format!("pattern has {} bytes; the maximum is {PATTERN_BYTES_MAX}", text.len()));
    }
    sequence(&mut text.chars().peekable(), 0)
}

/// Reads up to the end, or within braces up to a `,` or `}`, which is left.
fn sequence(chars: &mut Peekable<Chars<'_>>, depth: usize) -> Result<Written, String> {
    let mut all: Written = vec![(Vec::new(), false)];
    while let Some(&char) = chars.peek() {
        if depth > 0 && matches!(char, ',' | '}') {
            break;
        }
        chars.next();
        let is = match char {
            '*' => {
                all.iter_mut().for_each(|(_, after_any)| *after_any = true);
                continue;
            }
            '{' => {
                all = join(&all, &braces(chars, depth + 1)?)?;
                continue;
            }
            '?' => Is::Of(Vec::new(), false),
            '[' => class(chars)?,
            '\\' => {
                let char = chars.next().ok_or("pattern ends with a single \\")?;
                Is::Of(vec![char..=char], true)
            }
            char => Is::Of(vec![char..=char], true),
        };
        for (ones, after_any) in &mut all {
            ones.push(One { after_any: std::mem::take(after_any), is: is.clone() });
        }
        bounded(&all)?;
    }
    Ok(all)
}

fn braces(chars: &mut Peekable<Chars<'_>>, depth: usize) -> Result<Written, String> {
    if depth > DEPTH_MAX {
        return Err(format!("pattern nests alternatives {depth} deep; the maximum is {DEPTH_MAX}"));
    }
    let mut all = Vec::new();
    loop {
        all.extend(sequence(chars, depth)?);
        bounded(&all)?;
        match chars.next() {
            Some(',') => {}
            Some(_) => return Ok(all),
            None => return Err("pattern has a { without a }".into()),
        }
    }
}

/// Every one of the first before every one of the second.
fn join(first: &Written, second: &Written) -> Result<Written, String> {
    let mut all = Vec::new();
    for (begin, any_between) in first {
        for (end, any_after) in second {
            let mut ones = begin.clone();
            let mut end = end.clone();
            let any_after = match end.first_mut() {
                Some(one) => {
                    one.after_any |= any_between;
                    *any_after
                }
                None => *any_after || *any_between,
            };
            ones.append(&mut end);
            all.push((ones, any_after));
            bounded(&all)?;
        }
    }
    Ok(all)
}

fn bounded(all: &Written) -> Result<(), String> {
    let states: usize = all.iter().map(|(ones, _)| ones.len() + 1).sum();
    if states > STATES_MAX {
        return Err(format!("pattern has alternatives of more than {STATES_MAX} characters, written out"));
    }
    Ok(())
}

/// After the `[`.
fn class(chars: &mut Peekable<Chars<'_>>) -> Result<Is, String> {
    let of_them = chars.next_if_eq(&'!').is_none();
    let mut ranges = Vec::new();
    let literal = |chars: &mut Peekable<Chars<'_>>| match chars.next() {
        Some('\\') => chars.next().ok_or("pattern has a [ without a ]"),
        Some(char) => Ok(char),
        None => Err("pattern has a [ without a ]"),
    };
    while chars.next_if_eq(&']').is_none() {
        let low = literal(chars)?;
        let high = if chars.next_if_eq(&'-').is_none() {
            low
        } else if chars.peek() == Some(&']') {
            ranges.push('-'..='-');
            low
        } else {
            literal(chars)?
        };
        if low > high {
            return Err(format!("pattern has the range {low}-{high}, which ends before it begins"));
        }
        ranges.push(low..=high);
    }
    if ranges.is_empty() {
        return Err("pattern has a [ ] with nothing in it".into());
    }
    Ok(Is::Of(ranges, of_them))
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
    use regex::Regex;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Wildcard::new(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}")).matches(name)
    }

    #[test]
    fn a_pattern_is_about_the_whole_name() {
        for (pattern, name, expected) in [
            ("chat:*", "chat:1", true),
            ("chat:*", "chat:", true),
            ("chat:*", "my-chat:1", false),
            ("room-?", "room-1", true),
            ("room-?", "room-12", false),
            ("a.b", "axb", false),
            ("a*c", "abbbc", true),
            ("", "", true),
            ("*", "", true),
            ("**", "any", true),
            ("?", "é", true),
            ("?", "", false),
            ("*\u{1f600}", "smile \u{1f600}", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn classes_and_alternatives_are_those_of_centrifugo() {
        for (pattern, name, expected) in [
            ("room-[0-9]", "room-7", true),
            ("room-[0-9]", "room-x", false),
            ("room-[!0-9]", "room-x", true),
            ("room-[!0-9]", "room-7", false),
            ("[abc]x", "bx", true),
            ("[а-я]", "ж", true),
            ("[!а-я]", "z", true),
            ("[a-]", "-", true),
            ("[\\]]", "]", true),
            ("{chat,news}:*", "news:1", true),
            ("{chat,news}:*", "old:1", false),
            ("x{,-[0-9]}", "x", true),
            ("x{,-[0-9]}", "x-1", true),
            ("*{a,b*}", "xxbyy", true),
            ("*{a,b*}", "xxay", false),
            ("{a,{b,c}d}e", "cde", true),
            ("a,b}", "a,b}", true),
            ("\\*\\{", "*{", true),
            ("\\*", "x", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_cannot_be_matched_at_a_bounded_cost_is_refused_with_the_reason() {
        let (long, many) = ("a".repeat(PATTERN_BYTES_MAX + 1), "{a,b}".repeat(20));
        let deep = format!("{}{}", "{".repeat(9), "}".repeat(9));
        for (pattern, part) in [
            (long.as_str(), "has 1025 bytes"),
            (many.as_str(), "more than 2048 characters"),
            (deep.as_str(), "9 deep"),
            ("{a,b", "without a }"),
            ("[a", "without a ]"),
            ("[]", "nothing in it"),
            ("[z-a]", "z-a"),
            ("a\\", "ends with a single"),
        ] {
            let why = Wildcard::new(pattern).expect_err(part);
            assert!(why.contains(part), "{pattern}: {why}");
        }
    }

    #[test]
    fn a_pattern_is_compared_with_all_texts_of_a_kind() {
        // Texts of the kind `ab`, `aabb`, …: an `a` or more, then a `b` or more.
        let step = |place: u8, char| match (place, char) {
            (0 | 1, 'a') => Some(1),
            (1 | 2, 'b') => Some(2),
            _ => None,
        };
        for (pattern, expected) in [
            ("*", true),
            ("ab", true),
            ("a", false),
            ("b*", false),
            ("{x,a?}b", true),
            ("a[!b]", false),
            ("*ba*", false),
            ("", false),
        ] {
            let pattern_read = Wildcard::new(pattern).expect("a pattern");
            assert_eq!(pattern_read.matches_some(0, step, |place| place == 2), expected, "{pattern}");
        }
    }

    #[test]
    fn alternatives_are_outlined_with_stars_where_many_characters_may_stand() {
        let outlines = |text| alternatives(text).expect("a pattern").into_iter().map(|(_, outline)| outline);
        assert!(outlines("{a,b*}.[cd]?").eq(["a.c*", "b*.c*"]));
        assert!(outlines("[a-z][!x]*").eq(["***"]));
        let each = alternatives("{a,b*}c").expect("a pattern");
        assert!(each[0].0.matches("ac") && !each[0].0.matches("bc") && each[1].0.matches("bac"));
        assert!(alternatives("{").is_err());
    }

    /// The same as a regular expression, by other means.
    fn regex(pattern: &str) -> Regex {
        let mut out = String::from("(?s)^(?:");
        let mut depth = 0;
        for char in pattern.chars() {
            match char {
                '*' => out.push_str(".*"),
                '?' => out.push('.'),
                '{' => (depth, out) = (depth + 1, out + "(?:"),
                '}' if depth > 0 => (depth, out) = (depth - 1, out + ")"),
                ',' if depth > 0 => out.push('|'),
                char => out.push_str(&regex::escape(&char.to_string())),
            }
        }
        Regex::new(&(out + ")$")).expect("a pattern")
    }

    #[test]
    fn any_pattern_matches_as_a_regular_expression_does() {
        let seed = rand::random();
        println!("seed {seed}");
        let mut random = SmallRng::seed_from_u64(seed);
        for _ in 0..2_000 {
            let mut depth = 0;
            let mut pattern = String::new();
            for _ in 0..random.random_range(0..24) {
                let char = ['a', 'b', 'é', '*', '?', '{', '}', ','][random.random_range(0..8)];
                match char {
                    '{' if depth == 3 => continue,
                    '{' => depth += 1,
                    '}' if depth == 0 => continue,
                    '}' => depth -= 1,
                    _ => {}
                }
                pattern.push(char);
            }
            pattern.push_str(&"}".repeat(depth));
            let Ok(ours) = Wildcard::new(&pattern) else { continue };
            let theirs = regex(&pattern);
            for _ in 0..20 {
                let chars =
                    (0..random.random_range(0..12)).map(|_| ['a', 'b', 'é', ','][random.random_range(0..4)]);
                let name: String = chars.collect();
                assert_eq!(ours.matches(&name), theirs.is_match(&name), "{pattern:?} {name:?}");
            }
        }
    }
}
