//! Docs: what the pages point at is there, and the page of metrics is what the daemon prints.
//!
//! In:  the pages under docs/, README, CONTRIBUTING, CHANGELOG; `holdfast metrics doc`; the metrics of a daemon.
//! Out: a failed test for a link that leads nowhere or out of the book, for a page that the book lacks, for a test or a
//! source file that is named and does not exist, for a code, a metric or a reason that no page explains, and for a stale page.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use holdfast_protocol::client::{DisconnectCode, ErrorCode, UnsubscribeCode};
use holdfast_testkit::Daemon;

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
    let generated = holdfast_testkit::command().args(["metrics", "doc"]).output();
    let generated = generated.expect("the binary runs");
    assert!(generated.status.success());
    assert!(
        committed.as_bytes() == generated.stdout,
        "docs/metrics.md is stale; renew it: cargo run -p holdfast -- metrics doc > docs/metrics.md"
    );
}

/// The pages of the book, by their paths from docs/.
fn book() -> Vec<PathBuf> {
    let docs = root().join("docs");
    let mut all = Vec::new();
    files(&docs, &mut all);
    all.retain(|path| has_ending(path, "md"));
    all.iter().map(|path| path.strip_prefix(&docs).expect("it is below").to_owned()).collect()
}

#[test]
fn every_page_is_in_the_summary_once() {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).expect("the summary is there");
    let listed: Vec<_> = between(&summary, "](", ')').map(PathBuf::from).collect();
    for page in book().iter().filter(|page| !page.ends_with("SUMMARY.md")) {
        let times = listed.iter().filter(|path| *path == page).count();
        assert_eq!(times, 1, "docs/{} is in SUMMARY.md {times} times", page.display());
    }
}

/// The book is published without the repository: a file beside it is named, not linked to.
#[test]
fn no_link_of_a_page_leads_out_of_the_book() {
    for page in book() {
        let text = fs::read_to_string(root().join("docs").join(&page)).expect("pages are text");
        let depth = page.components().count() - 1;
        for link in between(&text, "](", ')') {
            let up = link.split('/').take_while(|part| *part == "..").count();
            assert!(up <= depth && !link.starts_with('/'), "docs/{}: {link}", page.display());
        }
    }
}

#[test]
fn every_picture_is_on_a_page_has_a_title_and_is_readable_in_the_dark() {
    let pages: Vec<_> = book()
        .iter()
        .map(|page| fs::read_to_string(root().join("docs").join(page)).unwrap_or_default())
        .collect();
    let mut pictures = Vec::new();
    files(&root().join("docs/pictures"), &mut pictures);
    for path in pictures {
        let (name, text) =
            (path.file_name().unwrap_or_default().to_string_lossy(), fs::read_to_string(&path));
        let text = text.expect("a picture is text");
        assert!(pages.iter().any(|page| page.contains(&format!("pictures/{name})"))), "no page shows {name}");
        assert!(text.contains("<title>") && text.contains("prefers-color-scheme: dark"), "{name}");
    }
}

#[test]
fn every_method_of_the_server_api_is_explained() {
    let read = |path: &str| fs::read_to_string(root().join("docs").join(path)).expect("it is there");
    let (description, page) = (read("openapi.json"), read("server-api.md"));
    let methods: Vec<_> = between(&description, "\"/api/", '"').filter(|path| !path.contains('.')).collect();
    assert!(methods.len() > 10, "the description is read");
    for method in methods {
        assert!(page.contains(&format!("| `{method}` |")), "docs/server-api.md has no row for {method}");
    }
}

#[test]
fn every_code_that_a_client_may_see_is_explained() {
    let page = fs::read_to_string(root().join("docs/why-closed.md")).expect("the page is there");
    let errors = ErrorCode::ALL.iter().map(|error| (error.code, error.message));
    let ends = UnsubscribeCode::ALL.iter().map(|end| (end.code, end.reason));
    let codes = DisconnectCode::ALL.iter().map(|code| (u32::from(code.code), code.reason));
    for (code, words) in errors.chain(ends).chain(codes) {
        let row = format!("| {code} | `{words}`");
        assert!(page.contains(&row), "docs/why-closed.md has no row {row}");
    }
}

#[test]
fn every_metric_and_every_reason_is_explained() {
    let (_, answer) = Daemon::start_on_one_core("").ask("/metrics");
    let page = |path: &str| fs::read_to_string(root().join("docs").join(path)).expect("the page is there");
    let (table, reasons) = (page("metrics.md"), page("why-closed.md"));
    let families: Vec<_> =
        answer.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(families.len() > 60, "the metrics are read: {answer}");
    let mut missing: Vec<_> = families
        .iter()
        .filter(|name| !table.contains(&format!("`{name}`")) && !table.contains(&format!("`{name}{{")))
        .map(|name| format!("metrics.md: {name}"))
        .collect();
    for family in ["closes", "refusals", "disconnects", "command_errors"] {
        let samples = answer.lines().filter(|line| line.starts_with(&format!("holdfast_{family}_total{{")));
        for reason in samples.flat_map(|line| between(line, "reason=\"", '"')) {
            if !reasons.contains(&format!("`{reason}`")) {
                missing.push(format!("why-closed.md: {family} {reason}"));
            }
        }
    }
    assert!(missing.is_empty(), "not there:\n{}", missing.join("\n"));
}
