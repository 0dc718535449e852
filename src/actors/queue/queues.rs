//! What the wires see of the queues.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::messages::{
    ChangeVisibility, Delete, MoveTask, PerEntry, Receive, Received, Send, Sent,
};
use crate::backends::{QueueEdit, Touched};
use crate::domain::queue::{QueueAttributes, QueueCounts, QueueRecord};
use crate::domain::{QueueError, QueueName, QueueNo};

/// All queues of this process. Cheap to clone.
#[derive(Clone)]
pub struct Queues {
    inner: Arc<Inner>,
}

struct Inner;

#[allow(missing_docs, clippy::missing_errors_doc, unused_variables, clippy::unused_async)]
impl Queues {
    pub fn find(&self, name: &QueueName) -> Result<QueueRecord, QueueError> {
        todo!()
    }
    pub async fn create(
        &self,
        name: QueueName,
        attributes: QueueAttributes,
        given: &[&'static str],
        tags: BTreeMap<String, String>,
    ) -> Result<QueueRecord, QueueError> {
        todo!()
    }
    pub async fn delete_queue(&self, queue: &QueueRecord) -> Result<(), QueueError> {
        todo!()
    }
    pub fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<QueueRecord>, QueueError> {
        todo!()
    }
    pub async fn edit(
        &self,
        queue: &QueueRecord,
        edit: QueueEdit,
    ) -> Result<QueueRecord, QueueError> {
        todo!()
    }
    pub async fn counts(&self, queue: &QueueRecord) -> Result<QueueCounts, QueueError> {
        todo!()
    }
    pub async fn send(
        &self,
        queue: &QueueRecord,
        send: Send,
    ) -> Result<PerEntry<Sent>, QueueError> {
        todo!()
    }
    pub async fn receive(
        &self,
        queue: &QueueRecord,
        receive: Receive,
    ) -> Result<Vec<Received>, QueueError> {
        todo!()
    }
    pub async fn delete(
        &self,
        queue: &QueueRecord,
        delete: Delete,
    ) -> Result<PerEntry<()>, QueueError> {
        todo!()
    }
    pub async fn change_visibility(
        &self,
        queue: &QueueRecord,
        change: ChangeVisibility,
    ) -> Result<PerEntry<()>, QueueError> {
        todo!()
    }
    pub async fn purge(&self, queue: &QueueRecord) -> Result<(), QueueError> {
        todo!()
    }
    pub async fn dead_letter_sources(
        &self,
        queue: &QueueRecord,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<QueueRecord>, QueueError> {
        todo!()
    }
    pub async fn start_move(
        &self,
        source: &QueueRecord,
        destination_arn: Option<String>,
        max_per_second: Option<u32>,
    ) -> Result<MoveTask, QueueError> {
        todo!()
    }
    pub async fn cancel_move(&self, task_handle: &str) -> Result<u64, QueueError> {
        todo!()
    }
    pub async fn list_moves(
        &self,
        source: &QueueRecord,
        max: usize,
    ) -> Result<Vec<MoveTask>, QueueError> {
        todo!()
    }
    pub fn touched(&self, touched: Touched) {
        todo!()
    }
    pub async fn drain(&self) {
        todo!()
    }
    pub fn forget_session(&self, queue: QueueNo) {
        todo!()
    }
}
