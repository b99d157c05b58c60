//! Circuits: the only thing that lets two parties exchange packets.
//!
//! Two allocations form a pair when their tickets name the same call and different parties. A
//! packet passes from one to the other while each consents to the other: by a permission for the
//! other's mask IP address, or by a channel bound to its mask address. Where both have bound a
//! channel to each other, a forwarding entry is given to the hands.
//!
//! Since consent is mutual, whatever leads to an allocation comes from somebody whom it has
//! consented to: its own permissions and channels, with the call's index of who is at which IP
//! address, find every entry that a change can concern.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::Relay;
use crate::address::Family;
use crate::allocation::{Allocation, Channel, Masks};
use crate::auth::ticket::CallId;
use crate::contract::{AllocationId, Output};
use crate::forward::{Forward, ForwardKey};
use crate::time::Timestamp;

/// Whether their tickets let these two exchange packets at all.
pub(super) fn may_meet(one: &Allocation, other: &Allocation) -> bool {
    one.ticket.call == other.ticket.call && one.ticket.party != other.ticket.party
}

impl Relay {
    /// Brings the forwarding entries between two allocations, in both directions, into line with
    /// the permissions and channels that hold now.
    fn sync_pair(&mut self, now: Timestamp, one: AllocationId, other: AllocationId) {
        let masks = |id| {
            self.allocations
                .get(&id)
                .map_or_else(Masks::default, |allocation| allocation.masks)
        };
        let (own, theirs) = (masks(one), masks(other));
        for mask in theirs.iter() {
            self.sync_channel(now, one, mask);
        }
        for mask in own.iter() {
            self.sync_channel(now, other, mask);
        }
    }

    /// The same for an allocation and those members of its call that have a mask address with one
    /// of `ips`.
    pub(super) fn sync_circuits_to(&mut self, now: Timestamp, id: AllocationId, ips: &[IpAddr]) {
        let Some(allocation) = self.allocations.get(&id) else {
            return;
        };
        let call = allocation.ticket.call;
        for ip in ips {
            for other in self.members_at(call, *ip, id) {
                self.sync_pair(now, id, other);
            }
        }
    }

    /// The members of the call at that IP address, but for `except`.
    fn members_at(&self, call: CallId, ip: IpAddr, except: AllocationId) -> Vec<AllocationId> {
        self.calls
            .members_at(call, ip)
            .filter(|member| *member != except)
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
            self.steps += 1;
            self.outputs.push_back(Output::RemoveForward(key));
        }
    }

    /// Takes out every entry of an allocation that is about to leave its 5-tuple.
    pub(super) fn drop_own_entries(&mut self, id: AllocationId) {
        let channels = self
            .allocations
            .get(&id)
            .map_or(0, |allocation| allocation.channels.len());
        for index in 0..channels {
            let held = self.allocations.get(&id).is_some_and(|allocation| {
                let channel = allocation.channels.get(index);
                channel.is_some_and(|channel| channel.forward.is_some())
            });
            if held {
                self.set_forward(id, index, None);
            }
        }
    }

    /// Takes out the entries that lead to `dropped`, a mask address that `last_owner` has just
    /// lost. Only whoever it had consented to can have one.
    pub(super) fn cut_circuits_to(&mut self, dropped: SocketAddr, last_owner: &Allocation) {
        for ip in last_owner.consented() {
            let call = last_owner.ticket.call;
            let members: Vec<_> = self.calls.members_at(call, ip).collect();
            for member in members {
                self.cut_channel(member, dropped);
            }
        }
    }

    fn cut_channel(&mut self, id: AllocationId, peer: SocketAddr) {
        self.steps += 1;
        let leads_there = |channel: &Channel| channel.peer == peer && channel.forward.is_some();
        let index = self
            .allocations
            .get(&id)
            .and_then(|allocation| allocation.channels.iter().position(leads_there));
        if let Some(index) = index {
            self.set_forward(id, index, None);
        }
    }

    /// Compares the entry of the channel from `id` to `peer` with the one that it should have.
    fn sync_channel(&mut self, now: Timestamp, id: AllocationId, peer: SocketAddr) {
        self.steps += 1;
        let Some(from) = self.allocations.get(&id) else {
            return;
        };
        let Some(index) = from
            .channels
            .iter()
            .position(|channel| channel.peer == peer)
        else {
            return;
        };
        let channel = &from.channels[index];
        let wanted = self.wanted_forward(now, id, from, channel);
        if channel.forward != wanted {
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
        let agreed = from.consents(now, peer) && to.consents(now, own);
        (may_meet(from, to) && agreed).then_some((own, to))
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
