//! Packets between parties that come through the relay: where a worker has no entry, as for a
//! client whose packets have just begun to arrive at another one. Nothing here allocates.

use core::net::SocketAddr;

use super::Relay;
use super::circuit::may_meet;
use crate::address::{Client, Family};
use crate::allocation::Allocation;
use crate::contract::Verdict;
use crate::forward::{Form, Way};
use crate::gate::Media;
use crate::id::AllocationId;
use crate::time::Timestamp;
use crate::transmit::Transmit;
use crate::usage::DropReason;

impl Relay {
    pub(super) fn pass_on(
        &mut self,
        now: Timestamp,
        from: &Client,
        media: Media,
        packet: &[u8],
    ) -> Verdict {
        let Some(id) = self.by_tuple.get(&from.tuple).copied() else {
            return Verdict::Drop(DropReason::NoAllocation);
        };
        match self.deliver(now, id, media, packet) {
            Ok(transmit) => Verdict::Transmit(id, transmit),
            Err(reason) => Verdict::Drop(reason),
        }
    }

    fn deliver(
        &mut self,
        now: Timestamp,
        id: AllocationId,
        media: Media,
        packet: &[u8],
    ) -> Result<Transmit, DropReason> {
        let Media { way, body } = media;
        let from = self.allocations.get(&id).ok_or(DropReason::NoAllocation)?;
        let peer = peer(now, from, &way)?;
        let Some((own, to)) = self.passage(now, from, peer) else {
            return Err(self.why_not(now, from, peer));
        };
        let payload = packet.get(body.clone()).unwrap_or_default();
        let cap = self.config.masking.payload_cap;
        from.account.charge(now, cap, payload)?;
        let form = form(now, own, to);
        form.wrap(to.client, body).ok_or(DropReason::NoRoom)
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
}

/// How `to` gets what comes from the mask address `own`: on the channel that it has bound to it,
/// or else as a Data indication.
pub(super) fn form(now: Timestamp, own: SocketAddr, to: &Allocation) -> Form {
    to.channel_to(own)
        .filter(|channel| now < channel.expires_at)
        .map_or_else(
            || Form::DataIndication(own, to.account.clone()),
            |channel| Form::ChannelData(channel.number),
        )
}

/// Whom the sender means.
fn peer(now: Timestamp, from: &Allocation, way: &Way) -> Result<SocketAddr, DropReason> {
    match way {
        Way::Peer(peer) => Ok(*peer),
        Way::Channel(number) => from
            .channel(*number)
            .filter(|channel| now < channel.expires_at)
            .map(|channel| channel.peer)
            .ok_or(DropReason::NoChannel),
    }
}
