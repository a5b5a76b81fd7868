//! Test vectors of the JavaScript SDK: what it writes is read, and what we write it has read. `vectors/README.md`
//! says how they were made.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use holdfast_protocol::client::delta::create;
use holdfast_protocol::client::{Format, FromServer};

use crate::support::{every_reply, read_commands, read_replies, write_commands, write_replies};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client/vectors").join(name)
}

fn rows(name: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path(name)).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// Holds `text` against the file, or writes it there when asked to.
fn check_or_update(name: &str, text: &str) {
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(path(name), text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path(name)).unwrap(),
        text,
        "{name} has changed: see vectors/README.md"
    );
}

#[test]
fn commands_of_the_sdk_are_read_and_written_the_same_from_both_formats() {
    let rows = rows("commands.txt");
    assert!(rows.len() > 15);
    for row in rows {
        let [json, hex] = &row[..] else { panic!("{row:?}") };
        let protobuf = HEXLOWER.decode(hex.as_bytes()).unwrap();
        let from_json = read_commands(Format::Json, json.as_bytes()).unwrap();
        let from_protobuf = read_commands(Format::Protobuf, &protobuf).unwrap();
        assert_eq!(from_json, from_protobuf, "{json}");
        assert_eq!(
            read_commands(Format::Json, &write_commands(Format::Json, &from_protobuf)).unwrap(),
            from_json
        );
        assert_eq!(write_commands(Format::Protobuf, &from_json), &protobuf[..], "{json}");
    }
}

#[test]
fn replies_are_written_as_the_sdk_has_read_them() {
    let mut text = String::new();
    for message in every_reply() {
        let json = write_replies(Format::Json, std::slice::from_ref(&message));
        let protobuf = write_replies(Format::Protobuf, std::slice::from_ref(&message));
        assert_eq!(read_replies(Format::Protobuf, &protobuf).unwrap(), [message]);
        writeln!(text, "{}\t{}", std::str::from_utf8(&json).unwrap(), HEXLOWER.encode(&protobuf)).unwrap();
    }
    check_or_update("replies.txt", &text);
}

#[test]
fn patches_are_made_as_the_sdk_has_applied_them() {
    let list = |from: u32, to: u32| (from..to).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let pairs = [
        ("".to_owned(), "".to_owned()),
        ("".to_owned(), "{\"a\":1}".to_owned()),
        ("{\"a\":1}".to_owned(), "".to_owned()),
        (format!("[{}]", list(0, 200)), format!("[{}]", list(3, 200))),
        (format!("[{}]", list(0, 200)), format!("[{}]", list(0, 203))),
        (format!("[{}]", list(0, 90)), format!("[{},\"é漢😀\",{}]", list(40, 80), list(0, 50))),
        (format!("\"{}é\"", "ü".repeat(50)), format!("\"{}è\"", "ü".repeat(50))),
    ];
    let mut text = String::new();
    for (source, target) in pairs {
        let patch = create(source.as_bytes(), target.as_bytes());
        let hex = [source.as_bytes(), target.as_bytes(), &patch].map(|bytes| HEXLOWER.encode(bytes));
        writeln!(text, "{}", hex.join("\t")).unwrap();
    }
    check_or_update("deltas.txt", &text);
}

#[test]
fn a_ping_is_what_the_sdk_takes_for_one() {
    for format in Format::ALL {
        assert_eq!(read_replies(format, format.empty_message()), Ok(vec![FromServer::Ping]));
    }
}
