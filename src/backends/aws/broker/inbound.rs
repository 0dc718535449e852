//! The connection that subscribes: what comes on it goes to this node's clients. Its session outlives the connection for a
//! while, if the broker knows MQTT 5: what is published meanwhile comes when there is another.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::BrokerOptions;
use super::connection::{Connection, Event, Role};
use super::letters::too_late;
use super::standing::{Ask, Standings};
use crate::backends::Commit;
use crate::config::limits;
use crate::domain::StoreError;
use crate::domain::publication::Publication;
use crate::domain::topic::TopicFilter;

/// See the module.
pub(super) struct Inbound {
    options: BrokerOptions,
    standings: Mutex<Standings>,
    /// There may be something to send.
    news: Notify,
    /// Whether everything that clients subscribe to comes.
    hears: watch::Sender<bool>,
}

impl Inbound {
    pub(super) fn new(options: BrokerOptions) -> Self {
        let standings = Standings::new(options.hash, options.max_subscriptions);
        Self {
            standings: Mutex::new(standings),
            news: Notify::new(),
            hears: watch::Sender::new(false),
            options,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Standings> {
        // Whoever panicked under it left something whole: what is sent is decided from it anew each time.
        self.standings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn subscribe(&self, filter: &TopicFilter) -> Result<Commit<()>, StoreError> {
        let told = self.lock().add(filter)?;
        self.news.notify_one();
        let patience = self.options.patience;
        Ok(Box::pin(async move {
            match timeout(patience, told).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) | Err(_) => Err(too_late()),
            }
        }))
    }

    pub(super) fn unsubscribe(&self, filter: &TopicFilter) {
        self.lock().remove(filter);
        self.news.notify_one();
    }

    /// Tells whether everything that clients subscribe to comes: not while there is no connection, nor before everything is
    /// subscribed to again on another.
    pub(super) fn hears(&self) -> watch::Receiver<bool> {
        self.hears.subscribe()
    }

    /// Which connection this is; `first`: nothing is to be left of an earlier one.
    pub(super) fn role(&self, first: bool) -> Role {
        Role {
            client_id: format!("{}-in", self.options.client_id),
            resume: Some(limits::broker::RESUME),
            clean: first,
        }
    }

    /// Works with a connection until it is over; says why it is.
    pub(super) async fn serve(
        &self,
        connection: Connection,
        first: bool,
        arrived: &dyn Fn(Publication),
    ) -> String {
        let Connection {
            sender,
            mut events,
            terms,
        } = connection;
        if !first && !terms.present {
            metrics::counter!("fanfare_broker_gaps_total").increment(1);
            tracing::warn!("the broker has kept nothing of what was published meanwhile");
        }
        self.lock().begin(terms.present);
        self.look();
        let feed = async {
            loop {
                let ask = self.lock().next();
                let sent = match &ask {
                    Some(Ask::Subscribe(filters)) => sender.subscribe(filters, false).await,
                    Some(Ask::Unsubscribe(filter)) => sender.unsubscribe(filter).await,
                    None => {
                        self.news.notified().await;
                        Ok(())
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
                    // What is retained is asked for elsewhere; a broker of 3.1.1 sends it here, too.
                    Ok(Event::Arrived(publication)) if !publication.retain => arrived(publication),
                    Ok(Event::Subscribed(outcomes)) => self.answered(outcomes),
                    Ok(Event::Unsubscribed) => self.answered(Vec::new()),
                    Ok(_) => {}
                    Err(why) => break why,
                }
            }
        };
        let why = tokio::select! {
            why = read => why,
            never = feed => never,
        };
        self.hears.send_replace(false);
        why
    }

    fn answered(&self, outcomes: Vec<Result<(), String>>) {
        self.lock().answered(outcomes);
        self.look();
        self.news.notify_one();
    }

    fn look(&self) {
        let hears = self.lock().is_as_before();
        self.hears
            .send_if_modified(|heard| std::mem::replace(heard, hears) != hears);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::BrokerUrl;
    use crate::domain::Clock;
    use crate::domain::topic::Hash;

    fn inbound() -> Inbound {
        Inbound::new(BrokerOptions {
            url: BrokerUrl::parse("mqtt://127.0.0.1").unwrap(),
            login: None,
            presign: None,
            tls: None,
            client_id: "node".into(),
            hash: Hash::WithParent,
            patience: Duration::from_secs(1),
            hold_bytes: 1 << 20,
            packet_bytes: 1 << 20,
            max_subscriptions: 10,
            clock: Clock::start(),
        })
    }

    #[test]
    fn a_node_hears_when_everything_is_answered_again() {
        let (inbound, filter) = (inbound(), TopicFilter::parse("a").unwrap());
        let hears = inbound.hears();
        let connect = || {
            inbound.lock().begin(false);
            inbound.look();
        };
        connect();
        assert!(*hears.borrow(), "there is nothing to hear yet");
        let _told = inbound.subscribe(&filter).unwrap();
        assert!(*hears.borrow(), "nobody was told that it stands");
        connect();
        assert!(!*hears.borrow());
        assert!(inbound.lock().next().is_some());
        assert!(!*hears.borrow(), "it is asked for and not answered");
        inbound.answered(vec![Ok(())]);
        assert!(*hears.borrow());
    }
}
