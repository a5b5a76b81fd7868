//! Group: a control group of one's own with a memory limit (cgroups(7)).
//!
//! In:  the limit.
//! Out: where its processes are listed; what the kernel says of it afterwards.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use holdfast_testkit::comes_to_pass;

/// What the begin of a group's name says whose it was.
const NAME: &str = "holdfast-test";

/// A control group, which goes with this value: its processes have to have ended by then.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
    files: &'static Files,
}

/// How a version of control groups calls its files.
#[derive(Debug)]
struct Files {
    root: &'static str,
    limit: &'static str,
    /// Off, so that the limit is one.
    swap: &'static str,
    peak: &'static str,
    /// In this one is a line with the number of processes killed.
    events: &'static str,
}

const VERSIONS: [Files; 2] = [
    Files {
        root: "/sys/fs/cgroup/memory",
        limit: "memory.limit_in_bytes",
        swap: "memory.swappiness",
        peak: "memory.max_usage_in_bytes",
        events: "memory.oom_control",
    },
    Files {
        root: "/sys/fs/cgroup",
        limit: "memory.max",
        swap: "memory.swap.max",
        peak: "memory.peak",
        events: "memory.events",
    },
];

impl Group {
    /// Makes one.
    ///
    /// # Errors
    /// Why this machine does not allow it.
    pub(crate) fn make(limit_bytes: u64) -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut whys = Vec::new();
        for files in &VERSIONS {
            remove_those_left_behind(Path::new(files.root));
            let path = Path::new(files.root).join(format!("{NAME}-{}-{number}", process::id()));
            match make(&path, files, limit_bytes) {
                Ok(()) => return Ok(Self { path, files }),
                Err(error) => {
                    let _ = fs::remove_dir(&path);
                    whys.push(format!("{}: {error}", path.display()));
                }
            }
        }
        Err(format!("no control group can be made: {}", whys.join("; ")))
    }

    /// Who writes its process id there is in the group.
    pub(crate) fn processes(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// The most memory that was used at a time, in bytes; 0 where this kernel does not say.
    pub(crate) fn peak_bytes(&self) -> u64 {
        let peak = fs::read_to_string(self.path.join(self.files.peak)).ok();
        peak.and_then(|peak| peak.trim().parse().ok()).unwrap_or(0)
    }

    /// How many of its processes the kernel has killed.
    pub(crate) fn killed(&self) -> u64 {
        let events = fs::read_to_string(self.path.join(self.files.events)).expect("it is there");
        let killed = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        killed.and_then(|count| count.parse().ok()).expect("the kernel counts them")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The end of a process reaches its group a little later than its parent.
        let is_gone = comes_to_pass(|| fs::remove_dir(&self.path).is_ok());
        assert!(is_gone || std::thread::panicking(), "{} cannot be removed", self.path.display());
    }
}

fn make(path: &Path, files: &Files, limit_bytes: u64) -> io::Result<()> {
    fs::create_dir(path)?;
    // Not `fs::write`, which would make the file where the kernel has none.
    let write = |name: &str, text: String| {
        io::Write::write_all(&mut fs::OpenOptions::new().write(true).open(path.join(name))?, text.as_bytes())
    };
    // Where there is no swap, this may be missing.
    let _ = write(files.swap, "0".into());
    write(files.limit, limit_bytes.to_string())
}

/// Those of tests that were killed; others have processes, and stay.
fn remove_those_left_behind(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix(NAME)?.strip_prefix('-')?.split_once('-'));
        if owner.is_some_and(|(owner, _)| !Path::new("/proc").join(owner).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}
