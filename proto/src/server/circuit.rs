//! Circuits: the only thing that lets two parties exchange packets.
//!
//! Two allocations form a pair when their tickets name the same call and different parties. A
//! packet passes from one to the other while both hold a permission for the other's mask address.
//! Where both have bound a channel to each other as well, a forwarding entry is given to the hands.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::Relay;
use crate::address::Family;
use crate::allocation::{Allocation, Channel};
use crate::auth::ticket::CallId;
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

    /// Brings the forwarding entries between two allocations, in both directions, into line with
    /// the permissions and channels that hold now.
    pub(super) fn sync_pair(&mut self, now: Timestamp, one: AllocationId, other: AllocationId) {
        self.sync_channels(now, one, other);
        self.sync_channels(now, other, one);
    }

    /// The same for an allocation and all of its neighbours.
    pub(super) fn sync_circuits(&mut self, now: Timestamp, id: AllocationId) {
        for other in self.fellows(id) {
            self.sync_pair(now, id, other);
        }
    }

    /// The same for an allocation and those neighbours that have a mask address with one of `ips`.
    pub(super) fn sync_circuits_to(&mut self, now: Timestamp, id: AllocationId, ips: &[IpAddr]) {
        for other in self.fellows(id) {
            let named = self.allocations.get(&other);
            if named.is_some_and(|other| ips.iter().any(|ip| other.masks.has_ip(*ip))) {
                self.sync_pair(now, id, other);
            }
        }
    }

    /// Everybody else's allocations in the same call.
    fn fellows(&self, id: AllocationId) -> Vec<AllocationId> {
        let Some(allocation) = self.allocations.get(&id) else {
            return Vec::new();
        };
        let members = self.calls.members(allocation.ticket.call);
        members
            .iter()
            .copied()
            .filter(|member| *member != id)
            .collect()
    }

    /// Takes out every entry of an allocation that was just removed.
    pub(super) fn cut_own_circuits(&mut self, gone: &Allocation) {
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
    }

    /// Takes out the entries of a call's remaining members that lead to mask addresses which
    /// nobody has any more. One look at each, however many allocations have just ended.
    pub(super) fn cut_circuits_to_nobody(&mut self, call: CallId) {
        for id in self.calls.members(call).to_vec() {
            let Some(allocation) = self.allocations.get(&id) else {
                continue;
            };
            let leads_nowhere = |channel: &Channel| {
                channel.forward.is_some() && self.masks.owner(channel.peer).is_none()
            };
            let orphans: Vec<usize> = allocation
                .channels
                .iter()
                .enumerate()
                .filter_map(|(index, channel)| leads_nowhere(channel).then_some(index))
                .collect();
            for index in orphans {
                self.set_forward(id, index, None);
            }
        }
    }

    /// Compares the entry of each channel from `id` towards `other` with the one it should have.
    fn sync_channels(&mut self, now: Timestamp, id: AllocationId, other: AllocationId) {
        let (Some(from), Some(to)) = (self.allocations.get(&id), self.allocations.get(&other))
        else {
            return;
        };
        let changes: Vec<_> = from
            .channels
            .iter()
            .enumerate()
            .filter(|(_, channel)| to.masks.iter().any(|mask| mask == channel.peer))
            .map(|(index, channel)| (index, self.wanted_forward(now, id, from, channel)))
            .filter(|(index, wanted)| from.channels[*index].forward != *wanted)
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
