//! Users' history in DynamoDB: a row for each user and message, in the layout of the prior art.
//!
//! Expired rows are left out by us, whenever DynamoDB removes them. A receipt is a conditional write of the row, so that
//! of two nodes that are asked for the same one, one has made it. There is nobody to promise a receipt to: one that is
//! asked for with `async` is made before it is answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValuesOnConditionCheckFailure, Select};
use bytes::Bytes;
use futures_util::stream::{StreamExt as _, iter};
use sha2::{Digest as _, Sha256};

use super::Services;
use super::items::{self, Item, number, number_of, text, text_of};
use super::service::{Pauses, persist, trouble};
use super::writer::created;
use crate::backends::plane::{MessageRelay, Parcel, RelayError, Reply, UserHistory};
use crate::config::limits;
use crate::domain::history::{EntryMeta, Page, Place, Query, Unread};
use crate::domain::ids::unique_id;
use crate::domain::message::Origin;
use crate::domain::{Clock, MessageId, Seq, StoreError, Target, Timestamp, UserId};
use crate::envelope::ascii_json;

/// Receipts of one request that are written at a time.
const PARALLEL_RECEIPTS: usize = 16;

/// The history of all users.
#[derive(Clone)]
pub struct History {
    services: Arc<Services>,
    relay: Arc<dyn MessageRelay>,
    clock: Clock,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}

/// What of a user's rows is asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Range {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    unread: bool,
    count: bool,
}

impl History {
    /// History in the configured table; receipts are told by the relay.
    pub fn new(services: Arc<Services>, relay: Arc<dyn MessageRelay>, clock: Clock) -> Self {
        Self {
            services,
            relay,
            clock,
        }
    }

    /// A part of a user's rows: the rows, how many there are, and where to go on.
    async fn rows(
        &self,
        user: UserId,
        range: Range,
        from: Option<Item>,
    ) -> Result<(Vec<Item>, usize, Option<Item>), StoreError> {
        let options = &self.services.options;
        let mut filter = "endsAt > :now".to_owned();
        let call = self.services.db.query().table_name(&options.messages_table);
        let mut call = call
            .consistent_read(true)
            .key_condition_expression("userId = :user")
            .expression_attribute_values(":user", number(user))
            .expression_attribute_values(":now", number(self.clock.now().micros()))
            .set_exclusive_start_key(from);
        for (bound, name, sign) in [(range.start, ":start", ">="), (range.end, ":end", "<=")] {
            if let Some(at) = bound {
                let seconds = format!("{}.{:06}", at.secs(), at.micros() % 1_000_000);
                filter.push_str(&format!(" AND created {sign} {name}"));
                call = call.expression_attribute_values(name, number(seconds));
            }
        }
        if range.unread {
            filter.push_str(" AND is_read = :unread");
            call = call.expression_attribute_values(":unread", number(0));
        }
        if range.count {
            call = call.select(Select::Count);
        }
        let call = call.filter_expression(filter);
        let pauses = Pauses::lasting(options.patience);
        let found = persist("Query", pauses, || call.clone().send()).await;
        let found = found.map_err(|error| trouble("Query", error))?;
        let count = usize::try_from(found.count).unwrap_or_default();
        let items = found.items.unwrap_or_default();
        Ok((items, count, found.last_evaluated_key))
    }

    /// The newest entries that are asked for. A user's rows are in the order of their ids, so all are looked at; no more
    /// than a page of them is kept.
    async fn newest(self, user: UserId, query: Query) -> Result<Page, StoreError> {
        let range = Range {
            start: query.start,
            end: query.end,
            ..Range::default()
        };
        let mut best: BTreeMap<Place, (EntryMeta, Bytes)> = BTreeMap::new();
        let (mut from, mut more) = (None, false);
        loop {
            let (items, _, next) = self.rows(user, range, from).await?;
            for item in &items {
                let (entry, text) = entry(item)?;
                let place = (entry.created, entry.seq);
                let is_after = query.before.is_none_or(|before| place < before);
                if is_after && is_of_kinds(&entry, &query.kinds) {
                    best.insert(place, (entry, text));
                    if best.len() > query.limit {
                        best.pop_first();
                        more = true;
                    }
                }
            }
            from = next;
            if from.is_none() {
                break;
            }
        }
        let last = best.first_key_value().map(|(place, _)| *place);
        Ok(Page {
            entries: best.into_values().rev().collect(),
            next: last.filter(|_| more),
        })
    }

    async fn count_unread(self, user: UserId) -> Result<usize, StoreError> {
        let range = Range {
            unread: true,
            count: true,
            ..Range::default()
        };
        let (mut unread, mut from) = (0, None);
        loop {
            let (_, count, next) = self.rows(user, range, from).await?;
            unread += count;
            from = next;
            if from.is_none() {
                return Ok(unread);
            }
        }
    }

    /// Ids of the unread entries that are meant, oldest first.
    async fn unread_as_of(
        &self,
        user: UserId,
        at: Timestamp,
    ) -> Result<Vec<MessageId>, StoreError> {
        let range = Range {
            end: Some(at),
            unread: true,
            ..Range::default()
        };
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let (items, _, next) = self.rows(user, range, from).await?;
            for item in &items {
                let (entry, _) = entry(item)?;
                found.push(((entry.created, entry.seq), entry.message_id));
            }
            from = next;
            if from.is_none() {
                break;
            }
        }
        found.sort();
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    async fn receipt(self, user: UserId, which: Unread) -> Result<Vec<MessageId>, StoreError> {
        let ids = match which {
            Unread::Ids(ids) => ids,
            Unread::AsOf(at) => self.unread_as_of(user, at).await?,
        };
        let mut receipted = Vec::new();
        for batch in ids.chunks(limits::RECEIPT_BATCH) {
            let marks = iter(batch.to_vec()).map(|id| self.clone().mark(user, id));
            let mut marks = marks.buffered(PARALLEL_RECEIPTS);
            let (mut made, mut outcome) = (Vec::new(), Ok(()));
            while let Some(mark) = marks.next().await {
                match mark {
                    Ok(mark) => made.extend(mark),
                    Err(error) => outcome = outcome.and(Err(error)),
                }
            }
            // What was made is told, whatever became of the others: nobody asks for it again.
            if !made.is_empty() {
                self.tell(user, &made).await?;
            }
            metrics::counter!("fanfare_receipts_total").increment(made.len() as u64);
            outcome?;
            receipted.extend(made);
        }
        Ok(receipted)
    }

    /// Marks an entry as read; `None` if it was, or is not there.
    async fn mark(self, user: UserId, id: MessageId) -> Result<Option<MessageId>, StoreError> {
        let options = &self.services.options;
        // A try whose answer was lost is known by this when it is made again.
        let receipt = unique_id().to_string();
        let call = self.services.db.update_item();
        let call = call
            .table_name(&options.messages_table)
            .key("userId", number(user))
            .key("messageId", text(id.as_str()))
            .update_expression("SET is_read = :read, receipt = :receipt")
            .condition_expression("is_read = :unread AND endsAt > :now")
            .expression_attribute_values(":read", number(1))
            .expression_attribute_values(":unread", number(0))
            .expression_attribute_values(":receipt", text(&receipt))
            .expression_attribute_values(":now", number(self.clock.now().micros()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let pauses = Pauses::lasting(options.patience);
        let error = match persist("UpdateItem", pauses, || call.clone().send()).await {
            Ok(_) => return Ok(Some(id)),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                let item = refused.item.as_ref();
                let ours = item.is_some_and(|item| text_of(item, "receipt") == Ok(&receipt));
                Ok(ours.then_some(id))
            }
            _ => Err(trouble("UpdateItem", error)),
        }
    }

    /// Tells the user's sessions what was read.
    async fn tell(&self, user: UserId, ids: &[MessageId]) -> Result<(), StoreError> {
        let message_id = unique_id().to_string();
        let notice = serde_json::json!({
            "_type": "message-read-receipt",
            "userId": user.0,
            "messages-receipted": ids.iter().map(MessageId::as_str).collect::<Vec<_>>(),
            "_sqs_only": 1,
            "messageId": message_id,
        })
        .to_string();
        let body = Bytes::from(ascii_json(&notice).into_owned());
        let parcel = Parcel {
            target: Target {
                user: Some(user),
                ..Target::default()
            },
            message_id: MessageId::parse(&message_id).expect("a UUID is a message id"),
            kind: None,
            keep: false,
            text: body.clone(),
            body,
            now: self.clock.now(),
        };
        let told = match self.relay.relay(parcel) {
            Ok(relaying) => relaying.await.map(drop),
            Err(error) => Err(error),
        };
        told.map_err(|error| match error {
            RelayError::Store(error) => error,
            other => StoreError::Failed(other.to_string()),
        })
    }
}

fn is_of_kinds(entry: &EntryMeta, kinds: &[String]) -> bool {
    let kind = entry.kind.as_deref();
    kinds.is_empty() || kind.is_some_and(|kind| kinds.iter().any(|wanted| wanted == kind))
}

/// An entry and its text from a row. Its place among entries of the same microsecond goes by a digest of its id.
fn entry(item: &Item) -> Result<(EntryMeta, Bytes), StoreError> {
    let id = text_of(item, "messageId")?;
    let digest = Sha256::digest(id);
    let eight = digest.first_chunk::<8>().expect("a digest has 32 bytes");
    let entry = EntryMeta {
        seq: Seq(u64::from_be_bytes(*eight)),
        origin: Origin::Own,
        message_id: MessageId::parse(id).map_err(|_| items::corrupt("messageId"))?,
        created: created(item)?,
        expires: Timestamp(number_of(item, "endsAt")?),
        kind: text_of(item, "_type").ok().map(Into::into),
        read: number_of::<u8>(item, "is_read")? == 1,
    };
    let text = text_of(item, "message")?.as_bytes();
    Ok((entry, Bytes::copy_from_slice(text)))
}

impl UserHistory for History {
    fn page(&self, user: UserId, query: Query) -> Reply<Page> {
        Box::pin(self.clone().newest(user, query))
    }

    fn unread(&self, user: UserId) -> Reply<usize> {
        Box::pin(self.clone().count_unread(user))
    }

    fn set_read(&self, user: UserId, which: Unread) -> Reply<Vec<MessageId>> {
        Box::pin(self.clone().receipt(user, which))
    }

    fn set_read_later(&self, user: UserId, which: Unread) -> Reply<()> {
        let history = self.clone();
        Box::pin(async move { history.receipt(user, which).await.map(drop) })
    }
}
