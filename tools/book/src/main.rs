//! Book: finds dead links in the built book.
//!
//! In:  the folder that mdBook has written.
//! Out: exit code 1 and one line for each link to a page, an anchor or a file that is not in the book. Links to other sites
//! are counted and not followed: a network that fails must not fail a build.

mod html;

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Component, Path, PathBuf},
    process::ExitCode,
};

use html::{Page, read_page};

/// Fewer pages than this are no book: the folder is wrong.
const PAGES_MIN: usize = 20;

fn main() -> ExitCode {
    let Some(book) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: holdfast-book FOLDER, the one that mdBook has written");
        return ExitCode::from(2);
    };
    let mut files = HashSet::new();
    if let Err(error) = list(&book, &book, &mut files) {
        eprintln!("{} cannot be read: {error}", book.display());
        return ExitCode::from(2);
    }
    let pages = match read_pages(&book, &files) {
        Ok(pages) if pages.len() >= PAGES_MIN => pages,
        Ok(pages) => {
            eprintln!("{} has {} pages, this is not the book", book.display(), pages.len());
            return ExitCode::from(2);
        }
        Err(error) => {
            eprintln!("{} cannot be read: {error}", book.display());
            return ExitCode::from(2);
        }
    };

    let (mut inside, mut outside, mut dead) = (0, 0, 0);
    for (path, page) in &pages {
        for link in &page.links {
            match check(path, link, &pages, &files) {
                Found::Inside => inside += 1,
                Found::Elsewhere => outside += 1,
                Found::Dead(why) => {
                    dead += 1;
                    eprintln!("{}: {link}: {why}", path.display());
                }
            }
        }
    }
    println!("{} pages, {inside} links within the book, {outside} to other sites, {dead} dead", pages.len());
    if dead == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a link leads to.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// A page, an anchor or a file of the book.
    Inside,
    /// Another site.
    Elsewhere,
    Dead(&'static str),
}

/// Adds the files below `folder`, relative to `book`.
fn list(book: &Path, folder: &Path, files: &mut HashSet<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(book, &path, files)?;
        } else if let Ok(relative) = path.strip_prefix(book) {
            files.insert(relative.to_owned());
        }
    }
    Ok(())
}

/// Every page but the one for printing, which repeats all others.
fn read_pages(book: &Path, files: &HashSet<PathBuf>) -> std::io::Result<BTreeMap<PathBuf, Page>> {
    let is_page = |path: &&PathBuf| {
        path.extension().is_some_and(|ending| ending == "html") && path.as_path() != Path::new("print.html")
    };
    files
        .iter()
        .filter(is_page)
        .map(|path| Ok((path.clone(), read_page(&fs::read_to_string(book.join(path))?))))
        .collect()
}

fn check(from: &Path, link: &str, pages: &BTreeMap<PathBuf, Page>, files: &HashSet<PathBuf>) -> Found {
    if ["https://", "http://", "mailto:", "data:", "javascript:"].iter().any(|start| link.starts_with(start))
    {
        return Found::Elsewhere;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = path.split('?').next().unwrap_or_default();
    let target = if path.is_empty() {
        from.to_owned()
    } else {
        match within(from.parent().unwrap_or(Path::new("")), path) {
            Some(target) => target,
            None => return Found::Dead("it leaves the book"),
        }
    };
    if !files.contains(&target) {
        return Found::Dead("there is no such page");
    }
    match pages.get(&target) {
        Some(page) if !anchor.is_empty() && !page.anchors.contains(anchor) => {
            Found::Dead("the page has no such heading")
        }
        _ => Found::Inside,
    }
}

/// `path`, seen from `folder`; `None` where it is above the book.
fn within(folder: &Path, path: &str) -> Option<PathBuf> {
    let mut target = PathBuf::new();
    for part in folder.join(path).components() {
        match part {
            Component::Normal(name) => target.push(name),
            Component::CurDir => {}
            Component::ParentDir if target.pop() => {}
            _ => return None,
        }
    }
    Some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_dead_where_page_heading_or_file_is_missing_or_outside() {
        let page = |text| read_page(text);
        let pages = BTreeMap::from([
            (PathBuf::from("index.html"), page("<h1 id=\"top\">Top</h1>")),
            (PathBuf::from("a/b.html"), page("<h2 id='way-in'>Way in</h2>")),
        ]);
        let files = pages.keys().cloned().chain([PathBuf::from("a/picture.svg")]).collect();
        let from_b = |link| check(Path::new("a/b.html"), link, &pages, &files);
        for link in ["#way-in", "../index.html", "../index.html#top", "picture.svg", "./picture.svg?v=1"] {
            assert_eq!(from_b(link), Found::Inside, "{link}");
        }
        for link in ["#top", "c.html", "../index.html#bottom", "../../LICENSE-MIT", "/etc/passwd", "../a"] {
            assert!(matches!(from_b(link), Found::Dead(_)), "{link}");
        }
        assert_eq!(from_b("https://example.com/x#y"), Found::Elsewhere);
    }
}
