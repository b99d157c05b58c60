//! The 20 bytes in front of every message (RFC 8489 section 5).

use super::{HEADER_LEN, MAGIC_COOKIE};
use serde::{Deserialize, Serialize};

/// What pairs an answer with its request; 96 random bits of the client's choosing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TransactionId(pub [u8; 12]);

/// The class of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// The answer of a server that did what was asked.
    Success,
    /// The answer of a server that did not.
    Error,
}

/// The method of a message, 12 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method(u16);

impl Method {
    /// Binding (RFC 8489 section 3).
    pub const BINDING: Self = Self(0x001);
    /// Allocate (RFC 8656 section 17).
    pub const ALLOCATE: Self = Self(0x003);
    /// Refresh.
    pub const REFRESH: Self = Self(0x004);
    /// Send, indication only.
    pub const SEND: Self = Self(0x006);
    /// Data, indication only.
    pub const DATA: Self = Self(0x007);
    /// `CreatePermission`.
    pub const CREATE_PERMISSION: Self = Self(0x008);
    /// `ChannelBind`.
    pub const CHANNEL_BIND: Self = Self(0x009);

    /// The method with this number, which must be below 0x1000.
    pub const fn new(number: u16) -> Option<Self> {
        if number < 0x1000 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Its number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// What the first 20 bytes say, the length excepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// The class.
    pub class: Class,
    /// The method.
    pub method: Method,
    /// The transaction id.
    pub transaction_id: TransactionId,
}

impl Header {
    /// Reads the header without a look at length or attributes, which is enough to answer 400 to
    /// a message that [`Message::parse`](super::Message::parse) refuses. `None` if the first two
    /// bits are not zero, the magic cookie is missing or there are fewer than 20 bytes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_LEN] = bytes.first_chunk()?;
        let [t0, t1, _, _, c0, c1, c2, c3, id @ ..] = *header;
        let cookie = u32::from_be_bytes([c0, c1, c2, c3]);
        if t0 & 0xC0 != 0 || cookie != MAGIC_COOKIE {
            return None;
        }
        let (class, method) = split_type(u16::from_be_bytes([t0, t1]));
        Some(Self {
            class,
            method,
            transaction_id: TransactionId(id),
        })
    }

    /// The header as it stands on the wire in front of `length` bytes of attributes.
    pub(super) fn to_bytes(self, length: u16) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..2].copy_from_slice(&join_type(self.class, self.method).to_be_bytes());
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        bytes[8..].copy_from_slice(&self.transaction_id.0);
        bytes
    }
}

/// The class's two bits stand in the middle of the method's twelve:
/// `M11..M7 C1 M6..M4 C0 M3..M0` (RFC 8489 figure 3).
const fn split_type(field: u16) -> (Class, Method) {
    let class = match (field & 0x0100 != 0, field & 0x0010 != 0) {
        (false, false) => Class::Request,
        (false, true) => Class::Indication,
        (true, false) => Class::Success,
        (true, true) => Class::Error,
    };
    let method = (field & 0x000F) | ((field & 0x00E0) >> 1) | ((field & 0x3E00) >> 2);
    (class, Method(method))
}

const fn join_type(class: Class, method: Method) -> u16 {
    let class = match class {
        Class::Request => 0x0000,
        Class::Indication => 0x0010,
        Class::Success => 0x0100,
        Class::Error => 0x0110,
    };
    let number = method.0;
    class | (number & 0x000F) | ((number & 0x0070) << 1) | ((number & 0x0F80) << 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_field_survives_splitting_and_joining() {
        for field in 0..0x4000 {
            let (class, method) = split_type(field);
            assert_eq!(join_type(class, method), field);
            assert!(method.get() < 0x1000);
        }
    }

    #[test]
    fn types_are_those_of_the_rfcs() {
        assert_eq!(join_type(Class::Request, Method::BINDING), 0x0001);
        assert_eq!(join_type(Class::Error, Method::ALLOCATE), 0x0113);
        assert_eq!(join_type(Class::Indication, Method::SEND), 0x0016);
        assert_eq!(join_type(Class::Indication, Method::DATA), 0x0017);
        assert_eq!(join_type(Class::Success, Method::CHANNEL_BIND), 0x0109);
    }

    #[test]
    fn needs_cookie_top_bits_and_twenty_bytes() {
        let header = Header {
            class: Class::Request,
            method: Method::ALLOCATE,
            transaction_id: TransactionId([9; 12]),
        };
        let bytes = header.to_bytes(3);
        assert_eq!(Header::parse(&bytes), Some(header));
        assert_eq!(Header::parse(&bytes[..19]), None);
        for (at, bit) in [(0, 0x80), (0, 0x40), (4, 1), (7, 1)] {
            let mut wrong = bytes;
            wrong[at] ^= bit;
            assert_eq!(Header::parse(&wrong), None);
        }
    }
}
