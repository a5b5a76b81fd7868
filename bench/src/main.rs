//! The `holdfast-bench` command.
#![forbid(unsafe_code)]

fn main() {}
