//! Docs: what the pages point at is there, and the page of metrics is what the daemon prints.
//!
//! In:  the pages under docs/, README, CONTRIBUTING, CHANGELOG; `holdfast metrics doc`.
//! Out: a failed test for a link that leads nowhere, for a test or a source file that is named and does not exist, and for
//! a stale page.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Words that a name of a test has, at least. Shorter ones are options and figures.
const NAME_WORDS_MIN: usize = 5;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// All files below a folder that are ours.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder can be read") {
        let path = entry.expect("an entry can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_foreign =
            name.starts_with('.') || ["target", "node_modules", "reports"].contains(&name.as_str());
        match (path.is_dir(), is_foreign) {
            (_, true) => {}
            (true, _) => files(&path, found),
            (false, _) => found.push(path),
        }
    }
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|of_path| of_path == ending)
}

/// What stands between each `open` and the next `close` of the same line.
fn between<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
    text.lines().flat_map(move |line| {
        line.match_indices(open).filter_map(move |(at, _)| {
            let rest = &line[at + open.len()..];
            rest.find(close).map(|end| &rest[..end])
        })
    })
}

/// The anchors that a page has: its headings in lower case, words joined by `-`.
fn anchors(page: &str) -> HashSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
    let slug = |heading: &str| {
        let kept = heading.trim().chars().filter(|&of| of.is_alphanumeric() || [' ', '-', '_'].contains(&of));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(slug).collect()
}

/// True exactly when it reads like the name of a test.
fn is_name(text: &str) -> bool {
    text.split('_').count() >= NAME_WORDS_MIN
        && !text.starts_with("holdfast_")
        && text.split('_').all(|word| !word.is_empty())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[test]
fn what_the_pages_point_at_is_there() {
    let mut all = Vec::new();
    files(&root(), &mut all);
    let (pages, others): (Vec<_>, Vec<_>) = all.iter().partition(|path| has_ending(path, "md"));
    let others: Vec<_> = others
        .into_iter()
        .filter(|path| ["rs", "py", "js", "html"].iter().any(|of| has_ending(path, of)))
        .collect();
    let mut names = HashSet::new();
    for source in &others {
        let text = fs::read_to_string(source).expect("sources are text");
        names.extend(text.split(|of: char| !of.is_ascii_alphanumeric() && of != '_').map(str::to_owned));
    }
    assert!(pages.len() > 20 && names.contains("what_the_pages_point_at_is_there"), "the tree is read");

    let mut missing = Vec::new();
    for page in pages {
        let text = fs::read_to_string(page).expect("pages are text");
        let folder = page.parent().expect("it is in a folder");
        for link in between(&text, "](", ')').filter(|link| !link.contains("://") && !link.starts_with('<')) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { folder.join(path) };
            let is_there = match fs::read_to_string(&target) {
                Ok(text) if !anchor.is_empty() => anchors(&text).contains(anchor),
                Ok(_) => true,
                Err(_) => target.is_dir(),
            };
            if !is_there {
                missing.push(format!("{}: link to {link}", page.display()));
            }
        }
        for code in text.split('`').skip(1).step_by(2) {
            let is_missing =
                if code.ends_with(".rs") && !code.contains(|of: char| of.is_whitespace() || of == '*') {
                    !others.iter().any(|path| path.ends_with(code))
                } else {
                    is_name(code) && !names.contains(code)
                };
            if is_missing {
                missing.push(format!("{}: {code}", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "not there:\n{}", missing.join("\n"));
}

#[test]
fn the_committed_page_of_metrics_is_what_the_definitions_say() {
    let committed = fs::read_to_string(root().join("docs/metrics.md")).unwrap_or_default();
    let generated = Command::new(env!("CARGO_BIN_EXE_holdfast")).args(["metrics", "doc"]).output();
    let generated = generated.expect("the binary runs");
    assert!(generated.status.success());
    assert!(
        committed.as_bytes() == generated.stdout,
        "docs/metrics.md is stale; renew it: cargo run -p holdfast -- metrics doc > docs/metrics.md"
    );
}
