//! Packets between parties that take the long way: Send indications, and `ChannelData` towards a
//! party that has bound no channel back. Nothing here allocates.

use core::net::SocketAddr;

use super::Relay;
use super::circuit::may_meet;
use crate::address::{Client, Family};
use crate::allocation::Allocation;
use crate::channel_data::{self, ChannelNumber};
use crate::contract::{AllocationId, Delivery, DropReason, Prefix, Verdict};
use crate::rate::take_payload;
use crate::stun::{Message, TransactionId, data_indication_prefix};
use crate::time::Timestamp;
use core::ops::Range;

impl Relay {
    /// A Send indication (RFC 8656 section 11.2). One with DONT-FRAGMENT is dropped; a signature is
    /// nothing that it needs, and not looked at.
    pub(super) fn relay_send(
        &mut self,
        now: Timestamp,
        from: &Client,
        message: &Message<'_>,
    ) -> Verdict {
        if message.unknown_required().next().is_some() {
            return Verdict::Drop(DropReason::MalformedStun);
        }
        let (Ok(Some(peer)), Some(payload)) = (message.xor_peer_address(), message.data()) else {
            return Verdict::Drop(DropReason::MalformedStun);
        };
        let Some(id) = self.by_tuple.get(&from.tuple).copied() else {
            return Verdict::Drop(DropReason::NoAllocation);
        };
        self.deliver(now, id, peer, payload)
            .map_or_else(Verdict::Drop, Verdict::Forward)
    }

    /// `ChannelData` (RFC 8656 section 12.7) that no hand has a forwarding entry for.
    pub(super) fn relay_channel_data(
        &mut self,
        now: Timestamp,
        from: &Client,
        bytes: &[u8],
    ) -> Verdict {
        let Some(message) = channel_data::parse_datagram(bytes) else {
            return Verdict::Drop(DropReason::MalformedChannelData);
        };
        let Some(id) = self.by_tuple.get(&from.tuple).copied() else {
            return Verdict::Drop(DropReason::NoAllocation);
        };
        let channel = self
            .allocations
            .get(&id)
            .and_then(|allocation| allocation.channel(message.channel))
            .filter(|channel| now < channel.expires_at);
        let Some(peer) = channel.map(|channel| channel.peer) else {
            return Verdict::Drop(DropReason::NoChannel);
        };
        self.deliver(now, id, peer, message.payload)
            .map_or_else(Verdict::Drop, Verdict::Forward)
    }

    fn deliver(
        &mut self,
        now: Timestamp,
        id: AllocationId,
        peer: SocketAddr,
        payload: Range<usize>,
    ) -> Result<Delivery, DropReason> {
        let from = self.allocations.get(&id).ok_or(DropReason::NoAllocation)?;
        let Some((own, to)) = self.passage(now, from, peer) else {
            return Err(self.why_not(now, from, peer));
        };
        let receiver = Receiver {
            allocation: self.masks.owner(peer),
            client: to.client,
            channel: to
                .channel_to(own)
                .filter(|channel| now < channel.expires_at)
                .map(|channel| channel.number),
        };
        let kbps = from.kbps();
        if let (Some(kbps), Some(from)) = (kbps, self.allocations.get_mut(&id))
            && !take_payload(&mut from.bucket, now, kbps, payload.len())
        {
            return Err(DropReason::OverRate);
        }
        let (prefix, padding) = self
            .wrap(&receiver, own, payload.len())
            .ok_or(DropReason::NoRoom)?;
        Ok(Delivery {
            to: receiver.client,
            prefix,
            payload,
            padding,
            allocation: id,
        })
    }

    /// The header in front of `len` bytes from `own`, and how many zero bytes follow them:
    /// `ChannelData` where the receiver has bound a channel, a Data indication where not.
    fn wrap(&mut self, to: &Receiver, own: SocketAddr, len: usize) -> Option<(Prefix, usize)> {
        let padding = len.next_multiple_of(4) - len;
        if let Some(channel) = to.channel {
            let header = channel_data::header(channel, u16::try_from(len).ok()?);
            let padded = to.client.tuple.transport.is_stream();
            let prefix = Prefix::build(|out| put(out, &header))?;
            return Some((prefix, if padded { padding } else { 0 }));
        }
        let transaction = self.next_transaction(to.allocation);
        let prefix = Prefix::build(|out| data_indication_prefix(out, transaction, own, len))?;
        Some((prefix, padding))
    }

    /// Which of the conditions of [`Self::passage`] does not hold.
    fn why_not(&self, now: Timestamp, from: &Allocation, peer: SocketAddr) -> DropReason {
        let to = self
            .masks
            .owner(peer)
            .and_then(|id| self.allocations.get(&id));
        match (to, from.masks.of(Family::of(peer.ip()))) {
            (Some(to), Some(_)) if may_meet(from, to) => {
                if from.consents(now, peer) {
                    DropReason::NotPermittedByPeer
                } else {
                    DropReason::NoPermission
                }
            }
            _ => DropReason::ForeignPeer,
        }
    }

    /// Transaction ids of Data indications: the receiver's own count, so that they tell nothing of
    /// anybody else's traffic.
    fn next_transaction(&mut self, to: Option<AllocationId>) -> TransactionId {
        let count = to
            .and_then(|id| self.allocations.get_mut(&id))
            .map_or(0, |allocation| {
                allocation.indications += 1;
                allocation.indications
            });
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&count.to_be_bytes());
        TransactionId(bytes)
    }
}

fn put(out: &mut [u8], header: &[u8]) -> Option<usize> {
    out.get_mut(..header.len())?.copy_from_slice(header);
    Some(header.len())
}

/// Who a packet goes to, and the channel it has bound to the sender.
struct Receiver {
    allocation: Option<AllocationId>,
    client: Client,
    channel: Option<ChannelNumber>,
}
