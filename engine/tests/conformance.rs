//! docs/conformance.md names tests that exist.
//!
//! In:  the page.
//! Out: the names in it that no test has.
#![forbid(unsafe_code)]

use std::{fs, path::Path};

#[test]
fn every_test_that_the_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/conformance.md")).expect("the page is there");
    let names: Vec<(&str, &str)> = page
        .split('`')
        .filter_map(|code| code.split_once("::"))
        .filter(|(path, _)| path.ends_with(".rs"))
        .collect();
    assert!(names.len() > 80, "only {} names were found", names.len());
    let missing: Vec<_> = names
        .into_iter()
        .filter(|(path, name)| {
            let source = fs::read_to_string(root.join(path)).unwrap_or_default();
            !is_test(&source, name)
        })
        .collect();
    assert!(missing.is_empty(), "no such test: {missing:#?}");
}

/// True exactly when there is a function of that name behind a `#[test]`.
fn is_test(source: &str, name: &str) -> bool {
    let function = format!("fn {name}(");
    let mut is_marked = false;
    for line in source.lines().map(str::trim) {
        match line {
            "#[test]" => is_marked = true,
            _ if line.starts_with("#[") || line.starts_with("//") => {}
            _ if line.starts_with(&function) && is_marked => return true,
            _ => is_marked = false,
        }
    }
    false
}
