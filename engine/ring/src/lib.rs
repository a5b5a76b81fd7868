//! The kernel boundary: io_uring sockets behind one trait.
