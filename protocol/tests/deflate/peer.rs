//! Two other implementations of DEFLATE against ours: miniz_oxide, which compresses for us to read, and a plain reading
//! of RFC 1951 that also says how far back the data refers.

use holdfast_protocol::websocket::deflate::{Inflater, Window, WindowBits};
use miniz_oxide::{
    MZFlush,
    deflate::{
        core::{CompressorOxide, create_comp_flags_from_zip_params},
        stream,
    },
};
use proptest::{collection::vec, prelude::*};

use crate::support::payload;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_miniz_compresses_is_read(
        payloads in vec(payload(), 1..5),
        level in 0..=10_i32,
        strategy in 0..=4_i32,
        takeover in any::<bool>(),
    ) {
        let new = || CompressorOxide::new(create_comp_flags_from_zip_params(level, -15, strategy));
        let mut peer = new();
        let mut inflater = Inflater::default();
        let mut window = takeover.then(|| Window::new(WindowBits::MAX));
        for payload in &payloads {
            if !takeover {
                peer = new();
            }
            let deflated = flush(&mut peer, payload);
            let inflated = inflater.inflate(&deflated, window.as_mut(), payload.len());
            prop_assert_eq!(inflated.as_deref(), Ok(&payload[..]));
        }
    }

    #[test]
    fn a_message_of_several_blocks_and_flushes_is_read(
        parts in vec(payload(), 1..5),
        is_final in vec(any::<bool>(), 5),
    ) {
        // RFC 7692 §7.2.3.4 and §7.2.3.5: every part ends with a flush, or with a final block.
        let mut deflated = Vec::new();
        for (part, is_final) in parts.iter().zip(is_final) {
            if is_final {
                deflated.extend(miniz_oxide::deflate::compress_to_vec(part, 6));
            } else {
                let mut peer = CompressorOxide::new(create_comp_flags_from_zip_params(6, -15, 0));
                deflated.extend(flush(&mut peer, part));
                deflated.extend([0x00, 0x00, 0xff, 0xff]);
            }
        }
        deflated.push(0x00);
        let inflated = Inflater::default().inflate(&deflated, None, 1 << 22);
        prop_assert_eq!(inflated.as_deref(), Ok(&parts.concat()[..]));
    }
}

/// One message by miniz, without its tail.
fn flush(peer: &mut CompressorOxide, payload: &[u8]) -> Vec<u8> {
    if payload.is_empty() {
        return vec![0];
    }
    let mut deflated = vec![0; 2 * payload.len() + 1000];
    let result = stream::deflate(peer, payload, &mut deflated, MZFlush::Sync);
    assert_eq!(result.bytes_consumed, payload.len());
    deflated.truncate(result.bytes_written);
    deflated.strip_suffix(&[0x00, 0x00, 0xff, 0xff]).expect("a flush ends with its tail").to_vec()
}

/// Reads a compressed payload without its tail as RFC 1951 says, without any regard for speed: the text, and the longest
/// distance in it.
pub(crate) fn inflate(deflated: &[u8]) -> (Vec<u8>, usize) {
    let bytes = [deflated, &[0x00, 0x00, 0xff, 0xff]].concat();
    let mut bits = Bits { bytes: &bytes, at: 0 };
    let (mut text, mut longest) = (Vec::new(), 0);
    while bits.at < 8 * bytes.len() {
        assert_eq!(bits.take(1), 0, "no final block");
        match bits.take(2) {
            0 => {
                bits.at = bits.at.next_multiple_of(8);
                let len = bits.take(16);
                assert_eq!(bits.take(16), !len & 0xffff);
                text.extend((0..len).map(|_| u8::try_from(bits.take(8)).expect("eight bits")));
            }
            1 => {
                let lengths: Vec<u32> = (0..288)
                    .map(|symbol| match symbol {
                        0..144 => 8,
                        144..256 => 9,
                        256..280 => 7,
                        _ => 8,
                    })
                    .collect();
                block(&mut bits, &Code::new(&lengths), &Code::new(&[5; 30]), &mut text, &mut longest);
            }
            2 => {
                let (literals, distances) = (bits.take(5) + 257, bits.take(5) + 1);
                let mut order = [0; 19];
                for &place in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
                    .iter()
                    .take(bits.take(4) + 4)
                {
                    order[place] = u32::try_from(bits.take(3)).expect("three bits");
                }
                let code = Code::new(&order);
                let mut lengths = Vec::new();
                while lengths.len() < literals + distances {
                    let (length, times) = match code.read(&mut bits) {
                        16 => (*lengths.last().expect("something to repeat"), 3 + bits.take(2)),
                        17 => (0, 3 + bits.take(3)),
                        18 => (0, 11 + bits.take(7)),
                        length => (u32::try_from(length).expect("a length"), 1),
                    };
                    lengths.extend(vec![length; times]);
                }
                let (literals, distances) = lengths.split_at(literals);
                block(&mut bits, &Code::new(literals), &Code::new(distances), &mut text, &mut longest);
            }
            _ => panic!("a reserved type of block"),
        }
    }
    (text, longest)
}

fn block(bits: &mut Bits<'_>, literals: &Code, distances: &Code, text: &mut Vec<u8>, longest: &mut usize) {
    loop {
        match literals.read(bits) {
            256 => return,
            symbol @ 0..256 => text.push(u8::try_from(symbol).expect("a byte")),
            symbol => {
                let length = match symbol - 257 {
                    28 => 258,
                    short @ 0..8 => short + 3,
                    long => {
                        let extra = long / 4 - 1;
                        ((4 + long % 4) << extra) + 3 + bits.take(extra)
                    }
                };
                let distance = match distances.read(bits) {
                    short @ 0..4 => short + 1,
                    long => {
                        let extra = long / 2 - 1;
                        ((2 + long % 2) << extra) + 1 + bits.take(extra)
                    }
                };
                *longest = distance.max(*longest);
                (0..length).for_each(|_| text.push(text[text.len() - distance]));
            }
        }
    }
}

struct Bits<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> usize {
        (0..count).map(|place| self.next() << place).sum()
    }

    fn next(&mut self) -> usize {
        let bit = usize::from(self.bytes[self.at / 8]) >> (self.at % 8) & 1;
        self.at += 1;
        bit
    }
}

/// A Huffman code (RFC 1951 §3.2.2): codes of one length are consecutive, in the order of their symbols.
struct Code {
    /// Length, code, symbol.
    codes: Vec<(u32, usize, usize)>,
}

impl Code {
    fn new(lengths: &[u32]) -> Self {
        let mut codes = Vec::new();
        let mut code = 0;
        for length in 1..16 {
            code <<= 1;
            for (symbol, _) in lengths.iter().enumerate().filter(|&(_, &of)| of == length) {
                codes.push((length, code, symbol));
                code += 1;
            }
        }
        Self { codes }
    }

    fn read(&self, bits: &mut Bits<'_>) -> usize {
        let (mut length, mut code) = (0, 0);
        loop {
            code = code << 1 | bits.next();
            length += 1;
            assert!(length < 16, "no such code");
            if let Some(found) = self.codes.iter().find(|found| (found.0, found.1) == (length, code)) {
                return found.2;
            }
        }
    }
}
