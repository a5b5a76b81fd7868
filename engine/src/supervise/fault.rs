//! Fault: injected failures, for tests. Release builds do not contain this file.
//!
//! In:  the variable `FAULT_FOR_TESTS`: `PART,STATE,HOW,FILE`.
//! Out: that part fails in that way, once it is in that state and the file exists.
//!
//! HOW is `panic`, `error` (the call fails; a task ends), or `stall` (the part blocks while the file exists).

use std::{env, io, path::PathBuf, sync::LazyLock, thread::sleep, time::Duration};

use super::beats::{Part, State};

/// How often tasks check for an injected fault.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

static FAULT: LazyLock<Option<Fault>> = LazyLock::new(|| {
    let text = env::var("FAULT_FOR_TESTS").ok()?;
    let fault = Fault::parse(&text);
    assert!(fault.is_some(), "FAULT_FOR_TESTS is PART,STATE,HOW,FILE; found {text:?}");
    fault
});

struct Fault {
    part: String,
    state: String,
    how: How,
    file: PathBuf,
}

enum How {
    Panic,
    Error,
    Stall,
}

impl Fault {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(4, ',');
        let (part, state) = (words.next()?.to_owned(), words.next()?.to_owned());
        let how = match words.next()? {
            "panic" => How::Panic,
            "error" => How::Error,
            "stall" => How::Stall,
            _ => return None,
        };
        Some(Self { part, state, how, file: words.next()?.into() })
    }
}

pub(super) fn strike(part: Part, state: impl FnOnce() -> State) -> io::Result<()> {
    let Some(fault) = &*FAULT else { return Ok(()) };
    if fault.part != part.to_string() || fault.state != state().name() || !fault.file.exists() {
        return Ok(());
    }
    match fault.how {
        How::Panic => panic!("on purpose"),
        How::Error => Err(io::Error::other("on purpose")),
        How::Stall => {
            while fault.file.exists() {
                sleep(LOOK_EVERY);
            }
            Ok(())
        }
    }
}
