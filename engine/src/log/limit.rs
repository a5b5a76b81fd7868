//! Limit: limits how many lines of one kind are logged in an interval.
//!
//! In:  events; the time.
//! Out: the first lines of each kind in an interval; one line with the number of the others.
//!
//! A kind is a place in the code with the values of its fields `event`, `reason` and `section`. The limit holds for every
//! line at `info` and above, since peers can cause any of them, except those with the target [`EACH`]. At `debug` each line
//! is shown.
//!
//! No lock: tables of atomics. Worst case: [`KINDS`] and [`PLACES`] entries with a text of [`TEXT_BYTES_MAX`] each. Kinds
//! without an entry are counted together, for each place in the code.

use std::{
    fmt::{self, Write as _},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

/// The target of lines that no peer can cause: each of them is shown.
pub(crate) const EACH: &str = "each";

/// Kinds of lines that are distinguished by their fields.
const KINDS: usize = 512;

/// Places in the code, ours and our dependencies', whose lines are always distinguished.
const PLACES: usize = 512;

/// The length of a probe sequence.
const PROBES: usize = 16;

/// The part of a line that is repeated with the number of omitted ones.
const TEXT_BYTES_MAX: usize = 160;

/// Fields with few values, which distinguish kinds of lines.
const KIND_FIELDS: [&str; 3] = ["event", "reason", "section"];

/// A monotonic time in milliseconds.
type Clock = dyn Fn() -> u64 + Send + Sync;

/// Counts lines.
pub(super) struct Limiter {
    kinds: Vec<Slot>,
    places: Vec<Slot>,
    /// For lines without an entry in either.
    others: Slot,
    /// 0: no limit.
    lines_max: u32,
    interval_ms: u64,
    now_ms: Box<Clock>,
    /// True exactly while lines may have been omitted.
    is_full: AtomicBool,
}

/// One kind of lines.
#[derive(Debug, Default)]
struct Slot {
    /// Of the kind or the place; 0 if the slot is free.
    hash: AtomicU64,
    /// The interval, and the lines in it that were shown: 32 bits each.
    shown: AtomicU64,
    left_out: AtomicU64,
    /// When the first of them was omitted.
    since_ms: AtomicU64,
    text: OnceLock<(Level, String)>,
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lines_max, interval_ms, .. } = self;
        f.debug_struct("Limiter")
            .field("lines_max", lines_max)
            .field("interval_ms", interval_ms)
            .finish_non_exhaustive()
    }
}

impl Limiter {
    /// Admits `lines_max` lines of each kind in an interval; 0 for all.
    pub(super) fn new(lines_max: u32, interval_ms: u64, now_ms: Box<Clock>) -> Self {
        let slots = |count| (0..count).map(|_| Slot::default()).collect();
        let others =
            Slot { text: (Level::WARN, "lines of other kinds".to_owned()).into(), ..Slot::default() };
        let is_full = AtomicBool::new(false);
        Self { kinds: slots(KINDS), places: slots(PLACES), others, lines_max, interval_ms, now_ms, is_full }
    }

    /// True exactly when the event is to be shown.
    fn admits(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if self.lines_max == 0 || *metadata.level() > Level::INFO || metadata.target() == EACH {
            return true;
        }
        self.count_in(self.slot(event), || {
            let mut text = Text::default();
            event.record(&mut text);
            (*event.metadata().level(), text.cut())
        })
    }

    /// True exactly when a line about a refusal of this kind is to be shown.
    pub(super) fn admits_refusal(&self, event: &'static str, reason: &'static str) -> bool {
        if self.lines_max == 0 {
            return true;
        }
        let mut hasher = DefaultHasher::new();
        (event, reason).hash(&mut hasher);
        let slot = find(&self.kinds, hasher.finish()).unwrap_or(&self.others);
        self.count_in(slot, || (Level::INFO, format!("refused event={event} reason={reason}")))
    }

    /// True exactly when the slot's kind has room for one more line.
    fn count_in(&self, slot: &Slot, text: impl FnOnce() -> (Level, String)) -> bool {
        let now_ms = (self.now_ms)();
        let count = slot.count(now_ms / self.interval_ms, self.lines_max);
        if count == Count::Over {
            slot.leave_out(text, now_ms);
        }
        if count != Count::Shown && !self.is_telling() {
            self.is_full.store(true, Ordering::SeqCst);
        }
        count != Count::Over
    }

    fn slot(&self, event: &Event<'_>) -> &Slot {
        let mut hasher = DefaultHasher::new();
        event.metadata().callsite().hash(&mut hasher);
        let place = hasher.finish();
        let mut kind = Kind(hasher);
        event.record(&mut kind);
        let kind = kind.0.finish();
        let of_kind = if kind == place { None } else { find(&self.kinds, kind) };
        of_kind.or_else(|| find(&self.places, place)).unwrap_or(&self.others)
    }

    /// True exactly while [`Limiter::tell`] has to be called regularly.
    pub(super) fn is_telling(&self) -> bool {
        self.is_full.load(Ordering::SeqCst)
    }

    /// Logs how many lines were omitted in past intervals; with `is_last`, in the current one too.
    pub(super) fn tell(&self, is_last: bool) {
        if !self.is_full.swap(false, Ordering::SeqCst) {
            return;
        }
        let now_ms = (self.now_ms)();
        let mut is_full = false;
        for slot in self.kinds.iter().chain(&self.places).chain([&self.others]) {
            let (interval, lines) = unpack(slot.shown.load(Ordering::Relaxed));
            if is_last || interval < now_ms / self.interval_ms {
                slot.tell(now_ms);
            } else {
                is_full |= lines >= self.lines_max;
            }
        }
        if is_full {
            self.is_full.store(true, Ordering::SeqCst);
        }
    }
}

/// The slot of a hash; takes a free one for a new hash.
fn find(slots: &[Slot], hash: u64) -> Option<&Slot> {
    let hash = hash.max(1);
    let own = usize::try_from(hash % slots.len() as u64).expect("below the number of slots");
    slots.iter().cycle().skip(own).take(PROBES).find(|slot| {
        match slot.hash.compare_exchange(0, hash, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => true,
            Err(taken) => taken == hash,
        }
    })
}

/// The outcome for a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    Shown,
    /// It is shown, as the last one of its interval.
    Last,
    Over,
}

impl Slot {
    fn count(&self, interval: u64, lines_max: u32) -> Count {
        let mut shown = self.shown.load(Ordering::Relaxed);
        loop {
            let (in_interval, lines) = unpack(shown);
            // Another thread may have read the clock later.
            let lines = if in_interval >= interval { lines } else { 0 };
            if lines >= lines_max {
                return Count::Over;
            }
            let counted = pack(interval.max(in_interval), lines + 1);
            match self.shown.compare_exchange_weak(shown, counted, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) if lines + 1 == lines_max => return Count::Last,
                Ok(_) => return Count::Shown,
                Err(other) => shown = other,
            }
        }
    }

    fn leave_out(&self, text: impl FnOnce() -> (Level, String), now_ms: u64) {
        self.text.get_or_init(text);
        if self.left_out.fetch_add(1, Ordering::Relaxed) == 0 {
            self.since_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    fn tell(&self, now_ms: u64) {
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        let Some((level, text)) = self.text.get().filter(|_| left_out > 0) else { return };
        let in_ms = now_ms.saturating_sub(self.since_ms.load(Ordering::Relaxed));
        match *level {
            Level::ERROR => tracing::error!(target: EACH, left_out, in_ms, "… {left_out} more: {text}"),
            Level::WARN => tracing::warn!(target: EACH, left_out, in_ms, "… {left_out} more: {text}"),
            _ => tracing::info!(target: EACH, left_out, in_ms, "… {left_out} more: {text}"),
        }
    }
}

/// 32 bits of intervals of a second last for 136 years.
fn pack(interval: u64, lines: u32) -> u64 {
    interval << 32 | u64::from(lines)
}

fn unpack(shown: u64) -> (u64, u32) {
    (shown >> 32, u32::try_from(shown & u64::from(u32::MAX)).expect("32 bits"))
}

/// Hashes the fields that distinguish kinds.
struct Kind(DefaultHasher);

impl Visit for Kind {
    fn record_str(&mut self, field: &Field, value: &str) {
        if KIND_FIELDS.contains(&field.name()) {
            (field.name(), value).hash(&mut self.0);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// The message of a line, and the fields that distinguish its kind.
#[derive(Debug, Default)]
struct Text {
    message: String,
    kind: String,
}

impl Text {
    fn cut(mut self) -> String {
        self.message.push_str(&self.kind);
        let end =
            (0..=TEXT_BYTES_MAX.min(self.message.len())).rev().find(|&at| self.message.is_char_boundary(at));
        self.message.truncate(end.unwrap_or(0));
        self.message
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        if KIND_FIELDS.contains(&field.name()) {
            let _ = write!(self.kind, " {}={value}", field.name());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        }
    }
}

/// The layer that omits lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limited(pub(super) &'static Limiter);

impl<S: Subscriber> Layer<S> for Limited {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.admits(event)
    }
}

#[cfg(test)]
mod tests;
