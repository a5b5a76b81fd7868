//! Book: finds missing pages and dead links in the built book.
//!
//! In:  the folder of the pages in Markdown, and the one that mdBook has written.
//! Out: exit code 1 and one line for each page that the book lacks, since SUMMARY.md does not name it, and for each link to a
//! page, an anchor or a file that is not in the book. Links to other sites are counted and not followed: a network that
//! fails must not fail a build.

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
    let mut folders = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(sources), Some(book)) = (folders.next(), folders.next()) else {
        eprintln!(
            "usage: holdfast-book PAGES BOOK, the folders of the pages and of the book that mdBook has written"
        );
        return ExitCode::from(2);
    };
    let (mut written, mut files) = (HashSet::new(), HashSet::new());
    for (folder, found) in [(&sources, &mut written), (&book, &mut files)] {
        if let Err(error) = list(folder, folder, found) {
            eprintln!("{} cannot be read: {error}", folder.display());
            return ExitCode::from(2);
        }
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

    let missing = missing_pages(&written, &files);
    for page in &missing {
        eprintln!("{}: SUMMARY.md does not name it", page.display());
    }
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
    let (there, missing) = (pages.len(), missing.len());
    println!(
        "{there} pages, {missing} missing; {inside} links within the book, {outside} to other sites, {dead} dead"
    );
    if missing + dead == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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

/// Adds the files below `folder`, relative to `root`.
fn list(root: &Path, folder: &Path, files: &mut HashSet<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(root, &path, files)?;
        } else if let Ok(relative) = path.strip_prefix(root) {
            files.insert(relative.to_owned());
        }
    }
    Ok(())
}

/// The pages in Markdown that have no page in the book.
fn missing_pages<'a>(sources: &'a HashSet<PathBuf>, book: &HashSet<PathBuf>) -> Vec<&'a Path> {
    let pages = sources.iter().filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let mut missing: Vec<_> = pages
        .map(PathBuf::as_path)
        .filter(|page| *page != Path::new("SUMMARY.md") && !book.contains(&page.with_extension("html")))
        .collect();
    missing.sort_unstable();
    missing
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
    fn a_page_is_missing_where_the_book_has_none_of_its_name() {
        let set = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<HashSet<_>>();
        let sources = set(&["SUMMARY.md", "a.md", "b/c.md", "b/d.md", "picture.svg"]);
        let book = set(&["a.html", "b/c.html", "picture.svg"]);
        assert_eq!(missing_pages(&sources, &book), [Path::new("b/d.md")]);
    }

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
