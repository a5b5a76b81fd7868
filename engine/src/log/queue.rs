//! Queue: log lines on their way to a file descriptor that may be full, slow or gone.
//!
//! In:  whole lines, from any thread, none of which ever waits here.
//! Out: the same, in order, written by a thread of their own; a count of those that were not.
//!
//! A line is lost where too much waits already, or where writing it fails. As soon as lines can be written again, one of
//! them says how many were lost. Worst case: [`LINES_MAX`] lines of [`BYTES_MAX`] bytes together.

use std::{
    io::{self, ErrorKind, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

/// Lines that may wait.
const LINES_MAX: usize = 4096;

/// What waiting lines may have together.
const BYTES_MAX: usize = 1 << 20;

/// How long [`Lines::flush`] waits. A reader that is there takes far less; without one, waiting longer helps nobody.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// The way to the thread that writes.
#[derive(Debug)]
pub(super) struct Lines {
    queue: SyncSender<Vec<u8>>,
    tally: Arc<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    /// Lines, and their bytes, that are neither written nor lost.
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    lost: AtomicU64,
}

impl Lines {
    /// Starts the thread that writes.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = sync_channel(LINES_MAX);
        let tally = Arc::new(Tally::default());
        let pen = Pen { out, is_in_line: false };
        let counts = Arc::clone(&tally);
        thread::Builder::new().name("log".to_owned()).spawn(move || write_on(&lines, pen, &counts))?;
        Ok(Self { queue, tally })
    }

    /// Leaves a line, with its end, for the thread that writes.
    pub(super) fn push(&self, line: Vec<u8>) {
        let bytes = line.len();
        self.tally.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting_bytes = self.tally.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting_bytes + bytes > BYTES_MAX || self.queue.try_send(line).is_err() {
            self.tally.done(bytes, false);
        }
    }

    /// Waits until nothing waits any more, but no longer than [`FLUSH_MAX`].
    pub(super) fn flush(&self) {
        let began = Instant::now();
        while self.tally.waiting.load(Ordering::Acquire) > 0 && began.elapsed() < FLUSH_MAX {
            sleep(Duration::from_millis(1));
        }
    }

    /// Lines that were not written.
    pub(super) fn lost(&self) -> u64 {
        self.tally.lost.load(Ordering::Relaxed)
    }
}

/// The subscriber writes each event at once.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line.to_vec());
        Ok(line.len())
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

/// Writes until the queue is closed.
fn write_on(lines: &Receiver<Vec<u8>>, mut pen: Pen<impl Write>, tally: &Tally) {
    let mut told = 0;
    while let Ok(line) = lines.recv() {
        let is_written = pen.write(&line).is_ok();
        tally.done(line.len(), is_written);
        let lost = tally.lost.load(Ordering::Relaxed);
        // Not between the lines of a burst: each would make the next one longer. Nor while it would be lost as well.
        if is_written && lost > told && tally.waiting.load(Ordering::Relaxed) == 0 {
            tracing::warn!(lines = lost - told, "log lines were lost: standard error did not take them");
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

    #[test]
    fn lines_are_written_in_order_and_a_flush_waits_for_them() {
        let disk = Disk::with_room(usize::MAX);
        let lines = Lines::start(disk.clone()).unwrap();
        let text: Vec<String> = (0..LINES_MAX / 2).map(|n| format!("line {n}\n")).collect();
        text.iter().for_each(|line| lines.push(line.clone().into_bytes()));
        lines.flush();
        assert_eq!(disk.text(), text.concat());
        assert_eq!(lines.lost(), 0);
    }

    #[test]
    fn on_a_full_disk_lines_are_counted_and_half_a_line_is_ended_before_the_next() {
        let disk = Disk::with_room(10);
        let lines = Lines::start(disk.clone()).unwrap();
        for line in ["one\n", "another one\n", "a third\n"] {
            lines.push(line.into());
        }
        lines.flush();
        assert_eq!((disk.text().as_str(), lines.lost()), ("one\nanothe", 2));
        disk.make_room();
        lines.push("better\n".into());
        lines.flush();
        assert_eq!((disk.text().as_str(), lines.lost()), ("one\nanothe\nbetter\n", 2));
    }

    #[test]
    fn nobody_waits_for_a_writer_that_is_stuck() {
        let disk = Disk::with_room(usize::MAX);
        let lines = Lines::start(disk.clone()).unwrap();
        let stuck = disk.locked();
        for _ in 0..LINES_MAX * 2 {
            lines.push("short\n".into());
        }
        let lost = lines.lost();
        // One is with the writer, perhaps.
        assert!((LINES_MAX - 1..=LINES_MAX).contains(&usize::try_from(lost).unwrap()), "{lost} were lost");
        drop(stuck);
        lines.flush();
        assert_eq!(disk.text().lines().count() as u64 + lost, 2 * LINES_MAX as u64);
    }

    #[test]
    fn long_lines_wait_only_up_to_a_number_of_bytes() {
        let disk = Disk::with_room(usize::MAX);
        let lines = Lines::start(disk.clone()).unwrap();
        let stuck = disk.locked();
        for _ in 0..64 {
            lines.push([b"x".repeat(BYTES_MAX / 32 - 1), b"\n".to_vec()].concat());
        }
        assert_eq!(lines.lost(), 32);
        drop(stuck);
        lines.flush();
        assert_eq!(disk.text().len(), BYTES_MAX);
    }
}
