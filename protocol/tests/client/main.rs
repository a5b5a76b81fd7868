//! The Centrifuge client protocol from outside: what is written is read, other implementations agree, garbage is
//! refused.

mod deltas;
mod emulation;
mod frames;
mod golden;
mod properties;
mod reflection;
mod strategies;
mod support;
mod vectors;
