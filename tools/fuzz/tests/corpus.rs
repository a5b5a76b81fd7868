//! Every target over its committed corpus, and over changed inputs.
//!
//! The inputs are the same each time, so that a change is judged by what it changes; `make fuzz` tries others.

use std::path::Path;

use holdfast_fuzz::{
    TARGETS, corpus,
    run::{self, End},
};

/// For each target.
const INPUTS: u64 = 100_000;
const SEED: u64 = 1;

#[test]
fn every_input_of_the_corpus_passes() {
    for target in TARGETS {
        let inputs = run::read_inputs(&corpus(target)).unwrap();
        assert!(inputs.len() >= 3, "{} has a corpus", target.name);
        for (file, input) in inputs {
            if let Err(what) = run::try_one(target, &input) {
                panic!(
                    "{what}\nreplay: cargo run -p holdfast-fuzz -- replay {} {}",
                    target.name,
                    file.display()
                );
            }
        }
    }
}

#[test]
fn nothing_is_found_in_a_short_run() {
    let findings = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    for target in TARGETS {
        match run::run(target, SEED, End::Inputs(INPUTS), &findings).unwrap() {
            Ok(done) => println!("{}: {} inputs", target.name, done.inputs),
            Err(finding) => panic!(
                "{}\nreplay: cargo run -p holdfast-fuzz -- replay {} {}",
                finding.what,
                target.name,
                finding.file.display()
            ),
        }
    }
}
