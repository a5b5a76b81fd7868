//! Unix: points in time of the wall clock, as tokens and the protocol give them.
//!
//! In:  seconds since 1970, in which 0 stands for "never".
//! Out: a type that cannot be confused with a duration, and an `Option` for "never".

use std::num::NonZeroU64;

/// Whole seconds since 1970-01-01, UTC. An `Option` of it costs no more than the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UnixSeconds(NonZeroU64);

impl UnixSeconds {
    /// `None` for 0.
    pub(crate) const fn new(seconds: u64) -> Option<Self> {
        match NonZeroU64::new(seconds) {
            Some(seconds) => Some(Self(seconds)),
            None => None,
        }
    }

    /// From a field of the API or of a message. `None` for 0, and for times before 1970, which mean the same there.
    pub(crate) fn from_field(seconds: i64) -> Option<Self> {
        u64::try_from(seconds).ok().and_then(Self::new)
    }

    /// For such a field.
    pub(crate) fn to_field(at: Option<Self>) -> i64 {
        at.map_or(0, |at| i64::try_from(at.get()).unwrap_or(i64::MAX))
    }

    pub(crate) const fn get(self) -> u64 {
        self.0.get()
    }

    /// True exactly when it is not later than `now_s`.
    pub(crate) const fn has_come(self, now_s: u64) -> bool {
        self.get() <= now_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_what_lies_before_1970_is_never() {
        assert_eq!([0, -1, i64::MIN].map(UnixSeconds::from_field), [None; 3]);
        assert_eq!(UnixSeconds::to_field(None), 0);
        assert_eq!(size_of::<Option<UnixSeconds>>(), 8);
    }

    #[test]
    fn a_time_survives_the_field_it_is_carried_in() {
        for seconds in [1, 1_700_000_000, i64::MAX] {
            assert_eq!(UnixSeconds::to_field(UnixSeconds::from_field(seconds)), seconds);
        }
        assert_eq!(UnixSeconds::to_field(UnixSeconds::new(u64::MAX)), i64::MAX);
    }

    #[test]
    fn it_has_come_from_its_own_second_on() {
        let at = UnixSeconds::new(7).expect("it is not 0");
        assert_eq!([6, 7, 8].map(|now_s| at.has_come(now_s)), [false, true, true]);
    }
}
