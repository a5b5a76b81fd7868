//! Queue: log lines on their way to a file descriptor that may be full, slow or gone.
//!
//! In:  whole lines of any thread, which never blocks here.
//! Out: the same, in order, written by a thread of its own; the number of lost lines.
//!
//! A line is lost if the queue is full or writing fails. As soon as lines can be written again, one of them says how many
//! were lost. Worst case: [`LINES_MAX`] lines of [`BYTES_MAX`] bytes together.

use std::{
    io::{self, ErrorKind, Write, stderr},
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{limit::EACH, line::line};
use crate::config::LogFormat;

/// The name of the thread that writes.
pub(crate) const THREAD: &str = "log";

/// What watches over the thread that writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    /// Does the thread's work, and what has to be done where that fails.
    pub run: fn(&mut dyn FnMut() -> io::Result<()>),
    /// Asked before each line, and once a second: an error ends the work.
    pub check: fn() -> io::Result<()>,
}

/// Lines that may wait.
const LINES_MAX: usize = 4096;

/// A write of this length to a pipe is atomic.
const PIPE_BUF: usize = 4096;

/// The most bytes of all waiting lines together.
const BYTES_MAX: usize = 1 << 20;

/// The interval of the chore.
const CHORE_EVERY: Duration = Duration::from_secs(1);

/// The sending end of the queue.
#[derive(Debug)]
pub(super) struct Lines {
    queue: SyncSender<Vec<u8>>,
    format: LogFormat,
    tally: Arc<Tally>,
    /// True exactly when the thread that writes has failed.
    is_without_thread: AtomicBool,
}

#[derive(Debug, Default)]
struct Tally {
    /// Lines, and their bytes, that are neither written nor lost yet.
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    lost: AtomicU64,
}

impl Lines {
    /// Starts the thread that writes, and does a `chore` every now and then.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        format: LogFormat,
        watch: Watch,
        chore: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, lines) = sync_channel(LINES_MAX);
        let tally = Arc::new(Tally::default());
        let mut pen = Pen { out, is_in_line: false };
        let counts = Arc::clone(&tally);
        thread::Builder::new().name(THREAD.to_owned()).spawn(move || {
            (watch.run)(&mut || write_on(&lines, &mut pen, &counts, watch.check, &chore));
        })?;
        Ok(Self { queue, format, tally, is_without_thread: AtomicBool::new(false) })
    }

    /// Queues a line, including its line feed.
    pub(super) fn push(&self, line: Vec<u8>) {
        if self.is_without_thread.load(Ordering::Relaxed) {
            return write_at_once(&line);
        }
        let bytes = line.len();
        self.tally.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting_bytes = self.tally.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting_bytes + bytes > BYTES_MAX || self.queue.try_send(line).is_err() {
            self.tally.done(bytes, false);
        }
    }

    /// Waits until the queue is empty, for at most `time`.
    pub(super) fn flush(&self, time: Duration) {
        let began = Instant::now();
        let is_written = || self.tally.waiting.load(Ordering::Acquire) == 0;
        while !self.is_without_thread.load(Ordering::Relaxed) && !is_written() && began.elapsed() < time {
            sleep(Duration::from_millis(1));
        }
    }

    /// The thread that writes has failed.
    pub(super) fn write_without_thread(&self) {
        self.is_without_thread.store(true, Ordering::Relaxed);
    }

    /// Lost lines.
    pub(super) fn lost(&self) -> u64 {
        self.tally.lost.load(Ordering::Relaxed)
    }
}

/// The subscriber writes each event in one call.
impl Write for &Lines {
    fn write(&mut self, written: &[u8]) -> io::Result<usize> {
        self.push(line(written, self.format));
        Ok(written.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tally {
    fn done(&self, bytes: usize, is_written: bool) {
        self.lost.fetch_add(u64::from(!is_written), Ordering::Relaxed);
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.waiting.fetch_sub(1, Ordering::Release);
    }
}

/// Writes to standard error directly, unless that would block: a pipe with room takes PIPE_BUF bytes at once (pipe(7)).
fn write_at_once(line: &[u8]) {
    let standard_error = stderr();
    let is_ready = {
        let mut fds = [PollFd::new(&standard_error, PollFlags::OUT)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    };
    if is_ready {
        // Without its lock, which the failed thread may hold.
        let _ = rustix::io::write(standard_error.as_fd(), &line[..line.len().min(PIPE_BUF)]);
    }
}

/// Writes until the queue is closed.
fn write_on(
    lines: &Receiver<Vec<u8>>,
    pen: &mut Pen<impl Write>,
    tally: &Tally,
    check: fn() -> io::Result<()>,
    chore: &impl Fn(),
) -> io::Result<()> {
    let mut told = 0;
    let mut done = Instant::now();
    loop {
        check()?;
        if done.elapsed() >= CHORE_EVERY {
            done = Instant::now();
            chore();
        }
        let line = match lines.recv_timeout(CHORE_EVERY) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let is_written = pen.write(&line).is_ok();
        tally.done(line.len(), is_written);
        let lost = tally.lost.load(Ordering::Relaxed);
        // Not between the lines of a burst: each would make the next one longer. Nor while it would be lost as well.
        if is_written && lost > told && tally.waiting.load(Ordering::Relaxed) == 0 {
            tracing::warn!(target: EACH, lines = lost - told, "log lines were lost, because standard error did not accept them in time; check what reads the log");
            told = lost;
        }
    }
}

/// Writes lines, and ends one that could be written only in part before the next one begins.
struct Pen<W> {
    out: W,
    is_in_line: bool,
}

impl<W: Write> Pen<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_in_line {
            self.write_all(b"\n")?;
        }
        self.write_all(line)
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some(&last) = bytes.last() {
            match self.out.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    bytes = &bytes[count..];
                    self.is_in_line = !(bytes.is_empty() && last == b'\n');
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, MutexGuard};

    use super::*;

    /// How long a test waits for lines to be written.
    const FLUSH_MAX: Duration = Duration::from_secs(5);

    /// A file on a disk of a certain size.
    #[derive(Clone, Debug, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Disk {
        fn with_room(bytes: usize) -> Self {
            Self(Arc::new(Mutex::new((Vec::new(), bytes))))
        }

        fn locked(&self) -> MutexGuard<'_, (Vec<u8>, usize)> {
            self.0.lock().expect("nobody panicked with it")
        }

        fn make_room(&self) {
            self.locked().1 = usize::MAX;
        }

        fn text(&self) -> String {
            String::from_utf8(self.locked().0.clone()).expect("lines are text")
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, size) = &mut *self.locked();
            let count = bytes.len().min(*size - written.len());
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            written.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const UNWATCHED: Watch =
        Watch { run: |work| work().expect("it writes until its queue is closed"), check: || Ok(()) };

    fn start(disk: &Disk) -> Lines {
        Lines::start(disk.clone(), LogFormat::Text, UNWATCHED, || {}).unwrap()
    }

    #[test]
    fn lines_are_written_in_order_and_a_flush_waits_for_them() {
        let disk = Disk::with_room(usize::MAX);
        let lines = start(&disk);
        let text: Vec<String> = (0..LINES_MAX / 2).map(|n| format!("line {n}\n")).collect();
        text.iter().for_each(|line| lines.push(line.clone().into_bytes()));
        lines.flush(FLUSH_MAX);
        assert_eq!(disk.text(), text.concat());
        assert_eq!(lines.lost(), 0);
    }

    #[test]
    fn on_a_full_disk_lines_are_counted_and_half_a_line_is_ended_before_the_next() {
        let disk = Disk::with_room(10);
        let lines = start(&disk);
        for line in ["one\n", "another one\n", "a third\n"] {
            lines.push(line.into());
        }
        lines.flush(FLUSH_MAX);
        assert_eq!((disk.text().as_str(), lines.lost()), ("one\nanothe", 2));
        disk.make_room();
        lines.push("better\n".into());
        lines.flush(FLUSH_MAX);
        assert_eq!((disk.text().as_str(), lines.lost()), ("one\nanothe\nbetter\n", 2));
    }

    #[test]
    fn nobody_waits_for_a_writer_that_is_stuck() {
        let disk = Disk::with_room(usize::MAX);
        let lines = start(&disk);
        let stuck = disk.locked();
        for _ in 0..LINES_MAX * 2 {
            lines.push("short\n".into());
        }
        let lost = lines.lost();
        // One is with the writer, perhaps.
        assert!((LINES_MAX - 1..=LINES_MAX).contains(&usize::try_from(lost).unwrap()), "{lost} were lost");
        drop(stuck);
        lines.flush(FLUSH_MAX);
        assert_eq!(disk.text().lines().count() as u64 + lost, 2 * LINES_MAX as u64);
    }

    #[test]
    fn long_lines_wait_only_up_to_a_number_of_bytes() {
        let disk = Disk::with_room(usize::MAX);
        let lines = start(&disk);
        let stuck = disk.locked();
        for _ in 0..64 {
            lines.push([b"x".repeat(BYTES_MAX / 32 - 1), b"\n".to_vec()].concat());
        }
        assert_eq!(lines.lost(), 32);
        drop(stuck);
        lines.flush(FLUSH_MAX);
        assert_eq!(disk.text().len(), BYTES_MAX);
    }
}
