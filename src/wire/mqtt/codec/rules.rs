//! The rules of the two specifications that a packet can break, with the statement that each comes from.

use crate::domain::topic::InvalidTopic;

use super::{ReasonCode, Version};

/// One rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// What an MQTT 5 answer says.
    pub reason: ReasonCode,
    /// The normative statement of MQTT 3.1.1, if there is one.
    pub v311: Option<&'static str>,
    /// The normative statement of MQTT 5, if there is one.
    pub v5: Option<&'static str>,
    /// What was wrong, in words for the client's developer.
    pub what: &'static str,
}

/// A packet broke a rule. The connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", .rule.what)]
pub struct Violation {
    /// Which rule.
    pub rule: &'static Rule,
    /// The version in which the sender would read an answer; `None` if that is not known, so that there can be none.
    pub version: Option<Version>,
}

impl Violation {
    /// What an MQTT 5 answer says.
    pub const fn reason(&self) -> ReasonCode {
        self.rule.reason
    }

    /// The statement of the connection's version, like `MQTT-3.1.0-1`.
    pub const fn statement(&self) -> Option<&'static str> {
        match self.version {
            Some(Version::V311) => self.rule.v311,
            Some(Version::V5) | None => self.rule.v5,
        }
    }
}

/// Names for the table below: it is read as columns.
use ReasonCode::{
    ClientIdentifierNotValid as BAD_CLIENT_ID, MalformedPacket as MALFORMED,
    PacketTooLarge as TOO_BIG, ProtocolError as PROTOCOL, QuotaExceeded as QUOTA,
    TopicAliasInvalid as BAD_ALIAS, TopicFilterInvalid as BAD_FILTER,
    TopicNameInvalid as BAD_TOPIC, UnsupportedProtocolVersion as BAD_VERSION,
};

macro_rules! rules {
    ($($name:ident: $reason:ident, $v311:tt, $v5:tt, $what:literal;)*) => {
        $(
            #[doc = $what]
            pub static $name: Rule = Rule {
                reason: $reason,
                v311: rules!(@ $v311),
                v5: rules!(@ $v5),
                what: $what,
            };
        )*

        /// Every rule.
        pub static ALL: &[&Rule] = &[$(&$name),*];
    };
    (@ -) => { None };
    (@ $statement:literal) => { Some(concat!("MQTT-", $statement)) };
}

// reason, statement of 3.1.1, statement of 5
rules! {
    // The fixed header.
    FIRST_PACKET: PROTOCOL, "3.1.0-1", "3.1.0-1", "the first packet must be CONNECT";
    SECOND_CONNECT: PROTOCOL, "3.1.0-2", "3.1.0-2", "CONNECT must be sent once";
    PACKET_TYPE: MALFORMED, -, -, "there is no such packet type";
    WRONG_SIDE: PROTOCOL, -, -, "this packet is sent by the other side only";
    FLAGS: MALFORMED, "2.2.2-2", "2.1.3-1", "the flags of the fixed header are reserved";
    PUBREL_FLAGS: MALFORMED, "3.6.1-1", "3.6.1-1", "the flags of PUBREL must be 0010";
    SUBSCRIBE_FLAGS: MALFORMED, "3.8.1-1", "3.8.1-1", "the flags of SUBSCRIBE must be 0010";
    UNSUBSCRIBE_FLAGS: MALFORMED, "3.10.1-1", "3.10.1-1", "the flags of UNSUBSCRIBE must be 0010";
    DISCONNECT_FLAGS: MALFORMED, "3.14.1-1", "3.14.1-1", "the flags of DISCONNECT must be 0";
    AUTH_FLAGS: MALFORMED, -, "3.15.1-1", "the flags of AUTH must be 0";
    LENGTH: MALFORMED, -, -, "a length must have at most four bytes";
    NOT_MINIMAL: MALFORMED, -, "1.5.5-1", "a number must be written in as few bytes as possible";
    TOO_LARGE: TOO_BIG, -, -, "the packet is larger than the maximum packet size";

    // What all packets are made of.
    TRUNCATED: MALFORMED, -, -, "the packet ends inside a field";
    TRAILING: MALFORMED, -, -, "the packet goes on after its last field";
    UTF8: MALFORMED, "1.5.3-1", "1.5.4-1", "a text must be well-formed UTF-8";
    NUL: MALFORMED, "1.5.3-2", "1.5.4-2", "a text must not contain U+0000";
    PACKET_ID: PROTOCOL, "2.3.1-1", "2.2.1-3", "the packet identifier must not be 0";
    PROPERTY_UNKNOWN: MALFORMED, -, -, "there is no such property";
    PROPERTY_PLACE: MALFORMED, -, -, "this packet cannot have this property";
    PROPERTY_TWICE: PROTOCOL, -, -, "this property must be there once";
    PROPERTY_VALUE: PROTOCOL, -, -, "this property cannot have this value";
    USER_PROPERTIES: TOO_BIG, -, -, "the packet has too many user properties";

    // CONNECT and CONNACK.
    PROTOCOL_NAME: BAD_VERSION, "3.1.2-1", "3.1.2-1", "the protocol name must be MQTT";
    PROTOCOL_VERSION: BAD_VERSION, "3.1.2-2", "3.1.2-2", "the protocol version must be 4 (3.1.1) or 5";
    CONNECT_FLAGS: MALFORMED, "3.1.2-3", "3.1.2-3", "the lowest bit of the connect flags must be 0";
    WILL_QOS_UNUSED: MALFORMED, "3.1.2-13", "3.1.2-11", "without a will its QoS must be 0";
    WILL_QOS: MALFORMED, "3.1.2-14", "3.1.2-12", "the QoS of the will must be 0, 1 or 2";
    WILL_RETAIN_UNUSED: MALFORMED, "3.1.2-15", "3.1.2-13", "without a will its retain flag must be 0";
    PASSWORD_ALONE: MALFORMED, "3.1.2-22", -, "there must be no password without a user name";
    CLIENT_ID_EMPTY: BAD_CLIENT_ID, "3.1.3-8", -, "without a client identifier the session must be a clean one";
    AUTH_DATA_ALONE: PROTOCOL, -, -, "there must be no authentication data without an authentication method";
    CONNACK_FLAGS: MALFORMED, "3.2.2-1", "3.2.2-1", "the upper bits of the acknowledge flags must be 0";

    // PUBLISH.
    PUBLISH_QOS: MALFORMED, "3.3.1-4", "3.3.1-4", "the QoS must be 0, 1 or 2";
    PUBLISH_DUP: MALFORMED, "3.3.1-2", "3.3.1-2", "DUP must be 0 with QoS 0";
    TOPIC_MISSING: PROTOCOL, -, -, "there must be a topic name or a topic alias";
    TOPIC_EMPTY: BAD_TOPIC, "4.7.3-1", "4.7.3-1", "a topic name must have at least one character";
    TOPIC_WILDCARD: BAD_TOPIC, "3.3.2-2", "3.3.2-2", "a topic name must not contain wildcards";
    TOPIC_CHARACTER: BAD_TOPIC, -, -, "a topic name must not contain control characters or non-characters";
    TOPIC_LEVELS: BAD_TOPIC, -, -, "a topic name has more levels than this server allows";
    TOPIC_ALIAS: BAD_ALIAS, -, "3.3.2-8", "the topic alias must not be 0";
    RESPONSE_TOPIC: BAD_TOPIC, -, "3.3.2-14", "the response topic must be a topic name";
    SUBSCRIPTION_ID: PROTOCOL, -, "3.3.4-6", "a client's PUBLISH must not have a subscription identifier";

    // Acknowledgements.
    PUBACK_REASON: PROTOCOL, -, "3.4.2-1", "PUBACK cannot have this reason code";
    PUBREC_REASON: PROTOCOL, -, "3.5.2-1", "PUBREC cannot have this reason code";
    PUBREL_REASON: PROTOCOL, -, "3.6.2-1", "PUBREL cannot have this reason code";
    PUBCOMP_REASON: PROTOCOL, -, "3.7.2-1", "PUBCOMP cannot have this reason code";
    DISCONNECT_REASON: PROTOCOL, -, "3.14.2-1", "DISCONNECT cannot have this reason code";
    AUTH_REASON: PROTOCOL, -, "3.15.2-1", "AUTH cannot have this reason code";
    CONNACK_REASON: PROTOCOL, -, "3.2.2-8", "CONNACK cannot have this reason code";
    SUBACK_REASON: PROTOCOL, "3.9.3-2", "3.9.3-2", "SUBACK cannot have this reason code";
    UNSUBACK_REASON: PROTOCOL, -, "3.11.3-2", "UNSUBACK cannot have this reason code";

    // SUBSCRIBE and UNSUBSCRIBE.
    SUBSCRIBE_EMPTY: PROTOCOL, "3.8.3-3", "3.8.3-2", "SUBSCRIBE must have a topic filter";
    UNSUBSCRIBE_EMPTY: PROTOCOL, "3.10.3-2", "3.10.3-2", "UNSUBSCRIBE must have a topic filter";
    FILTERS: QUOTA, -, -, "the packet has too many topic filters";
    FILTER_EMPTY: BAD_FILTER, "4.7.3-1", "4.7.3-1", "a topic filter must have at least one character";
    FILTER_HASH: BAD_FILTER, "4.7.1-2", "4.7.1-1", "# must be a whole level, and the last one";
    FILTER_PLUS: BAD_FILTER, "4.7.1-3", "4.7.1-2", "+ must be a whole level";
    FILTER_CHARACTER: BAD_FILTER, -, -, "a topic filter must not contain control characters or non-characters";
    FILTER_LEVELS: BAD_FILTER, -, -, "a topic filter has more levels than this server allows";
    SHARE_NAME: BAD_FILTER, -, "4.8.2-1", "a shared subscription's name must have at least one character";
    SHARE_FORM: BAD_FILTER, -, "4.8.2-2", "a shared subscription must have the form $share/name/filter";
    SUBSCRIPTION_OPTIONS: MALFORMED, "3.8.3-4", "3.8.3-5", "the upper bits of the subscription options are reserved";
    SUBSCRIPTION_QOS: PROTOCOL, "3.8.3-4", -, "the QoS of a subscription must be 0, 1 or 2";
    RETAIN_HANDLING: PROTOCOL, -, -, "retain handling must be 0, 1 or 2";
    NO_LOCAL_SHARED: PROTOCOL, -, "3.8.3-4", "a shared subscription must not have the no local option";
}

/// The rule that a text that is no topic name breaks.
pub(super) fn topic(invalid: InvalidTopic) -> &'static Rule {
    match invalid {
        InvalidTopic::Empty => &TOPIC_EMPTY,
        InvalidTopic::TooManyLevels => &TOPIC_LEVELS,
        InvalidTopic::Character => &TOPIC_CHARACTER,
        InvalidTopic::Wildcard | InvalidTopic::MisplacedWildcard => &TOPIC_WILDCARD,
        InvalidTopic::TooLong | InvalidTopic::Share => &TRUNCATED,
    }
}

/// The rule that a text that is no topic filter breaks.
pub(super) fn filter(text: &str, invalid: InvalidTopic) -> &'static Rule {
    match invalid {
        InvalidTopic::Empty => &FILTER_EMPTY,
        InvalidTopic::TooManyLevels => &FILTER_LEVELS,
        InvalidTopic::Character => &FILTER_CHARACTER,
        InvalidTopic::Share if text.starts_with("$share//") => &SHARE_NAME,
        InvalidTopic::Share => &SHARE_FORM,
        InvalidTopic::Wildcard | InvalidTopic::MisplacedWildcard | InvalidTopic::TooLong => {
            let plus = text
                .split('/')
                .any(|level| level != "+" && level.contains('+'));
            if plus { &FILTER_PLUS } else { &FILTER_HASH }
        }
    }
}
