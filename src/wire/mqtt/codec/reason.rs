//! Reason codes (MQTT 5.0 section 2.4), which also stand for 3.1.1's return codes.

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// Why something was done or refused. From 0x80 on it is an error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* $name = $code,)*
        }

        impl ReasonCode {
            /// Every code there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code that a byte stands for, if any.
            pub const fn from_u8(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

reason_codes! {
    /// Success, normal disconnection, or granted QoS 0.
    #[default]
    Success = 0x00,
    /// Subscribed with QoS 1.
    GrantedQoS1 = 0x01,
    /// Subscribed with QoS 2.
    GrantedQoS2 = 0x02,
    /// The client leaves, and its will is to be published.
    DisconnectWithWill = 0x04,
    /// Accepted, but nobody has subscribed to it.
    NoMatchingSubscribers = 0x10,
    /// There was nothing to unsubscribe from.
    NoSubscriptionExisted = 0x11,
    /// Another step of the authentication follows.
    ContinueAuthentication = 0x18,
    /// The client starts to authenticate again.
    ReAuthenticate = 0x19,
    /// Refused without saying why.
    UnspecifiedError = 0x80,
    /// The packet cannot be read as the specification says.
    MalformedPacket = 0x81,
    /// The packet can be read, but must not be sent, or not now.
    ProtocolError = 0x82,
    /// Valid, but this server does not take it.
    ImplementationSpecificError = 0x83,
    /// The server does not speak this version.
    UnsupportedProtocolVersion = 0x84,
    /// The client identifier is not allowed.
    ClientIdentifierNotValid = 0x85,
    /// User name or password are wrong.
    BadUserNameOrPassword = 0x86,
    /// Not allowed.
    NotAuthorized = 0x87,
    /// The server is not available.
    ServerUnavailable = 0x88,
    /// Try again later.
    ServerBusy = 0x89,
    /// This client was banned.
    Banned = 0x8A,
    /// The server is about to end.
    ServerShuttingDown = 0x8B,
    /// The authentication method is not supported, or not the one begun with.
    BadAuthenticationMethod = 0x8C,
    /// Nothing was heard for one and a half times the keep alive.
    KeepAliveTimeout = 0x8D,
    /// Another connection came with the same client identifier.
    SessionTakenOver = 0x8E,
    /// The topic filter is not accepted.
    TopicFilterInvalid = 0x8F,
    /// The topic name is not accepted.
    TopicNameInvalid = 0x90,
    /// The packet identifier is in use.
    PacketIdentifierInUse = 0x91,
    /// The packet identifier is not in use.
    PacketIdentifierNotFound = 0x92,
    /// More publications in flight than were allowed.
    ReceiveMaximumExceeded = 0x93,
    /// The topic alias is 0 or above the maximum.
    TopicAliasInvalid = 0x94,
    /// The packet is larger than was allowed.
    PacketTooLarge = 0x95,
    /// Too much was sent in too short a time.
    MessageRateTooHigh = 0x96,
    /// A limit of the server or of this client's account was reached.
    QuotaExceeded = 0x97,
    /// Closed by an operator.
    AdministrativeAction = 0x98,
    /// The payload is not what its format indicator says.
    PayloadFormatInvalid = 0x99,
    /// Retained messages are not supported.
    RetainNotSupported = 0x9A,
    /// This quality of service is not supported.
    QoSNotSupported = 0x9B,
    /// Use another server for now.
    UseAnotherServer = 0x9C,
    /// Use another server from now on.
    ServerMoved = 0x9D,
    /// Shared subscriptions are not supported.
    SharedSubscriptionsNotSupported = 0x9E,
    /// Too many connections in too short a time.
    ConnectionRateExceeded = 0x9F,
    /// The longest time that a connection may last is over.
    MaximumConnectTime = 0xA0,
    /// Subscription identifiers are not supported.
    SubscriptionIdentifiersNotSupported = 0xA1,
    /// Wildcards are not supported.
    WildcardSubscriptionsNotSupported = 0xA2,
}

impl ReasonCode {
    /// The byte on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Whether it says that something was refused or went wrong.
    pub const fn is_error(self) -> bool {
        self.code() >= 0x80
    }

    /// The return code of a 3.1.1 CONNACK that comes closest (3.1.1 table 3.1).
    pub const fn connack_v311(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::UnsupportedProtocolVersion => 1,
            Self::ClientIdentifierNotValid => 2,
            Self::BadUserNameOrPassword | Self::BadAuthenticationMethod => 4,
            Self::NotAuthorized | Self::Banned => 5,
            // 3, "server unavailable": whatever it is, it was not the client's name or right.
            _ => 3,
        }
    }

    /// What a return code of a 3.1.1 CONNACK says.
    pub(super) const fn from_connack_v311(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Success,
            1 => Self::UnsupportedProtocolVersion,
            2 => Self::ClientIdentifierNotValid,
            3 => Self::ServerUnavailable,
            4 => Self::BadUserNameOrPassword,
            5 => Self::NotAuthorized,
            _ => return None,
        })
    }
}
