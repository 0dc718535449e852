//! Queue URLs and ARNs (WIRE 1.3): handed out with the host that the caller used, read by their last two
//! path segments.

use percent_encoding::percent_decode_str;

use super::SqsState;
use super::error::Fault;
use crate::domain::{QueueError, QueueName};

/// The account and queue name of a queue URL, neither of them checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueAddress {
    /// The next to last segment.
    pub account: String,
    /// The last segment.
    pub name: String,
}

impl QueueAddress {
    /// Reads a queue URL, or only its path; scheme and host do not matter.
    ///
    /// # Errors
    /// [`Fault::InvalidAddress`] if it has no two path segments.
    pub fn parse(url: &str) -> Result<Self, Fault> {
        let path = match url.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
            None => url,
        };
        let path = path.split(['?', '#']).next().unwrap_or_default();
        Self::of_path(path).ok_or_else(|| Fault::InvalidAddress(url.to_owned()))
    }

    /// The address in a request's path, if it has two segments or more.
    pub fn of_path(raw_path: &str) -> Option<Self> {
        let mut segments = raw_path.trim_end_matches('/').rsplit('/');
        let (name, account) = (segments.next()?, segments.next()?);
        if name.is_empty() || account.is_empty() {
            return None;
        }
        let decode = |segment| percent_decode_str(segment).decode_utf8_lossy().into_owned();
        Some(Self {
            account: decode(account),
            name: decode(name),
        })
    }

    /// Whether the account looks like an AWS account: 12 digits.
    pub fn has_account(&self) -> bool {
        is_account(&self.account)
    }
}

/// Whether this is 12 digits.
pub fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

impl SqsState {
    /// The ARN of a queue.
    pub fn arn(&self, queue: &QueueName) -> String {
        format!(
            "arn:aws:sqs:{}:{}:{}",
            self.region,
            self.account,
            queue.as_str()
        )
    }

    /// The queue that an ARN names, which need not exist.
    ///
    /// # Errors
    /// The text names the parameter that the ARN came in.
    pub(super) fn name_in_arn(&self, arn: &str, parameter: &str) -> Result<QueueName, Fault> {
        let elsewhere = || {
            Fault::Queue(QueueError::ResourceNotFound(format!(
                "The resource that you specified for the {parameter} parameter doesn't exist."
            )))
        };
        let mut fields = arn.splitn(6, ':');
        let head = [fields.next(), fields.next(), fields.next()];
        let place = [fields.next(), fields.next()];
        let name = fields.next().unwrap_or_default();
        if head != [Some("arn"), Some("aws"), Some("sqs")] || name.is_empty() {
            return Err(Fault::invalid(format!(
                "Value {arn} for parameter {parameter} is invalid. Reason: You must use this format to specify the {parameter}: arn:<partition>:<service>:<region>:<account-id>:<resource-id>"
            )));
        }
        if place != [Some(self.region.as_str()), Some(&*self.account)] {
            return Err(elsewhere());
        }
        QueueName::parse(name).map_err(|_| elsewhere())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_segments_count() {
        let check = |url: &str, expect: Option<(&str, &str)>| {
            let found = QueueAddress::parse(url).ok();
            let found = found
                .as_ref()
                .map(|a| (a.account.as_str(), a.name.as_str()));
            assert_eq!(found, expect, "{url}");
        };
        let q = Some(("123456789012", "q"));
        check("http://127.0.0.1:8080/123456789012/q", q);
        check("https://sqs.us-east-1.amazonaws.com/123456789012/q", q);
        check("https://queue.amazonaws.com/prefix/123456789012/q", q);
        check("http://h/123456789012/q/", q);
        check("http://h/123456789012/q?Action=x", q);
        check("/123456789012/q", q);
        check("123456789012/q", q);
        check(
            "http://h/123456789012/a%2Efifo",
            Some(("123456789012", "a.fifo")),
        );
        for bad in [
            "",
            "q",
            "http://h",
            "http://h/",
            "http://h/q",
            "http://h//q",
            "://",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn an_account_has_twelve_digits() {
        for (text, expect) in [
            ("123456789012", true),
            ("12345678901", false),
            ("1234567890123", false),
            ("12345678901a", false),
        ] {
            assert_eq!(is_account(text), expect, "{text}");
        }
    }
}
