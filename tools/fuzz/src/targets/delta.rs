//! Patches between publications.
//!
//! In:  one byte for where the source ends; the source; a patch, which is also taken for a target.
//! Out: a panic where applying passes its limit, or a patch of ours does not make its target.

use holdfast_protocol::client::delta::{apply, create};

/// Pieces of patches.
pub const WORDS: &[&[u8]] = &[b"5\n5@0,", b"3:abc", b"2ogOi9;", b"~~~~@"];

/// Takes the data once for a patch, once for a target.
pub fn run(data: &[u8]) {
    const BYTES_MAX: usize = 1000;
    let (at, data) = super::choice(data);
    let (source, rest) = data.split_at(usize::from(at).min(data.len()));
    if let Ok(made) = apply(source, rest, BYTES_MAX) {
        assert!(made.len() <= BYTES_MAX);
    }
    let patch = create(source, rest);
    assert_eq!(apply(source, &patch, rest.len()).as_deref(), Ok(rest));
}
