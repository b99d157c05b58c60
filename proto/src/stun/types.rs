//! Attribute types by their RFC names.

use core::fmt;

/// The type of an attribute (RFC 8489 section 14 and 18.3, RFC 8656 section 18).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributeType(pub u16);

macro_rules! attribute_types {
    ($($number:literal $name:ident $text:literal)*) => {
        impl AttributeType {
            $(#[doc = concat!($text, ", ", stringify!($number), ".")]
            pub const $name: Self = Self($number);)*

            /// The RFC's name, if it is a type that this crate has a constant for.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

attribute_types! {
    0x0001 MAPPED_ADDRESS "MAPPED-ADDRESS"
    0x0006 USERNAME "USERNAME"
    0x0008 MESSAGE_INTEGRITY "MESSAGE-INTEGRITY"
    0x0009 ERROR_CODE "ERROR-CODE"
    0x000A UNKNOWN_ATTRIBUTES "UNKNOWN-ATTRIBUTES"
    0x000C CHANNEL_NUMBER "CHANNEL-NUMBER"
    0x000D LIFETIME "LIFETIME"
    0x0012 XOR_PEER_ADDRESS "XOR-PEER-ADDRESS"
    0x0013 DATA "DATA"
    0x0014 REALM "REALM"
    0x0015 NONCE "NONCE"
    0x0016 XOR_RELAYED_ADDRESS "XOR-RELAYED-ADDRESS"
    0x0017 REQUESTED_ADDRESS_FAMILY "REQUESTED-ADDRESS-FAMILY"
    0x0018 EVEN_PORT "EVEN-PORT"
    0x0019 REQUESTED_TRANSPORT "REQUESTED-TRANSPORT"
    0x001A DONT_FRAGMENT "DONT-FRAGMENT"
    0x001C MESSAGE_INTEGRITY_SHA256 "MESSAGE-INTEGRITY-SHA256"
    0x001D PASSWORD_ALGORITHM "PASSWORD-ALGORITHM"
    0x001E USERHASH "USERHASH"
    0x0020 XOR_MAPPED_ADDRESS "XOR-MAPPED-ADDRESS"
    0x0022 RESERVATION_TOKEN "RESERVATION-TOKEN"
    0x0024 PRIORITY "PRIORITY"
    0x0025 USE_CANDIDATE "USE-CANDIDATE"
    0x8000 ADDITIONAL_ADDRESS_FAMILY "ADDITIONAL-ADDRESS-FAMILY"
    0x8001 ADDRESS_ERROR_CODE "ADDRESS-ERROR-CODE"
    0x8002 PASSWORD_ALGORITHMS "PASSWORD-ALGORITHMS"
    0x8003 ALTERNATE_DOMAIN "ALTERNATE-DOMAIN"
    0x8004 ICMP "ICMP"
    0x8022 SOFTWARE "SOFTWARE"
    0x8023 ALTERNATE_SERVER "ALTERNATE-SERVER"
    0x8028 FINGERPRINT "FINGERPRINT"
    0x8029 ICE_CONTROLLED "ICE-CONTROLLED"
    0x802A ICE_CONTROLLING "ICE-CONTROLLING"
    0x8030 MOBILITY_TICKET "MOBILITY-TICKET"
    0x8032 ADDITIONAL_ADDRESS_FAMILY_COTURN "ADDITIONAL-ADDRESS-FAMILY (coturn's number)"
}

impl AttributeType {
    /// Whether a receiver that does not know the type must refuse the message
    /// (RFC 8489 section 14: below 0x8000).
    pub const fn is_comprehension_required(self) -> bool {
        self.0 < 0x8000
    }

    /// Whether we know what the type means. A type that is known and not expected where it stands
    /// is ignored (RFC 8489 section 14). DONT-FRAGMENT is not understood: between two parties there
    /// is no packet of ours to set DF on, so that a client that insists is told so (RFC 8656
    /// section 7.2).
    pub const fn is_understood(self) -> bool {
        self.name().is_some() && self.0 != Self::DONT_FRAGMENT.0
    }
}

impl fmt::Debug for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#06x}", self.0),
        }
    }
}
