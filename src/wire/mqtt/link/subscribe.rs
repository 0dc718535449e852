//! SUBSCRIBE and UNSUBSCRIBE.

use crate::actors::topic::{Granted, SubscribeError};
use crate::domain::publication::{QoS, Subscription};

use super::super::codec::{Packet, ReasonCode, SubAck, Subscribe, UnsubAck, Unsubscribe};
use super::super::profile::{self, Profile};
use super::Link;
use super::connect::store_reason;

impl Link {
    pub(super) fn on_subscribe(&self, mut packet: Subscribe) {
        if let Some(deviation) = self.deviates(profile::subscribe(&packet.subscriptions)) {
            self.end(deviation.reason, deviation.what);
            return;
        }
        let Some(attached) = self.open(|open| open.attached.clone()) else {
            return;
        };
        for subscription in &mut packet.subscriptions {
            self.adapt(subscription);
        }
        self.busy.set(true);
        let link = self.me();
        actix::spawn(async move {
            let results = attached.subscribe(packet.subscriptions).await;
            let reasons = results.iter().map(|result| match result {
                Ok(granted) => link.granted(granted),
                Err(error) => link.subscription_refused(error),
            });
            let suback = SubAck {
                packet_id: packet.packet_id,
                reasons: reasons.collect(),
                extras: None,
            };
            link.send(&Packet::SubAck(suback));
            let retained = results.into_iter().flatten();
            link.keep_for_later(retained.flat_map(|granted| granted.retained));
            link.pump();
            link.unbusy();
        });
    }

    /// What AWS IoT Core makes of a subscription (WIRE 4.3).
    fn adapt(&self, subscription: &mut Subscription) {
        if self.mqtt.settings.profile == Profile::Aws {
            subscription.qos = subscription.qos.min(QoS::AtLeastOnce);
            if subscription.filter.is_wild() {
                subscription.retain_handling = crate::domain::publication::RetainHandling::Never;
            }
        }
    }

    #[expect(clippy::unused_self, reason = "beside its opposite, which logs")]
    fn granted(&self, granted: &Granted) -> ReasonCode {
        match granted.qos {
            QoS::AtMostOnce => ReasonCode::Success,
            QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
            QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
        }
    }

    fn subscription_refused(&self, error: &SubscribeError) -> ReasonCode {
        metrics::counter!("fanfare_mqtt_refused_total", "reason" => "subscribe").increment(1);
        let client = self.open(|open| open.attached.client().clone());
        tracing::info!(?client, %error, "a subscription was refused");
        match error {
            SubscribeError::NotAllowed(_) | SubscribeError::Reserved => ReasonCode::NotAuthorized,
            SubscribeError::Gone => ReasonCode::UnspecifiedError,
            SubscribeError::TooMany => ReasonCode::QuotaExceeded,
            SubscribeError::NotShareable => ReasonCode::SharedSubscriptionsNotSupported,
            SubscribeError::Store(error) => store_reason(error),
        }
    }

    pub(super) fn on_unsubscribe(&self, packet: Unsubscribe) {
        let Some(attached) = self.open(|open| open.attached.clone()) else {
            return;
        };
        self.busy.set(true);
        let link = self.me();
        actix::spawn(async move {
            match attached.unsubscribe(&packet.filters).await {
                Ok(removed) => {
                    let reasons = removed.into_iter().map(|removed| {
                        if removed {
                            ReasonCode::Success
                        } else {
                            ReasonCode::NoSubscriptionExisted
                        }
                    });
                    let unsuback = UnsubAck {
                        packet_id: packet.packet_id,
                        reasons: reasons.collect(),
                        extras: None,
                    };
                    link.send(&Packet::UnsubAck(unsuback));
                }
                Err(error) => link.failed(&error),
            }
            link.unbusy();
        });
    }
}
