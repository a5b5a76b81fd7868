//! Certificate: one that a listener can have for TLS.
//!
//! Out: files with it and its key, signed by itself.

use std::{
    fs,
    path::Path,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use rcgen::generate_simple_self_signed;

/// The section of a listener that has one: `tls` for clients, `internal_tls` for the control port.
pub(crate) fn section(listener: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("fault-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let [cert, key] = ["cert", "key"].map(|what| folder.join(format!("{name}-{what}.pem")));
    let own = generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate can be made");
    fs::write(&cert, own.cert.pem()).expect("it can be written");
    fs::write(&key, own.signing_key.serialize_pem()).expect("it can be written");
    let (cert, key) = (cert.display(), key.display());
    format!("[http_server.{listener}]\nenabled = true\ncert_pem = '{cert}'\nkey_pem = '{key}'\n")
}
