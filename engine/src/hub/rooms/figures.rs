//! Figures: what rooms do and did, for metrics.
//!
//! In:  rooms that come, change and go; what they could and could not mend.
//! Out: the numbers of the shard.
//!
//! Plain integers, which only the shard of the rooms sees.

use crate::metrics::{Counters, Lost, Metric, RoomState};

/// The figures of a shard's rooms.
#[derive(Debug, Default)]
pub(super) struct Figures {
    by_state: [u64; RoomState::ALL.len()],
    pub(super) heals: u64,
    pub(super) healed_publications: u64,
    pub(super) offsets_gone_back: u64,
    pub(super) messages_unreadable: u64,
    lost: [u64; Lost::ALL.len()],
}

impl Figures {
    /// A room is in a state now; before, it was in another one, or not there.
    pub(super) fn moved(&mut self, before: Option<RoomState>, now: RoomState) {
        self.gone(before);
        self.by_state[now.place()] += 1;
    }

    /// A room in this state is gone.
    pub(super) fn gone(&mut self, before: Option<RoomState>) {
        if let Some(before) = before {
            self.by_state[before.place()] -= 1;
        }
    }

    /// Publications that a room has not heard are gone.
    pub(super) fn lost(&mut self, why: Lost) {
        self.lost[why.place()] += 1;
    }

    pub(super) fn report(&self, counters: &mut Counters) {
        for (state, _) in RoomState::ALL {
            counters.set(Metric::Rooms(state), self.by_state[state.place()]);
        }
        for (why, _) in Lost::ALL {
            counters.set(Metric::RoomLost(why), self.lost[why.place()]);
        }
        counters.set(Metric::RoomHeals, self.heals);
        counters.set(Metric::RoomHealedPublications, self.healed_publications);
        counters.set(Metric::RoomOffsetsGoneBack, self.offsets_gone_back);
        counters.set(Metric::RoomMessagesUnreadable, self.messages_unreadable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_in_one_state_at_a_time() {
        let mut figures = Figures::default();
        figures.moved(None, RoomState::Joining);
        figures.moved(None, RoomState::Joining);
        figures.moved(Some(RoomState::Joining), RoomState::Live);
        figures.moved(Some(RoomState::Live), RoomState::Live);
        assert_eq!(figures.by_state, [1, 1, 0]);
        figures.gone(Some(RoomState::Live));
        figures.gone(None);
        assert_eq!(figures.by_state, [1, 0, 0]);
    }
}
