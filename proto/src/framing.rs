//! Cutting a byte stream into messages (RFC 8489 section 6.2.2, RFC 8656 section 12.5): both
//! kinds carry their length, `ChannelData` is padded to a multiple of four.

use crate::channel_data::{self, Kind};
use crate::stun::{self, MAGIC_COOKIE};

/// Where a STUN message's magic cookie ends.
const COOKIE_END: usize = 8;

/// What stands at the start of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole message.
    Complete {
        /// Its length, without padding behind it.
        message: usize,
        /// Where the next message starts.
        total: usize,
    },
    /// The start of a message.
    Incomplete {
        /// How many bytes there must be, counted from the message's start, before it pays to look
        /// again.
        at_least: usize,
    },
    /// A message longer than allowed. The stream goes on after it.
    TooLong {
        /// Where the next message starts; most of the bytes before it have yet to come.
        total: usize,
    },
    /// No message. The stream has lost its rhythm for good.
    Invalid,
}

/// Looks at the start of `stream`, where a message must start. `max` is the most bytes that a
/// message with its padding may have, the size of the caller's buffer.
pub fn next_frame(stream: &[u8], max: usize) -> Frame {
    let Some([first, _, l0, l1]) = stream.first_chunk() else {
        return too_short_to_tell(stream);
    };
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    let (message, valid) = match channel_data::kind(*first) {
        Kind::Stun => (
            stun::HEADER_LEN + length,
            length.is_multiple_of(4) && has_cookie(stream),
        ),
        Kind::ChannelData => (channel_data::HEADER_LEN + length, true),
        Kind::Other => (0, false),
    };
    let total = message.next_multiple_of(4);
    if !valid {
        Frame::Invalid
    } else if total > max {
        too_long(stream, total)
    } else if stream.len() < total {
        Frame::Incomplete { at_least: total }
    } else {
        Frame::Complete { message, total }
    }
}

fn too_short_to_tell(stream: &[u8]) -> Frame {
    match stream.first() {
        Some(first) if channel_data::kind(*first) == Kind::Other => Frame::Invalid,
        _ => Frame::Incomplete {
            at_least: channel_data::HEADER_LEN,
        },
    }
}

/// A length is believed, and that much passed over, only of what is sure to be a message.
fn too_long(stream: &[u8], total: usize) -> Frame {
    let is_stun = stream.first().map(|first| channel_data::kind(*first)) == Some(Kind::Stun);
    if is_stun && stream.len() < COOKIE_END {
        return Frame::Incomplete {
            at_least: COOKIE_END,
        };
    }
    Frame::TooLong { total }
}

/// Whether as much of the magic cookie as is there is right.
fn has_cookie(stream: &[u8]) -> bool {
    let there = stream.get(channel_data::HEADER_LEN..).unwrap_or_default();
    MAGIC_COOKIE
        .to_be_bytes()
        .iter()
        .zip(there)
        .all(|(right, byte)| right == byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1500;

    #[test]
    fn a_channel_message_is_padded() {
        let stream = *b"\x40\x01\x00\x05abcde\0\0\0\x40";
        assert_eq!(
            next_frame(&stream, MAX),
            Frame::Complete {
                message: 9,
                total: 12
            }
        );
        assert_eq!(
            next_frame(&stream[..11], MAX),
            Frame::Incomplete { at_least: 12 }
        );
        assert_eq!(
            next_frame(&stream[..3], MAX),
            Frame::Incomplete { at_least: 4 }
        );
        assert_eq!(next_frame(&[], MAX), Frame::Incomplete { at_least: 4 });
    }

    #[test]
    fn a_stun_message_is_not() {
        let mut stream = [0; 32];
        stream[..8].copy_from_slice(&[0, 1, 0, 8, 0x21, 0x12, 0xA4, 0x42]);
        assert_eq!(
            next_frame(&stream, MAX),
            Frame::Complete {
                message: 28,
                total: 28
            }
        );
        assert_eq!(
            next_frame(&stream[..27], MAX),
            Frame::Incomplete { at_least: 28 }
        );
        stream[3] = 9;
        assert_eq!(next_frame(&stream, MAX), Frame::Invalid);
    }

    #[test]
    fn other_protocols_are_told_early() {
        assert_eq!(next_frame(b"GE", MAX), Frame::Incomplete { at_least: 4 });
        assert_eq!(next_frame(&[22], MAX), Frame::Invalid);
        assert_eq!(next_frame(&[0, 1, 0, 8, 0x22], MAX), Frame::Invalid);
    }

    #[test]
    fn what_is_longer_than_allowed_can_be_passed_over() {
        let stream = [0x40, 0, 0, 7];
        assert_eq!(next_frame(&stream, 12), Frame::Incomplete { at_least: 12 });
        assert_eq!(next_frame(&stream, 11), Frame::TooLong { total: 12 });
        assert_eq!(
            next_frame(&[0x40, 0, 0xFF, 0xFF], MAX),
            Frame::TooLong { total: 65_540 }
        );
        let stream = [0, 1, 0xFF, 0xFC, 0x21, 0x12, 0xA4, 0x42];
        assert_eq!(next_frame(&stream, MAX), Frame::TooLong { total: 65_552 });
        assert_eq!(
            next_frame(&stream[..7], MAX),
            Frame::Incomplete { at_least: 8 },
            "it may be no STUN at all"
        );
    }
}
