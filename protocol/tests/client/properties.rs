//! Properties of all messages: what is written is read, a frame is lines or lengths, garbage is refused and no more.

use holdfast_protocol::client::command::RpcRequest;
use holdfast_protocol::client::emulation::EmulationRequest;
use holdfast_protocol::client::filter::Filter;
use holdfast_protocol::client::{
    Command, Format, FromClient, Payload, Request, decode_commands, decode_replies,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::strategies::{from_client, from_server};
use crate::support::{command, read_commands, read_replies, write_commands, write_replies};

/// Reads `frame` in every way there is; says only that this ends.
fn read_everything(frame: &[u8]) {
    for format in Format::ALL {
        for message in decode_commands(format, frame) {
            if let Ok(FromClient::Command(Command { request: Request::Subscribe(subscribe), .. })) = message
                && let Some(tree) = subscribe.tf
                && let Ok(filter) = Filter::new(&tree)
            {
                filter.matches(|_| Some("1"));
            }
        }
        decode_replies(format, frame).for_each(drop);
        let _ = EmulationRequest::decode(format, frame);
    }
}

fn format() -> impl Strategy<Value = Format> {
    select(&Format::ALL[..])
}

proptest! {
    #[test]
    fn commands_that_are_written_are_read(format in format(), messages in vec(from_client(), 1..4)) {
        let frame = write_commands(format, &messages);
        prop_assert_eq!(read_commands(format, &frame), Ok(messages));
    }

    #[test]
    fn replies_that_are_written_are_read(format in format(), messages in vec(from_server(), 1..4)) {
        let frame = write_replies(format, &messages);
        prop_assert_eq!(read_replies(format, &frame), Ok(messages));
    }

    #[test]
    fn a_json_frame_has_as_many_lines_as_messages_and_each_is_json(messages in vec(from_server(), 1..4)) {
        let frame = write_replies(Format::Json, &messages);
        let lines: Vec<_> = frame[..].split(|byte| *byte == b'\n').collect();
        prop_assert_eq!(lines.len(), messages.len());
        for line in lines {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok());
        }
    }

    #[test]
    fn whatever_a_client_publishes_the_line_that_carries_it_is_json(data in vec(any::<u8>(), 1..40)) {
        let rpc = RpcRequest { data: Payload::new(&data), ..RpcRequest::default() };
        let message = command(1, Request::Rpc(rpc));
        let frame = write_commands(Format::Json, std::slice::from_ref(&message));
        prop_assert!(!frame.contains(&b'\n'));
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&frame).is_ok());
    }

    #[test]
    fn garbage_never_panics(frame in vec(any::<u8>(), 0..200)) {
        read_everything(&frame);
    }

    #[test]
    fn garbage_that_looks_like_json_never_panics(frame in "[{}\\[\\]:,\"a-z0-9\\\\\\n]{0,80}") {
        read_everything(frame.as_bytes());
    }

    #[test]
    fn damaged_frames_never_panic(
        format in format(),
        commands in vec(from_client(), 1..3),
        replies in vec(from_server(), 1..3),
        damage in vec((any::<Index>(), any::<u8>()), 1..4),
        cut in any::<Index>(),
    ) {
        for mut frame in [write_commands(format, &commands), write_replies(format, &replies)] {
            for (at, byte) in &damage {
                let at = at.index(frame.len());
                frame[at] = *byte;
            }
            read_everything(&frame);
            read_everything(&frame[..cut.index(frame.len())]);
        }
    }
}
