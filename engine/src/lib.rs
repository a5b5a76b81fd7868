//! The daemon as a library: everything that `holdfast serve` does.
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod doctor;
