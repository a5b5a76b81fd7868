//! Failure: what ends the process, and how it ends.
//!
//! In:  panics; parts that fail, or end though nobody told them to.
//! Out: the last lines of the log, and the exit code [`FAILED`], within a second.

use std::{
    cell::Cell,
    io,
    panic::{self, PanicHookInfo},
    process,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::task::JoinHandle;

use super::beats::{Beats, Part, State};
#[cfg(debug_assertions)]
use super::fault;
use crate::log;

/// The exit code after a failure: `EX_SOFTWARE` of sysexits(3).
pub(crate) const FAILED: u8 = 70;

/// The time for the last log lines: most of the second in which the process ends.
const LAST_LINES_MAX: Duration = Duration::from_millis(500);

/// The same if the process ends as requested, after its deadline.
const LAST_LINES_AS_ASKED_MAX: Duration = Duration::from_millis(200);

/// When the process exits even if log lines are missing: a backtrace may take long.
const END_AFTER: Duration = Duration::from_millis(800);

/// When the process is aborted, whatever it waits for.
const FORCE_AFTER: Duration = Duration::from_millis(950);

/// The beats of this process, for the state in the last line.
static BEATS: OnceLock<Arc<Beats>> = OnceLock::new();

thread_local! {
    /// The shard that this thread runs.
    static SHARD: Cell<Option<usize>> = const { Cell::new(None) };
}

tokio::task_local! {
    /// The task that runs.
    static TASK: &'static str;

    /// There where a request to the control port is answered, whose panic is caught.
    static REQUEST: ();
}

/// From here on a panic ends the process, whichever thread or task it is in and whoever would catch it; but for one in an
/// answer to a request, which costs that request alone.
pub(crate) fn end_at_panics() {
    panic::set_hook(Box::new(|panic| {
        let cause = panicked(panic);
        if REQUEST.try_with(|()| ()).is_err() {
            fail(&cause);
        }
        tracing::error!(
            cause,
            "a request to the control port panicked: this is a bug, please report it with this line"
        );
    }));
}

/// Answers one request to the control port. The caller catches its panics.
pub(crate) async fn request<T>(answer: impl Future<Output = T>) -> T {
    let answer = async {
        let _ = strike(Part::Named("request"));
        answer.await
    };
    REQUEST.scope((), answer).await
}

/// Does a part of that on another thread. The caller looks whether it has panicked.
pub(crate) fn request_work<T>(work: impl FnOnce() -> T) -> T {
    REQUEST.sync_scope((), work)
}

/// This process is that daemon.
pub(crate) fn supervise(beats: &Arc<Beats>) {
    let _ = BEATS.set(Arc::clone(beats));
}

/// Registers the shard that this thread runs.
pub(crate) fn is_shard(index: usize) {
    SHARD.set(Some(index));
}

/// The calling part has failed: ends the process.
pub(crate) fn fail(cause: &str) -> ! {
    let shard = SHARD.get();
    let name = match (TASK.try_with(|name| *name), shard) {
        (Ok(task), _) => task.to_owned(),
        (Err(_), Some(shard)) => Part::Shard(shard).to_string(),
        (Err(_), None) => thread::current().name().unwrap_or("without a name").to_owned(),
    };
    end_for(&name, state_of(shard), cause)
}

/// Another part has failed: ends the process.
pub(crate) fn fail_for(part: Part, cause: &str) -> ! {
    let shard = if let Part::Shard(shard) = part { Some(shard) } else { None };
    end_for(&part.to_string(), state_of(shard), cause)
}

/// Ends the process as requested, though some parts are still running.
pub(crate) fn end_as_asked() -> ! {
    log::flush_within(LAST_LINES_AS_ASKED_MAX);
    process::exit(0)
}

fn state_of(shard: Option<usize>) -> State {
    BEATS
        .get()
        .map_or(State::Starting, |beats| shard.map_or_else(|| beats.state(), |shard| beats.state_of(shard)))
}

fn end_for(part: &str, state: State, cause: &str) -> ! {
    static IS_ENDING: AtomicBool = AtomicBool::new(false);
    let is_first = !IS_ENDING.swap(true, Ordering::SeqCst);
    if is_first {
        end_after(END_AFTER, || process::exit(FAILED.into()));
        end_after(FORCE_AFTER, || process::abort());
    }
    if thread::current().name() == Some(&*Part::LOG.to_string()) {
        log::write_without_thread();
    }
    if tracing::enabled!(tracing::Level::ERROR) {
        let state = state.name();
        tracing::error!(target: log::EACH, part, state, cause, code = FAILED, "a part of the daemon failed: the process ends, and the service manager should start it again");
    } else {
        // The same line, if errors are not logged or logging has not started.
        let state = state.name();
        log::say(&format!(
            "ERROR a part of the daemon failed: the process ends, and the service manager should start it again part={part:?} state={state:?} cause={cause:?} code={FAILED}"
        ));
    }
    // Slow if RUST_BACKTRACE asks for it, so after the line itself.
    log::backtrace().into_iter().for_each(|backtrace| log::say(&backtrace));
    // A failure that follows from the first one logs its line and waits for the end.
    if !is_first {
        loop {
            thread::park();
        }
    }
    log::flush_within(LAST_LINES_MAX);
    process::exit(FAILED.into())
}

/// If no thread can be started, the caller still ends the process itself.
fn end_after(time: Duration, end: impl FnOnce() + Send + 'static) {
    let _ = thread::Builder::new().name("end".to_owned()).spawn(move || {
        thread::sleep(time);
        end();
    });
}

fn panicked(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let said = payload.downcast_ref::<&str>().copied();
    let said =
        said.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words");
    match panic.location() {
        Some(location) => format!("panicked at {location}: {said}"),
        None => format!("panicked: {said}"),
    }
}

/// Held by a thread that must not end: ends the process when it is dropped.
#[derive(Debug)]
pub(crate) struct Sentinel {
    is_on_duty: bool,
}

impl Sentinel {
    pub(crate) fn on_duty() -> Self {
        Self { is_on_duty: true }
    }

    /// From here on the thread may end.
    pub(crate) fn stand_down(mut self) {
        self.is_on_duty = false;
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        if self.is_on_duty {
            fail("it ended without a stop order");
        }
    }
}

/// Runs a task that goes on as long as the control thread: its end is a failure.
pub(crate) fn endless(name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(TASK.scope(name, async move {
        tokio::select! {
            () = task => {}
            () = struck(name) => {}
        }
        fail("it ended without a stop order")
    }));
}

/// Runs a task that has an end of its own.
pub(crate) fn task<T: Send + 'static>(
    name: &'static str,
    task: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tokio::spawn(TASK.scope(name, task))
}

/// Fails where a test wants it so.
///
/// # Errors
/// The injected fault.
#[cfg(debug_assertions)]
pub(crate) fn strike(part: Part) -> io::Result<()> {
    let shard = if let Part::Shard(shard) = part { Some(shard) } else { None };
    fault::strike(part, || state_of(shard))
}

/// Faults are injected in debug builds only.
#[cfg(not(debug_assertions))]
#[inline]
pub(crate) fn strike(_: Part) -> io::Result<()> {
    Ok(())
}

/// Ends where a test wants a task to fail.
#[cfg(debug_assertions)]
async fn struck(name: &'static str) {
    while strike(Part::Named(name)).is_ok() {
        tokio::time::sleep(fault::LOOK_EVERY).await;
    }
}

#[cfg(not(debug_assertions))]
async fn struck(_: &'static str) {
    std::future::pending::<()>().await;
}

/// Watches over the thread that writes the log.
pub(crate) fn watch_log() -> log::Watch {
    log::Watch {
        run: |work| {
            let sentinel = Sentinel::on_duty();
            if work().is_ok() {
                sentinel.stand_down();
            }
        },
        check: || strike(Part::LOG),
    }
}
