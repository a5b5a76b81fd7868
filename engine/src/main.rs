//! The `holdfast` command.
#![forbid(unsafe_code)]

fn main() {}
