//! permessage-deflate (RFC 7692): the RFC's examples, negotiation, properties, an independent implementation, bombs.

mod bombs;
mod examples;
mod frames;
mod negotiation;
mod peer;
mod properties;
mod support;
