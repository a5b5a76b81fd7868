//! The targets, one a file.
//!
//! In:  any bytes, of which the first few may choose limits and cuts.
//! Out: a panic where something does not hold.

pub mod body;
pub mod decoder;
pub mod deflate;
pub mod delta;
pub mod emulation;
pub mod extensions;
pub mod forwarded;
pub mod frame;
pub mod head;
pub mod messages;
pub mod nodes;
pub mod proxy;
pub mod redis;

/// Takes the first byte as a choice; 0 where there is none.
fn choice(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}
