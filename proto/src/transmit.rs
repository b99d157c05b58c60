//! The one way out: a packet's payload on its way to another client.

use core::ops::Range;

use crate::address::Client;
use crate::channel_data::{self, ChannelNumber};
use crate::stun::{TransactionId, data_indication_prefix};
use core::net::SocketAddr;

/// A part of the packet that came in, to be sent on: on the wire come `prefix`, `body`, and
/// `padding` zero bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The receiver.
    pub to: Client,
    /// The header to put in front.
    pub prefix: Prefix,
    /// Which bytes of the packet are the payload.
    pub body: Range<usize>,
    /// How many zero bytes follow (0 to 3). What came in as padding is never passed on.
    pub padding: usize,
}

/// A `ChannelData` or Data indication header, held inline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    bytes: [u8; Self::CAPACITY],
    len: u8,
}

impl Prefix {
    /// Room for the largest: STUN header, XOR-PEER-ADDRESS with an IPv6 address, DATA's header.
    pub const CAPACITY: usize = 48;

    /// The header's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// A prefix that `write` fills in, returning how many bytes it wrote.
    fn build(write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<Self> {
        let mut bytes = [0; Self::CAPACITY];
        let len = u8::try_from(write(&mut bytes)?).ok()?;
        Some(Self { bytes, len })
    }
}

impl Transmit {
    /// `body` as `ChannelData`, which is padded on streams only (RFC 8656 section 12.5). `None` if
    /// it is longer than the header can say.
    pub(crate) fn channel_data(
        to: Client,
        channel: ChannelNumber,
        body: Range<usize>,
    ) -> Option<Self> {
        let header = channel_data::header(channel, u16::try_from(body.len()).ok()?);
        let is_stream = to.tuple.transport.is_stream();
        let padding = if is_stream { padding(body.len()) } else { 0 };
        let prefix = Prefix::build(|out| {
            out.first_chunk_mut().map(|start| *start = header)?;
            Some(header.len())
        })?;
        Some(Self {
            to,
            prefix,
            body,
            padding,
        })
    }

    /// `body` as a Data indication from `peer` (RFC 8656 section 11.3), likewise. `number` counts
    /// the indications that the receiver is sent: its transaction ids are its own count, so that
    /// they tell nothing of others' traffic.
    pub(crate) fn data_indication(
        to: Client,
        peer: SocketAddr,
        number: u64,
        body: Range<usize>,
    ) -> Option<Self> {
        let mut transaction = [0; 12];
        transaction[4..].copy_from_slice(&number.to_be_bytes());
        let transaction = TransactionId(transaction);
        let padding = padding(body.len());
        let prefix =
            Prefix::build(|out| data_indication_prefix(out, transaction, peer, body.len()))?;
        Some(Self {
            to,
            prefix,
            body,
            padding,
        })
    }
}

fn padding(len: usize) -> usize {
    len.next_multiple_of(4) - len
}
