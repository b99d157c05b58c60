//! Circuits: the only thing that lets two parties exchange packets.
//!
//! Two allocations form a pair when their tickets name the same call and different parties. A
//! packet passes from one to the other while both hold a permission for the other's mask address.
//! Where both have bound a channel to each other as well, a forwarding entry is given to the hands.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::Relay;
use crate::address::Family;
use crate::allocation::{Allocation, Channel};
use crate::contract::{AllocationId, Output};
use crate::forward::{Forward, ForwardKey};
use crate::time::Timestamp;

/// Whether their tickets let these two exchange packets at all.
pub(super) fn may_meet(one: &Allocation, other: &Allocation) -> bool {
    one.ticket.call == other.ticket.call && one.ticket.party != other.ticket.party
}

impl Relay {
    /// The allocations of the other parties of the call.
    pub(super) fn neighbours<'a>(
        &'a self,
        allocation: &'a Allocation,
    ) -> impl Iterator<Item = &'a Allocation> {
        self.calls
            .members(allocation.ticket.call)
            .iter()
            .filter_map(|id| self.allocations.get(id))
            .filter(|other| may_meet(allocation, other))
    }

    /// Brings the forwarding entries between this allocation and all of its neighbours into line
    /// with the permissions and channels that hold now.
    pub(super) fn sync_circuits(&mut self, now: Timestamp, id: AllocationId) {
        self.sync_channels(now, id, None);
        let Some(allocation) = self.allocations.get(&id) else {
            return;
        };
        for other in self.calls.members(allocation.ticket.call).to_vec() {
            if other != id {
                self.sync_channels(now, other, Some(id));
            }
        }
    }

    /// Takes out every entry from and to an allocation that was just removed.
    pub(super) fn cut_circuits(&mut self, now: Timestamp, id: AllocationId, gone: &Allocation) {
        for channel in gone
            .channels
            .iter()
            .filter(|channel| channel.forward.is_some())
        {
            let key = ForwardKey {
                tuple: gone.client.tuple,
                channel: channel.number,
            };
            self.outputs.push_back(Output::RemoveForward(key));
        }
        for other in self.calls.members(gone.ticket.call).to_vec() {
            if other != id {
                self.sync_channels(now, other, None);
            }
        }
    }

    /// Compares each channel's entry with the one that it should have; only those towards
    /// `towards`, if that is given.
    fn sync_channels(&mut self, now: Timestamp, id: AllocationId, towards: Option<AllocationId>) {
        let Some(allocation) = self.allocations.get(&id) else {
            return;
        };
        let concerned = |channel: &Channel| {
            towards.is_none()
                || self
                    .masks
                    .owner(channel.peer)
                    .is_none_or(|owner| Some(owner) == towards)
        };
        let changes: Vec<_> = allocation
            .channels
            .iter()
            .enumerate()
            .filter(|(_, channel)| concerned(channel))
            .map(|(index, channel)| (index, self.wanted_forward(now, id, allocation, channel)))
            .filter(|(index, wanted)| allocation.channels[*index].forward != *wanted)
            .collect();
        for (index, wanted) in changes {
            self.set_forward(id, index, wanted);
        }
    }

    fn wanted_forward(
        &self,
        now: Timestamp,
        id: AllocationId,
        from: &Allocation,
        channel: &Channel,
    ) -> Option<Forward> {
        let (own, to) = self.passage(now, from, channel.peer)?;
        let back = to.channel_to(own)?;
        let live = now < channel.expires_at && now < back.expires_at;
        live.then_some(Forward {
            to: to.client,
            channel: back.number,
            allocation: id,
            kbps: from.kbps(),
        })
    }

    /// The one place that decides whether `from` may send to `peer`. The answer is the mask address
    /// that the receiver sees as the sender, and the receiver.
    pub(super) fn passage(
        &self,
        now: Timestamp,
        from: &Allocation,
        peer: SocketAddr,
    ) -> Option<(SocketAddr, &Allocation)> {
        let own = from.masks.of(Family::of(peer.ip()))?;
        let to = self.allocations.get(&self.masks.owner(peer)?)?;
        let permitted = from.permits(now, peer.ip()) && to.permits(now, own.ip());
        (may_meet(from, to) && permitted).then_some((own, to))
    }

    fn set_forward(&mut self, id: AllocationId, index: usize, wanted: Option<Forward>) {
        let Some(allocation) = self.allocations.get_mut(&id) else {
            return;
        };
        let tuple = allocation.client.tuple;
        let Some(channel) = allocation.channels.get_mut(index) else {
            return;
        };
        channel.forward = wanted;
        let key = ForwardKey {
            tuple,
            channel: channel.number,
        };
        self.outputs.push_back(match wanted {
            Some(forward) => Output::InstallForward(key, forward),
            None => Output::RemoveForward(key),
        });
    }
}
