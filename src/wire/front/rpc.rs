//! What the front door asks of an RPC-style wire, and the operations it found there.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use actix_web::HttpResponse;

use crate::auth::Access;
use crate::wire::{Inbound, Operation, Refusal};

use super::target::Target;

/// Says a refusal in the form that one request asked for.
pub type Refuser = Box<dyn Fn(&Refusal) -> HttpResponse>;

/// The parts of an RPC-style wire that are needed before an operation runs.
pub trait RpcWire: Send + Sync + 'static {
    /// The wire's name, in metrics and in the surface: `sqs`.
    fn name(&self) -> &'static str;

    /// The service that credential scopes must name.
    fn signed_as(&self) -> &'static str;

    /// The longest body that is read.
    fn body_limit_bytes(&self) -> usize;

    /// The longest form that is read to see whether the request is this wire's; 0 if its requests are known by
    /// their heads.
    fn form_limit_bytes(&self) -> usize {
        0
    }

    /// Whether the request is this wire's. Asked before the body was read, and if no wire wants the
    /// request by its head and it carries a form, once more with the body.
    fn claims(&self, inbound: &Inbound) -> bool;

    /// The operation asked for, the body being there; `None` if none is named.
    fn operation<'a>(&self, inbound: &'a Inbound) -> Option<Cow<'a, str>>;

    /// How to refuse this request.
    fn refuser(&self, inbound: &Inbound) -> Refuser;
}

/// A wire with its operations.
pub(super) struct Mounted {
    pub(super) wire: Box<dyn RpcWire>,
    operations: HashMap<&'static str, Target>,
}

impl Mounted {
    /// # Panics
    /// If two operations have one name.
    pub(super) fn new<S: Send + Sync + 'static>(
        wire: Box<dyn RpcWire>,
        state: &Arc<S>,
        operations: &'static [Operation<S>],
    ) -> Self {
        let mut by_name = HashMap::with_capacity(operations.len());
        for operation in operations {
            let handler = operation.handler;
            let target = Target::new(
                wire.name(),
                operation.name,
                operation.access,
                state,
                handler,
            );
            let before = by_name.insert(operation.name, target);
            assert!(before.is_none(), "two operations {}", operation.name);
        }
        Self {
            wire,
            operations: by_name,
        }
    }

    pub(super) fn find(&self, inbound: &Inbound) -> Result<&Target, Refusal> {
        let name = self.wire.operation(inbound).unwrap_or_default();
        let target = self.operations.get(name.as_ref());
        target.ok_or_else(|| Refusal::UnknownOperation(name.into_owned()))
    }

    pub(super) fn surface(&self) -> impl Iterator<Item = (&'static str, Access)> {
        self.operations
            .iter()
            .map(|(name, target)| (*name, target.access()))
    }
}
