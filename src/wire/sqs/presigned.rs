//! JSON requests whose parameters are in the query: presigned URLs as boto3 makes them (WIRE 7). It signs a POST
//! without a body, with the headers of a JSON request, and puts each member of the request into the query.

use super::error::Fault;
use super::limits;
use super::query::{Form, decode, pairs};

/// Lists of texts, which repeat their JSON name; and the name that Query has for them.
const LISTS: [(&str, &str); 6] = [
    ("AWSAccountIds", "AWSAccountId"),
    ("Actions", "ActionName"),
    ("AttributeNames", "AttributeName"),
    ("MessageAttributeNames", "MessageAttributeName"),
    ("MessageSystemAttributeNames", "MessageSystemAttributeName"),
    ("TagKeys", "TagKey"),
];

/// Maps and lists of structures: boto3 writes them as Python would print them, which is nobody's format.
const STRUCTURES: [&str; 6] = [
    "Attributes",
    "Entries",
    "MessageAttributes",
    "MessageSystemAttributes",
    "Tags",
    "tags",
];

/// Reads the query of a JSON request without a body. Total: any bytes are read or refused.
///
/// # Errors
/// [`Fault::Malformed`] for what a query can not say, and as [`super::query::parse_query`].
pub(super) fn parse(raw_query: &[u8]) -> Result<Form, Fault> {
    let mut root = Form::default();
    for (count, (name, value)) in pairs(raw_query).enumerate() {
        if count == limits::QUERY_PARAMETERS {
            return Err(Fault::Malformed("Too many parameters".into()));
        }
        let (name, value) = (decode(name)?, decode(value)?.into_owned());
        if STRUCTURES.contains(&&*name) {
            let text = format!("{name} can not be given in a presigned URL");
            return Err(Fault::Malformed(text));
        }
        match LISTS.iter().find(|(json, _)| *json == name) {
            Some((_, query)) => root.insert(&format!("{query}.{count}"), value)?,
            None => root.insert(&name, value)?,
        }
    }
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::super::query::parse_query;
    use super::*;

    #[test]
    fn members_of_a_json_request_are_read_as_those_of_a_query() {
        let query = b"QueueUrl=u&AttributeNames=All&AttributeNames=B&DelaySeconds=3&X-Amz-Date=d";
        let same = b"QueueUrl=u&AttributeName.1=All&AttributeName.2=B&DelaySeconds=3&X-Amz-Date=d";
        assert_eq!(parse(query), parse_query(same, b""));
    }

    #[test]
    fn as_many_parameters_as_allowed_are_read() {
        use super::super::limits::QUERY_PARAMETERS;
        let many: String = (0..QUERY_PARAMETERS).map(|n| format!("a{n}=1&")).collect();
        assert!(parse(many.as_bytes()).is_ok());
        assert!(parse(format!("{many}more=1").as_bytes()).is_err());
    }

    #[test]
    fn what_a_query_can_not_say_is_refused() {
        for bad in [
            "Entries=[]",
            "MessageAttributes={}",
            "QueueUrl=a&QueueUrl=b",
            "a=%ff",
        ] {
            let found = parse(bad.as_bytes());
            assert!(matches!(found, Err(Fault::Malformed(_))), "{bad}");
        }
    }
}
