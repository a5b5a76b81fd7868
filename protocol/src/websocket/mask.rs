//! Masking (RFC 6455 §5.3): XOR with a four-byte key, the same both ways.
//!
//! In:  bytes and the key as it applies to the first of them.
//! Out: the bytes masked or unmasked in place, and the key as it applies to what follows.
//!
//! Keys are the caller's: there is no randomness here.

/// The key that masks one frame, in the order of the wire.
pub type MaskKey = [u8; 4];

/// Masks or unmasks `bytes` in place.
pub fn apply(bytes: &mut [u8], key: MaskKey) {
    let pair = u32::from_ne_bytes(key);
    let word = u64::from(pair) << 32 | u64::from(pair);
    // Whole words of any alignment: the compiler turns this loop into vector instructions.
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key_byte) in rest.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key_byte;
    }
}

/// The key as it applies to the byte that follows `done_bytes` bytes.
pub fn advance(mut key: MaskKey, done_bytes: usize) -> MaskKey {
    key.rotate_left(done_bytes % size_of::<MaskKey>());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: MaskKey = [0x37, 0xfa, 0x21, 0x3d];

    #[test]
    fn the_example_of_the_rfc_is_unmasked() {
        let mut bytes = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        apply(&mut bytes, KEY);
        assert_eq!(&bytes, b"Hello");
    }

    #[test]
    fn every_length_and_alignment_agrees_with_the_definition() {
        for start in 0..9 {
            for len in 0..70 {
                let mut bytes: Vec<u8> = (0..200).collect();
                let expected: Vec<u8> =
                    bytes[start..start + len].iter().enumerate().map(|(i, byte)| byte ^ KEY[i % 4]).collect();
                apply(&mut bytes[start..start + len], KEY);
                assert_eq!(bytes[start..start + len], expected);
            }
        }
    }

    #[test]
    fn a_payload_in_two_pieces_is_masked_as_in_one() {
        let whole: Vec<u8> = (0..50).collect();
        let mut expected = whole.clone();
        apply(&mut expected, KEY);
        for cut in 0..whole.len() {
            let mut pieces = whole.clone();
            let (first, second) = pieces.split_at_mut(cut);
            apply(first, KEY);
            apply(second, advance(KEY, cut));
            assert_eq!(pieces, expected);
        }
    }
}
