//! `ChannelData` messages (RFC 8656 section 12.4): four bytes of header and a payload.

use core::ops::Range;
use serde::{Deserialize, Serialize};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 4;

/// A channel number, 0x4000 to 0x7FFF: RFC 5766's range, since clients still bind channels above
/// RFC 8656's 0x4FFF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct ChannelNumber(u16);

impl ChannelNumber {
    /// The channel with this number; `None` outside the range.
    pub const fn new(number: u16) -> Option<Self> {
        if matches!(number, 0x4000..=0x7FFF) {
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

impl TryFrom<u16> for ChannelNumber {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        Self::new(number).ok_or("a channel number is 0x4000 to 0x7FFF")
    }
}

impl From<ChannelNumber> for u16 {
    fn from(channel: ChannelNumber) -> Self {
        channel.0
    }
}

/// A `ChannelData` message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelData {
    /// The channel.
    pub channel: ChannelNumber,
    /// Where the payload stands in the message.
    pub payload: Range<usize>,
}

/// Reads the `ChannelData` message at the start of `bytes`. More may follow the payload: over UDP
/// padding is allowed, over TCP it is there. `None` if the channel is out of range or the length
/// field says more than there is.
pub fn parse_datagram(bytes: &[u8]) -> Option<ChannelData> {
    let ([c0, c1, l0, l1], rest) = bytes.split_first_chunk()?;
    let channel = ChannelNumber::new(u16::from_be_bytes([*c0, *c1]))?;
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    let payload = HEADER_LEN..HEADER_LEN + length;
    (length <= rest.len()).then_some(ChannelData { channel, payload })
}

/// The header in front of `len` bytes of payload.
pub const fn header(channel: ChannelNumber, len: u16) -> [u8; HEADER_LEN] {
    let [c0, c1] = channel.0.to_be_bytes();
    let [l0, l1] = len.to_be_bytes();
    [c0, c1, l0, l1]
}

/// What a packet is, by its first byte (RFC 7983 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// STUN, 0 to 3: methods below 0x100, which are all that there are.
    Stun,
    /// `ChannelData`, 0x40 to 0x7F.
    ChannelData,
    /// Neither.
    Other,
}

/// What a packet with this first byte is.
pub const fn kind(first_byte: u8) -> Kind {
    match first_byte {
        0..=3 => Kind::Stun,
        0x40..=0x7F => Kind::ChannelData,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_have_a_range() {
        for number in 0..=u16::MAX {
            let channel = ChannelNumber::new(number);
            assert_eq!(channel.is_some(), (0x4000..0x8000).contains(&number));
            let [first, _] = number.to_be_bytes();
            assert_eq!(channel.is_some(), kind(first) == Kind::ChannelData);
        }
    }

    #[test]
    fn header_and_payload_come_back() {
        let channel = ChannelNumber::new(0x4001).unwrap();
        let mut bytes = header(channel, 3).to_vec();
        bytes.extend(b"abc");
        let read = ChannelData {
            channel,
            payload: 4..7,
        };
        assert_eq!(parse_datagram(&bytes), Some(read.clone()));
        bytes.push(0);
        assert_eq!(parse_datagram(&bytes), Some(read));
        for cut in 0..7 {
            assert_eq!(parse_datagram(&bytes[..cut]), None);
        }
    }

    #[test]
    fn an_empty_payload_is_one() {
        let bytes = header(ChannelNumber::new(0x7FFF).unwrap(), 0);
        assert_eq!(parse_datagram(&bytes).unwrap().payload, 4..4);
        assert_eq!(parse_datagram(&[0x80, 0, 0, 0]), None);
    }
}
