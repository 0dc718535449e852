//! SUBSCRIBE and UNSUBSCRIBE.

use bytestring::ByteString;

use crate::actors::topic::{Granted, Recover, SubscribeError};
use crate::domain::publication::{QoS, Subscription};
use crate::domain::room::{Epoch, Place};

use super::super::codec::{Extras, Packet, ReasonCode, SubAck, Subscribe, UnsubAck, Unsubscribe};
use super::super::profile::{self, Profile};
use super::Link;
use super::connect::kept_reason;

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
        let recover = match recover(&packet.user) {
            Ok(recover) => recover,
            Err(what) => {
                self.refuse_subscriptions(&packet, what);
                return;
            }
        };
        self.busy.set(true);
        let link = self.me();
        actix::spawn(async move {
            let results = attached
                .subscribe_since(packet.subscriptions, recover)
                .await;
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

    /// What is asked about a room can not be read.
    fn refuse_subscriptions(&self, packet: &Subscribe, what: &'static str) {
        metrics::counter!("fanfare_mqtt_refused_total", "reason" => "subscribe").increment(1);
        let refused = ReasonCode::ImplementationSpecificError;
        self.send(&Packet::SubAck(SubAck {
            packet_id: packet.packet_id,
            reasons: vec![refused; packet.subscriptions.len()],
            extras: Extras::reason(what),
        }));
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
            SubscribeError::NotARoom => ReasonCode::TopicFilterInvalid,
            SubscribeError::NotRecoverable | SubscribeError::NoLocal => {
                ReasonCode::ImplementationSpecificError
            }
            SubscribeError::TooMany => ReasonCode::QuotaExceeded,
            SubscribeError::NotShareable => ReasonCode::SharedSubscriptionsNotSupported,
            SubscribeError::Store(error) => kept_reason(error),
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

/// What a client asks about a room's history by user properties of SUBSCRIBE (`client/PROTOCOL.md`).
fn recover(user: &[(ByteString, ByteString)]) -> Result<Option<Recover>, &'static str> {
    let property = |name: &str| {
        let mut found = user.iter().filter(|(key, _)| &**key == name);
        let first = found.next().map(|(_, value)| &**value);
        match found.next() {
            None => Ok(first),
            Some(_) => Err("a user property about history is there twice"),
        }
    };
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    let since = match (property("since-epoch")?, property("since-offset")?) {
        (None, None) => None,
        (Some(epoch), Some(offset)) => Some(Place {
            epoch: Epoch::parse(epoch).ok_or("since-epoch must be 16 hexadecimal digits")?,
            offset: number(offset).ok_or("since-offset must be a number")?,
        }),
        _ => return Err("since-epoch and since-offset go together"),
    };
    let last = property("history-last")?;
    let last = last.map(|last| number(last).ok_or("history-last must be a number"));
    let last = last.transpose()?;
    Ok((since.is_some() || last.is_some()).then(|| Recover {
        since,
        last: last.unwrap_or(0),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(properties: &[(&str, &str)], expect: Result<Option<(Option<u64>, u64)>, &str>) {
        let user: Vec<_> = properties
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        let found = recover(&user)
            .map(|found| found.map(|found| (found.since.map(|since| since.offset), found.last)));
        assert_eq!(found, expect, "{properties:?}");
    }

    #[test]
    fn properties_say_what_was_seen_last() {
        let epoch = ("since-epoch", "8f14e45fceea167a");
        check(&[], Ok(None));
        check(&[("other", "x")], Ok(None));
        check(&[epoch, ("since-offset", "7")], Ok(Some((Some(7), 0))));
        check(&[("history-last", "50")], Ok(Some((None, 50))));
        check(
            &[epoch, ("since-offset", "0"), ("history-last", "1")],
            Ok(Some((Some(0), 1))),
        );
        check(&[epoch], Err("since-epoch and since-offset go together"));
        check(
            &[epoch, ("since-offset", "+7")],
            Err("since-offset must be a number"),
        );
        check(
            &[("since-epoch", "x"), ("since-offset", "7")],
            Err("since-epoch must be 16 hexadecimal digits"),
        );
        check(
            &[("history-last", "1"), ("history-last", "2")],
            Err("a user property about history is there twice"),
        );
        check(
            &[("history-last", "")],
            Err("history-last must be a number"),
        );
    }
}
