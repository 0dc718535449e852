//! `fanfare serve --dev-tls`: a self-signed certificate for one's own machine.

use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, KeyPair};
use time::OffsetDateTime;

use crate::config::Config;

/// Who the certificate is for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Browsers refuse certificates that are valid for longer than 398 days.
const DAYS: u64 = 365;

/// One is made anew when it is this old, so that it does not end while it is used.
const OLD_DAYS: u64 = 300;

const HTTPS_PORT: u16 = 8443;
const MQTTS_PORT: u16 = 8883;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum DevTlsError {
    /// It can not be written.
    #[error("{0}")]
    File(String),
    /// It can not be made.
    #[error("making a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// Sets up TLS where the configuration does not: a certificate of its own, kept in the data directory, and the listeners.
///
/// # Errors
/// [`DevTlsError`].
pub(super) fn set_up(config: &mut Config) -> Result<(), DevTlsError> {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    config.http.tls_listen.get_or_insert(local(HTTPS_PORT));
    if config.mqtt.enabled {
        config.mqtt.tls_listen.get_or_insert(local(MQTTS_PORT));
    }
    if config.tls.cert_file.is_some() || config.tls.key_file.is_some() {
        return Ok(());
    }
    let dir = config.store.dir.join("dev-tls");
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    if !is_young(&cert) || !key.exists() {
        write_pair(&dir, &cert, &key)?;
    }
    config.tls.cert_file = Some(cert);
    config.tls.key_file = Some(key);
    Ok(())
}

fn is_young(cert: &Path) -> bool {
    let changed = fs::metadata(cert).and_then(|meta| meta.modified());
    let age = changed.map(|changed| {
        SystemTime::now()
            .duration_since(changed)
            .unwrap_or_default()
    });
    age.is_ok_and(|age| age < Duration::from_secs(OLD_DAYS * 86_400))
}

fn write_pair(dir: &Path, cert: &Path, key: &Path) -> Result<(), DevTlsError> {
    let mut params = CertificateParams::new(NAMES.map(str::to_owned))?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Fanfare on this machine");
    let now = OffsetDateTime::now_utc();
    // Clocks differ, and the certificate has to be valid at once.
    params.not_before = now - Duration::from_secs(86_400);
    params.not_after = now + Duration::from_secs(DAYS * 86_400);
    let pair = KeyPair::generate()?;
    let made = params.self_signed(&pair)?;
    let in_dir = |error: io::Error| DevTlsError::File(format!("{}: {error}", dir.display()));
    let mut builder = fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(in_dir)?;
    write_new(key, &pair.serialize_pem()).map_err(in_dir)?;
    write_new(cert, &made.pem()).map_err(in_dir)
}

/// Writes a file that only its owner reads, in one step.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.to_owned();
    beside.set_extension("new");
    let _ = fs::remove_file(&beside);
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(text.as_bytes())?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_pair_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.store.dir = dir.path().join("data");
        set_up(&mut config).unwrap();
        assert_eq!(
            config.http.tls_listen.unwrap().to_string(),
            "127.0.0.1:8443"
        );
        assert_eq!(
            config.mqtt.tls_listen.unwrap().to_string(),
            "127.0.0.1:8883"
        );
        let (cert, key) = (
            config.tls.cert_file.clone().unwrap(),
            config.tls.key_file.clone().unwrap(),
        );
        let first = fs::read_to_string(&cert).unwrap();
        assert!(first.starts_with("-----BEGIN CERTIFICATE-----"));
        let mode = fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let mut again = Config::default();
        again.store.dir.clone_from(&config.store.dir);
        set_up(&mut again).unwrap();
        assert_eq!(fs::read_to_string(&cert).unwrap(), first, "kept");
        fs::remove_file(&key).unwrap();
        let mut once_more = Config::default();
        once_more.store.dir.clone_from(&config.store.dir);
        set_up(&mut once_more).unwrap();
        assert_ne!(fs::read_to_string(&cert).unwrap(), first, "made anew");
    }

    #[test]
    fn what_is_configured_stays() {
        let mut config = Config::default();
        config.tls.cert_file = Some("c".into());
        config.http.tls_listen = Some(([127, 0, 0, 1], 7).into());
        config.mqtt.enabled = false;
        set_up(&mut config).unwrap();
        assert_eq!(config.tls.cert_file, Some("c".into()));
        assert_eq!(config.http.tls_listen.unwrap().port(), 7);
        assert_eq!(config.mqtt.tls_listen, None);
    }
}
