//! Client: what the daemon needs for TLS to a server that it calls by another protocol than HTTP.
//!
//! In:  a section such as `engine.redis.tls`.
//! Out: a configuration of rustls.
//!
//! It runs before the start and reads files. Nothing turns the check of certificates off.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::pem;
use crate::{config::ClientTlsConfig, http_client::authorities};

/// The configuration for calls to a server.
///
/// # Errors
/// A file cannot be read, or what it holds cannot be used; in words for the operator. `section` is the section's name.
pub(crate) fn configuration(config: &ClientTlsConfig, section: &str) -> anyhow::Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("TLS 1.2 and 1.3")?
        .with_root_certificates(trusted(config, section)?);
    let client = if config.cert_pem.is_empty() {
        builder.with_no_client_auth()
    } else {
        let chain = pem::certificates(&config.cert_pem).with_context(|| format!("{section}.cert_pem"))?;
        let key = pem::private_key(config.key_pem.expose()).with_context(|| format!("{section}.key_pem"))?;
        builder.with_client_auth_cert(chain, key).with_context(|| {
            format!("{section}: the private key does not belong to the certificate, or is unusable")
        })?
    };
    Ok(Arc::new(client))
}

/// The certificate authorities of the section, or those of the system.
fn trusted(config: &ClientTlsConfig, section: &str) -> anyhow::Result<RootCertStore> {
    let name = || format!("{section}.server_ca_pem");
    if config.server_ca_pem.is_empty() {
        let (roots, errors) = authorities();
        let why = errors.join(", ");
        anyhow::ensure!(
            !roots.is_empty(),
            "{} is not set, and the system has no certificate authorities: {why}",
            name()
        );
        return Ok(roots);
    }
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(&config.server_ca_pem).with_context(name)? {
        roots.add(certificate).with_context(name)?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::from_file;

    const SECTION: &str = "engine.redis.tls";

    fn read(options: &str) -> anyhow::Result<Arc<ClientConfig>> {
        let content = format!("[{SECTION}]\n{options}");
        configuration(&from_file("toml", &content).unwrap().engine.redis.tls, SECTION)
    }

    #[test]
    fn a_client_certificate_is_shown_if_there_is_one() {
        let made = rcgen::generate_simple_self_signed(["edge.test".into()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let without = read(&format!("server_ca_pem = '''{certificate}'''")).unwrap();
        assert!(!without.client_auth_cert_resolver.has_certs());
        let pair = format!("cert_pem = '''{certificate}'''\nkey_pem = '''{key}'''");
        let with = read(&format!("server_ca_pem = '''{certificate}'''\n{pair}")).unwrap();
        assert!(with.client_auth_cert_resolver.has_certs());
    }

    #[test]
    fn what_cannot_be_used_is_named_by_its_option() {
        let made = rcgen::generate_simple_self_signed(["edge.test".into()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["edge.test".into()]).unwrap();
        let (certificate, key) = (made.cert.pem(), other.signing_key.serialize_pem());
        let ca = format!("server_ca_pem = '''{certificate}'''\n");
        for (options, why) in [
            ("server_ca_pem = \"nowhere/ca.pem\"".to_owned(), "engine.redis.tls.server_ca_pem: cannot read"),
            (
                format!("server_ca_pem = '''{key}'''"),
                "engine.redis.tls.server_ca_pem: it contains a private key",
            ),
            (format!("{ca}cert_pem = '''{key}'''\nkey_pem = '''{key}'''"), "engine.redis.tls.cert_pem: "),
            (format!("{ca}cert_pem = '''{certificate}'''\nkey_pem = '''{key}'''"), "does not belong"),
        ] {
            let error = format!("{:#}", read(&options).expect_err(why));
            assert!(error.contains(why) && !error.contains(&key[40..60]), "{error}");
        }
    }
}
