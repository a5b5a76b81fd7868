//! Html: the anchors and the links of a page.
//!
//! In:  the text of a page that mdBook wrote.
//! Out: every `id`, and every `href` and `src`.
//!
//! This is no parser of HTML, only of tags with quoted attributes, as mdBook writes them.

use std::collections::HashSet;

/// What of a page matters for links.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) anchors: HashSet<String>,
    pub(crate) links: Vec<String>,
}

/// Reads a page. What is in comments, scripts and style sheets is passed over.
pub(crate) fn read_page(text: &str) -> Page {
    let mut page = Page::default();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        if let Some(end) = rest.starts_with("<!--").then(|| rest.find("-->")).flatten() {
            rest = &rest[end..];
            continue;
        }
        let end = end_of_tag(rest);
        let tag = &rest[1..end];
        rest = &rest[end..];
        for (name, value) in attributes(tag) {
            match name {
                "id" => {
                    page.anchors.insert(unescape(value));
                }
                "href" | "src" => page.links.push(unescape(value)),
                _ => {}
            }
        }
        for raw in ["script", "style"] {
            if tag.starts_with(raw) {
                rest = rest.find(&format!("</{raw}")).map_or("", |end| &rest[end..]);
            }
        }
    }
    page
}

/// Where the tag at the start of `text` ends; a `>` in quotes is part of it.
fn end_of_tag(text: &str) -> usize {
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return at,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    text.len()
}

/// The quoted attributes of a tag.
fn attributes(tag: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = tag;
    std::iter::from_fn(move || {
        let equals = rest.find(['='])?;
        let name = rest[..equals].rsplit(char::is_whitespace).next().unwrap_or_default();
        let value = &rest[equals + 1..];
        let Some(quote) = value.chars().next().filter(|first| ['"', '\''].contains(first)) else {
            rest = value;
            return Some((name, ""));
        };
        let end = value[1..].find(quote).map_or(value.len(), |end| end + 1);
        rest = value.get(end + 1..).unwrap_or_default();
        Some((name, &value[1..end]))
    })
}

fn unescape(text: &str) -> String {
    text.replace("&quot;", "\"").replace("&#x27;", "'").replace("&#39;", "'").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_and_links_are_read_and_what_is_no_tag_is_not() {
        let page = read_page(
            "<!-- <a href=\"no\"> --><script>let a = '<a href=\"no\">';</script>\
             <h2 class=x id=\"a&amp;b\">1 < 2</h2><a title=\">\" href='b.html#c'>x</a><img alt=\"\" src=\"d.svg\"/>",
        );
        assert_eq!(page.anchors, HashSet::from(["a&b".to_owned()]));
        assert_eq!(page.links, ["b.html#c", "d.svg"]);
    }
}
