//! Tables in DynamoDB, as they are and as they must be.

use std::sync::Arc;

use aws_sdk_dynamodb::operation::delete_table::DeleteTableError;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, KeySchemaElement, KeyType, TableDescription, TimeToLiveStatus,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use serde_json::{Map, Value, json};

use super::super::Services;
use super::super::service::{Pauses, persist, trouble};
use super::super::tables::Table;
use super::{Found, TAG, object};
use crate::domain::StoreError;

/// What a table must be like: its keys, each with its type, its indexes with what they project, and the attribute that rows
/// expire by.
pub(super) fn wanted(table: &Table) -> Value {
    let indexes: Map<String, Value> = table
        .indexes
        .iter()
        .map(|index| {
            let (name, kind) = &index.hash;
            let described = json!({
                "keys": [format!("{name} {}", kind.as_str())],
                "projection": index.projection.as_str(),
            });
            (format!("{}{}", table.name, index.suffix), described)
        })
        .collect();
    json!({
        "keys": [format!("{} {}", table.hash.0, table.hash.1.as_str()), format!("{} S", table.range)],
        "indexes": indexes,
        "ttl": table.expires.then_some("ttl"),
    })
}

/// What a table is like; `None` if it is not there.
pub(super) async fn find(
    services: &Arc<Services>,
    name: &str,
) -> Result<Option<Found>, StoreError> {
    let pauses = || Pauses::lasting(services.options.patience);
    let call = services.db.describe_table().table_name(name);
    let found = match persist("DescribeTable", pauses(), || call.clone().send()).await {
        Ok(found) => found
            .table
            .unwrap_or_else(|| TableDescription::builder().build()),
        Err(error) => match error.as_service_error() {
            Some(DescribeTableError::ResourceNotFoundException(_)) => return Ok(None),
            _ => return Err(trouble("DescribeTable", error)),
        },
    };
    let call = services.db.describe_time_to_live().table_name(name);
    let ttl = persist("DescribeTimeToLive", pauses(), || call.clone().send()).await;
    let ttl = ttl.map_err(|error| trouble("DescribeTimeToLive", error))?;
    let ttl = ttl.time_to_live_description.filter(|ttl| {
        let on = [TimeToLiveStatus::Enabled, TimeToLiveStatus::Enabling];
        ttl.time_to_live_status
            .as_ref()
            .is_some_and(|status| on.contains(status))
    });
    let types = found.attribute_definitions();
    let indexes: Map<String, Value> = found
        .global_secondary_indexes()
        .iter()
        .map(|index| {
            let projection = index.projection.as_ref();
            let projection = projection.and_then(|projection| projection.projection_type.as_ref());
            let described = json!({
                "keys": keys(index.key_schema(), types),
                "projection": projection.map(|kind| kind.as_str()),
            });
            (index.index_name.clone().unwrap_or_default(), described)
        })
        .collect();
    let is = object(json!({
        "keys": keys(found.key_schema(), types),
        "indexes": indexes,
        "ttl": ttl.and_then(|ttl| ttl.attribute_name),
    }));
    let arn = found.table_arn.unwrap_or_default();
    let tag = tag(services, arn).await?;
    Ok(Some(Found { is, tag }))
}

/// The keys in their order, each with its type.
fn keys(schema: &[KeySchemaElement], types: &[AttributeDefinition]) -> Vec<String> {
    let mut schema = schema.to_vec();
    schema.sort_by_key(|key| key.key_type != KeyType::Hash);
    let described = schema.iter().map(|key| {
        let name = key.attribute_name.as_str();
        let kind = types.iter().find(|kind| kind.attribute_name == name);
        let kind = kind.map_or("?", |kind| kind.attribute_type.as_str());
        format!("{name} {kind}")
    });
    described.collect()
}

/// The value of a table's tag; `None` if the engine has no tags.
async fn tag(services: &Arc<Services>, arn: String) -> Result<Option<Option<String>>, StoreError> {
    let call = services.db.list_tags_of_resource().resource_arn(arn);
    let pauses = Pauses::lasting(services.options.patience);
    match persist("ListTagsOfResource", pauses, || call.clone().send()).await {
        Ok(found) => {
            let mut tags = found.tags.unwrap_or_default().into_iter();
            Ok(Some(tags.find(|tag| tag.key == TAG).map(|tag| tag.value)))
        }
        // DynamoDB Local, and others that speak its protocol.
        Err(error) if error.code() == Some("UnknownOperationException") => Ok(None),
        Err(error) => Err(trouble("ListTagsOfResource", error)),
    }
}

/// Removes a table.
pub(super) async fn remove(services: &Arc<Services>, name: &str) -> Result<(), StoreError> {
    let call = services.db.delete_table().table_name(name);
    let pauses = Pauses::lasting(services.options.patience);
    match persist("DeleteTable", pauses, || call.clone().send()).await {
        Ok(_) => Ok(()),
        Err(error) => match error.as_service_error() {
            Some(DeleteTableError::ResourceNotFoundException(_)) => Ok(()),
            _ => Err(trouble("DeleteTable", error)),
        },
    }
}
