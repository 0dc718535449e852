//! What a publication becomes for one connection: all of its subscriptions that match, as one delivery.

use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;

use super::fan::{Delivery, Fan, Link};
use crate::domain::publication::{ClientId, Publication, QoS, Subscription};

/// What of a subscription decides how its publications are delivered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) qos: QoS,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) id: Option<NonZeroU32>,
}

impl From<&Subscription> for Options {
    fn from(subscription: &Subscription) -> Self {
        Self {
            qos: subscription.qos,
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
            id: subscription.id.and_then(NonZeroU32::new),
        }
    }
}

/// All of one connection's subscriptions that match a topic.
pub(super) struct Target {
    pub(super) link: Rc<dyn Link>,
    pub(super) durable: bool,
    /// For publications of others.
    pub(super) all: Merged,
    /// If one of the subscriptions is `no local`: whose own publications are different, and what is left of the
    /// subscriptions for them.
    pub(super) own: Option<(ClientId, Option<Merged>)>,
}

/// Several subscriptions of one client to one topic: it gets one copy.
#[derive(Debug, Clone)]
pub(super) struct Merged {
    pub(super) qos: QoS,
    pub(super) retain_as_published: bool,
    pub(super) ids: Rc<[u32]>,
}

impl Merged {
    /// `None` if there are no subscriptions.
    pub(super) fn of(options: impl Iterator<Item = Options>) -> Option<Self> {
        let mut merged: Option<(QoS, bool)> = None;
        let mut ids = Vec::new();
        for options in options {
            let (qos, retain) = merged.unwrap_or_default();
            merged = Some((qos.max(options.qos), retain || options.retain_as_published));
            ids.extend(options.id.map(NonZeroU32::get));
        }
        ids.sort_unstable();
        merged.map(|(qos, retain_as_published)| Self {
            qos,
            retain_as_published,
            ids: ids.into(),
        })
    }
}

impl Target {
    /// Hands it over; `last` is the delivery that the target before got, which this one mostly gets, too.
    pub(super) fn deliver(&self, fan: &Arc<Fan>, last: &mut Option<Delivery>) {
        let publication = &fan.publication;
        let merged = match &self.own {
            Some((client, own)) if is_from(publication, client) => own.as_ref(),
            _ => Some(&self.all),
        };
        let Some(merged) = merged else { return };
        let qos = merged.qos.min(publication.qos);
        if self.durable && qos != QoS::AtMostOnce {
            return;
        }
        let retain = publication.retain && merged.retain_as_published;
        let is_same = |last: &&mut Delivery| {
            last.qos == qos && last.retain == retain && last.ids == merged.ids
        };
        let delivery = match last.as_mut().filter(is_same) {
            Some(same) => same,
            None => last.insert(Delivery {
                fan: fan.clone(),
                qos,
                retain,
                ids: merged.ids.clone(),
                ordinal: None,
                receipt: None,
            }),
        };
        self.link.deliver(delivery);
    }
}

/// Whether a client published it itself.
pub(super) fn is_from(publication: &Publication, client: &ClientId) -> bool {
    let publisher = publication.publisher.as_ref();
    publisher.is_some_and(|publisher| publisher.client.as_ref() == Some(client))
}
