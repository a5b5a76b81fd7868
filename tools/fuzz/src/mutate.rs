//! Changing inputs at random.
//!
//! In:  an input, another one, words that inputs are often made of.
//! Out: an input that is a little different.

use rand::{Rng, rngs::SmallRng};

/// The longest input that is made.
pub const INPUT_BYTES_MAX: usize = 4096;

/// Bytes at which readers tend to decide something.
const EDGES: [u8; 12] = [0, 1, 0x7d, 0x7e, 0x7f, 0x80, 0xff, b'"', b'{', b'\n', b'\r', b'\\'];

/// A few changes to `input`, in place.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], words: &[&[u8]], random: &mut SmallRng) {
    for _ in 0..random.random_range(1..=4) {
        change(input, other, words, random);
    }
    input.truncate(INPUT_BYTES_MAX);
}

fn change(input: &mut Vec<u8>, other: &[u8], words: &[&[u8]], random: &mut SmallRng) {
    let at = random.random_range(0..=input.len());
    let end = random.random_range(at..=input.len().min(at + 64));
    match random.random_range(0..9) {
        0 | 1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
        2 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = EDGES[random.random_range(0..EDGES.len())];
            }
        }
        3 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = byte.wrapping_add(random.random_range(0..9)).wrapping_sub(4);
            }
        }
        4 => {
            input.drain(at..end);
        }
        5 => {
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
        6 if !other.is_empty() => {
            let from = random.random_range(0..other.len());
            let to = random.random_range(from..=other.len());
            input.splice(at..end, other[from..to].iter().copied());
        }
        7 if !words.is_empty() => {
            let word = words[random.random_range(0..words.len())];
            input.splice(at..at, word.iter().copied());
        }
        _ => input.insert(at, random.random()),
    }
}
