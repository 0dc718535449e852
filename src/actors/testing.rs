//! For tests: how much fits into a mailbox.

use actix::dev::ToEnvelope;
use actix::prelude::SendError;
use actix::{Actor, Addr, Handler, Message};

/// Hands in messages until the mailbox is full; how many it took. The actor must be one of this thread's, which does
/// nothing meanwhile. actix gives each address one place above the capacity.
pub(crate) fn room<A, M>(address: &Addr<A>, make: impl Fn() -> M) -> usize
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    let mut taken = 0;
    while let Ok(()) = address.try_send(make()) {
        taken += 1;
        assert!(taken < 1 << 20, "the mailbox has no limit");
    }
    assert!(matches!(address.try_send(make()), Err(SendError::Full(_))));
    taken
}
