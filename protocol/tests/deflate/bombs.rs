//! Decompression bombs: little input that would make a lot of output, or a lot of work.

use holdfast_protocol::websocket::{
    CloseCode, Decoder, DecoderConfig, FrameError, Role,
    deflate::{Deflater, InflateError, Inflater, Inflation, WindowBits},
};

fn deflated(payload: &[u8]) -> Vec<u8> {
    Deflater::new(9, WindowBits::MAX).deflate(payload, None).to_vec()
}

#[test]
fn a_message_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
    let mut inflater = Inflater::default();
    for bytes_max in [0, 1, 63, 64, 65, 1000, 65_536] {
        let at_limit = inflater.inflate(&deflated(&vec![7; bytes_max]), None, bytes_max).unwrap();
        assert_eq!(at_limit.len(), bytes_max);
        let over = inflater.inflate(&deflated(&vec![7; bytes_max + 1]), None, bytes_max);
        assert_eq!(over.unwrap_err(), InflateError::TooLong, "{bytes_max}");
    }
}

#[test]
fn a_bomb_is_stopped_at_the_limit_and_refused_with_1009() {
    let bomb = deflated(&vec![0; 64 << 20]);
    assert!(bomb.len() < 100_000);
    let config = DecoderConfig { role: Role::Client, message_bytes_max: 100_000, frame_bytes_max: 100_000 };
    let mut frame = bytes::BytesMut::new();
    holdfast_protocol::websocket::encoder::encode_deflated(
        &mut frame,
        holdfast_protocol::websocket::MessageKind::Binary,
        None,
        &bomb,
    );
    let mut inflater = Inflater::default();
    let inflation = Inflation { inflater: &mut inflater, window: None, message_bytes_max: 100_000 };
    let refused = Decoder::default().next_with(&config, Some(inflation), &mut &mut frame[..]).unwrap_err();
    assert_eq!(refused, FrameError::MessageTooLong { message_bytes: 100_001, bytes_max: 100_000 });
    assert_eq!(refused.close_code(), CloseCode::Size);
    let after = inflater.inflate(&deflated(b"after"), None, 100).unwrap();
    assert_eq!(&after[..], b"after", "the inflater serves others after a bomb");
}

#[test]
fn what_cannot_be_compressed_may_be_as_long_as_the_limit_all_the_same() {
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    })
    .take(65_536)
    .collect();
    let config = DecoderConfig { role: Role::Client, message_bytes_max: 65_536, frame_bytes_max: 65_536 };
    for level in 0..=9 {
        let mut deflater = Deflater::new(level, WindowBits::MAX);
        assert!(deflater.deflate_if_shorter(&noise, None).is_none());
        let deflated = deflater.deflate(&noise, None);
        let mut frame = bytes::BytesMut::new();
        holdfast_protocol::websocket::encoder::encode_deflated(
            &mut frame,
            holdfast_protocol::websocket::MessageKind::Binary,
            None,
            deflated,
        );
        let mut inflater = Inflater::default();
        let inflation = Inflation { inflater: &mut inflater, window: None, message_bytes_max: 65_536 };
        let event = Decoder::default().next_with(&config, Some(inflation), &mut &mut frame[..]);
        assert!(matches!(event, Ok(Some(_))), "level {level}: {event:?}");
    }
}

#[test]
fn a_message_of_many_final_blocks_is_refused() {
    let mut inflater = Inflater::default();
    let blocks = |count: usize| [0x03, 0x00].repeat(count);
    assert_eq!(inflater.inflate(&blocks(32), None, 100).unwrap().len(), 0);
    assert_eq!(inflater.inflate(&blocks(33), None, 100).unwrap_err(), InflateError::Invalid);
}

#[test]
fn blocks_after_a_final_one_may_refer_to_what_came_before_it() {
    let mut inflater = Inflater::default();
    // "Hello" in a final block, then a reference to it, as in the example of §7.2.3.2.
    let two = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xf2, 0x00, 0x11, 0x00, 0x00];
    assert_eq!(&inflater.inflate(&two, None, 100).unwrap()[..], b"HelloHello");
}
