//! Backend: what a shard needs the control thread for.
mod endpoint;
pub use endpoint::Endpoint;
