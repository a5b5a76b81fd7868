//! The opening handshake from outside: every refusal by name, both sides together, and tungstenite as the other.

mod client;
mod properties;
mod server;
mod tungstenite_peer;
