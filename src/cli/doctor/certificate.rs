//! When the certificate ends.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::{Duration, OffsetDateTime};
use yasna::tags::TAG_UTCTIME;
use yasna::{ASN1Result, BERReader};

use crate::config::Config;
use crate::observe::findings::Finding;

/// So long before its end a certificate should have been replaced.
const SOON: Duration = Duration::days(14);

/// The first byte of a certificate's version, which the first version of certificates does not have.
const VERSION: u8 = 0xa0;

/// The certificate of the listeners in TLS, if there are any.
pub(super) fn examine(config: &Config) -> Option<Finding> {
    let subject = "certificate";
    match config.certificate() {
        Ok(None) => None,
        Ok(Some((path, _))) => Some(match end_of(&path) {
            Ok(end) => judged(end, OffsetDateTime::now_utc()),
            Err(why) => {
                let found = format!("{}: {why}", path.display());
                Finding::fail(subject, found, "put a certificate in PEM there")
            }
        }),
        Err(problem) => {
            let advice = "name both files, tls.cert_file and tls.key_file";
            Some(Finding::fail(subject, problem.to_string(), advice))
        }
    }
}

fn judged(end: OffsetDateTime, now: OffsetDateTime) -> Finding {
    let (subject, left) = ("certificate", end - now);
    let renew = "renew it; new files are taken up without a restart";
    match left {
        _ if left <= Duration::ZERO => {
            let found = format!("it ended on {}: clients refuse it", end.date());
            Finding::fail(subject, found, renew)
        }
        _ if left < SOON => {
            let found = format!("it ends on {}, in {} days", end.date(), left.whole_days());
            Finding::warn(subject, found, renew)
        }
        _ => Finding::ok(subject, format!("valid until {}", end.date())),
    }
}

/// The end of the first certificate in a file, which is the server's own.
fn end_of(path: &Path) -> Result<OffsetDateTime, String> {
    let certificate = CertificateDer::from_pem_file(path).map_err(|error| error.to_string())?;
    let end = not_after(&certificate);
    end.map_err(|error| format!("it is no certificate: {error:?}"))
}

/// `notAfter` of a certificate (RFC 5280, 4.1).
fn not_after(certificate: &[u8]) -> ASN1Result<OffsetDateTime> {
    let parts = elements(certificate)?;
    let fields = elements(parts.first().map_or(&[], Vec::as_slice))?;
    // Serial number, signature algorithm and issuer stand before the validity.
    let has_version = fields
        .first()
        .is_some_and(|first| first.first() == Some(&VERSION));
    let validity = fields.get(if has_version { 4 } else { 3 });
    let validity = validity.map_or(&[][..], Vec::as_slice);
    yasna::parse_der(validity, |reader| {
        reader.read_sequence(|times| {
            time(times.next())?;
            time(times.next())
        })
    })
}

/// The elements of a sequence, undecoded.
fn elements(sequence: &[u8]) -> ASN1Result<Vec<Vec<u8>>> {
    yasna::parse_der(sequence, |reader| {
        reader.collect_sequence_of(|element| element.read_der())
    })
}

fn time(reader: BERReader<'_, '_>) -> ASN1Result<OffsetDateTime> {
    match reader.lookahead_tag()? {
        TAG_UTCTIME => Ok(*reader.read_utctime()?.datetime()),
        _ => Ok(*reader.read_generalized_time()?.datetime()),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;
    use crate::observe::findings::Level;

    /// A certificate that ends then.
    fn ending(year: i32) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 3, 4);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_is_read_in_both_forms_of_time() {
        // From 2050 on times are GeneralizedTime.
        for year in [2027, 2049, 2050, 2100] {
            let end = not_after(&ending(year)).unwrap();
            assert_eq!(end, date_time_ymd(year, 3, 4), "{year}");
        }
        for wrong in [&[][..], &[0x30, 0x00], b"nonsense", &ending(2027)[..40]] {
            assert!(not_after(wrong).is_err());
        }
    }

    #[test]
    fn an_end_is_told_before_it_comes() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let check =
            |days, expect| assert_eq!(judged(now + Duration::days(days), now).level, expect);
        check(-1, Level::Fail);
        check(0, Level::Fail);
        check(13, Level::Warn);
        check(14, Level::Ok);
    }

    #[test]
    fn a_file_without_a_certificate_is_said_to_be_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut config = Config::default();
        config.http.tls_listen = Some(config.http.listen);
        config.tls.cert_file = Some(file.path().to_owned());
        config.tls.key_file = Some("key".into());
        assert_eq!(examine(&config).unwrap().level, Level::Fail);
        config.tls.cert_file = None;
        assert_eq!(examine(&config).unwrap().level, Level::Fail);
        assert_eq!(examine(&Config::default()), None);
    }
}
