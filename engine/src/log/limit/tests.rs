//! Lines of one kind, many of them, by several threads and over time: which are written, and what is said of the others.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    thread,
};

use tracing_subscriber::{filter::LevelFilter, fmt, layer::SubscriberExt as _};

use super::*;

const INTERVAL_MS: u64 = 10_000;

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(bytes).unwrap().lines().map(|line| line.trim().to_owned()).collect()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A limiter of three lines an interval, a clock for it, and what is logged.
struct Log {
    limiter: &'static Limiter,
    clock: Arc<AtomicU64>,
    page: Page,
}

impl Log {
    fn new(level: LevelFilter) -> (Self, impl Subscriber + Send + Sync) {
        let (clock, page) = (Arc::new(AtomicU64::new(0)), Page::default());
        let time = Arc::clone(&clock);
        let now_ms = Box::new(move || time.load(Ordering::Relaxed));
        let limiter = Box::leak(Box::new(Limiter::new(3, INTERVAL_MS, now_ms)));
        let written = page.clone();
        let lines = fmt::layer()
            .with_target(false)
            .without_time()
            .with_ansi(false)
            .with_writer(move || written.clone());
        let subscriber = tracing_subscriber::registry().with(level).with(Limited(limiter)).with(lines);
        (Self { limiter, clock, page }, subscriber)
    }

    /// Runs with all that is logged at `info` and above.
    fn at_info(test: impl FnOnce(&Self)) {
        let (log, subscriber) = Self::new(LevelFilter::INFO);
        tracing::subscriber::with_default(subscriber, || test(&log));
    }

    fn pass(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }
}

#[test]
fn of_each_reason_the_first_lines_are_shown_and_the_others_counted() {
    Log::at_info(|log| {
        for number in 0..1000 {
            for reason in ["timeout", "status"] {
                tracing::warn!(reason, number, error = %format_args!("error {number}"), "a call to the backend failed; check the backend");
            }
        }
        let shown = log.page.take();
        assert_eq!(shown.len(), 6, "{shown:#?}");
        assert_eq!(
            shown[0],
            "WARN a call to the backend failed; check the backend reason=\"timeout\" number=0 error=error 0"
        );

        log.pass(INTERVAL_MS - 1);
        log.limiter.tell(false);
        assert_eq!(log.page.take(), [""; 0], "the interval is not over");
        log.pass(1);
        log.limiter.tell(false);
        let mut told = log.page.take();
        told.sort();
        assert_eq!(
            told,
            [
                "WARN … 997 more: a call to the backend failed; check the backend reason=status left_out=997 in_ms=10000",
                "WARN … 997 more: a call to the backend failed; check the backend reason=timeout left_out=997 in_ms=10000",
            ]
        );
        assert!(!log.limiter.is_telling());
        log.limiter.tell(true);
        assert_eq!(log.page.take(), [""; 0], "it is told once");
    });
}

#[test]
fn each_interval_has_its_lines_and_none_is_left_uncounted() {
    Log::at_info(|log| {
        let (mut shown, mut left_out) = (0, 0);
        for line in 0..10_000 {
            tracing::error!("again and again");
            log.pass(7);
            if line % 100 == 0 {
                log.limiter.tell(false);
            }
        }
        log.limiter.tell(true);
        for line in log.page.take() {
            match line.split_once("left_out=") {
                Some((_, count)) => left_out += count.split(' ').next().unwrap().parse::<u64>().unwrap(),
                None => shown += 1,
            }
        }
        assert_eq!((shown, shown + left_out), (3 * 7, 10_000));
    });
}

#[test]
fn what_no_peer_can_cause_and_what_is_asked_for_at_debug_is_shown_each_time() {
    let (log, subscriber) = Log::new(LevelFilter::DEBUG);
    tracing::subscriber::with_default(subscriber, || {
        for number in 0..100 {
            tracing::debug!(number, "a token is refused");
            tracing::info!(target: EACH, number, "draining: clients remain");
        }
        assert_eq!(log.page.take().len(), 200);
    });
}

#[test]
fn a_refusal_is_one_limited_line_a_reason_and_each_at_debug() {
    Log::at_info(|log| {
        for number in 0..100 {
            crate::log::refusal!("origin", number, "a request was refused");
        }
        assert_eq!(log.page.take().len(), 3);
    });
    let (log, subscriber) = Log::new(LevelFilter::DEBUG);
    tracing::subscriber::with_default(subscriber, || {
        for number in 0..100 {
            crate::log::refusal!("origin", number, "a request was refused");
        }
        let shown = log.page.take();
        assert_eq!(shown.len(), 100);
        assert_eq!(shown[7], "DEBUG a request was refused reason=\"origin\" number=7");
    });
}

#[test]
fn reasons_without_number_have_a_bound_and_are_counted_all_the_same() {
    Log::at_info(|log| {
        for number in 0..100_000 {
            tracing::warn!(reason = format!("made up {number}"), "never mind");
        }
        let shown = log.page.take().len();
        assert!(shown <= 3 * (KINDS + 1), "{shown} lines");
        log.limiter.tell(true);
        let told = log.page.take();
        let count = |line: &String| line.split_once("left_out=")?.1.split(' ').next()?.parse::<usize>().ok();
        assert_eq!(shown + told.iter().filter_map(count).sum::<usize>(), 100_000);
    });
}

#[test]
fn a_line_is_repeated_only_in_part() {
    Log::at_info(|log| {
        for _ in 0..4 {
            tracing::warn!("{}", "ü".repeat(10_000));
        }
        log.page.take();
        log.limiter.tell(true);
        let told = log.page.take();
        assert!(told.len() == 1 && told[0].len() < 300, "{told:?}");
    });
}

#[test]
fn threads_that_log_at_once_show_no_more_and_lose_no_count() {
    let (log, subscriber) = Log::new(LevelFilter::INFO);
    let dispatch = tracing::Dispatch::new(subscriber);
    thread::scope(|scope| {
        for _ in 0..4 {
            let dispatch = dispatch.clone();
            scope.spawn(move || {
                tracing::dispatcher::with_default(&dispatch, || {
                    (0..10_000).for_each(|number| tracing::warn!(number, "from all sides"));
                });
            });
        }
    });
    assert_eq!(log.page.take().len(), 3);
    tracing::dispatcher::with_default(&dispatch, || log.limiter.tell(true));
    let told = log.page.take();
    assert!(told.len() == 1 && told[0].contains("left_out=39997"), "{told:?}");
}
