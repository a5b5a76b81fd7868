//! Patches: what they make, what they save, and that a patch towards text is text.

use holdfast_protocol::client::delta::{DeltaError, apply, create, create_smaller};
use proptest::collection::vec;
use proptest::prelude::*;

/// What a real channel carries: a document of which little changes.
fn document(price: u32) -> Vec<u8> {
    format!(
        r#"{{"ticker":"AAPL","name":"Äpfel & Birnen","price":{price},"history":[{}],"open":true}}"#,
        (0..40).map(|day| (day * 7 % 101).to_string()).collect::<Vec<_>>().join(",")
    )
    .into_bytes()
}

/// `source` with a few pieces taken out, put in and moved.
fn edited() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let edit = (any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), vec(any::<u8>(), 0..20));
    (vec(0_u8..8, 0..600), vec(edit, 0..6)).prop_map(|(source, edits)| {
        let mut target = source.clone();
        for (from, to, piece) in edits {
            let (from, to) = (from.index(target.len() + 1), to.index(target.len() + 1));
            let moved: Vec<u8> = target.drain(from.min(to)..from.max(to)).collect();
            let at = target.len() / 2;
            target.splice(at..at, piece.into_iter().chain(moved.into_iter().take(40)));
        }
        (source, target)
    })
}

proptest! {
    #[test]
    fn a_patch_makes_the_target_of_the_source((source, target) in edited()) {
        let patch = create(&source, &target);
        prop_assert_eq!(apply(&source, &patch, target.len()), Ok(target));
    }

    #[test]
    fn a_patch_between_any_two_texts_makes_the_second_and_is_text(
        source in "[aé漢😀\\n]{0,200}",
        target in "[aé漢😀\\n]{0,200}",
    ) {
        let patch = create(source.as_bytes(), target.as_bytes());
        prop_assert!(std::str::from_utf8(&patch).is_ok());
        prop_assert_eq!(apply(source.as_bytes(), &patch, target.len()), Ok(target.into_bytes()));
    }

    #[test]
    fn a_patch_between_unrelated_bytes_makes_the_second(
        source in vec(any::<u8>(), 0..300),
        target in vec(any::<u8>(), 0..300),
    ) {
        let patch = create(&source, &target);
        prop_assert_eq!(apply(&source, &patch, target.len()), Ok(target));
    }

    #[test]
    fn a_patch_of_garbage_never_panics(source in vec(any::<u8>(), 0..50), patch in vec(any::<u8>(), 0..50)) {
        let _ = apply(&source, &patch, 1000);
    }

    #[test]
    fn a_damaged_patch_never_panics_and_never_makes_too_much(
        (source, target) in edited(),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut patch = create(&source, &target);
        let at = at.index(patch.len());
        patch[at] = byte;
        if let Ok(made) = apply(&source, &patch, 1000) {
            prop_assert!(made.len() <= 1000);
        }
    }
}

#[test]
fn a_small_change_makes_a_small_patch() {
    let (source, target) = (document(100), document(2345));
    let patch = create_smaller(&source, &target).unwrap();
    assert!(patch.len() < 30, "{}", String::from_utf8_lossy(&patch));
    assert_eq!(apply(&source, &patch, target.len()), Ok(target));
}

#[test]
fn two_changes_far_apart_are_both_found() {
    let source = [document(1), document(2), document(3)].concat();
    let target = [&b"["[..], &document(1), b",", &document(2), b",", &document(3), b"]"].concat();
    let patch = create(&source, &target);
    assert!(patch.len() < 60, "{}", String::from_utf8_lossy(&patch));
    assert_eq!(apply(&source, &patch, target.len()), Ok(target));
}

#[test]
fn no_patch_is_sent_where_it_is_no_smaller() {
    assert_eq!(create_smaller(b"", b""), None);
    assert_eq!(create_smaller(b"{\"a\":1}", b"{\"a\":2}"), None);
    assert_eq!(create_smaller(&document(1), b"unrelated"), None);
}

#[test]
fn a_repetitive_text_takes_no_longer_than_another() {
    let source = vec![b'a'; 64 << 10];
    let target = [&source[..], b"b", &source[..]].concat();
    let patch = create(&source, &target);
    assert_eq!(apply(&source, &patch, target.len()), Ok(target));
}

#[test]
fn a_patch_is_not_applied_to_the_wrong_source_or_past_a_limit() {
    let (source, target) = (document(100), document(2345));
    let patch = create(&source, &target);
    assert_eq!(apply(&source[..100], &patch, 1000), Err(DeltaError::OutsideSource));
    assert_eq!(apply(&vec![b' '; source.len()], &patch, 1000), Err(DeltaError::Mismatch));
    let bytes_max = target.len() - 1;
    let target_bytes = target.len() as u64;
    assert_eq!(apply(&source, &patch, bytes_max), Err(DeltaError::TooLong { target_bytes, bytes_max }));
    for malformed in [&b""[..], b"1", b"1\n", b"1\n1", b"1\n1:", b"1\n1!a", b"1000000\n", b"0\n0;x"] {
        assert_eq!(apply(b"", malformed, usize::MAX), Err(DeltaError::Malformed), "{malformed:?}");
    }
}
