//! The decoder and encoder from outside: cases of RFC 6455, properties, and tungstenite as the other side.

mod properties;
mod rfc_cases;
mod support;
mod tungstenite_peer;
