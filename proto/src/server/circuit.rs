//! Circuits: the only thing that lets two parties exchange packets.
//!
//! Two allocations form a pair when their tickets name the same call and different parties. A
//! packet passes from one to the other while each consents to the other: by a permission for the
//! other's mask IP address, or by a channel bound to its mask address. For as long there is a link:
//! the worker where the sender's packets arrive has forwarding entries for what it sends there, by
//! the peer that an indication names, and by the channel if it has bound one.
//!
//! Since consent is mutual, whatever leads to an allocation comes from somebody whom it has
//! consented to: its own permissions and channels, with the call's index of who is at which IP
//! address, find every entry that a change can concern.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::Relay;
use crate::address::{Client, Family};
use crate::allocation::{Allocation, Link, Masks};
use crate::auth::ticket::CallId;
use crate::contract::Output;
use crate::forward::{Change, Form, Forward};
use crate::id::AllocationId;
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
            self.sync_link(now, one, mask);
        }
        for mask in own.iter() {
            self.sync_link(now, other, mask);
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
        for link in &gone.links {
            self.steps += 1;
            for way in link.ways() {
                self.tell(gone, Change::Remove(gone.key(way)));
            }
        }
        self.tell(gone, Change::Leave(gone.client.tuple));
    }

    /// Takes out the entries that lead to `dropped`, a mask address that `last_owner` has just
    /// lost. Only whoever it had consented to can have one.
    pub(super) fn cut_circuits_to(&mut self, dropped: SocketAddr, last_owner: &Allocation) {
        for ip in last_owner.consented() {
            let call = last_owner.ticket.call;
            let members: Vec<_> = self.calls.members_at(call, ip).collect();
            for member in members {
                self.set_link(member, dropped, None);
            }
        }
    }

    /// Compares the link from `id` to `peer` with the one that there should be.
    fn sync_link(&mut self, now: Timestamp, id: AllocationId, peer: SocketAddr) {
        let wanted = self
            .allocations
            .get(&id)
            .and_then(|from| self.wanted_link(now, from, peer));
        self.set_link(id, peer, wanted);
    }

    fn wanted_link(&self, now: Timestamp, from: &Allocation, peer: SocketAddr) -> Option<Link> {
        let (own, to) = self.passage(now, from, peer)?;
        Some(Link {
            peer,
            to: to.account.allocation(),
            channel: from.living_channel_to(now, peer),
            back: to.living_channel_to(now, own),
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

    /// Puts `wanted` in place of the link from `id` to `peer`, and changes the entries that differ.
    fn set_link(&mut self, id: AllocationId, peer: SocketAddr, wanted: Option<Link>) {
        self.steps += 1;
        let Some(from) = self.allocations.get_mut(&id) else {
            return;
        };
        let was = from.set_link(peer, wanted);
        if was == wanted {
            return;
        }
        let Some(from) = self.allocations.get(&id) else {
            return;
        };
        let mut changes = Vec::new();
        for way in was.iter().flat_map(Link::ways) {
            if !wanted.iter().flat_map(Link::ways).any(|other| other == way) {
                changes.push(Change::Remove(from.key(way)));
            }
        }
        if let Some(link) = wanted {
            changes.extend(self.entries_of(from, &link));
        }
        let worker = from.client.worker;
        let changes = changes.into_iter();
        self.outputs
            .extend(changes.map(|change| Output::Change(worker, change)));
    }

    /// The entries that make up a link.
    fn entries_of(&self, from: &Allocation, link: &Link) -> Vec<Change> {
        let own = from.masks.of(Family::of(link.peer.ip()));
        let (Some(own), Some(to)) = (own, self.allocations.get(&link.to)) else {
            return Vec::new();
        };
        let form = match link.back {
            Some(channel) => Form::ChannelData(channel),
            None => Form::DataIndication(own, to.account.clone()),
        };
        let to = to.client;
        let forward = Forward { to, form };
        link.ways()
            .map(|way| Change::Install(from.key(way), forward.clone()))
            .collect()
    }

    /// All that the worker of an allocation must know of it.
    pub(super) fn changes_of(&self, allocation: &Allocation) -> Vec<Change> {
        let join = Change::Join {
            tuple: allocation.client.tuple,
            account: allocation.account.clone(),
            masked: allocation.ticket.masked,
        };
        let links = allocation.links.iter();
        let entries = links.flat_map(|link| self.entries_of(allocation, link));
        core::iter::once(join).chain(entries).collect()
    }

    /// A client's packets come from another 5-tuple or arrive at another worker than before: its
    /// entries follow it, and what is sent to it goes there.
    pub(super) fn move_client(&mut self, id: AllocationId, client: Client) {
        let Some(mut allocation) = self.allocations.remove(&id) else {
            return;
        };
        self.cut_own_circuits(&allocation);
        self.by_tuple.remove(&allocation.client.tuple);
        self.by_tuple.insert(client.tuple, id);
        allocation.client = client;
        let own: Vec<_> = allocation.masks.iter().collect();
        let others: Vec<_> = allocation.links.iter().map(|link| link.to).collect();
        let changes = self.changes_of(&allocation);
        for change in changes {
            self.tell(&allocation, change);
        }
        self.allocations.insert(id, allocation);
        for other in others {
            self.renew_links(other, &own);
        }
    }

    /// Installs the entries from `id` to `peers` again.
    fn renew_links(&mut self, id: AllocationId, peers: &[SocketAddr]) {
        self.steps += 1;
        let Some(from) = self.allocations.get(&id) else {
            return;
        };
        let links = from.links.iter();
        let changes: Vec<_> = links
            .filter(|link| peers.contains(&link.peer))
            .flat_map(|link| self.entries_of(from, link))
            .collect();
        let worker = from.client.worker;
        let changes = changes.into_iter();
        self.outputs
            .extend(changes.map(|change| Output::Change(worker, change)));
    }

    /// Tells the worker of an allocation of a change.
    pub(super) fn tell(&mut self, allocation: &Allocation, change: Change) {
        let worker = allocation.client.worker;
        self.outputs.push_back(Output::Change(worker, change));
    }
}
