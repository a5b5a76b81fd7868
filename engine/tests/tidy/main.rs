//! Tidy: rules of this repository that no compiler knows.
//!
//! In:  the sources and pages of the repository.
//! Out: a failed test for what breaks a rule, unless `exceptions.rs` lists it; and for an exception that is not needed any
//! more, so that the lists can only shrink.

mod exceptions;
mod imports;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use imports::Imports;
use tree::{assert_settled, files, sources};

/// Beginnings of British words, with the American ones. A word of both, as `cancelled` is, is not here.
const SPELLINGS: [(&str, &str); 37] = [
    ("acknowledgement", "acknowledgment"),
    ("amongst", "among"),
    ("analyse", "analyze"),
    ("artefact", "artifact"),
    ("authoris", "authoriz"),
    ("behaviour", "behavior"),
    ("canonicalis", "canonicaliz"),
    ("catalogue", "catalog"),
    ("centre", "center"),
    ("colour", "color"),
    ("customis", "customiz"),
    ("defence", "defense"),
    ("dialogue", "dialog"),
    ("favour", "favor"),
    ("honour", "honor"),
    ("initialis", "initializ"),
    ("judgement", "judgment"),
    ("labelling", "labeling"),
    ("labour", "labor"),
    ("licence", "license"),
    ("maximis", "maximiz"),
    ("minimis", "minimiz"),
    ("modell", "model"),
    ("neighbour", "neighbor"),
    ("normalis", "normaliz"),
    ("offence", "offense"),
    ("optimisa", "optimiza"),
    ("optimise", "optimize"),
    ("organis", "organiz"),
    ("prioritis", "prioritiz"),
    ("recognis", "recogniz"),
    ("serialis", "serializ"),
    ("signall", "signal"),
    ("summaris", "summariz"),
    ("synchronis", "synchroniz"),
    ("utilis", "utiliz"),
    ("whilst", "while"),
];

/// A file of fewer lines is usually a part of another one.
const LINES_MIN: usize = 60;

/// A file of more lines is usually two.
const LINES_MAX: usize = 600;

/// The engine's floors from the top, and the road of a byte: each uses only those below it. A name that is not a folder
/// yet (`mesh`, `cluster`, `time`, `ids`) is where one is to be.
const FLOORS: &[&[&str]] = &[
    &["cli"],
    &["daemon"],
    &["control", "simulation"],
    &["doctor"],
    &["shard"],
    &["broker"],
    &["session"],
    &["backend"],
    &["mesh", "cluster"],
    &["hub"],
    &["conn"],
    &["context"],
    &["refusals"],
    &["token"],
    &["channel", "limits", "tls"],
    &["http_client", "memory", "supervise"],
    &["log"],
    &["config"],
    &["encoding", "jose", "metrics"],
    &["ids", "time", "value"],
];

#[test]
fn words_are_american() {
    let mut found = BTreeSet::new();
    let endings = ["rs", "md", "toml", "sh", "py", "js", "html", "mk", "Makefile", "conf", "yml", "yaml"];
    for (path, text) in files("", &endings) {
        if path.starts_with("engine/tests/tidy/") {
            continue;
        }
        let text = text.to_lowercase();
        let british = SPELLINGS.iter().map(|(british, _)| british).filter(|british| text.contains(**british));
        found.extend(british.map(|british| format!("{path}: {british}")));
    }
    assert_settled("The spelling is American, see SPELLINGS:", &found, exceptions::WORDS);
}

#[test]
fn every_page_is_in_the_summary() {
    let pages = files("docs", &["md"]);
    let (_, summary) = pages.iter().find(|(path, _)| path == "docs/SUMMARY.md").expect("there is one");
    let missing = pages
        .iter()
        .filter_map(|(path, _)| path.strip_prefix("docs/"))
        .filter(|page| *page != "SUMMARY.md" && !summary.contains(&format!("({page})")));
    assert_settled("A page is in docs/SUMMARY.md:", &missing.map(str::to_owned).collect(), &[]);
}

#[test]
fn a_head_says_something_or_is_left_out() {
    let mut found = BTreeSet::new();
    for (path, text) in sources("") {
        let head = text.lines().map_while(|line| line.strip_prefix("//!"));
        let is_empty = |line: &str| {
            let said = line.trim().strip_prefix("In:").or_else(|| line.trim().strip_prefix("Out:"));
            let rest = said.and_then(|said| said.trim().strip_prefix("nothing"));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ';']))
        };
        if head.into_iter().any(is_empty) {
            found.insert(path);
        }
    }
    assert_settled("A line `In: nothing` or `Out: nothing` is left out:", &found, exceptions::HEADS);
}

#[test]
fn a_file_has_the_size_of_one_concern() {
    let mut found = BTreeSet::new();
    for (path, text) in sources("") {
        let lines = text.lines().count();
        let name = path.rsplit('/').next().unwrap_or_default();
        // A folder's face, and what begins a program or a test, may be short.
        let may_be_short = ["mod.rs", "main.rs", "lib.rs", "build.rs"].contains(&name);
        if lines > LINES_MAX || (lines < LINES_MIN && !may_be_short) {
            found.insert(path);
        }
    }
    let rule = format!("A file has {LINES_MIN} to {LINES_MAX} lines:");
    assert_settled(&rule, &found, exceptions::SIZES);
}

#[test]
fn only_the_folder_of_shards_adds_methods_to_them() {
    let is_one =
        |line: &str| line.starts_with("impl<") && line.contains("> Shard<") && !line.contains(" for ");
    let found = sources("engine/src")
        .into_iter()
        .filter(|(path, text)| !path.starts_with("engine/src/shard/") && text.lines().any(is_one));
    let found = found.map(|(path, _)| path).collect();
    assert_settled("`impl Shard` is in engine/src/shard only:", &found, exceptions::SHARD_METHODS);
}

#[test]
fn folders_use_only_floors_below_their_own() {
    let floor = |folder: &str| FLOORS.iter().position(|floor| floor.contains(&folder));
    let listed: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<&str>)> = exceptions::USES
        .iter()
        .map(|&(folder, down, up)| {
            (folder, (down.split_whitespace().collect(), up.split_whitespace().collect()))
        })
        .collect();
    for (folder, (down, up)) in &listed {
        for (used, is_up) in down.iter().map(|used| (used, false)).chain(up.iter().map(|used| (used, true))) {
            let is_below =
                floor(folder).expect("a listed folder has a floor") < floor(used).expect("so has this");
            assert_ne!(is_below, is_up, "{folder} uses {used}: it is in the wrong column of exceptions.rs");
        }
    }
    let folders = Imports::read().folders();
    let (mut new, mut upward) = (BTreeSet::new(), BTreeSet::new());
    for (folder, uses) in &folders {
        assert!(floor(folder).is_some(), "engine/src/{folder} has no floor in engine/tests/tidy/main.rs");
        let (down, up) = listed.get(folder.as_str()).cloned().unwrap_or_default();
        for used in uses {
            let edge = format!("{folder} uses {used}");
            if up.contains(used.as_str()) {
                upward.insert(edge);
            } else if !down.contains(used.as_str()) {
                new.insert(edge);
            }
        }
    }
    assert_settled("A folder of engine/src uses only those that exceptions.rs lists for it:", &new, &[]);
    let known = listed
        .iter()
        .flat_map(|(folder, (_, up))| up.iter().map(move |used| format!("{folder} uses {used}")));
    let known: Vec<String> = known.collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    assert_settled("A folder of engine/src uses only floors below its own:", &upward, &known);
}

#[test]
fn files_do_not_use_each_other_in_circles() {
    let imports = Imports::read();
    let circles = imports.circles();
    let mut counts = BTreeMap::<&str, usize>::new();
    for path in &circles {
        let folder = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        *counts.entry(folder).or_default() += 1;
    }
    let known: BTreeMap<&str, usize> = exceptions::FILES_IN_CIRCLES.iter().copied().collect();
    let mut wrong = Vec::new();
    for folder in counts.keys().chain(known.keys().filter(|folder| !counts.contains_key(*folder))) {
        let [now, before] = [&counts, &known].map(|of| of.get(folder).copied().unwrap_or_default());
        if now < before {
            wrong.push(format!("{folder}: {now} files, no longer {before}; write that into exceptions.rs"));
        } else if now > before {
            wrong.push(format!("{folder}: {now} files, not {before}"));
            let of_folder =
                circles.iter().filter(|path| path.trim_end_matches(".rs").split('/').next() == Some(folder));
            wrong.extend(
                of_folder.map(|path| format!("  {path}: {}", imports.uses_among(path, &circles).join(" "))),
            );
        }
    }
    assert!(wrong.is_empty(), "Files of engine/src do not use each other in circles:\n{}", wrong.join("\n"));
}
