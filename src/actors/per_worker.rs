//! One actor of a kind on each worker: whoever asks on a worker asks its own, so that nothing changes threads.

use std::fmt;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Instant;

use actix::{Actor, Addr, Context};
use dashmap::DashMap;

use super::panics::Panics;
use crate::config::limits;

/// The actors of all workers; each starts when it is first asked for.
pub struct PerWorker<A: Actor<Context = Context<A>>> {
    /// What respawns are counted under.
    name: &'static str,
    make: Arc<dyn Fn() -> A + Send + Sync>,
    by_thread: Arc<DashMap<ThreadId, Addr<A>>>,
    panics: Arc<Panics<ThreadId>>,
}

impl<A: Actor<Context = Context<A>>> PerWorker<A> {
    /// None yet. `make` makes one, the first time and after a panic.
    pub fn new(name: &'static str, make: impl Fn() -> A + Send + Sync + 'static) -> Self {
        Self {
            name,
            make: Arc::new(make),
            by_thread: Arc::default(),
            panics: Arc::default(),
        }
    }

    /// This worker's actor; a new one if it has none, or if the last one died of a panic. If too many have, the last
    /// one stays for a while: whoever sends to it learns that it is gone.
    pub fn here(&self) -> Addr<A> {
        let thread = std::thread::current().id();
        let known = self.by_thread.get(&thread).map(|known| known.clone());
        if let Some(known) = known {
            if known.connected()
                || self.panics.lately(thread, Instant::now()) >= limits::WORKER_PANICS
            {
                return known;
            }
            self.panics.note(thread, Instant::now());
            metrics::counter!("fanfare_actor_respawns_total", "actor" => self.name).increment(1);
            tracing::error!(actor = self.name, "an actor panicked");
        }
        let address = (self.make)().start();
        self.by_thread.insert(thread, address.clone());
        address
    }
}

impl<A: Actor<Context = Context<A>>> Clone for PerWorker<A> {
    fn clone(&self) -> Self {
        Self {
            name: self.name,
            make: self.make.clone(),
            by_thread: self.by_thread.clone(),
            panics: self.panics.clone(),
        }
    }
}

impl<A: Actor<Context = Context<A>>> fmt::Debug for PerWorker<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerWorker")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use actix::{Handler, MailboxError, Message};
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    struct Fragile;

    impl Actor for Fragile {
        type Context = Context<Self>;
    }

    /// Answers with twice the number; panics at zero.
    #[derive(Message)]
    #[rtype(result = "u32")]
    struct Double(u32);

    impl Handler<Double> for Fragile {
        type Result = u32;

        fn handle(&mut self, Double(number): Double, _: &mut Self::Context) -> u32 {
            assert!(number > 0, "on purpose");
            2 * number
        }
    }

    #[actix::test]
    async fn an_actor_that_panics_is_replaced_and_counted_up_to_a_limit() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let workers = PerWorker::new("fragile", || Fragile);
        for panics in 0..limits::WORKER_PANICS {
            assert_eq!(workers.here().send(Double(4)).await, Ok(8), "{panics}");
            let dead = workers.here().send(Double(0)).await;
            assert_eq!(dead, Err(MailboxError::Closed));
        }
        assert_eq!(workers.here().send(Double(4)).await, Ok(8), "the last one");
        let dead = workers.here().send(Double(0)).await;
        assert_eq!(dead, Err(MailboxError::Closed));
        let refused = workers.here().send(Double(4)).await;
        assert_eq!(refused, Err(MailboxError::Closed), "no more for a while");
        let counted = format!(
            "fanfare_actor_respawns_total{{actor=\"fragile\"}} {}",
            limits::WORKER_PANICS
        );
        let text = recorder.handle().render();
        assert!(text.contains(&counted), "{text}");
    }
}
