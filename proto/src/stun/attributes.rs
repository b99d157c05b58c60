//! What attributes mean: typed getters on [`Message`].

use super::{AttributeType, Message, xor_address};
use crate::address::Family;
use core::fmt;
use core::net::SocketAddr;

/// An attribute whose value can't be what its type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BadAttribute(pub AttributeType);

impl fmt::Display for BadAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad {:?}", self.0)
    }
}

impl core::error::Error for BadAttribute {}

/// How a long-term key is made of user name, realm and password (RFC 8489 section 18.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PasswordAlgorithm {
    /// MD5, number 1.
    Md5,
    /// SHA-256, number 2.
    Sha256,
}

impl PasswordAlgorithm {
    /// The value of PASSWORD-ALGORITHM: number and an empty list of parameters.
    pub const fn to_bytes(self) -> [u8; 4] {
        match self {
            Self::Md5 => [0, 1, 0, 0],
            Self::Sha256 => [0, 2, 0, 0],
        }
    }

    fn from_bytes(value: &[u8]) -> Option<Self> {
        [Self::Md5, Self::Sha256]
            .into_iter()
            .find(|algorithm| algorithm.to_bytes() == value)
    }
}

/// Longest USERNAME in bytes (RFC 8489 section 14.3).
const MAX_USERNAME: usize = 508;
/// Longest REALM and NONCE in bytes (RFC 8489 sections 14.9 and 14.10).
const MAX_REALM: usize = 763;

type Read<T> = Result<Option<T>, BadAttribute>;

/// Getters for the first attribute of a type: `Ok(None)` if there is none.
impl<'a> Message<'a> {
    /// USERNAME, at most 508 bytes.
    pub fn username(&self) -> Read<&'a [u8]> {
        self.text(AttributeType::USERNAME, MAX_USERNAME)
    }

    /// REALM, at most 763 bytes.
    pub fn realm(&self) -> Read<&'a [u8]> {
        self.text(AttributeType::REALM, MAX_REALM)
    }

    /// NONCE, at most 763 bytes.
    pub fn nonce(&self) -> Read<&'a [u8]> {
        self.text(AttributeType::NONCE, MAX_REALM)
    }

    /// USERHASH (RFC 8489 section 14.4).
    pub fn userhash(&self) -> Read<&'a [u8; 32]> {
        self.read(AttributeType::USERHASH, |value| value.try_into().ok())
    }

    /// PASSWORD-ALGORITHM; an unknown number or parameters are a bad attribute.
    pub fn password_algorithm(&self) -> Read<PasswordAlgorithm> {
        self.read(
            AttributeType::PASSWORD_ALGORITHM,
            PasswordAlgorithm::from_bytes,
        )
    }

    /// The value of PASSWORD-ALGORITHMS as it stands there: a client repeats what it was sent.
    pub fn password_algorithms(&self) -> Read<&'a [u8]> {
        self.read(AttributeType::PASSWORD_ALGORITHMS, Some)
    }

    /// LIFETIME in seconds.
    pub fn lifetime(&self) -> Read<u32> {
        self.fixed(AttributeType::LIFETIME, |value| {
            Some(u32::from_be_bytes(value))
        })
    }

    /// REQUESTED-TRANSPORT: an IP protocol number.
    pub fn requested_transport(&self) -> Read<u8> {
        self.fixed(AttributeType::REQUESTED_TRANSPORT, |[protocol, _, _, _]| {
            Some(protocol)
        })
    }

    /// REQUESTED-ADDRESS-FAMILY; an unknown family is a bad attribute.
    pub fn requested_address_family(&self) -> Read<Family> {
        self.fixed(AttributeType::REQUESTED_ADDRESS_FAMILY, family)
    }

    /// ADDITIONAL-ADDRESS-FAMILY, under its own number or else under coturn's.
    pub fn additional_address_family(&self) -> Read<Family> {
        match self.fixed(AttributeType::ADDITIONAL_ADDRESS_FAMILY, family) {
            Ok(None) => self.fixed(AttributeType::ADDITIONAL_ADDRESS_FAMILY_COTURN, family),
            found => found,
        }
    }

    /// EVEN-PORT: whether the next higher port is to be reserved too (the R bit).
    pub fn even_port(&self) -> Read<bool> {
        self.fixed(AttributeType::EVEN_PORT, |[flags]| Some(flags & 0x80 != 0))
    }

    /// RESERVATION-TOKEN.
    pub fn reservation_token(&self) -> Read<[u8; 8]> {
        self.fixed(AttributeType::RESERVATION_TOKEN, Some)
    }

    /// CHANNEL-NUMBER, whatever the number is.
    pub fn channel_number(&self) -> Read<u16> {
        self.fixed(AttributeType::CHANNEL_NUMBER, |[high, low, _, _]| {
            Some(u16::from_be_bytes([high, low]))
        })
    }

    /// XOR-MAPPED-ADDRESS, canonical.
    pub fn xor_mapped_address(&self) -> Read<SocketAddr> {
        self.xor_address(AttributeType::XOR_MAPPED_ADDRESS)
    }

    /// XOR-RELAYED-ADDRESS, canonical.
    pub fn xor_relayed_address(&self) -> Read<SocketAddr> {
        self.xor_address(AttributeType::XOR_RELAYED_ADDRESS)
    }

    /// The first XOR-PEER-ADDRESS, canonical.
    pub fn xor_peer_address(&self) -> Read<SocketAddr> {
        self.xor_address(AttributeType::XOR_PEER_ADDRESS)
    }

    /// Every XOR-PEER-ADDRESS, canonical.
    pub fn xor_peer_addresses(
        &self,
    ) -> impl Iterator<Item = Result<SocketAddr, BadAttribute>> + use<'a> {
        let id = self.transaction_id();
        self.plain()
            .filter(|(kind, _)| *kind == AttributeType::XOR_PEER_ADDRESS)
            .map(move |(kind, value)| xor_address::decode(value, id).ok_or(BadAttribute(kind)))
    }

    /// ERROR-CODE, 300 to 699; the reason phrase is not looked at.
    pub fn error_code(&self) -> Read<u16> {
        self.read(AttributeType::ERROR_CODE, |value| match value {
            [_, _, class, number @ 0..=99, ..] if matches!(class & 7, 3..=6) => {
                Some(u16::from(class & 7) * 100 + u16::from(*number))
            }
            _ => None,
        })
    }

    fn text(&self, kind: AttributeType, most: usize) -> Read<&'a [u8]> {
        self.read(kind, |value| (value.len() <= most).then_some(value))
    }

    fn xor_address(&self, kind: AttributeType) -> Read<SocketAddr> {
        let id = self.transaction_id();
        self.read(kind, |value| xor_address::decode(value, id))
    }

    fn fixed<const N: usize, T>(
        &self,
        kind: AttributeType,
        read: impl FnOnce([u8; N]) -> Option<T>,
    ) -> Read<T> {
        self.read(kind, |value| value.try_into().ok().and_then(read))
    }

    fn read<T>(&self, kind: AttributeType, read: impl FnOnce(&'a [u8]) -> Option<T>) -> Read<T> {
        self.find(kind)
            .map(|value| read(value).ok_or(BadAttribute(kind)))
            .transpose()
    }
}

fn family([family, _, _, _]: [u8; 4]) -> Option<Family> {
    match family {
        1 => Some(Family::V4),
        2 => Some(Family::V6),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
