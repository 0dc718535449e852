//! The tables in DynamoDB: what must be there, and making it.

use std::sync::Arc;

use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, Tag, TimeToLiveSpecification, TimeToLiveStatus,
};

use super::Services;
use super::service::{Pauses, persist, trouble};
use crate::domain::StoreError;

/// An index of a table.
#[derive(Debug, Clone)]
pub(super) struct Index {
    /// What its name ends in.
    pub(super) suffix: &'static str,
    pub(super) hash: (&'static str, ScalarAttributeType),
    pub(super) projection: ProjectionType,
}

/// A table that must be there.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name.
    pub name: String,
    pub(super) hash: (&'static str, ScalarAttributeType),
    pub(super) range: &'static str,
    /// Whether its rows have a `ttl` after which they may go.
    pub(super) expires: bool,
    pub(super) indexes: Vec<Index>,
}

/// The tables of the configuration.
pub fn all(services: &Services) -> Vec<Table> {
    let sessions = Table {
        name: services.options.sessions_table.clone(),
        hash: ("userId", ScalarAttributeType::N),
        range: "sessionId",
        expires: true,
        indexes: vec![
            Index {
                suffix: "-gsi-account",
                hash: ("accountId", ScalarAttributeType::N),
                projection: ProjectionType::All,
            },
            Index {
                suffix: "-gsi-session",
                hash: ("lookup", ScalarAttributeType::S),
                projection: ProjectionType::KeysOnly,
            },
        ],
    };
    let messages = Table {
        name: services.options.messages_table.clone(),
        hash: ("userId", ScalarAttributeType::N),
        range: "messageId",
        expires: true,
        indexes: Vec::new(),
    };
    let leases = services.options.stream.as_ref().map(|stream| Table {
        name: stream.leases_table.clone(),
        hash: ("stream", ScalarAttributeType::S),
        range: "lease",
        expires: false,
        indexes: Vec::new(),
    });
    [sessions, messages].into_iter().chain(leases).collect()
}

/// Whether a table is there.
///
/// # Errors
/// [`StoreError`] if DynamoDB refuses or does not answer.
pub async fn exists(services: &Arc<Services>, table: &Table) -> Result<bool, StoreError> {
    let call = services.db.describe_table().table_name(&table.name);
    let pauses = Pauses::lasting(services.options.patience);
    match persist("DescribeTable", pauses, || call.clone().send()).await {
        Ok(_) => Ok(true),
        Err(error) => match error.as_service_error() {
            Some(DescribeTableError::ResourceNotFoundException(_)) => Ok(false),
            _ => Err(trouble("DescribeTable", error)),
        },
    }
}

/// Makes a table with a tag, paid by request, waits for it, and has DynamoDB remove what expires in it.
///
/// # Errors
/// [`StoreError`] if DynamoDB refuses or does not answer.
pub async fn create(
    services: &Arc<Services>,
    table: &Table,
    (key_of_tag, value_of_tag): (&str, &str),
) -> Result<(), StoreError> {
    let tag = Tag::builder().key(key_of_tag).value(value_of_tag).build();
    let call = services.db.create_table();
    let mut call = call
        .table_name(&table.name)
        .tags(tag.expect("key and value are given"))
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute(table.hash.0, table.hash.1.clone()))
        .attribute_definitions(attribute(table.range, ScalarAttributeType::S))
        .key_schema(key(table.hash.0, KeyType::Hash))
        .key_schema(key(table.range, KeyType::Range));
    for index in &table.indexes {
        let (name, kind) = index.hash.clone();
        let projection = Projection::builder().projection_type(index.projection.clone());
        let made = GlobalSecondaryIndex::builder()
            .index_name(format!("{}{}", table.name, index.suffix))
            .key_schema(key(name, KeyType::Hash))
            .projection(projection.build())
            .build();
        call = call
            .attribute_definitions(attribute(name, kind))
            .global_secondary_indexes(made.expect("name and keys are given"));
    }
    let pauses = || Pauses::lasting(services.options.patience);
    let made = persist("CreateTable", pauses(), || call.clone().send()).await;
    made.map_err(|error| trouble("CreateTable", error))?;
    let mut waiting = Pauses::lasting(std::time::Duration::from_secs(120));
    loop {
        let call = services.db.describe_table().table_name(&table.name);
        let found = persist("DescribeTable", pauses(), || call.clone().send()).await;
        let found = found.map_err(|error| trouble("DescribeTable", error))?;
        let status = found.table.and_then(|table| table.table_status);
        if status.is_some_and(|status| status.as_str() == "ACTIVE") {
            break;
        }
        if !waiting.pause().await {
            let text = format!("the table {} does not become active", table.name);
            return Err(StoreError::Unavailable(text));
        }
    }
    match table.expires {
        true => expire(services, table).await,
        false => Ok(()),
    }
}

/// Has DynamoDB remove rows whose `ttl` has passed.
///
/// # Errors
/// [`StoreError`] if DynamoDB refuses or does not answer.
pub async fn expire(services: &Arc<Services>, table: &Table) -> Result<(), StoreError> {
    let pauses = || Pauses::lasting(services.options.patience);
    let call = services.db.describe_time_to_live().table_name(&table.name);
    let found = persist("DescribeTimeToLive", pauses(), || call.clone().send()).await;
    let found = found.map_err(|error| trouble("DescribeTimeToLive", error))?;
    let status = found
        .time_to_live_description
        .and_then(|found| found.time_to_live_status);
    if matches!(
        status,
        Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
    ) {
        return Ok(());
    }
    let wanted = TimeToLiveSpecification::builder()
        .enabled(true)
        .attribute_name("ttl");
    let wanted = wanted.build().expect("both are given");
    let call = services.db.update_time_to_live().table_name(&table.name);
    let call = call.time_to_live_specification(wanted);
    let set = persist("UpdateTimeToLive", pauses(), || call.clone().send()).await;
    set.map(drop)
        .map_err(|error| trouble("UpdateTimeToLive", error))
}

fn attribute(name: &str, kind: ScalarAttributeType) -> AttributeDefinition {
    let made = AttributeDefinition::builder()
        .attribute_name(name)
        .attribute_type(kind);
    made.build().expect("name and type are given")
}

fn key(name: &str, kind: KeyType) -> KeySchemaElement {
    let made = KeySchemaElement::builder()
        .attribute_name(name)
        .key_type(kind);
    made.build().expect("name and type are given")
}
