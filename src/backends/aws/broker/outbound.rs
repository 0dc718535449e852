//! The connection that publishes, and asks for what is retained.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::BrokerOptions;
use super::connection::{Closed, Connection, Event, Role, Terms};
use super::letters::{Letter, Letters};
use super::retained::{Ask, Fetches};
use crate::backends::Commit;
use crate::backends::aws::outbox::Hold;
use crate::config::limits;
use crate::domain::StoreError;
use crate::domain::publication::Publication;
use crate::domain::topic::TopicFilter;

/// How often it is looked whose patience has ended, and what is quiet.
const TICK: Duration = Duration::from_millis(100);

/// What a packet has beside topic, payload and properties, and a little more.
const PACKET_OVERHEAD_BYTES: usize = 64;

/// See the module.
pub(super) struct Outbound {
    options: BrokerOptions,
    state: Mutex<State>,
    hold: Arc<Hold>,
    /// There may be something to send.
    news: Notify,
}

struct State {
    letters: Letters,
    fetches: Fetches,
    /// The place of what is under way for the fetches.
    place: Option<u64>,
}

enum Next {
    Publish(Arc<Publication>),
    Ask(Ask),
}

impl Outbound {
    pub(super) fn new(options: BrokerOptions) -> Self {
        let state = State {
            letters: Letters::default(),
            fetches: Fetches::new(options.hash),
            place: None,
        };
        Self {
            state: Mutex::new(state),
            hold: Hold::new(options.hold_bytes, "mqtt"),
            news: Notify::new(),
            options,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked under it left something whole: each of its parts is changed by one call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publish(&self, publication: Arc<Publication>) -> Result<Commit<()>, StoreError> {
        let held = self.hold.take(packet_bytes(&publication))?;
        let (done, answer) = oneshot::channel();
        self.lock().letters.push(Letter {
            publication,
            until: Instant::now() + self.options.patience,
            done: Some(done),
            held: Some(held),
        });
        self.news.notify_one();
        Ok(Box::pin(async move {
            let ending = || StoreError::Unavailable("this node is ending".into());
            answer.await.unwrap_or_else(|_| Err(ending()))
        }))
    }

    pub(super) fn retained(&self, filter: &TopicFilter) -> mpsc::Receiver<Publication> {
        let (to, from) = mpsc::channel(limits::broker::RETAINED);
        self.lock().fetches.add(filter, to);
        self.news.notify_one();
        from
    }

    /// Which connection this is. Its session ends with it: what it had to say is [kept here](Letters).
    pub(super) fn role(&self) -> Role {
        Role {
            client_id: format!("{}-out", self.options.client_id),
            resume: None,
            clean: true,
        }
    }

    /// Waits until everything is published, as far as that is possible in time.
    pub(super) async fn flush(&self, until: Instant) {
        while !self.lock().letters.is_idle() && Instant::now() < until {
            tokio::time::sleep(TICK / 10).await;
        }
    }

    /// Looks from time to time whose patience has ended. Never ends.
    pub(super) async fn keep_time(&self) {
        loop {
            tokio::time::sleep(TICK).await;
            let now = Instant::now();
            let has_news = {
                let mut state = self.lock();
                state.letters.give_up(now);
                state.fetches.tick(now)
            };
            if has_news {
                self.news.notify_one();
            }
        }
    }

    /// Works with a connection until it is over; says why it is. Nothing is published while the node does not hear: what its
    /// own clients publish would not come back to those that subscribe.
    pub(super) async fn serve(
        &self,
        connection: Connection,
        hears: watch::Receiver<bool>,
    ) -> String {
        let Connection {
            sender,
            mut events,
            terms,
        } = connection;
        {
            let mut state = self.lock();
            state.letters.begin(terms.packet_ids);
            state.fetches.begin();
            state.place = None;
        }
        let mut hears = hears;
        let feed = async {
            loop {
                let can_publish = *hears.borrow_and_update();
                let next = self.lock().next(terms, can_publish);
                let sent = match &next {
                    Some(Next::Publish(publication)) => {
                        sender.publish(publication, self.options.clock.now()).await
                    }
                    Some(Next::Ask(Ask::Subscribe(filter))) => {
                        sender.subscribe(std::slice::from_ref(filter), true).await
                    }
                    Some(Next::Ask(Ask::Unsubscribe(filter))) => sender.unsubscribe(filter).await,
                    None => {
                        tokio::select! {
                            () = self.news.notified() => Ok(()),
                            changed = hears.changed() => changed.map_err(|_| Closed),
                        }
                    }
                };
                if sent.is_err() {
                    // The other side of this says why.
                    std::future::pending::<()>().await;
                }
            }
        };
        let read = async {
            loop {
                match events.next().await {
                    Ok(event) => self.on(event),
                    Err(why) => break why,
                }
            }
        };
        tokio::select! {
            why = read => why,
            never = feed => never,
        }
    }

    fn on(&self, event: Event) {
        let now = Instant::now();
        let mut state = self.lock();
        match event {
            Event::Sent(id) => return state.letters.named(id),
            Event::Acknowledged(id, outcome) => state.letters.acknowledged(id, outcome),
            Event::Subscribed(outcomes) => {
                let refused = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
                state.answered(refused.map(String::as_str), now);
            }
            Event::Unsubscribed => state.answered(None, now),
            Event::Arrived(publication) if publication.retain => {
                return state.fetches.arrived(&publication, now);
            }
            // What is live comes on the other connection.
            Event::Arrived(_) => return,
        }
        drop(state);
        self.news.notify_one();
    }
}

impl State {
    fn next(&mut self, terms: Terms, can_publish: bool) -> Option<Next> {
        if self.letters.has_room()
            && let Some(ask) = self.fetches.next()
        {
            self.place = Some(self.letters.take_place());
            return Some(Next::Ask(ask));
        }
        if !can_publish {
            return None;
        }
        while let Some(first) = self.letters.first()
            && packet_bytes(first) > terms.packet_bytes
        {
            let text = "the broker takes no packet that is so long";
            self.letters.refuse_next(StoreError::Failed(text.into()));
        }
        self.letters.next().map(Next::Publish)
    }

    fn answered(&mut self, refused: Option<&str>, now: Instant) {
        self.fetches.answered(refused, now);
        if let Some(place) = self.place.take() {
            self.letters.give_back(place);
        }
    }
}

/// How long a publication's packet is, at most.
fn packet_bytes(publication: &Publication) -> usize {
    let properties = publication.properties.as_deref().map_or(0, |properties| {
        let user = properties.user.iter();
        let user: usize = user.map(|(name, value)| name.len() + value.len() + 5).sum();
        let texts = [&properties.content_type, &properties.response_topic];
        let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
        user + texts
            + properties
                .correlation_data
                .as_ref()
                .map_or(0, |data| data.len())
    });
    publication.topic.as_str().len()
        + publication.payload.len()
        + properties
        + PACKET_OVERHEAD_BYTES
}
