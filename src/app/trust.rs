//! Whom this program trusts in TLS when it is a client: this machine's authorities, or those of a file and no others.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::{ClientConfig, RootCertStore};

/// Why nobody can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum NoTrust {
    /// The file can not be read, or not as certificates.
    #[error("{0}: {1}")]
    Read(PathBuf, PemError),
    /// The file has a certificate that is none of an authority.
    #[error("{0} holds what is no authority: {1}")]
    NotAnAuthority(PathBuf, rustls::Error),
    /// The file has none.
    #[error("there is no certificate in {0}")]
    Empty(PathBuf),
    /// Without a file: this machine trusts nobody.
    #[error("this machine trusts no authority")]
    Nobody,
    /// The library has none of the protocols that are to be spoken.
    #[error(transparent)]
    Protocols(#[from] rustls::Error),
}

/// How to speak TLS as a client that trusts the certificates in a file (PEM), or this machine's authorities.
///
/// # Errors
/// [`NoTrust`], saying why.
pub fn trusting(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, NoTrust> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(path) => {
            let unread = |error| NoTrust::Read(path.to_owned(), error);
            for certificate in CertificateDer::pem_file_iter(path).map_err(unread)? {
                let added = roots.add(certificate.map_err(unread)?);
                added.map_err(|error| NoTrust::NotAnAuthority(path.to_owned(), error))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    if roots.is_empty() {
        return Err(match authorities {
            Some(path) => NoTrust::Empty(path.to_owned()),
            None => NoTrust::Nobody,
        });
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
