//! Envelope counters: leased by conditional write, so that no two nodes ever have the same.
//!
//! The mark of a session stands in its row. A lease is planned after the mark that was last seen, and is this node's
//! once the mark could be moved from there: had another node moved it first, the write would have been refused, with
//! the mark as it is now. A node that ends skips what it had on lease.

use std::sync::Arc;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;

use super::Services;
use super::items::{self, number, number_of, text};
use super::service::{Pauses, persist, trouble};
use crate::domain::{QueueName, SessionKey, StoreError};
use crate::envelope::{CounterLease, LeasePlan};

/// Leases counters.
#[derive(Debug, Clone)]
pub struct Leases {
    services: Arc<Services>,
}

/// A session's counters on lease at this node.
#[derive(Debug, Default)]
pub struct Leased {
    /// What may be used.
    pub lease: CounterLease,
    /// The mark as it was last seen.
    mark: u64,
}

impl Leases {
    /// Leases in the configured table.
    pub fn new(services: Arc<Services>) -> Self {
        Self { services }
    }

    /// Leases enough for a message of `blocks`, in place of what is left. `false` if the session, or its queue, is no
    /// more.
    ///
    /// # Errors
    /// [`StoreError`] if DynamoDB refuses or does not answer, or there are no more counters.
    pub async fn extend(
        &self,
        leased: &mut Leased,
        session: &SessionKey,
        queue: &QueueName,
        blocks: u64,
        mut pauses: Pauses,
    ) -> Result<bool, StoreError> {
        let table = &self.services.options.sessions_table;
        loop {
            let plan = LeasePlan::after(leased.mark, blocks)
                .map_err(|exhausted| StoreError::Failed(exhausted.to_string()))?;
            let mark = plan.high_water();
            let seen = match leased.mark {
                0 => "attribute_not_exists(counterMark)",
                _ => "counterMark = :seen",
            };
            let mut call = self.services.db.update_item().table_name(table);
            if leased.mark > 0 {
                call = call.expression_attribute_values(":seen", number(leased.mark));
            }
            let call = call
                .set_key(Some(items::session_key(session)))
                .update_expression("SET counterMark = :mark")
                .condition_expression(format!("sqsQueueName = :queue AND {seen}"))
                .expression_attribute_values(":mark", number(mark))
                .expression_attribute_values(":queue", text(queue.as_str()))
                .return_values_on_condition_check_failure(
                    ReturnValuesOnConditionCheckFailure::AllOld,
                );
            // One try at a time: a try that was lost on its way back has moved the mark, and is no reason to give up.
            let once = Pauses::until(tokio::time::Instant::now());
            let error = match persist("UpdateItem", once, || call.clone().send()).await {
                Ok(_) => {
                    leased.lease = plan.made_durable();
                    leased.mark = mark;
                    return Ok(true);
                }
                Err(error) => error,
            };
            match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    // Not every engine gives the row with the refusal.
                    let row = match refused.item.clone() {
                        Some(row) => Some(row),
                        None => self.row(session).await?,
                    };
                    let row =
                        row.filter(|row| items::text_of(row, "sqsQueueName") == Ok(queue.as_str()));
                    let Some(row) = row else { return Ok(false) };
                    leased.mark = match row.contains_key("counterMark") {
                        true => number_of(&row, "counterMark")?,
                        false => 0,
                    };
                }
                _ if super::service::is_temporary(&error) => {
                    if !pauses.pause().await {
                        return Err(trouble("UpdateItem", error));
                    }
                }
                _ => return Err(trouble("UpdateItem", error)),
            }
        }
    }

    async fn row(&self, session: &SessionKey) -> Result<Option<items::Item>, StoreError> {
        let options = &self.services.options;
        let call = self
            .services
            .db
            .get_item()
            .table_name(&options.sessions_table);
        let call = call
            .set_key(Some(items::session_key(session)))
            .consistent_read(true);
        let pauses = Pauses::lasting(options.patience);
        let found = persist("GetItem", pauses, || call.clone().send()).await;
        Ok(found.map_err(|error| trouble("GetItem", error))?.item)
    }
}
