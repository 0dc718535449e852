//! The table of leases: reading it, and the conditional writes by which a shard has one reader.
//!
//! A lease is taken from where it was last seen (`ownerSwitches`) and changed as long as it is held (`leaseOwner` and
//! `ownerSwitches`): whoever lost it, or was slower, is refused, and writes nothing.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::rows::{self, Checkpoint, Lease, Rows, node_key, shard_key};
use super::shards::ListedShard;
use crate::backends::aws::Services;
use crate::backends::aws::items::{Item, number, text};
use crate::backends::aws::service::{Pauses, persist, trouble};
use crate::domain::StoreError;

/// How long one change is tried. Not longer: what the table says may be another thing by then.
const PATIENCE: Duration = Duration::from_secs(2);

/// The rows of one stream, as one node changes them.
#[derive(Debug, Clone)]
pub struct LeaseTable {
    services: Arc<Services>,
    table: String,
    stream: String,
    /// This node's id.
    pub node: String,
}

impl LeaseTable {
    /// The rows of a stream for the node of this id.
    pub fn new(services: Arc<Services>, table: String, stream: String, node: String) -> Self {
        Self {
            services,
            table,
            stream,
            node,
        }
    }

    /// All rows, as they are.
    ///
    /// # Errors
    /// [`StoreError`] if DynamoDB refuses or does not answer, or a row is not of its form.
    pub async fn rows(&self) -> Result<Rows, StoreError> {
        let (mut rows, mut from) = (Rows::default(), None);
        loop {
            let call = self.services.db.query().table_name(&self.table);
            let call = call
                .consistent_read(true)
                .key_condition_expression("#s = :s")
                .expression_attribute_names("#s", "stream")
                .expression_attribute_values(":s", text(&self.stream))
                .set_exclusive_start_key(from);
            let found = persist("Query", pauses(), || call.clone().send()).await;
            let found = found.map_err(|error| trouble("Query", error))?;
            for row in found.items() {
                rows.add(row)?;
            }
            from = found.last_evaluated_key;
            if from.is_none() {
                return Ok(rows);
            }
        }
    }

    /// Says that this node lives.
    ///
    /// # Errors
    /// As [`LeaseTable::rows`].
    pub async fn beat(&self) -> Result<(), StoreError> {
        let call = self.update(node_key(&self.node));
        let call = call
            .update_expression("ADD leaseCounter :one")
            .expression_attribute_values(":one", number(1));
        change(call).await.map(drop)
    }

    /// Removes a node's row; with a counter, only if it is still that.
    ///
    /// # Errors
    /// As [`LeaseTable::rows`].
    pub async fn remove_node(&self, node: &str, counter: Option<u64>) -> Result<(), StoreError> {
        let mut call = self.services.db.delete_item().table_name(&self.table);
        if let Some(counter) = counter {
            call = call.condition_expression("leaseCounter = :seen");
            call = call.expression_attribute_values(":seen", number(counter));
        }
        let call = call.set_key(Some(self.key(node_key(node))));
        let removed = persist("DeleteItem", pauses(), || call.clone().send()).await;
        unless_refused("DeleteItem", removed).map(drop)
    }

    /// Says where shards are begun with, unless another node has.
    ///
    /// # Errors
    /// As [`LeaseTable::rows`].
    pub async fn begin(&self, start: &Checkpoint) -> Result<(), StoreError> {
        let row = [("checkpoint".to_owned(), text(start.text()))];
        self.create(rows::START.to_owned(), row.into()).await
    }

    /// Adds a shard that nobody reads yet, unless another node has.
    ///
    /// # Errors
    /// As [`LeaseTable::rows`].
    pub async fn add(&self, shard: &ListedShard, start: &Checkpoint) -> Result<(), StoreError> {
        let row = [
            ("checkpoint".to_owned(), text(start.text())),
            ("ownerSwitches".to_owned(), number(0)),
            ("parentShardIds".to_owned(), rows::shard_ids(&shard.parents)),
        ];
        self.create(shard_key(&shard.id), row.into()).await
    }

    /// Removes a shard that is no more.
    ///
    /// # Errors
    /// As [`LeaseTable::rows`].
    pub async fn remove(&self, shard: &str) -> Result<(), StoreError> {
        let call = self.services.db.delete_item().table_name(&self.table);
        let call = call.set_key(Some(self.key(shard_key(shard))));
        let removed = persist("DeleteItem", pauses(), || call.clone().send()).await;
        removed
            .map(drop)
            .map_err(|error| trouble("DeleteItem", error))
    }

    /// Takes a lease from where it was last seen; `None` if another node was first.
    ///
    /// # Errors
    /// As [`LeaseTable::rows`].
    pub async fn take(&self, seen: &Lease) -> Result<Option<Lease>, StoreError> {
        let switches = seen.switches + 1;
        let call = self.update(shard_key(&seen.shard));
        let call = call
            .update_expression("SET leaseOwner = :me, ownerSwitches = :switches")
            .condition_expression("ownerSwitches = :seen")
            .expression_attribute_values(":me", text(&self.node))
            .expression_attribute_values(":switches", number(switches))
            .expression_attribute_values(":seen", number(seen.switches));
        let taken = change(call).await?;
        Ok(taken.then(|| Lease {
            owner: Some(self.node.clone()),
            switches,
            ..seen.clone()
        }))
    }

    /// Moves the checkpoint of a lease that is held; `false` if it is not any more.
    ///
    /// # Errors
    /// As [`LeaseTable::rows`].
    pub async fn advance(&self, held: &Lease, to: &Checkpoint) -> Result<bool, StoreError> {
        let call = self.held(held).update_expression("SET checkpoint = :to");
        change(call.expression_attribute_values(":to", text(to.text()))).await
    }

    /// Gives a lease back that is held; `false` if it is not any more.
    ///
    /// # Errors
    /// As [`LeaseTable::rows`].
    pub async fn give_back(&self, held: &Lease) -> Result<bool, StoreError> {
        change(self.held(held).update_expression("REMOVE leaseOwner")).await
    }

    fn held(&self, held: &Lease) -> UpdateItemFluentBuilder {
        self.update(shard_key(&held.shard))
            .condition_expression("leaseOwner = :me AND ownerSwitches = :mine")
            .expression_attribute_values(":me", text(&self.node))
            .expression_attribute_values(":mine", number(held.switches))
    }

    fn update(&self, lease: String) -> UpdateItemFluentBuilder {
        let call = self.services.db.update_item().table_name(&self.table);
        call.set_key(Some(self.key(lease)))
    }

    fn key(&self, lease: String) -> Item {
        let pair = [("stream", text(&self.stream)), ("lease", text(lease))];
        pair.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Writes a row that is not there yet.
    async fn create(&self, lease: String, mut row: Item) -> Result<(), StoreError> {
        row.extend(self.key(lease));
        let call = self.services.db.put_item().table_name(&self.table);
        let call = call
            .condition_expression("attribute_not_exists(lease)")
            .set_item(Some(row));
        let put = persist("PutItem", pauses(), || call.clone().send()).await;
        unless_refused("PutItem", put).map(drop)
    }
}

fn pauses() -> Pauses {
    Pauses::lasting(PATIENCE)
}

/// Makes a conditional change; `false` if the condition did not hold.
async fn change(call: UpdateItemFluentBuilder) -> Result<bool, StoreError> {
    let changed = persist("UpdateItem", pauses(), || call.clone().send()).await;
    unless_refused("UpdateItem", changed)
}

/// Whether a conditional write was done; `false` if its condition did not hold.
fn unless_refused<T, E>(
    operation: &'static str,
    outcome: Result<
        T,
        aws_smithy_runtime_api::client::result::SdkError<
            E,
            aws_smithy_runtime_api::client::orchestrator::HttpResponse,
        >,
    >,
) -> Result<bool, StoreError>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match outcome {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(false),
        Err(error) => Err(trouble(operation, error)),
    }
}

/// On DynamoDB Local, which `cargo xtask test --only aws` starts and names.
#[cfg(test)]
mod aws_servers {
    use super::*;
    use crate::backends::aws::{AwsOptions, StreamOptions, tables};

    /// Two nodes on a table of their own, with the lease of one shard.
    async fn nodes() -> ([LeaseTable; 2], Lease) {
        let url = std::env::var("FANFARE_TEST_DYNAMODB");
        let url = url.expect("FANFARE_TEST_DYNAMODB is set by cargo xtask test --only aws");
        let name = format!("leases-{}", uuid::Uuid::new_v4());
        let services = Services::connect(AwsOptions {
            region: "us-east-1".into(),
            account: "000000000000".into(),
            sqs_endpoint: None,
            dynamodb_endpoint: Some(url),
            sts_endpoint: None,
            kinesis_endpoint: None,
            cognito_endpoint: None,
            sessions_table: "sessions".into(),
            messages_table: "messages".into(),
            session_role: "arn:aws:iam::000000000000:role/session".into(),
            identities: None,
            patience: Duration::from_secs(5),
            hold_bytes: 1 << 20,
            spill_bytes: 0,
            sweep_interval: Duration::from_secs(300),
            user_message_ttl: Duration::from_secs(60),
            stream: Some(StreamOptions {
                name: "stream".into(),
                from_oldest: true,
                leases_table: name.clone(),
                held_bytes: 1 << 20,
            }),
        })
        .await;
        let all = tables::all(&services).into_iter();
        for table in all.filter(|table| table.name == name) {
            let tag = ("fanfare:env", "test");
            tables::create(&services, &table, tag).await.unwrap();
        }
        let node = |node: &str| {
            LeaseTable::new(services.clone(), name.clone(), "stream".into(), node.into())
        };
        let nodes = ["a", "b"].map(node);
        let shard = ListedShard {
            id: "s".into(),
            parents: Vec::new(),
        };
        let start = Checkpoint::TrimHorizon;
        nodes[0].add(&shard, &start).await.unwrap();
        let lease = lease(&nodes[0]).await;
        (nodes, lease)
    }

    async fn lease(node: &LeaseTable) -> Lease {
        let [lease] = node.rows().await.unwrap().leases.try_into().unwrap();
        lease
    }

    #[actix::test]
    #[ignore = "needs servers"]
    async fn a_lease_is_taken_by_one_and_changed_by_nobody_else() {
        let ([a, b], free) = nodes().await;
        let held = a.take(&free).await.unwrap().expect("it is free");
        assert_eq!(b.take(&free).await.unwrap(), None, "it was seen too early");
        assert!(
            a.advance(&held, &Checkpoint::After("5".into()))
                .await
                .unwrap()
        );
        // Another takes it over from where it sees it now.
        let taken = b.take(&lease(&b).await).await.unwrap();
        let taken = taken.expect("nobody was faster");
        assert_eq!(taken.checkpoint, Checkpoint::After("5".into()));
        assert!(
            !a.advance(&held, &Checkpoint::After("4".into()))
                .await
                .unwrap()
        );
        assert!(!a.give_back(&held).await.unwrap());
        assert_eq!(
            lease(&a).await,
            taken,
            "the one that lost it changed nothing"
        );
        // Nor does it when it has had it again: it is another lease.
        let again = a.take(&taken).await.unwrap().expect("nobody was faster");
        assert!(
            !a.advance(&held, &Checkpoint::After("4".into()))
                .await
                .unwrap()
        );
        assert!(a.give_back(&again).await.unwrap());
        assert_eq!(lease(&a).await.owner, None);
    }

    #[actix::test]
    #[ignore = "needs servers"]
    async fn what_is_there_is_not_written_again() {
        let ([a, b], free) = nodes().await;
        let held = a.take(&free).await.unwrap().expect("it is free");
        let shard = ListedShard {
            id: free.shard.clone(),
            parents: Vec::new(),
        };
        b.add(&shard, &Checkpoint::ShardEnd).await.unwrap();
        assert_eq!(lease(&b).await, held);
        a.begin(&Checkpoint::TrimHorizon).await.unwrap();
        b.begin(&Checkpoint::ShardEnd).await.unwrap();
        let rows = b.rows().await.unwrap();
        assert_eq!(rows.start, Some(Checkpoint::TrimHorizon));
    }

    #[actix::test]
    #[ignore = "needs servers"]
    async fn a_node_that_is_heard_again_is_not_buried() {
        let ([a, b], _) = nodes().await;
        let counter = async || a.rows().await.unwrap().nodes.get("a").copied();
        a.beat().await.unwrap();
        a.beat().await.unwrap();
        assert_eq!(counter().await, Some(2));
        b.remove_node("a", Some(1)).await.unwrap();
        assert_eq!(counter().await, Some(2), "it has said something since");
        b.remove_node("a", Some(2)).await.unwrap();
        assert_eq!(counter().await, None);
    }
}
