//! Imports: which file of `engine/src` uses which.
//!
//! In:  the sources, read as tokens; tests, which may use everything, left out.
//! Out: for each file the files that it names, where a re-export counts as what it stands for; and the folders.
//!
//! This is no compiler: a path is `crate::`, `self::`, `super::` or a module of the same file, followed by names.
//! Methods that one file defines and another calls are not seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crate::tree;

/// How many re-exports stand between a name and what it names, at most.
const REEXPORTS_MAX: usize = 8;

/// One path of a file.
#[derive(Debug)]
struct Named {
    /// From the crate's root.
    path: Vec<String>,
    /// What the file calls it.
    name: String,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    InLine,
    Used,
    PassedOn,
}

#[derive(Debug)]
struct Source {
    module: Vec<String>,
    names: Vec<Named>,
}

/// All files of `engine/src` with what they name.
#[derive(Debug)]
pub(crate) struct Imports {
    sources: BTreeMap<String, Source>,
    by_module: BTreeMap<Vec<String>, String>,
}

impl Imports {
    pub(crate) fn read() -> Self {
        let mut sources = BTreeMap::new();
        let files = tree::sources("engine/src").into_iter().map(|(path, text)| {
            (path.strip_prefix("engine/src/").expect("it is below that").to_owned(), text)
        });
        let files: Vec<_> = files.filter(|(path, _)| path != "main.rs" && path != "lib.rs").collect();
        let tests: BTreeSet<_> =
            files.iter().flat_map(|(path, text)| test_modules(&module_of(path), text)).collect();
        for (path, text) in files {
            let module = module_of(&path);
            if !(1..=module.len()).any(|length| tests.contains(&module[..length])) {
                let names = names(&tokens(without_tests(&text)), &module);
                sources.insert(path, Source { module, names });
            }
        }
        let by_module = sources.iter().map(|(path, source)| (source.module.clone(), path.clone())).collect();
        Self { sources, by_module }
    }

    /// Each folder, or file beside the folders, with those that it uses.
    pub(crate) fn folders(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut folders = BTreeMap::<_, BTreeSet<_>>::new();
        for source in self.sources.values() {
            let own = &source.module[0];
            let uses = folders.entry(own.clone()).or_default();
            let used = source.names.iter().filter_map(|named| named.path.first()).filter(|used| *used != own);
            uses.extend(used.filter(|used| self.by_module.keys().any(|of| of[0] == **used)).cloned());
        }
        folders
    }

    /// The files that use themselves, by way of others.
    pub(crate) fn circles(&self) -> BTreeSet<String> {
        let uses: BTreeMap<&str, BTreeSet<&str>> =
            self.sources.iter().map(|(path, source)| (path.as_str(), self.uses(path, source))).collect();
        let is_in_one = |path: &&str| {
            let mut seen = BTreeSet::new();
            let mut open: Vec<&str> = uses[path].iter().copied().collect();
            while let Some(next) = open.pop() {
                if seen.insert(next) {
                    open.extend(&uses[next]);
                }
            }
            seen.contains(path)
        };
        uses.keys().filter(|path| is_in_one(path)).map(|path| (*path).to_owned()).collect()
    }

    /// Whom a file uses among those that a circle goes through, for the message.
    pub(crate) fn uses_among(&self, path: &str, among: &BTreeSet<String>) -> Vec<&str> {
        let uses = self.uses(path, &self.sources[path]);
        uses.into_iter().filter(|used| among.contains(*used)).collect()
    }

    fn uses<'s>(&'s self, path: &str, source: &'s Source) -> BTreeSet<&'s str> {
        let named = source.names.iter().filter_map(|named| {
            let used = self.file_of(&named.path, 0)?;
            // A folder's face that shows a part of itself does not build on it.
            let is_face = named.how == How::PassedOn
                && self.sources[used].module.starts_with(&source.module)
                && self.sources[used].module.len() > source.module.len();
            (!is_face && used != path).then_some(used)
        });
        named.collect()
    }

    /// The file that defines what a path names.
    fn file_of(&self, path: &[String], reexports: usize) -> Option<&str> {
        let length = (1..=path.len()).rev().find(|length| self.by_module.contains_key(&path[..*length]))?;
        let file = self.by_module[&path[..length]].as_str();
        let Some(name) = path.get(length).filter(|_| reexports < REEXPORTS_MAX) else { return Some(file) };
        let source = &self.sources[file];
        let passed_on = source
            .names
            .iter()
            .find(|named| named.how != How::InLine && named.name == *name && named.path != path);
        match passed_on {
            Some(named) => {
                let mut onward = named.path.clone();
                onward.extend_from_slice(&path[length + 1..]);
                self.file_of(&onward, reexports + 1).or(Some(file))
            }
            None => Some(file),
        }
    }
}

/// `conn/mod.rs` is `conn`, `hub/owner.rs` is `hub`, `home`.
fn module_of(path: &str) -> Vec<String> {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    Path::new(path).iter().map(|part| part.to_string_lossy().into_owned()).collect()
}

/// The modules that a file has for its tests only.
fn test_modules(module: &[String], text: &str) -> Vec<Vec<String>> {
    let declared = text.split("#[cfg(test)]\n").skip(1).filter_map(|rest| {
        let (name, after) = rest.lines().next()?.split_once("mod ")?.1.split_once(';')?;
        after.is_empty().then(|| module.iter().cloned().chain([name.to_owned()]).collect())
    });
    declared.collect()
}

fn without_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod tests {").map_or(text, |end| &text[..end])
}

/// Names and signs, without comments, texts and lifetimes. `::` is one sign.
fn tokens(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let find =
        |what: &str, from: usize| text[from..].find(what).map_or(text.len(), |at| from + at + what.len());
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let raw = rest.strip_prefix('r').map(|rest| rest.len() - rest.trim_start_matches('#').len());
        if rest.starts_with("//") {
            at = find("\n", at);
        } else if rest.starts_with("/*") {
            at = find("*/", at);
        } else if let Some(hashes) = raw.filter(|hashes| rest[1 + hashes..].starts_with('"')) {
            at = find(&format!("\"{}", &"########"[..hashes]), at + hashes + 2);
        } else if bytes[at] == b'"' {
            at += 1;
            while at < bytes.len() && bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at += 1;
        } else if bytes[at] == b'\'' {
            let mut chars = rest[1..].chars();
            let (first, second) = (chars.next(), chars.next());
            at += match (first, second) {
                (Some('\\'), _) => 3 + rest[3..].find('\'').unwrap_or(0),
                (Some(first), Some('\'')) => 1 + first.len_utf8() + 1,
                _ => 1,
            };
        } else if is_word(bytes[at]) {
            let end = rest.bytes().position(|byte| !is_word(byte)).unwrap_or(rest.len());
            tokens.push(&rest[..end]);
            at += end;
        } else {
            let length =
                if rest.starts_with("::") { 2 } else { rest.chars().next().map_or(1, char::len_utf8) };
            if !rest.starts_with(char::is_whitespace) {
                tokens.push(&rest[..length]);
            }
            at += length;
        }
    }
    tokens
}

/// All paths of a file, from the crate's root.
fn names(tokens: &[&str], module: &[String]) -> Vec<Named> {
    let declared: BTreeSet<&str> =
        tokens.windows(3).filter(|of| of[0] == "mod" && of[2] == ";").map(|of| of[1]).collect();
    let mut names = Vec::new();
    for at in 0..tokens.len().saturating_sub(1) {
        let before = |back: usize| at.checked_sub(back).map_or("", |at| tokens[at]);
        // `$crate` in a macro is what others name by it; `pub(in crate::a)` names nothing.
        let is_none = ["::", "$"].contains(&before(1)) || (before(2), before(1)) == ("(", "in");
        if tokens[at + 1] != "::" || is_none {
            continue;
        }
        let (root, next) = match tokens[at] {
            "crate" => (Vec::new(), at + 2),
            "self" => (module.to_vec(), at + 2),
            "super" => (module[..module.len() - 1].to_vec(), at + 2),
            child if declared.contains(child) => (module.to_vec(), at),
            _ => continue,
        };
        let how = match (before(1), before(2)) {
            ("use", "pub" | ")") => How::PassedOn,
            ("use", _) => How::Used,
            _ => How::InLine,
        };
        branches(tokens, next, root, &mut |path, name| names.push(Named { path, name, how }));
    }
    names
}

/// Follows a path, and all of its branches where there are braces. Returns where it ends.
fn branches(
    tokens: &[&str],
    mut at: usize,
    mut path: Vec<String>,
    found: &mut dyn FnMut(Vec<String>, String),
) -> usize {
    loop {
        match tokens.get(at).copied().unwrap_or(";") {
            "{" => {
                at += 1;
                while at < tokens.len() && tokens[at] != "}" {
                    at = branches(tokens, at, path.clone(), found);
                    if tokens.get(at) == Some(&",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "super" => {
                path.pop();
            }
            "self" => {}
            word if word.starts_with(|of: char| of.is_ascii_alphabetic() || of == '_') => {
                path.push(word.to_owned());
            }
            sign => {
                let last = path.last().cloned().unwrap_or_default();
                found(path, last);
                return if ["*", "<", "("].contains(&sign) { at + 1 } else { at };
            }
        }
        at += 1;
        match tokens.get(at).copied() {
            Some("::") => at += 1,
            Some("as") => {
                let name = tokens.get(at + 1).copied().unwrap_or_default().to_owned();
                found(path, name);
                return at + 2;
            }
            _ => {
                let last = path.last().cloned().unwrap_or_default();
                found(path, last);
                return at;
            }
        }
    }
}

#[test]
fn a_path_is_read_with_its_branches_and_nothing_is_read_from_texts() {
    let text = "use crate::{a::{self, B as C}, d::E};\n\
                // crate::no::No\n\
                fn f<'l>(_: &'l str) { super::g(\"crate::no\", r#\"crate::no\"#, '\"', '\\''); crate::h::I::<u8>::new() }";
    let names = names(&tokens(text), &["m".to_owned(), "n".to_owned()]);
    let shown: Vec<_> =
        names.iter().map(|named| format!("{} as {}", named.path.join("::"), named.name)).collect();
    assert_eq!(shown, ["a as a", "a::B as C", "d::E as E", "m::g as g", "h::I as I"]);
}
