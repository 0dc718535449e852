//! Query parameters, from the URL or the form.

use percent_encoding::percent_decode;

use super::answer::Fault;
use crate::config::limits::sts as limits;

/// Names and values, each name once.
#[derive(Debug)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads the query and the body.
    pub(super) fn read(query: &str, body: &[u8]) -> Result<Self, Fault> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in split(query.as_bytes()).chain(split(body)) {
            let (Some(name), Some(value)) = (decode(pair.0), decode(pair.1)) else {
                return Err(Fault::invalid("The parameters are not UTF-8."));
            };
            if pairs.len() == limits::PARAMETERS {
                return Err(Fault::invalid("There are too many parameters."));
            }
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(Fault::invalid(&format!("{name} is given twice.")));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// A parameter's value; one that is empty is none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// Whether there is a parameter whose name starts so.
    pub(super) fn has_any(&self, prefix: &str) -> bool {
        self.0.iter().any(|(name, _)| name.starts_with(prefix))
    }

    /// `DurationSeconds` within a range.
    pub(super) fn duration(
        &self,
        least: u64,
        most: u64,
        default: u64,
    ) -> Result<std::time::Duration, Fault> {
        let Some(text) = self.get("DurationSeconds") else {
            return Ok(std::time::Duration::from_secs(default));
        };
        match text.parse() {
            Ok(seconds) if (least..=most).contains(&seconds) => {
                Ok(std::time::Duration::from_secs(seconds))
            }
            _ => Err(Fault::invalid(&format!(
                "DurationSeconds must be a whole number from {least} to {most}."
            ))),
        }
    }
}

/// The first value of a name.
pub(super) fn find(query: &str, body: &[u8], name: &str) -> Option<String> {
    split(query.as_bytes())
        .chain(split(body))
        .take(limits::PARAMETERS)
        .find(|(known, _)| *known == name.as_bytes())
        .and_then(|(_, value)| decode(value))
}

fn split(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &b""[..]),
        })
}

fn decode(text: &[u8]) -> Option<String> {
    let spaced: Vec<u8> = text
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    let decoded = percent_decode(&spaced).decode_utf8().ok()?;
    Some(decoded.into_owned())
}
