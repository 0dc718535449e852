//! Whom the command line trusts in TLS: this machine's authorities, or those of a file and no others.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::anyhow;
use rustls::ClientConfig;

use crate::app::trust::{NoTrust, trusting};

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
        let config = trusting(self.cacert.as_deref());
        config.map_err(|error| match error {
            NoTrust::Nobody => anyhow!("{error}: name one with --cacert"),
            error => error.into(),
        })
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
