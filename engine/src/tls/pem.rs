//! PEM: reads certificates and keys.
//!
//! In:  the path of a file, PEM text (RFC 7468), or such text in base64.
//! Out: its certificates or its key.
//!
//! No error repeats the value: a misplaced value may be the key itself.

use std::{borrow::Cow, fs};

use anyhow::Context as _;
use data_encoding::BASE64;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// The longest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

pub(super) fn certificates(source: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let text = read(source)?;
    let certificates = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|_| anyhow::anyhow!("it is not PEM"))?;
    let has_key = PrivateKeyDer::from_pem_slice(text.as_bytes()).is_ok();
    anyhow::ensure!(
        !(certificates.is_empty() && has_key),
        "it contains a private key instead of a certificate; cert_pem and key_pem may be swapped"
    );
    anyhow::ensure!(!certificates.is_empty(), "it contains no certificate");
    Ok(certificates)
}

pub(super) fn private_key(source: &str) -> anyhow::Result<PrivateKeyDer<'static>> {
    let text = read(source)?;
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| {
        let has_certificate = CertificateDer::from_pem_slice(text.as_bytes()).is_ok();
        match has_certificate {
            true => anyhow::anyhow!(
                "it contains a certificate instead of a private key; cert_pem and key_pem may be swapped"
            ),
            false => anyhow::anyhow!("it contains no private key"),
        }
    })
}

/// The value if it is the path of a file.
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
    let cannot = || format!("cannot read {}", name(source));
    let length = fs::metadata(source).with_context(cannot)?.len();
    anyhow::ensure!(length <= FILE_BYTES_MAX, "{} has more than {FILE_BYTES_MAX} bytes", name(source));
    fs::read_to_string(source).map(Cow::Owned).with_context(cannot)
}

/// The name of a file for an error. A value without a dot may be a key in base64 and is not shown.
fn name(source: &str) -> String {
    if source.contains('.') && !source.contains(char::is_whitespace) {
        format!("{source:?}")
    } else {
        "the file of that name".to_owned()
    }
}

fn is_pem(source: &str) -> bool {
    source.contains("-----BEGIN ")
}

fn decoded(source: &str) -> Option<String> {
    let bytes = BASE64.decode(source.as_bytes()).ok()?;
    String::from_utf8(bytes).ok().filter(|text| is_pem(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_written_wrongly_is_not_repeated() {
        for written in [
            "-----BEGIN PRIVATE KEY-----\\nhunter2",
            "-----BEGIN PRIVATE KEY-----hunter2\n",
            "-----BEGIN hunter2\nhunter2",
            "MC4CAQAwBQYDK2VwBCIEIhunter2",
            "hunter2 of the server.key",
        ] {
            let errors = [private_key(written).map(drop), certificates(written).map(drop)];
            for error in errors.map(|read| format!("{:#}", read.expect_err("it is wrong"))) {
                let bytes = format!("{:?}", b"hunter2");
                assert!(!error.contains("hunter2") && !error.contains(&bytes[1..20]), "{written:?}: {error}");
            }
        }
        let missing = format!("{:#}", private_key("nowhere/server.key").expect_err("it is not there"));
        assert!(missing.contains("cannot read \"nowhere/server.key\""), "{missing}");
    }
}
