//! Batches: up to ten entries with ids, each with a result of its own (WIRE 1.4).

use std::collections::BTreeSet;

use super::answer::{Answer, ListName, Member, Value};
use super::error::Fault;
use super::limits;
use super::protocol::Protocol;
use super::request::Fields;
use crate::actors::queue::messages::PerEntry;
use crate::domain::QueueError;

/// The entries of a batch, read; those that break a rule by themselves carry the fault.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch<T> {
    entries: Vec<(String, Result<T, Fault>)>,
}

/// The entries of a batch with their results, in the order of the request.
pub type Results<T> = Vec<(String, Result<T, Fault>)>;

impl<T> Batch<T> {
    /// Reads `Entries`; `query` is the name of an entry in Query.
    ///
    /// # Errors
    /// Of the whole batch: wrong number of entries, ids of wrong form or repeated, or an entry that can not be
    /// read. Anything else that is wrong with an entry is its own result.
    pub fn parse(
        fields: &mut Fields,
        query: &'static str,
        mut parse: impl FnMut(&mut Fields) -> Result<T, Fault>,
    ) -> Result<Self, Fault> {
        let given = fields.structs("Entries", query)?;
        if given.is_empty() {
            return Err(Fault::EmptyBatch(query));
        }
        if given.len() > limits::BATCH_ENTRIES {
            return Err(Fault::TooManyEntries(given.len()));
        }
        let mut seen = BTreeSet::new();
        let mut entries = Vec::with_capacity(given.len());
        for mut entry in given {
            let id = entry
                .text("Id")?
                .ok_or_else(|| Fault::missing(&format!("{query}.Id")))?;
            if !is_entry_id(&id) {
                return Err(Fault::InvalidEntryId);
            }
            if !seen.insert(id.clone()) {
                return Err(Fault::IdsNotDistinct(id));
            }
            let outcome = match parse(&mut entry) {
                Err(fault @ Fault::Malformed(_)) => return Err(fault),
                outcome => outcome,
            };
            entries.push((id, outcome));
        }
        Ok(Self { entries })
    }

    /// The entries that are well so far.
    pub fn good(&self) -> impl Iterator<Item = &T> {
        self.entries
            .iter()
            .filter_map(|(_, entry)| entry.as_ref().ok())
    }

    /// Holds each good entry against one more rule.
    pub fn check(&mut self, rule: impl Fn(&T) -> Result<(), Fault>) {
        for (_, entry) in &mut self.entries {
            if let Ok(good) = entry
                && let Err(fault) = rule(good)
            {
                *entry = Err(fault);
            }
        }
    }

    /// Gives the good entries to `call` and puts its results where they belong.
    ///
    /// # Errors
    /// What `call` has against the whole batch.
    pub async fn run<U>(
        self,
        call: impl AsyncFnOnce(Vec<T>) -> Result<PerEntry<U>, QueueError>,
    ) -> Result<Results<U>, Fault> {
        let mut good = Vec::new();
        let mut slots = Vec::with_capacity(self.entries.len());
        for (id, entry) in self.entries {
            slots.push((id, entry.map(|entry| good.push(entry)).err()));
        }
        let results = if good.is_empty() {
            Vec::new()
        } else {
            call(good).await?
        };
        let mut results = results.into_iter();
        Ok(slots
            .into_iter()
            .map(|(id, fault)| {
                let result = match fault {
                    Some(fault) => Err(fault),
                    None => {
                        let own = results.next().expect("the queue answers each entry");
                        own.map_err(Fault::from)
                    }
                };
                (id, result)
            })
            .collect())
    }
}

fn is_entry_id(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=limits::BATCH_ID_CHARS).contains(&id.len()) && id.bytes().all(allowed)
}

/// [`answer`] where there is nothing to say of what went well.
pub fn plain_answer(protocol: Protocol, element: &'static str, results: Results<()>) -> Answer {
    answer(protocol, element, results, |()| Vec::new())
}

/// The answer to a batch: `Successful` and `Failed`, each left out when empty. `element` names a success in XML.
pub fn answer<T>(
    protocol: Protocol,
    element: &'static str,
    results: Results<T>,
    encode: impl Fn(T) -> Vec<Member>,
) -> Answer {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (id, result) in results {
        let id = Member::text("Id", id);
        match result {
            Ok(done) => {
                let rest = encode(done);
                successful.push(Value::Struct([vec![id], rest].concat()));
            }
            Err(fault) => failed.push(Value::Struct(failure(protocol, id, &fault))),
        }
    }
    let lists = [
        ("Successful", element, successful),
        ("Failed", "BatchResultErrorEntry", failed),
    ];
    let named = |(json, xml, items): (_, _, Vec<_>)| {
        let name = ListName {
            json,
            xml,
            query_json: json,
        };
        (!items.is_empty()).then_some(Member::List(name, items))
    };
    Some(lists.into_iter().filter_map(named).collect())
}

fn failure(protocol: Protocol, id: Member, fault: &Fault) -> Vec<Member> {
    let names = fault.names();
    let by_sender = names.status < 500;
    if !by_sender {
        tracing::error!(code = names.code, error = %fault, "an entry of an SQS batch failed");
    }
    vec![
        id,
        Member::One("SenderFault", Value::Bool(by_sender)),
        Member::text("Code", names.code),
        Member::text("Message", fault.message(protocol)),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::answer::rendered;
    use super::super::request::both;
    use super::*;

    const ENTRY: &str = "DeleteMessageBatchRequestEntry";

    fn read(ids: &[&str]) -> Result<Batch<String>, Fault> {
        let entries: Vec<_> = ids.iter().map(|id| json!({"Id": id, "V": "v"})).collect();
        let query: Vec<_> = ids
            .iter()
            .enumerate()
            .map(|(i, id)| format!("{ENTRY}.{n}.Id={id}&{ENTRY}.{n}.V=v", n = i + 1))
            .collect();
        both(json!({ "Entries": entries }), &query.join("&"), |fields| {
            Batch::parse(fields, ENTRY, |entry| entry.required_text("V"))
        })
    }

    #[test]
    fn rules_of_the_whole_batch() {
        let long = "x".repeat(81);
        let many: Vec<_> = (0..11).map(|i| format!("id{i}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        for (ids, expect) in [
            (&[][..], Fault::EmptyBatch(ENTRY)),
            (&many, Fault::TooManyEntries(11)),
            (&["a", ""], Fault::InvalidEntryId),
            (&["invalid:id"], Fault::InvalidEntryId),
            (&[&long], Fault::InvalidEntryId),
            (&["a", "b", "a"], Fault::IdsNotDistinct("a".into())),
        ] {
            assert_eq!(read(ids), Err(expect), "{ids:?}");
        }
        assert_eq!(read(&many[..10]).unwrap().good().count(), 10);
        assert!(read(&[&"x".repeat(80), "-_aZ9"]).is_ok());
    }

    #[test]
    fn what_can_not_be_read_fails_the_whole() {
        let body = json!({"Entries": [{"Id": "a", "V": 1}]}).to_string();
        let mut fields = Fields::of_json(body.as_bytes()).unwrap();
        let found = Batch::parse(&mut fields, ENTRY, |entry| entry.required_text("V"));
        assert!(matches!(found, Err(Fault::Malformed(_))), "{found:?}");
    }

    #[actix_rt::test]
    async fn each_entry_has_its_own_result() {
        let body = json!({"Entries": [
            {"Id": "a", "V": "1"}, {"Id": "b"}, {"Id": "c", "V": "3"}, {"Id": "d", "V": "4"},
        ]});
        let mut fields = Fields::of_json(body.to_string().as_bytes()).unwrap();
        let mut batch = Batch::parse(&mut fields, ENTRY, |entry| entry.required_text("V")).unwrap();
        batch.check(|v| {
            if v == "4" {
                Err(Fault::invalid("four"))
            } else {
                Ok(())
            }
        });
        let results = batch
            .run(async |good: Vec<String>| {
                assert_eq!(good, ["1", "3"]);
                Ok(vec![Ok(10), Err(QueueError::MessageNotInflight)])
            })
            .await
            .unwrap();
        let encode = |n: u64| vec![Member::integer("N", n)];
        let answer = answer(Protocol::Json, "Done", results, encode);
        let found: serde_json::Value =
            serde_json::from_str(&rendered(Protocol::Json, "Op", answer)).unwrap();
        assert_eq!(found["Successful"], json!([{"Id": "a", "N": 10}]));
        let failed = |id: &str, code: &str, text: &str| json!({"Id": id, "SenderFault": true, "Code": code, "Message": text});
        assert_eq!(
            found["Failed"],
            json!([
                failed(
                    "b",
                    "MissingParameter",
                    "The request must contain the parameter V."
                ),
                failed(
                    "c",
                    "AWS.SimpleQueueService.MessageNotInflight",
                    "The specified message is not in flight."
                ),
                failed("d", "InvalidParameterValue", "four"),
            ])
        );
    }

    #[actix_rt::test]
    async fn no_call_is_made_for_nothing() {
        let mut batch = read(&["a"]).unwrap();
        batch.check(|_| Err(Fault::invalid("no")));
        let results = batch
            .run(async |_| -> Result<PerEntry<()>, _> { unreachable!() })
            .await;
        let answer = answer(Protocol::Query, "Done", results.unwrap(), |()| vec![]);
        let xml = rendered(Protocol::Query, "Op", answer);
        assert!(xml.contains("<BatchResultErrorEntry><Id>a</Id><SenderFault>true</SenderFault>"));
        assert!(!xml.contains("Done"), "{xml}");
    }
}
