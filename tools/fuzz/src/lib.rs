//! Fuzz targets: everything that reads a peer's bytes, and what must hold whatever they are.
//!
//! In:  any bytes.
//! Out: a panic, which is a finding, or none.
//!
//! Two runners share the targets: `holdfast-fuzz` changes inputs at random and runs everywhere; `holdfast-fuzz-guided`
//! is libFuzzer, which sees what an input reaches.

#![forbid(unsafe_code)]

pub mod mutate;
pub mod run;
pub mod targets;

use std::path::PathBuf;

/// Something to be fuzzed.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name on the command line, and of its folder in `corpus/`.
    pub name: &'static str,
    /// Reads one input. Panics where something does not hold.
    pub run: fn(&[u8]),
    /// What its inputs are often made of.
    pub words: &'static [&'static [u8]],
}

/// All of them. A new reader of a peer's bytes gets a file in `targets/` and a line here.
pub const TARGETS: &[Target] = &[
    Target { name: "proxy", run: targets::proxy::run, words: targets::proxy::WORDS },
    Target { name: "head", run: targets::head::run, words: targets::head::WORDS },
    Target { name: "forwarded", run: targets::forwarded::run, words: targets::forwarded::WORDS },
    Target { name: "extensions", run: targets::extensions::run, words: targets::extensions::WORDS },
    Target { name: "body", run: targets::body::run, words: targets::body::WORDS },
    Target { name: "frame", run: targets::frame::run, words: targets::frame::WORDS },
    Target { name: "decoder", run: targets::decoder::run, words: targets::frame::WORDS },
    Target { name: "deflate", run: targets::deflate::run, words: targets::deflate::WORDS },
    Target { name: "json", run: targets::messages::run_json, words: targets::messages::WORDS },
    Target { name: "protobuf", run: targets::messages::run_protobuf, words: &[] },
    Target { name: "emulation", run: targets::emulation::run, words: targets::messages::WORDS },
    Target { name: "delta", run: targets::delta::run, words: targets::delta::WORDS },
    Target { name: "redis", run: targets::redis::run, words: targets::redis::WORDS },
    Target { name: "nodes", run: targets::nodes::run, words: targets::nodes::WORDS },
];

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Where a target's committed inputs lie.
pub fn corpus(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}
