//! Chamber: namespaces of the kernel (namespaces(7)) in which a fault can be made without anybody else noticing.
//!
//! In:  which kinds of namespaces, and a command to run in them.
//! Out: a process that holds them, for as long as it is wanted.
//!
//! The process reads from a pipe of ours and ends with it: also a test that is killed leaves nothing behind.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Namespaces of one's own.
#[derive(Debug)]
pub(crate) struct Chamber {
    holder: Child,
}

impl Chamber {
    /// Makes them. `namespaces` are options of unshare(1), `command` one of sh(1) that is to succeed inside.
    ///
    /// # Errors
    /// Why this machine does not allow it.
    pub(crate) fn make(namespaces: &[&str], command: &str) -> Result<Self, String> {
        let script = format!("{command} && echo made && exec cat");
        let mut holder = Command::new("unshare")
            .args(namespaces)
            .args(["sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare(1) cannot be run: {error}"))?;
        let mut said = String::new();
        let output = holder.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut said).expect("its output can be read");
        let chamber = Self { holder };
        if said == "made\n" {
            Ok(chamber)
        } else {
            Err(format!("no namespaces with {namespaces:?}: not root?"))
        }
    }

    /// A path as it is inside.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.own("root").join(path.strip_prefix("/").expect("it is absolute"))
    }

    /// What proc(5) has of the process that holds it.
    pub(crate) fn own(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.holder.id())).join(name)
    }
}

impl Drop for Chamber {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
