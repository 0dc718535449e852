//! The topic actor: one on each worker that has connections. Other workers' publications, take-overs and hand-outs come
//! in through its mailbox; what happens on its own worker does not leave the thread and goes straight to its [`Shard`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use actix::{Actor, Context, Handler, MessageResult};

use super::fan::About;
use super::messages::{
    Ask, CountFilters, CountReached, Deliver, End, InRoom, ListSubscribers, ListSubscriptions,
    Parcel,
};
use super::shard::Shard;
use crate::config::limits;
use crate::domain::publication::Subscription;

/// See the module.
pub struct TopicActor {
    shard: Rc<Shard>,
}

impl TopicActor {
    pub(super) fn new(shard: Rc<Shard>) -> Self {
        Self { shard }
    }

    /// Does something with the shard. A panic ends that and nothing else: the connections of a whole worker must not
    /// lose their topics because of one message.
    fn contained<T>(&self, work: impl FnOnce(&Rc<Shard>) -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(|| work(&self.shard)));
        if done.is_err() {
            metrics::counter!("fanfare_actor_panics_total", "actor" => "topic").increment(1);
            tracing::error!(
                actor = "topic",
                "a message to an actor was given up: it panicked"
            );
        }
        done.ok()
    }
}

impl Actor for TopicActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(limits::TOPIC_MAILBOX);
    }
}

impl Handler<Parcel> for TopicActor {
    type Result = ();

    fn handle(&mut self, parcel: Parcel, _: &mut Self::Context) {
        match parcel {
            Parcel::FanOut(fans) => {
                for fan in &fans {
                    self.contained(|shard| shard.fan_out(fan));
                }
            }
            Parcel::Hand(hand) => {
                self.contained(|shard| shard.hand(hand));
            }
            Parcel::Begin(begin) => {
                self.contained(|shard| shard.begin(begin));
            }
        }
    }
}

impl Handler<InRoom> for TopicActor {
    type Result = ();

    fn handle(&mut self, InRoom { topics, room, ask }: InRoom, _: &mut Self::Context) {
        self.contained(|shard| topics.in_room(shard, room, ask));
    }
}

impl Handler<End> for TopicActor {
    type Result = ();

    fn handle(&mut self, End { which, why }: End, _: &mut Self::Context) {
        self.contained(|shard| shard.end(which, why));
    }
}

impl Handler<Ask> for TopicActor {
    type Result = Option<About>;

    fn handle(&mut self, Ask(which): Ask, _: &mut Self::Context) -> Self::Result {
        self.contained(|shard| shard.about(which)).flatten()
    }
}

impl Handler<ListSubscriptions> for TopicActor {
    type Result = Option<Vec<Subscription>>;

    fn handle(
        &mut self,
        ListSubscriptions(which): ListSubscriptions,
        _: &mut Self::Context,
    ) -> Self::Result {
        self.contained(|shard| shard.listed(which)).flatten()
    }
}

impl Handler<CountFilters> for TopicActor {
    type Result = MessageResult<CountFilters>;

    fn handle(&mut self, asked: CountFilters, _: &mut Self::Context) -> Self::Result {
        let counted = self.contained(|shard| shard.count_filters(&asked.beginning));
        MessageResult(counted.unwrap_or_default())
    }
}

impl Handler<ListSubscribers> for TopicActor {
    type Result = MessageResult<ListSubscribers>;

    fn handle(&mut self, asked: ListSubscribers, _: &mut Self::Context) -> Self::Result {
        let listed = self.contained(|shard| shard.list_subscribers(&asked.filter, asked.limit));
        MessageResult(listed.unwrap_or_default())
    }
}

impl Handler<CountReached> for TopicActor {
    type Result = usize;

    fn handle(&mut self, CountReached(topic): CountReached, _: &mut Self::Context) -> usize {
        let reached = self.contained(|shard| shard.count_reached(&topic));
        reached.unwrap_or_default()
    }
}

impl Handler<Deliver> for TopicActor {
    type Result = MessageResult<Deliver>;

    fn handle(&mut self, deliver: Deliver, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.contained(|shard| shard.deliver(deliver)).flatten())
    }
}
