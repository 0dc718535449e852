//! Whom the command line trusts in TLS: this machine's authorities, or those of a file and no others.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Whom to trust.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TrustArgs {
    /// Trust the certificates in this file (PEM) and no others, for https://, mqtts:// and wss://
    #[arg(long, alias = "ca", global = true, value_name = "PATH")]
    pub cacert: Option<PathBuf>,
}

impl TrustArgs {
    /// How to speak TLS as a client.
    ///
    /// # Errors
    /// The file can not be read or holds no certificate; without a file, this machine trusts nobody.
    pub(super) fn config(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        match &self.cacert {
            Some(path) => {
                let shown = path.display();
                let found = CertificateDer::pem_file_iter(path);
                for certificate in found.with_context(|| format!("reading {shown}"))? {
                    let certificate = certificate.with_context(|| format!("reading {shown}"))?;
                    let added = roots.add(certificate);
                    added.with_context(|| format!("{shown} holds what is no authority"))?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
            }
        }
        if roots.is_empty() {
            match &self.cacert {
                Some(path) => bail!("there is no certificate in {}", path.display()),
                None => bail!("this machine trusts no authority: name one with --cacert"),
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_names_nobody_is_an_error() {
        let check = |text: &str, expect: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let cacert = Some(file.path().to_owned());
            let error = TrustArgs { cacert }.config().unwrap_err();
            let told = format!("{error:#}");
            assert!(told.contains(expect), "{told}");
        };
        check("", "no certificate");
        check("nonsense", "no certificate");
        check(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "no authority",
        );
        let cacert = Some("/nowhere.pem".into());
        let error = TrustArgs { cacert }.config().unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere.pem"));
    }
}
