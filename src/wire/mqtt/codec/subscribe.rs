//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (sections 3.8 to 3.11).

use crate::config::limits::mqtt::PACKET_FILTERS;
use crate::domain::publication::{RetainHandling, Subscription};
use crate::domain::topic::TopicFilter;

use super::packet::kind;
use super::properties::{Property, each, extras_only, id, user_only};
use super::publish::{qos, qos_bits};
use super::read::{Parsed, Reader};
use super::rules;
use super::write::Writer;
use super::{Extras, PacketId, ReasonCode, UserProperties, Version};

/// A client subscribes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// For the answer.
    pub packet_id: PacketId,
    /// At least one, in order. The packet's subscription identifier is in each. In 3.1.1 only filter and QoS say something.
    pub subscriptions: Vec<Subscription>,
    /// User Properties.
    pub user: UserProperties,
}

impl Subscribe {
    pub(super) fn read(version: Version, reader: &mut Reader<'_>) -> Parsed<Self> {
        let packet_id = reader.packet_id()?;
        let mut user = Vec::new();
        let mut id = None;
        if version == Version::V5 {
            each(reader, |property| {
                match property {
                    Property::SubscriptionId(_) if id.is_some() => {
                        return Err(&rules::PROPERTY_TWICE);
                    }
                    Property::SubscriptionId(number) => id = Some(number),
                    Property::User(name, value) => user.push((name, value)),
                    _ => return Err(&rules::PROPERTY_PLACE),
                }
                Ok(())
            })?;
        }
        let mut subscriptions = Vec::new();
        while !reader.is_empty() {
            if subscriptions.len() == PACKET_FILTERS {
                return Err(&rules::FILTERS);
            }
            let filter = read_filter(reader)?;
            let mut subscription = read_options(version, reader.u8()?, filter)?;
            subscription.id = id;
            subscriptions.push(subscription);
        }
        if subscriptions.is_empty() {
            return Err(&rules::SUBSCRIBE_EMPTY);
        }
        Ok(Self {
            packet_id,
            subscriptions,
            user,
        })
    }

    pub(super) fn write(&self, version: Version, out: &mut Writer<'_>) {
        out.packet(kind::SUBSCRIBE << 4 | 0b0010, 0, |out| {
            out.u16(self.packet_id.get());
            if version == Version::V5 {
                out.properties(|out| {
                    if let Some(number) = self.subscriptions.first().and_then(|first| first.id) {
                        out.number_property(id::SUBSCRIPTION_ID, number);
                    }
                    out.user_properties(&self.user);
                });
            }
            for subscription in &self.subscriptions {
                out.text(subscription.filter.as_str());
                out.u8(options(version, subscription));
            }
        });
    }
}

fn read_filter(reader: &mut Reader<'_>) -> Parsed<TopicFilter> {
    let text = reader.text()?;
    TopicFilter::parse(&text).map_err(|invalid| rules::filter(&text, invalid))
}

/// Subscription Options (3.8.3.1), or 3.1.1's requested QoS.
fn read_options(version: Version, options: u8, filter: TopicFilter) -> Parsed<Subscription> {
    let reserved = match version {
        Version::V311 => 0b1111_1100,
        Version::V5 => 0b1100_0000,
    };
    if options & reserved != 0 {
        return Err(&rules::SUBSCRIPTION_OPTIONS);
    }
    let subscription = Subscription {
        qos: qos(options & 3).ok_or(&rules::SUBSCRIPTION_QOS)?,
        no_local: options & 0b0100 != 0,
        retain_as_published: options & 0b1000 != 0,
        retain_handling: match options >> 4 {
            0 => RetainHandling::Always,
            1 => RetainHandling::New,
            2 => RetainHandling::Never,
            _ => return Err(&rules::RETAIN_HANDLING),
        },
        filter,
        id: None,
    };
    if subscription.no_local && subscription.filter.group().is_some() {
        return Err(&rules::NO_LOCAL_SHARED);
    }
    Ok(subscription)
}

fn options(version: Version, subscription: &Subscription) -> u8 {
    let qos = qos_bits(subscription.qos);
    if version == Version::V311 {
        return qos;
    }
    let handling = match subscription.retain_handling {
        RetainHandling::Always => 0,
        RetainHandling::New => 1,
        RetainHandling::Never => 2,
    };
    handling << 4
        | u8::from(subscription.retain_as_published) << 3
        | u8::from(subscription.no_local) << 2
        | qos
}

/// The answer to SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// SUBSCRIBE's.
    pub packet_id: PacketId,
    /// One for each subscription, in order. 3.1.1 has one code for all errors.
    pub reasons: Vec<ReasonCode>,
    /// MQTT 5: why.
    pub extras: Option<Box<Extras>>,
}

impl SubAck {
    pub(super) fn read(version: Version, reader: &mut Reader<'_>) -> Parsed<Self> {
        use ReasonCode::*;
        let packet_id = reader.packet_id()?;
        let (extras, allowed): (_, &[ReasonCode]) = match version {
            Version::V311 => (None, &[Success, GrantedQoS1, GrantedQoS2, UnspecifiedError]),
            Version::V5 => (
                extras_only(reader)?,
                &[
                    Success,
                    GrantedQoS1,
                    GrantedQoS2,
                    UnspecifiedError,
                    ImplementationSpecificError,
                    NotAuthorized,
                    TopicFilterInvalid,
                    PacketIdentifierInUse,
                    QuotaExceeded,
                    SharedSubscriptionsNotSupported,
                    SubscriptionIdentifiersNotSupported,
                    WildcardSubscriptionsNotSupported,
                ],
            ),
        };
        let mut reasons = Vec::new();
        while !reader.is_empty() {
            reasons.push(reader.reason(allowed, &rules::SUBACK_REASON)?);
        }
        Ok(Self {
            packet_id,
            reasons,
            extras,
        })
    }

    pub(super) fn write(&self, version: Version, extras: Option<&Extras>, out: &mut Writer<'_>) {
        out.packet(kind::SUBACK << 4, 0, |out| {
            out.u16(self.packet_id.get());
            if version == Version::V5 {
                out.properties(|out| out.extras(extras));
            }
            for reason in &self.reasons {
                out.u8(match version {
                    Version::V311 if reason.is_error() => ReasonCode::UnspecifiedError.code(),
                    _ => reason.code(),
                });
            }
        });
    }
}

/// A client unsubscribes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// For the answer.
    pub packet_id: PacketId,
    /// At least one, in order, as they were subscribed to.
    pub filters: Vec<TopicFilter>,
    /// User Properties.
    pub user: UserProperties,
}

impl Unsubscribe {
    pub(super) fn read(version: Version, reader: &mut Reader<'_>) -> Parsed<Self> {
        let packet_id = reader.packet_id()?;
        let user = match version {
            Version::V311 => Vec::new(),
            Version::V5 => user_only(reader)?,
        };
        let mut filters = Vec::new();
        while !reader.is_empty() {
            if filters.len() == PACKET_FILTERS {
                return Err(&rules::FILTERS);
            }
            filters.push(read_filter(reader)?);
        }
        if filters.is_empty() {
            return Err(&rules::UNSUBSCRIBE_EMPTY);
        }
        Ok(Self {
            packet_id,
            filters,
            user,
        })
    }

    pub(super) fn write(&self, version: Version, out: &mut Writer<'_>) {
        out.packet(kind::UNSUBSCRIBE << 4 | 0b0010, 0, |out| {
            out.u16(self.packet_id.get());
            if version == Version::V5 {
                out.properties(|out| out.user_properties(&self.user));
            }
            for filter in &self.filters {
                out.text(filter.as_str());
            }
        });
    }
}

/// The answer to UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubAck {
    /// UNSUBSCRIBE's.
    pub packet_id: PacketId,
    /// One for each filter, in order. 3.1.1 says nothing.
    pub reasons: Vec<ReasonCode>,
    /// MQTT 5: why.
    pub extras: Option<Box<Extras>>,
}

impl UnsubAck {
    pub(super) fn read(version: Version, reader: &mut Reader<'_>) -> Parsed<Self> {
        use ReasonCode::*;
        const ALLOWED: &[ReasonCode] = &[
            Success,
            NoSubscriptionExisted,
            UnspecifiedError,
            ImplementationSpecificError,
            NotAuthorized,
            TopicFilterInvalid,
            PacketIdentifierInUse,
        ];
        let mut answer = Self {
            packet_id: reader.packet_id()?,
            reasons: Vec::new(),
            extras: None,
        };
        if version == Version::V5 {
            answer.extras = extras_only(reader)?;
            while !reader.is_empty() {
                let reason = reader.reason(ALLOWED, &rules::UNSUBACK_REASON)?;
                answer.reasons.push(reason);
            }
        }
        Ok(answer)
    }

    pub(super) fn write(&self, version: Version, extras: Option<&Extras>, out: &mut Writer<'_>) {
        out.packet(kind::UNSUBACK << 4, 0, |out| {
            out.u16(self.packet_id.get());
            if version == Version::V5 {
                out.properties(|out| out.extras(extras));
                for reason in &self.reasons {
                    out.u8(reason.code());
                }
            }
        });
    }
}
