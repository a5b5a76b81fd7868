//! Pace: the ping interval of connections.
//!
//! In:  the lateness of this shard, and the interval announced to each client.
//! Out: intervals: longer ones while the shard is late, up to twice the configured one.
//!
//! The rule, and why it is safe: a client of the Centrifuge protocol learns its interval when it connects, and gives up
//! after that interval and ten seconds more without a ping (`maxServerPingDelay` of its SDK). So a late shard announces a
//! longer interval to new clients and keeps to it. For existing clients it exceeds the announced interval by at most
//! [`EXTRA_MS`], which leaves the other half of the ten seconds to the network and to late pings. Clients without an
//! announced interval (`/echo`, `/broadcast`, native pings) are pinged less often at once.

use bytes::{Bytes, BytesMut};
use holdfast_protocol::websocket::encoder;

use crate::encoding::Encoding;

/// Intervals grow in steps of one eighth.
const STEPS: u64 = 8;

/// Maximum number of steps: intervals at most double.
const STRETCH_MAX: u8 = 8;

/// How far a client's interval may exceed the announced one.
const EXTRA_MS: u64 = 5_000;

/// Ticks of lateness within one second that lengthen intervals by a step (1 s).
const LATE_TICKS: u32 = 20;

/// The most ticks of lateness of a calm second (100 ms).
const CALM_TICKS: u32 = 2;

/// Calm seconds that shorten intervals by a step.
const CALM_SECONDS: u8 = 10;

/// What the deadline of an open connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// No pings, not yet or no longer: something else is pending.
    Off,
    /// The next ping.
    Rests,
    /// A pong.
    Awaits,
}

/// The pings of each kind of session, encoded once.
#[derive(Debug)]
pub(crate) struct Pings {
    /// A control frame of WebSocket.
    native: Bytes,
    /// The client protocol's own ping, in each encoding.
    by_wire: [Bytes; Encoding::ALL.len()],
}

impl Pings {
    pub(crate) fn new() -> Self {
        let mut native = BytesMut::new();
        encoder::encode_ping(&mut native, None, b"");
        let by_wire = Encoding::ALL.map(|wire| wire.encoded(wire.format().empty_message()));
        Self { native: native.freeze(), by_wire }
    }

    pub(super) fn frame(&self, wire: Option<Encoding>) -> Bytes {
        wire.map_or(&self.native, |wire| &self.by_wire[wire.index()]).clone()
    }
}

/// The interval announced to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PingStretch(u8);

impl PingStretch {
    pub(crate) const NOTHING: Self = Self(u8::MAX);
}

/// The lateness of a shard, and the resulting interval.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Steps added to the configured interval.
    stretch: u8,
    /// The maximum lateness in this second.
    late_ticks: u32,
    calm_seconds: u8,
}

impl Pace {
    /// Records a lateness.
    pub(crate) fn was_late(&mut self, ticks: u32) {
        self.late_ticks = self.late_ticks.max(ticks);
    }

    /// Ends a second. Returns the lateness in it, in ticks.
    pub(crate) fn second_passed(&mut self) -> u32 {
        let late_ticks = std::mem::take(&mut self.late_ticks);
        if late_ticks >= LATE_TICKS {
            self.stretch = (self.stretch + 1).min(STRETCH_MAX);
        }
        self.calm_seconds = if late_ticks <= CALM_TICKS { self.calm_seconds + 1 } else { 0 };
        if self.calm_seconds == CALM_SECONDS {
            self.calm_seconds = 0;
            self.stretch = self.stretch.saturating_sub(1);
        }
        late_ticks
    }

    /// The interval announced to a client that connects now.
    pub(crate) fn tell(&self) -> PingStretch {
        PingStretch(self.stretch)
    }

    /// How much longer than configured intervals are, in eighths.
    pub(crate) fn stretch(&self) -> u8 {
        self.stretch
    }

    /// The interval of a connection that was told `stretch`.
    pub(crate) fn interval_ms(&self, configured_ms: u64, stretch: PingStretch) -> u64 {
        let present_ms = stretched(configured_ms, self.stretch);
        if stretch == PingStretch::NOTHING {
            return present_ms;
        }
        let told_ms = stretched(configured_ms, stretch.0);
        present_ms.clamp(told_ms, told_ms + EXTRA_MS)
    }
}

/// The announced interval in the protocol's unit, whole seconds: never less than the real interval.
pub(crate) fn announced_interval_s(configured_ms: u64, stretch: PingStretch) -> u32 {
    u32::try_from(stretched(configured_ms, stretch.0).div_ceil(1000)).unwrap_or(u32::MAX)
}

fn stretched(configured_ms: u64, stretch: u8) -> u64 {
    configured_ms * (STEPS + u64::from(stretch)) / STEPS
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURED_MS: u64 = 25_000;

    fn after(seconds: impl IntoIterator<Item = u32>) -> Pace {
        let mut pace = Pace::default();
        for late_ticks in seconds {
            pace.was_late(late_ticks);
            pace.second_passed();
        }
        pace
    }

    #[test]
    fn intervals_grow_while_the_shard_is_late_to_twice_and_shrink_slowly_when_it_is_not() {
        let told_now = |pace: &Pace| announced_interval_s(CONFIGURED_MS, pace.tell());
        assert_eq!(told_now(&after([])), 25);
        assert_eq!(told_now(&after([19; 100])), 25, "late by less than a second");
        assert_eq!(told_now(&after([20])), 29);
        assert_eq!(told_now(&after([200; 4])), 38);
        assert_eq!(told_now(&after([200; 1000])), 50);
        assert_eq!(told_now(&after([200; 8].into_iter().chain([0; 9]))), 50);
        assert_eq!(told_now(&after([200; 8].into_iter().chain([0; 10]))), 47);
        assert_eq!(told_now(&after([200; 8].into_iter().chain([2; 80]))), 25);
        assert_eq!(told_now(&after([200; 8].into_iter().chain([3; 80]))), 50, "not yet calm");
    }

    #[test]
    fn no_client_waits_for_a_ping_much_longer_than_it_was_told() {
        for told_at in 0..=u32::from(STRETCH_MAX) {
            let announced = after(vec![20; told_at as usize]).tell();
            for stretch in 0..=20 {
                let pace = after(vec![20; stretch]);
                let interval_ms = pace.interval_ms(CONFIGURED_MS, announced);
                let told_ms = u64::from(announced_interval_s(CONFIGURED_MS, announced)) * 1000;
                assert!(interval_ms <= told_ms + EXTRA_MS, "{interval_ms} where {told_ms} was told");
                assert!(interval_ms + 1000 > told_ms, "never more often than was told");
            }
        }
        assert_eq!(after([20; 20]).interval_ms(CONFIGURED_MS, after([]).tell()), 30_000);
        assert_eq!(after([20; 20]).interval_ms(CONFIGURED_MS, PingStretch::NOTHING), 50_000);
        assert_eq!(after([]).interval_ms(CONFIGURED_MS, PingStretch::NOTHING), CONFIGURED_MS);
    }
}
