//! The server's certificate, and what TLS is like here: rustls with aws-lc-rs, versions 1.2 and 1.3.
//!
//! The files are looked at from time to time. A new pair is used from the next handshake on; one that can not be used is
//! logged, and the last good one stays.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::limits;

/// Names of MQTT for devices that choose by the name (ALPN), AWS IoT's among them.
const MQTT_NAMES: [&[u8]; 2] = [b"mqtt", b"x-amzn-mqtt-ca"];

/// Where a certificate chain and its key are, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those that lead from it towards a root.
    pub cert: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// Why a certificate can not be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file can not be read, or has nothing of the kind in it.
    #[error("{0}: {1}")]
    File(PathBuf, pem::Error),
    /// They are not a pair, or are of a kind that is not known.
    #[error("{0} and {1}: {2}")]
    Pair(PathBuf, PathBuf, rustls::Error),
}

/// The certificate that is used at present.
#[derive(Debug)]
pub struct Certificate {
    files: CertificateFiles,
    current: RwLock<Arc<CertifiedKey>>,
    seen: Mutex<Stamps>,
}

/// When the two files were last changed.
type Stamps = [Option<SystemTime>; 2];

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// [`CertificateError`], naming the file.
    pub fn load(files: CertificateFiles) -> Result<Arc<Self>, CertificateError> {
        let seen = Mutex::new(files.stamps());
        let current = RwLock::new(Arc::new(files.read()?));
        Ok(Arc::new(Self {
            files,
            current,
            seen,
        }))
    }

    /// Looks at the files for as long as the process lives.
    pub async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(limits::CERTIFICATE_LOOK).await;
            let looking = Arc::clone(&self);
            // Reading a file may take its time, and no other connection waits for it.
            let _ = actix_rt::task::spawn_blocking(move || looking.look()).await;
        }
    }

    /// Reads the files again if they have changed. Whether a new certificate is used from now on.
    pub fn look(&self) -> bool {
        let stamps = self.files.stamps();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == stamps {
            return false;
        }
        let read = self.files.read();
        // Files that do not fit each other may be on their way: one is written before the other, and that one changes the
        // stamps again.
        *seen = stamps;
        match read {
            Ok(read) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
                tracing::info!(cert = %self.files.cert.display(), "a new certificate is used");
                true
            }
            Err(error) => {
                tracing::error!(%error, "the new certificate can not be used; the last good one stays");
                metrics::counter!("fanfare_tls_reload_failures_total").increment(1);
                false
            }
        }
    }

    /// TLS for HTTP, whose own names the server adds.
    pub fn for_http(self: &Arc<Self>) -> Arc<ServerConfig> {
        Arc::new(self.config())
    }

    /// TLS for MQTT.
    pub fn for_mqtt(self: &Arc<Self>) -> Arc<ServerConfig> {
        let mut config = self.config();
        config.alpn_protocols = MQTT_NAMES.map(<[u8]>::to_vec).to_vec();
        Arc::new(config)
    }

    fn config(self: &Arc<Self>) -> ServerConfig {
        ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("aws-lc-rs has cipher suites for both versions")
            .with_no_client_auth()
            .with_cert_resolver(self.clone())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

impl CertificateFiles {
    fn stamps(&self) -> Stamps {
        let stamp = |path: &Path| {
            std::fs::metadata(path)
                .and_then(|meta| meta.modified())
                .ok()
        };
        [stamp(&self.cert), stamp(&self.key)]
    }

    fn read(&self) -> Result<CertifiedKey, CertificateError> {
        let in_cert = |error| CertificateError::File(self.cert.clone(), error);
        let chain: Vec<_> = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect)
            .map_err(in_cert)?;
        if chain.is_empty() {
            return Err(in_cert(pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| CertificateError::File(self.key.clone(), error))?;
        let provider: CryptoProvider = aws_lc_rs::default_provider();
        CertifiedKey::from_der(chain, key, &provider)
            .map_err(|error| CertificateError::Pair(self.cert.clone(), self.key.clone(), error))
    }
}
