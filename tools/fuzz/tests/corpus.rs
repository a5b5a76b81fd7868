//! Every target over its committed corpus, and for a short while over changed inputs.
//!
//! `FUZZ_SECONDS` sets how long each target runs; two seconds by default.

use std::{path::Path, time::Duration};

use holdfast_fuzz::{TARGETS, corpus, run};

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
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let seed = rand::random();
    let findings = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    for target in TARGETS {
        match run::run(target, seed, Duration::from_secs(seconds), &findings).unwrap() {
            Ok(done) => println!("{}: {} inputs", target.name, done.inputs),
            Err(finding) => panic!(
                "{} (seed {seed})\nreplay: cargo run -p holdfast-fuzz -- replay {} {}",
                finding.what,
                target.name,
                finding.file.display()
            ),
        }
    }
}
