//! What has to be looked at from time to time, for all links of a worker together: clients that are silent, slow or late,
//! keys that have expired, policies that have changed. A connection at rest has no timer of its own.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use crate::actors::topic::{Topics, WillFate};
use crate::auth::{Authenticator, Connection, Recheck};
use crate::domain::Clock;

use super::super::codec::ReasonCode;
use super::connect::attributes;
use super::{Link, Mqtt, MqttSettings, Open, Phase};

/// How often. What must be within a second (RELIABILITY M17, S11) is found out within half of one.
const TICK: Duration = Duration::from_millis(500);

/// Messages counted on this worker since the last tick.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) dropped: u64,
}

thread_local! {
    static LINKS: RefCell<Vec<Weak<Link>>> = const { RefCell::new(Vec::new()) };
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    static TALLY: Cell<Tally> = const { Cell::new(Tally { received: 0, sent: 0, dropped: 0 }) };
}

/// Counts. Cheaper than a metric for each message.
pub(super) fn tally(count: impl FnOnce(&mut Tally)) {
    TALLY.with(|cell| {
        let mut tally = cell.get();
        count(&mut tally);
        cell.set(tally);
    });
}

/// Looks after a link as long as it is there.
pub(super) fn watch(link: &Rc<Link>) {
    LINKS.with_borrow_mut(|links| links.push(Rc::downgrade(link)));
    if !WATCHING.replace(true) {
        actix::spawn(async {
            let _stopped = Stopped;
            loop {
                tokio::time::sleep(TICK).await;
                tick();
            }
        });
    }
}

/// The event loop has ended, and with it the watch: another on the same thread needs its own.
struct Stopped;

impl Drop for Stopped {
    fn drop(&mut self) {
        WATCHING.set(false);
    }
}

fn tick() {
    let links: Vec<Rc<Link>> = LINKS.with_borrow_mut(|links| {
        links.retain(|link| link.strong_count() > 0);
        links.iter().filter_map(Weak::upgrade).collect()
    });
    for link in links {
        link.tick();
    }
    let Tally {
        received,
        sent,
        dropped,
    } = TALLY.take();
    metrics::counter!("fanfare_mqtt_publications_received_total").increment(received);
    metrics::counter!("fanfare_mqtt_publications_sent_total").increment(sent);
    metrics::counter!("fanfare_mqtt_dropped_total", "reason" => "client does not read")
        .increment(dropped);
}

impl Link {
    fn tick(&self) {
        self.check_silence();
        self.check_slowness();
        self.check_principal();
    }

    fn check_silence(&self) {
        let silent = self.outbox.silent_for();
        let patience_ms = self.open(|open| open.patience_ms).flatten();
        if patience_ms.is_some_and(|ms| silent > Duration::from_millis(ms.get().into())) {
            self.end(
                ReasonCode::KeepAliveTimeout,
                "nothing was heard for one and a half times the keep alive",
            );
        }
    }

    fn check_slowness(&self) {
        let blocked = self.outbox.blocked_for();
        if blocked.is_some_and(|blocked| blocked >= self.mqtt.settings.slow_consumer_timeout) {
            metrics::counter!("fanfare_mqtt_dropped_total", "reason" => "slow consumer")
                .increment(1);
            self.end(
                ReasonCode::QuotaExceeded,
                "the client does not read what it gets",
            );
        }
    }

    /// Whether the client may still do what it could; asked only when something has changed or its keys have ended.
    fn check_principal(&self) {
        let authenticator = &self.mqtt.authenticator;
        let now = self.mqtt.clock.wall();
        let asked = self.open(|open| {
            let version = authenticator.version(&open.principal);
            let expired = open.principal.expires.is_some_and(|expires| expires <= now);
            let changed = open.principal_version != version;
            (expired || changed).then(|| (open.principal.clone(), version))
        });
        let Some((principal, version)) = asked.flatten() else {
            return;
        };
        if !authenticator.is_elsewhere(&principal) {
            self.judge(authenticator.recheck(&principal), version);
            return;
        }
        if self.asking.replace(true) {
            return;
        }
        let link = self.me();
        actix::spawn(async move {
            let recheck = link.mqtt.authenticator.recheck_elsewhere(&principal).await;
            link.asking.set(false);
            link.judge(recheck, version);
        });
    }

    /// What was found out about the principal when the version was this.
    fn judge(&self, recheck: Recheck, version: u64) {
        match recheck {
            Recheck::Same => {
                self.open(|open| open.principal_version = version);
            }
            Recheck::Changed(changed) => {
                let attached = self.open(|open| {
                    let Open { attached, .. } = open;
                    let access = changed.access(Connection {
                        client_id: Some(attached.client().as_str()),
                        source_ip: self.source(),
                        attributes: &attributes(attached.is_durable(), attached.has_will()),
                    });
                    open.principal = changed;
                    open.principal_version = version;
                    (open.attached.clone(), access)
                });
                if let Some((attached, access)) = attached {
                    attached.set_access(access);
                    if !attached.may_stay() {
                        self.revoke("the client may not connect any more");
                    }
                }
            }
            Recheck::Revoked(why) => self.revoke(&why.to_string()),
        }
    }

    /// The client may not do anything any more, and leaves no will (RELIABILITY M14).
    fn revoke(&self, why: &str) {
        self.end_with(ReasonCode::NotAuthorized, why, WillFate::Discard);
    }
}

impl Mqtt {
    /// What all links share.
    pub fn new(
        topics: Topics,
        authenticator: std::sync::Arc<Authenticator>,
        settings: MqttSettings,
        clock: Clock,
    ) -> Self {
        Self {
            topics,
            authenticator,
            settings,
            clock,
        }
    }
}

impl Drop for Link {
    /// A transport that lets go of a link without a word has lost the connection.
    fn drop(&mut self) {
        if !matches!(*self.phase.borrow(), Phase::Closed) {
            self.leave(crate::actors::topic::Leaving::lost("CONNECTION_LOST"));
        }
    }
}
