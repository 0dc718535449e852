//! AWS Query parameters (WIRE 1.2): `a.1.b=c` pairs become a tree, whatever they come from.

use std::borrow::Cow;
use std::collections::BTreeMap;

use percent_encoding::percent_decode;

use super::error::Fault;
use super::limits;

/// Parameters by the segments of their names: `Tag.1.Key=a` is the text of `Key` in `1` in `Tag`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    pub(super) text: Option<String>,
    pub(super) children: BTreeMap<String, Form>,
}

/// Reads a query string and a form body as one set of parameters. Total: any bytes are read or refused.
///
/// # Errors
/// [`Fault::Malformed`] for a name given twice, text that is not UTF-8, too many parameters or too deep a name.
pub fn parse_query(raw_query: &[u8], body: &[u8]) -> Result<Form, Fault> {
    let mut root = Form::default();
    for (count, (name, value)) in pairs(raw_query).chain(pairs(body)).enumerate() {
        if count == limits::QUERY_PARAMETERS {
            return Err(Fault::Malformed("Too many parameters".into()));
        }
        root.insert(&decode(name)?, decode(value)?.into_owned())?;
    }
    Ok(root)
}

/// The first value of a top-level parameter, without reading the rest.
pub(super) fn find<'a>(raw: &'a [u8], wanted: &str) -> Option<Cow<'a, str>> {
    let (_, value) = pairs(raw).find(|(name, _)| *name == wanted.as_bytes())?;
    decode(value).ok()
}

impl Form {
    pub(super) fn insert(&mut self, name: &str, value: String) -> Result<(), Fault> {
        let mut node = self;
        for (depth, segment) in name.split('.').enumerate() {
            if depth == limits::QUERY_NAME_SEGMENTS {
                return Err(Fault::Malformed(format!("Unknown parameter {name}")));
            }
            node = node.children.entry(segment.to_owned()).or_default();
        }
        if node.text.replace(value).is_some() {
            return Err(Fault::Malformed(format!("{name} is given twice")));
        }
        Ok(())
    }
}

pub(super) fn pairs(raw: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    raw.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &b""[..]),
        })
}

pub(super) fn decode(raw: &[u8]) -> Result<Cow<'_, str>, Fault> {
    let not_text = |_| Fault::Malformed("A parameter is not UTF-8 text".into());
    if raw.contains(&b'+') {
        let spaced: Vec<u8> = raw
            .iter()
            .map(|b| if *b == b'+' { b' ' } else { *b })
            .collect();
        let text = percent_decode(&spaced).decode_utf8();
        return Ok(Cow::Owned(text.map_err(not_text)?.into_owned()));
    }
    percent_decode(raw).decode_utf8().map_err(not_text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text<'a>(form: &'a Form, path: &[&str]) -> Option<&'a str> {
        let node = path
            .iter()
            .try_fold(form, |node, segment| node.children.get(*segment))?;
        node.text.as_deref()
    }

    #[test]
    fn names_become_a_tree() {
        let form = parse_query(
            b"Action=SendMessage&Empty=&Bare",
            b"MessageBody=hello+%C3%A9%2B&Tag.1.Key=a%3Db&&Tag.10.Key=z",
        )
        .unwrap();
        let check = |path: &[&str], expect| assert_eq!(text(&form, path), expect, "{path:?}");
        check(&["Action"], Some("SendMessage"));
        check(&["Empty"], Some(""));
        check(&["Bare"], Some(""));
        check(&["MessageBody"], Some("hello é+"));
        check(&["Tag", "1", "Key"], Some("a=b"));
        check(&["Tag", "10", "Key"], Some("z"));
        check(&["Tag"], None);
        check(&["Nothing"], None);
    }

    #[test]
    fn what_has_no_one_meaning_is_refused() {
        let many = "a=1&".repeat(limits::QUERY_PARAMETERS + 1);
        for bad in ["a=1&a=2", "a=%ff", "%ff=1", "a.b.c.d.e.f.g.h.i=1", &many] {
            let found = parse_query(b"", bad.as_bytes());
            assert!(matches!(found, Err(Fault::Malformed(_))), "{bad:.40}");
        }
        assert!(parse_query(b"a=1", b"a=1").is_err());
    }

    #[test]
    fn as_many_parameters_and_segments_as_allowed_are_read() {
        let many: String = (0..limits::QUERY_PARAMETERS)
            .map(|n| format!("a{n}=1&"))
            .collect();
        let form = parse_query(many.as_bytes(), b"").unwrap();
        assert_eq!(form.children.len(), limits::QUERY_PARAMETERS);
        assert!(parse_query(many.as_bytes(), b"more=1").is_err());
        let deep = vec!["a"; limits::QUERY_NAME_SEGMENTS];
        let form = parse_query(format!("{}=1", deep.join(".")).as_bytes(), b"").unwrap();
        assert_eq!(text(&form, &deep), Some("1"));
        assert!(parse_query(format!("{}.a=1", deep.join(".")).as_bytes(), b"").is_err());
    }

    #[test]
    fn one_parameter_is_found_without_the_rest() {
        let raw = b"x=%ff&Action=List+Queues&Action=b";
        assert_eq!(find(raw, "Action").as_deref(), Some("List Queues"));
        assert_eq!(find(raw, "Version"), None);
        assert_eq!(find(raw, "x"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(query: Vec<u8>, body: Vec<u8>) {
            let _ = parse_query(&query, &body);
        }

        #[test]
        fn any_text_comes_back(value: String) {
            let encoded = percent_encoding::utf8_percent_encode(&value, percent_encoding::NON_ALPHANUMERIC);
            let form = parse_query(b"", format!("a.b={encoded}").as_bytes()).unwrap();
            prop_assert_eq!(text(&form, &["a", "b"]), Some(value.as_str()));
        }
    }
}
