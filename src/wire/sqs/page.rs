//! Paging of lists by `MaxResults` and `NextToken` (WIRE 1.4).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::answer::{ListName, Member, Value};
use super::error::Fault;
use super::limits;
use super::request::{Fields, Request};
use crate::domain::QueueName;
use crate::domain::queue::QueueRecord;

/// Which part of a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// How many; `None`: one page of the default size and no token for another.
    size: Option<usize>,
    /// The last name of the page before.
    after: Option<QueueName>,
}

impl Page {
    /// Reads `MaxResults` and `NextToken`.
    ///
    /// # Errors
    /// `InvalidParameterValue`.
    pub fn parse(fields: &mut Fields) -> Result<Self, Fault> {
        let size = fields.integer_within(
            "MaxResults",
            1..=1_000,
            "Must be between 1 and 1000, if provided.",
        )?;
        let size = size.and_then(|size| usize::try_from(size).ok());
        let token = fields.text("NextToken")?.filter(|token| !token.is_empty());
        let after = token.map(|token| read_token(&token)).transpose()?;
        if after.is_some() && size.is_none() {
            return Err(Fault::invalid(
                "NextToken can be used only with MaxResults.",
            ));
        }
        Ok(Self { size, after })
    }

    /// The name after which the page begins.
    pub fn after(&self) -> Option<&str> {
        self.after.as_ref().map(QueueName::as_str)
    }

    /// How many to read: one more than is shown tells whether there is more.
    pub fn limit(&self) -> usize {
        self.shown() + 1
    }

    fn shown(&self) -> usize {
        self.size.unwrap_or(limits::LIST_RESULTS)
    }

    /// The page as an answer: the queues' URLs, and a token if there is more and pages were asked for.
    pub fn answer(&self, request: &Request, name: ListName, found: &[QueueRecord]) -> Vec<Member> {
        let (shown, token) = self.cut(found);
        let urls: Vec<_> = shown
            .iter()
            .map(|queue| Value::Text(request.queue_url(&queue.name).into()))
            .collect();
        let mut members = Vec::new();
        if !urls.is_empty() {
            members.push(Member::List(name, urls));
        }
        members.extend(token.map(|token| Member::text("NextToken", token)));
        members
    }

    fn cut<'a>(&self, found: &'a [QueueRecord]) -> (&'a [QueueRecord], Option<String>) {
        let shown = &found[..found.len().min(self.shown())];
        let more = found.len() > shown.len() && self.size.is_some();
        let last = shown.last().filter(|_| more);
        (
            shown,
            last.map(|queue| URL_SAFE_NO_PAD.encode(queue.name.as_str())),
        )
    }
}

fn read_token(token: &str) -> Result<QueueName, Fault> {
    let name = URL_SAFE_NO_PAD.decode(token).ok();
    name.and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|name| QueueName::parse(&name).ok())
        .ok_or_else(|| Fault::invalid("Invalid or expired next token."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::request::both;
    use super::*;

    fn queues(names: &[&str]) -> Vec<QueueRecord> {
        names
            .iter()
            .map(|name| super::super::tests::test_queue(name))
            .collect()
    }

    fn page(size: i64, token: &str) -> Result<Page, Fault> {
        both(
            json!({"MaxResults": size, "NextToken": token}),
            &format!("MaxResults={size}&NextToken={token}"),
            Page::parse,
        )
    }

    #[test]
    fn a_token_leads_to_the_next_page() {
        let first = page(2, "").unwrap();
        assert_eq!((first.after(), first.limit()), (None, 3));
        let found = queues(&["a", "b", "c"]);
        let (shown, token) = first.cut(&found);
        assert_eq!(shown.len(), 2);
        let next = page(2, &token.unwrap()).unwrap();
        assert_eq!(next.after(), Some("b"));
        let (shown, token) = next.cut(&found[2..]);
        assert_eq!((shown.len(), token), (1, None));
    }

    #[test]
    fn without_a_size_there_is_no_token() {
        let whole = both(json!({}), "", Page::parse).unwrap();
        assert_eq!(whole.limit(), limits::LIST_RESULTS + 1);
        let names: Vec<_> = (0..=limits::LIST_RESULTS)
            .map(|i| format!("q{i:04}"))
            .collect();
        let found = queues(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let (shown, token) = whole.cut(&found);
        assert_eq!((shown.len(), token), (limits::LIST_RESULTS, None));
    }

    #[test]
    fn what_was_not_given_out_is_refused() {
        for (size, token) in [(0, ""), (1001, ""), (1, "%25"), (1, "YSBi"), (1, "a b")] {
            assert!(page(size, token).is_err(), "{size} {token}");
        }
        let alone = both(json!({"NextToken": "Yg"}), "NextToken=Yg", Page::parse);
        assert!(alone.is_err());
    }
}
