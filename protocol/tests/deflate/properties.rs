//! Any payloads under any parameters, in any pieces, come out as they went in.

use bytes::BytesMut;
use holdfast_protocol::websocket::{
    MessageKind,
    deflate::{Deflater, Inflater, Window, WindowBits},
    encoder,
};
use proptest::{collection::vec, prelude::*};

use crate::support::{payload, read};

fn window_bits() -> impl Strategy<Value = WindowBits> {
    (8_u8..=15).prop_map(|bits| WindowBits::new(bits).expect("between 8 and 15"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_conversation_comes_through(
        payloads in vec(payload(), 1..6),
        bits in window_bits(),
        level in 0_u8..=9,
        takeover in any::<bool>(),
        piece_bytes in 1_usize..5000,
    ) {
        let mut deflater = Deflater::new(level, bits);
        let mut sent = takeover.then(|| Window::new(bits));
        let mut stream = BytesMut::new();
        for payload in &payloads {
            let deflated = deflater.deflate(payload, sent.as_ref()).to_vec();
            encoder::encode_deflated(&mut stream, MessageKind::Binary, None, &deflated);
            if let Some(window) = &mut sent {
                window.push(payload);
            }
        }
        let mut received = takeover.then(|| Window::new(bits));
        let read = read(stream.chunks(piece_bytes), received.as_mut());
        prop_assert_eq!(read.end, Ok(()));
        let came: Vec<_> = read.messages.into_iter().map(|(_, payload)| payload).collect();
        prop_assert_eq!(came, payloads);
        prop_assert_eq!(sent, received, "both sides remember the same");
    }

    #[test]
    fn fragments_of_any_length_make_the_message(
        words in vec("[a-zé漢]{1,9}", 0..3000),
        takeover in any::<bool>(),
        fragment_bytes in vec(0_usize..2000, 1..8),
        piece_bytes in 1_usize..3000,
    ) {
        let text = words.join(" ");
        let deflated = Deflater::new(6, WindowBits::MAX).deflate(text.as_bytes(), None).to_vec();
        let mut stream = Vec::new();
        // Some may be empty, but not all.
        let (mut rest, mut lengths) = (&deflated[..], fragment_bytes.into_iter().chain([700]).cycle());
        // RFC 7692 §6.1: the bit stands on the first frame alone.
        let mut first = 0x41;
        loop {
            let (fragment, later) = rest.split_at(lengths.next().expect("it goes round").min(rest.len()));
            rest = later;
            stream.push(if rest.is_empty() { first | 0x80 } else { first });
            match u8::try_from(fragment.len()) {
                Ok(len @ ..126) => stream.push(len),
                _ => {
                    stream.push(126);
                    stream.extend(u16::try_from(fragment.len()).expect("they are short").to_be_bytes());
                }
            }
            stream.extend(fragment);
            first = 0x00;
            if rest.is_empty() {
                break;
            }
        }
        let mut window = takeover.then(|| Window::new(WindowBits::MAX));
        let read = read(stream.chunks(piece_bytes), window.as_mut());
        prop_assert_eq!(read.end, Ok(()));
        prop_assert_eq!(read.messages, [(MessageKind::Text, text.into_bytes())]);
    }

    #[test]
    fn nothing_refers_back_further_than_the_window(
        payload in payload(),
        bits in window_bits(),
        level in 0_u8..=9,
    ) {
        let mut deflater = Deflater::new(level, bits);
        let deflated = deflater.deflate(&payload, None).to_vec();
        let (inflated, distance) = crate::peer::inflate(&deflated);
        prop_assert!(distance <= bits.bytes(), "{distance} with {bits:?}");
        prop_assert_eq!(inflated, payload);
    }

    #[test]
    fn whatever_comes_is_inflated_or_refused_within_the_limit(
        bytes in vec(any::<u8>(), 0..300),
        bytes_max in 0_usize..5000,
    ) {
        if let Ok(inflated) = Inflater::default().inflate(&bytes, None, bytes_max) {
            prop_assert!(inflated.len() <= bytes_max);
        }
    }
}
