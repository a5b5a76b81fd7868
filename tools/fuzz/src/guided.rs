//! holdfast-fuzz-guided: libFuzzer over one target, which the variable FUZZ_TARGET names.
//!
//! In:  libFuzzer's own arguments; inputs of its making.
//! Out: what libFuzzer tells. `tools/fuzz/guided` builds and starts it.

#![no_main]

use std::sync::LazyLock;

use holdfast_fuzz::{Target, find};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    find(&name).expect("FUZZ_TARGET names a target that exists")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.run)(data));
