//! Tree: the files of the repository, and exceptions that must shrink.
//!
//! In:  the working tree.
//! Out: texts with their paths; a failed test where a rule is broken, or an exception is not needed any more.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// All files below a folder with one of these endings, each as its path from the repository's root and its text.
pub(crate) fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&root().join(folder), endings, &mut found);
    let root = root();
    let mut files: Vec<_> = found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("files of these endings are text");
            (path.strip_prefix(&root).expect("it is below the root").to_string_lossy().into_owned(), text)
        })
        .collect();
    files.sort();
    files
}

/// The Rust files below a folder.
pub(crate) fn sources(folder: &str) -> Vec<(String, String)> {
    files(folder, &["rs"])
}

fn collect(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder can be read") {
        let path = entry.expect("an entry can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || ["target", "node_modules", "reports"].contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            collect(&path, endings, found);
        } else if endings.contains(&name.rsplit('.').next().unwrap_or_default()) {
            found.push(path);
        }
    }
}

/// Holds what breaks a rule to the exceptions from it: neither may there be more, nor an exception that nothing needs.
pub(crate) fn assert_settled(rule: &str, broken: &BTreeSet<String>, exceptions: &[&str]) {
    let exceptions: BTreeSet<String> = exceptions.iter().map(|&of| of.to_owned()).collect();
    let list = |of: Vec<&String>| of.iter().map(|of| format!("\n  {of}")).collect::<String>();
    let new = list(broken.difference(&exceptions).collect());
    assert!(new.is_empty(), "{rule}{new}");
    let over = list(exceptions.difference(broken).collect());
    assert!(over.is_empty(), "{rule}\nexceptions that engine/tests/tidy/exceptions.rs is to lose:{over}");
}
