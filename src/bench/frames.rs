//! Media on the wire: what stands before a payload, and what a client finds in a packet.

use std::net::SocketAddr;
use std::ops::Range;

use vizard_proto::channel_data::{self, ChannelNumber, Kind};
use vizard_proto::stun::{
    AttributeType, Class, HEADER_LEN, Message, Method, TransactionId, Writer,
};

/// How media is wrapped between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// ChannelData messages.
    Channel,
    /// Send and Data indications: what Firefox does.
    Indication,
}

impl Form {
    /// Its name in a report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Channel => "channel data",
            Self::Indication => "indications",
        }
    }
}

/// Who the server says that media came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    Channel(ChannelNumber),
    Peer(SocketAddr),
    /// The socket's own source address is all that there is: at a peer.
    Plain,
}

/// What stands around each payload of one direction.
pub(crate) struct Envelope {
    prefix: Box<[u8]>,
    payload: usize,
    padding: usize,
}

impl Envelope {
    /// The payload alone, as a peer sends it.
    pub(crate) fn plain(payload: usize) -> Self {
        Self {
            prefix: Box::default(),
            payload,
            padding: 0,
        }
    }

    /// A ChannelData message. (Its padding on a stream is the sockets' business.)
    pub(crate) fn channel(channel: ChannelNumber, payload: usize) -> Self {
        let len = u16::try_from(payload).unwrap_or(u16::MAX);
        Self {
            prefix: channel_data::header(channel, len).into(),
            payload,
            padding: 0,
        }
    }

    /// A Send indication.
    pub(crate) fn indication(peer: SocketAddr, id: TransactionId, payload: usize) -> Self {
        let mut bytes = [0; 64];
        let mut writer = Writer::new(&mut bytes, Class::Indication, Method::SEND, id);
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        writer.bytes(AttributeType::DATA, &[]);
        let prefix = writer.finish().unwrap_or(0);
        let padding = payload.next_multiple_of(4) - payload;
        let attributes = (prefix + payload + padding).saturating_sub(HEADER_LEN);
        let short = |len: usize| u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
        bytes[2..4].copy_from_slice(&short(attributes));
        bytes[prefix - 2..prefix].copy_from_slice(&short(payload));
        Self {
            prefix: bytes[..prefix].into(),
            payload,
            padding,
        }
    }

    /// Length of the whole message.
    pub(crate) fn len(&self) -> usize {
        self.prefix.len() + self.payload + self.padding
    }

    /// Writes a message, whose payload `write` writes, into `room` of [`Self::len`] bytes.
    pub(crate) fn write(&self, room: &mut [u8], write: impl FnOnce(&mut [u8])) {
        let (prefix, rest) = room.split_at_mut(self.prefix.len());
        let (payload, padding) = rest.split_at_mut(self.payload);
        prefix.copy_from_slice(&self.prefix);
        write(payload);
        padding.fill(0);
    }
}

/// What a client finds in a packet from the server.
pub(crate) enum Heard<'a> {
    Media(Sender, Range<usize>),
    Message(Message<'a>),
    Garbage,
}

/// Reads a packet that came from the server.
pub(crate) fn read(packet: &[u8]) -> Heard<'_> {
    match packet.first().map(|first| channel_data::kind(*first)) {
        Some(Kind::ChannelData) => channel_data::parse_datagram(packet)
            .map_or(Heard::Garbage, |data| {
                Heard::Media(Sender::Channel(data.channel), data.payload)
            }),
        Some(Kind::Stun) => {
            Message::parse(packet).map_or(Heard::Garbage, |message| classify(message))
        }
        _ => Heard::Garbage,
    }
}

fn classify(message: Message<'_>) -> Heard<'_> {
    if (message.class(), message.method()) != (Class::Indication, Method::DATA) {
        return Heard::Message(message);
    }
    match (message.xor_peer_address(), message.data()) {
        (Ok(Some(peer)), Some(data)) => Heard::Media(Sender::Peer(peer), data),
        _ => Heard::Garbage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_indication_is_one() {
        for (peer, payload) in [("198.18.0.1:7", 33), ("[2001:2::1]:7", 172)] {
            let peer = peer.parse().expect("an address");
            let envelope = Envelope::indication(peer, TransactionId([9; 12]), payload);
            let mut packet = vec![0xFF; envelope.len()];
            envelope.write(&mut packet, |room| room.fill(0x80));
            let Heard::Message(message) = read(&packet) else {
                panic!("not a message");
            };
            assert_eq!(message.method(), Method::SEND);
            assert_eq!(message.xor_peer_address(), Ok(Some(peer)));
            let data = message.data().expect("data");
            assert_eq!(packet[data], vec![0x80; payload]);
        }
    }

    #[test]
    fn channel_data_says_its_channel() {
        let channel = ChannelNumber::new(0x4005).expect("in range");
        let envelope = Envelope::channel(channel, 40);
        let mut packet = vec![0; envelope.len()];
        envelope.write(&mut packet, |room| room.fill(0x80));
        let Heard::Media(Sender::Channel(found), payload) = read(&packet) else {
            panic!("no media");
        };
        assert_eq!((found, payload), (channel, 4..44));
        assert!(matches!(read(&packet[..20]), Heard::Garbage));
        assert!(matches!(read(&[]), Heard::Garbage));
    }
}
