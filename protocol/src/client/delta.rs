//! Patches between publications, in the format of the Fossil version control system.
//!
//! In:  what a subscriber has, and what it is to have.
//! Out: a patch; or, for the subscriber, the latter from the former and the patch.
//!
//! A patch is `target length`, a line break, then commands, then `checksum;`. The commands are
//! `length@offset,` (copy from the source) and `length:bytes` (take these). Integers are in base 64 with digits
//! of their own. Source: <https://fossil-scm.org/home/doc/trunk/www/delta_format.wiki>.
//!
//! In JSON a patch is a string, so what is taken as it is begins and ends between characters: a patch towards
//! UTF-8 is UTF-8.

use super::delta_index::Index;

/// The name by which clients ask for patches of this kind.
pub const FOSSIL: &str = "fossil";

const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";

/// Why a patch cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// Not a patch.
    #[error("not a patch in the Fossil format")]
    Malformed,
    /// It copies from beyond the source's end.
    #[error("the patch belongs to a longer source")]
    OutsideSource,
    /// It makes something else than it says.
    #[error("the patch does not make what it says: length or checksum differ")]
    Mismatch,
    /// The caller's limit.
    #[error("the patch makes {target_bytes} bytes, {bytes_max} are allowed")]
    TooLong {
        /// The length that it announces.
        target_bytes: u64,
        /// The limit.
        bytes_max: usize,
    },
}

/// A patch that is smaller than `target`, or `None`: then `target` itself is to be sent.
pub fn create_smaller(source: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    Some(create(source, target)).filter(|patch| patch.len() < target.len())
}

/// A patch from `source` to `target`, which need not be smaller than `target`.
///
/// Takes time in proportion to the two lengths, and memory for half the source's.
pub fn create(source: &[u8], target: &[u8]) -> Vec<u8> {
    let prefix = common_prefix(source, target);
    let suffix = common_suffix(&source[prefix..], &target[prefix..]);
    let mut patch = Patch::new(target);
    patch.copy(0, 0, prefix);
    let middle = prefix..target.len() - suffix;
    if let Some(index) = Index::new(source, middle.len()) {
        index.find_matches(target, middle, |at, offset, len| patch.copy(at, offset, len));
    }
    patch.copy(target.len() - suffix, source.len() - suffix, suffix);
    patch.finish()
}

/// What `patch` makes of `source`; at most `bytes_max` bytes.
pub fn apply(source: &[u8], patch: &[u8], bytes_max: usize) -> Result<Vec<u8>, DeltaError> {
    let mut rest = patch;
    let target_bytes = take_integer(&mut rest)?;
    take_byte(&mut rest, b'\n')?;
    let len = usize::try_from(target_bytes).ok().filter(|len| *len <= bytes_max);
    let len = len.ok_or(DeltaError::TooLong { target_bytes, bytes_max })?;
    let mut target = Vec::new();
    loop {
        let number = take_integer(&mut rest)?;
        let (command, after) = rest.split_first().ok_or(DeltaError::Malformed)?;
        rest = after;
        let piece = match command {
            b';' if rest.is_empty() => {
                let whole = target.len() == len && number == u64::from(checksum(&target));
                return if whole { Ok(target) } else { Err(DeltaError::Mismatch) };
            }
            b'@' => {
                let offset = take_integer(&mut rest)?;
                take_byte(&mut rest, b',')?;
                copied(source, offset, number).ok_or(DeltaError::OutsideSource)?
            }
            b':' => {
                let count = usize::try_from(number).map_err(|_| DeltaError::Malformed)?;
                let (taken, after) = rest.split_at_checked(count).ok_or(DeltaError::Malformed)?;
                rest = after;
                taken
            }
            _ => return Err(DeltaError::Malformed),
        };
        if piece.len() > len - target.len() {
            return Err(DeltaError::Mismatch);
        }
        target.extend_from_slice(piece);
    }
}

/// A patch in the making.
struct Patch<'t> {
    out: Vec<u8>,
    target: &'t [u8],
    /// How much of the target the patch makes so far.
    made: usize,
}

impl<'t> Patch<'t> {
    fn new(target: &'t [u8]) -> Self {
        let mut out = Vec::with_capacity(64);
        put_integer(&mut out, target.len());
        out.push(b'\n');
        Self { out, target, made: 0 }
    }

    /// Notes that `len` bytes at `at` of the target stand at `offset` of the source; takes what lies before them
    /// as it is. Leaves matches that are not worth a command to the next call.
    fn copy(&mut self, at: usize, offset: usize, len: usize) {
        let start = after_character(self.target, at, at + len);
        let end = before_character(self.target, start, at + len);
        let (offset, len) = (offset + (start - at), end - start);
        if len <= integer_len(len) + integer_len(offset) + 2 {
            return;
        }
        self.insert(start);
        put_integer(&mut self.out, len);
        self.out.push(b'@');
        put_integer(&mut self.out, offset);
        self.out.push(b',');
        self.made = end;
    }

    /// Takes the target up to `end` as it is.
    fn insert(&mut self, end: usize) {
        if end > self.made {
            put_integer(&mut self.out, end - self.made);
            self.out.push(b':');
            self.out.extend_from_slice(&self.target[self.made..end]);
            self.made = end;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.insert(self.target.len());
        put_integer(&mut self.out, checksum(self.target) as usize);
        self.out.push(b';');
        self.out
    }
}

/// The first place from `start` that is not inside a character, at most three bytes on and not after `end`.
fn after_character(text: &[u8], start: usize, end: usize) -> usize {
    (start..end).take(4).find(|at| !is_continuation(text, *at)).unwrap_or(start)
}

/// The last place up to `end` that is not inside a character, at most three bytes back and not before `start`.
fn before_character(text: &[u8], start: usize, end: usize) -> usize {
    (start..=end).rev().take(4).find(|at| !is_continuation(text, *at)).unwrap_or(end)
}

fn is_continuation(text: &[u8], at: usize) -> bool {
    text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80)
}

pub(super) fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}

pub(super) fn common_suffix(left: &[u8], right: &[u8]) -> usize {
    left.iter().rev().zip(right.iter().rev()).take_while(|(left, right)| left == right).count()
}

/// The sum of the big-endian words of 32 bits, the last one filled up with zeros.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.chunks(4).fold(0, |sum: u32, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        sum.wrapping_add(u32::from_be_bytes(word))
    })
}

fn copied(source: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    source.get(start..end)
}

fn put_integer(out: &mut Vec<u8>, value: usize) {
    for digit in (0..integer_len(value)).rev() {
        out.push(DIGITS[(value >> (6 * digit)) & 63]);
    }
}

const fn integer_len(value: usize) -> usize {
    // ⌈bits / 6⌉; zero has one digit.
    ((usize::BITS + 5 - (value | 1).leading_zeros()) / 6) as usize
}

fn take_integer(input: &mut &[u8]) -> Result<u64, DeltaError> {
    /// Six digits hold 36 bits: more than any length that fits a frame.
    const DIGITS_MAX: usize = 6;
    let mut value = 0;
    let mut count = 0;
    while let Some(digit) = input.get(count).and_then(|byte| DIGITS.iter().position(|digit| digit == byte)) {
        value = value << 6 | digit as u64;
        count += 1;
        if count > DIGITS_MAX {
            return Err(DeltaError::Malformed);
        }
    }
    if count == 0 {
        return Err(DeltaError::Malformed);
    }
    *input = &input[count..];
    Ok(value)
}

fn take_byte(input: &mut &[u8], expected: u8) -> Result<(), DeltaError> {
    *input = input.strip_prefix(&[expected]).ok_or(DeltaError::Malformed)?;
    Ok(())
}
