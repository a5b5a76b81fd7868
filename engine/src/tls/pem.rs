//! PEM: certificates and keys, wherever the operator has put them.
//!
//! In:  the path of a file, PEM text (RFC 7468), or that in base64.
//! Out: what it holds.

use std::{borrow::Cow, fs};

use anyhow::Context as _;
use data_encoding::BASE64;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// The longest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

pub(super) fn certificates(source: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let text = read(source)?;
    let certificates = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.context("it is not PEM")?;
    anyhow::ensure!(!certificates.is_empty(), "there is no certificate in it");
    Ok(certificates)
}

pub(super) fn private_key(source: &str) -> anyhow::Result<PrivateKeyDer<'static>> {
    let text = read(source)?;
    PrivateKeyDer::from_pem_slice(text.as_bytes()).context("there is no private key in it")
}

/// The path of the file, where it is one.
pub(super) fn path(source: &str) -> Option<&str> {
    let is_path = !source.is_empty() && !is_pem(source) && decoded(source).is_none();
    is_path.then_some(source)
}

fn read(source: &str) -> anyhow::Result<Cow<'_, str>> {
    anyhow::ensure!(!source.is_empty(), "it is not set");
    if is_pem(source) {
        return Ok(Cow::Borrowed(source));
    }
    if let Some(text) = decoded(source) {
        return Ok(Cow::Owned(text));
    }
    let length = fs::metadata(source).with_context(|| format!("cannot read {source:?}"))?.len();
    anyhow::ensure!(length <= FILE_BYTES_MAX, "{source:?} has more than {FILE_BYTES_MAX} bytes");
    fs::read_to_string(source).map(Cow::Owned).with_context(|| format!("cannot read {source:?}"))
}

fn is_pem(source: &str) -> bool {
    source.contains("-----BEGIN ")
}

fn decoded(source: &str) -> Option<String> {
    let bytes = BASE64.decode(source.as_bytes()).ok()?;
    String::from_utf8(bytes).ok().filter(|text| is_pem(text))
}
