//! Clock: the time of day changes, both ways, for the daemon alone.
//!
//! In:  libfaketime, where it is installed (Debian's package of that name). The machine's own clock is never set.
//! Out: tokens are judged by the new time; who is connected stays.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use holdfast_testkit::{comes_to_pass, skip};
use rand::{Rng as _, rngs::StdRng};
use serde_json::json;

use crate::{
    transport::{Heard, Kind, Transport},
    world::World,
};

const STEPS_S: [i64; 4] = [-86_400, -3_600, 3_600, 86_400];
/// How long a token is good.
const GOOD_FOR_S: i64 = 600;

/// What the daemon takes for the time of day.
#[derive(Debug)]
pub(crate) struct FakeClock {
    library: PathBuf,
    /// By how much it is off; libfaketime reads it once a second.
    offset: PathBuf,
}

impl FakeClock {
    /// A clock that is right; none where the library is not there.
    pub(crate) fn find(folder: &Path) -> Option<Self> {
        let folders = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path().join("faketime"));
        let library = folders.map(|folder| folder.join("libfaketimeMT.so.1")).find(|path| path.exists());
        let Some(library) = library else {
            skip("a step of the clock", "libfaketime is not installed");
            return None;
        };
        let clock = Self { library, offset: folder.join(format!("nemesis-{}.clock", std::process::id())) };
        clock.set(0);
        Some(clock)
    }

    /// What a daemon needs to be told.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.offset.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }

    fn set(&self, offset_s: i64) {
        // A reader must not find half of it.
        let next = self.offset.with_extension("next");
        fs::write(&next, format!("{offset_s:+}s\n")).expect("it can be written");
        fs::rename(&next, &self.offset).expect("it can be renamed");
    }
}

impl Drop for FakeClock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.offset);
    }
}

pub(super) fn come(world: &World, random: &mut StdRng, lasts: Duration) {
    let Some(clock) = &world.clock else { return };
    let step_s = STEPS_S[random.random_range(0..STEPS_S.len())];
    clock.set(step_s);
    expect_judged_by(world, step_s);
    sleep(lasts);
    clock.set(0);
    expect_judged_by(world, 0);
}

/// A fresh token is taken and one that has expired is not, as soon as the daemon knows what time it is.
fn expect_judged_by(world: &World, offset_s: i64) {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let now_s = i64::try_from(now_s).expect("it is before the sun goes out") + offset_s;
    for (expires_s, is_good) in [(now_s + GOOD_FOR_S, true), (now_s - GOOD_FOR_S, false)] {
        let claims = json!({ "sub": "somebody", "iat": expires_s - GOOD_FOR_S, "exp": expires_s });
        let connect = json!({ "id": 1, "connect": { "token": holdfast_fairness::token_of(&claims) } });
        let is_judged = comes_to_pass(|| is_taken(world, &connect) == Some(is_good));
        if !is_judged {
            let judged = if is_good { "refused though it is fresh" } else { "taken though it has expired" };
            world.oracle.broken(format!("{offset_s} s off, a token is {judged}"));
        }
    }
}

/// Whether somebody may connect; none where nobody said so.
fn is_taken(world: &World, connect: &serde_json::Value) -> Option<bool> {
    let mut transport =
        Transport::open(Kind::WebSocket, world.address(), std::slice::from_ref(connect)).ok()?;
    loop {
        match transport.next() {
            Heard::Message(message) if message.get("connect").is_some() => return Some(true),
            // The token has expired.
            Heard::Message(message) if message["error"]["code"] == 109 => return Some(false),
            Heard::Closed(3500, _) => return Some(false),
            Heard::Message(_) | Heard::Nothing => {}
            Heard::Closed(..) | Heard::Cut(_) | Heard::Refused(_) => return None,
        }
    }
}
