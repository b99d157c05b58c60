//! One allocation (RFC 8656 section 2.2): a client's 5-tuple, its mask addresses, its permissions
//! and channels, and when each of them ends.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::num::NonZeroU32;
use core::time::Duration;
use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::address::{Client, Family};
use crate::auth::ticket::Ticket;
use crate::channel_data::ChannelNumber;
use crate::forward::{ForwardKey, Way};
use crate::id::AllocationId;
use crate::stun::TransactionId;
use crate::time::Timestamp;

/// Lifetime of a permission (RFC 8656 section 9).
pub const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);
/// Lifetime of a channel (RFC 8656 section 12).
pub const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);
/// Lifetime of an allocation whose client names none (RFC 8656 section 3.2).
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Allocation {
    pub(crate) client: Client,
    pub(crate) ticket: Ticket,
    /// Of the Allocate request, so that a retransmission gets the same answer.
    pub(crate) transaction: TransactionId,
    /// As it was granted first, for the same purpose.
    pub(crate) granted: Duration,
    /// The additional family that was asked for and could not be served, likewise.
    pub(crate) refused_family: Option<Family>,
    pub(crate) masks: Masks,
    pub(crate) expires_at: Timestamp,
    /// When the ticket runs out, and every session with it.
    pub(crate) ticket_ends_at: Timestamp,
    /// Ordered by their IP addresses.
    pub(crate) permissions: Vec<Permission>,
    pub(crate) channels: Vec<Channel>,
    /// Whether its client may take it along, and how often it did.
    pub(crate) mobility: Option<Mobility>,
    /// When its client last asked for something and was not refused.
    pub(crate) used_at: Timestamp,
    /// Where this allocation stands in the relay's timers.
    pub(crate) deadline: Timestamp,
    /// Where packets pass to at the moment, ordered by the peer.
    pub(crate) links: Vec<Link>,
    pub(crate) account: Account,
}

/// The moves of an allocation (RFC 8016).
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Mobility {
    pub(crate) moves: u64,
    /// Of the last move, so that a retransmission gets the same answer.
    pub(crate) transaction: TransactionId,
}

/// An allocation's mask addresses: one, or one of each family.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Masks {
    pub(crate) v4: Option<SocketAddr>,
    pub(crate) v6: Option<SocketAddr>,
}

impl Masks {
    pub(crate) fn of(&self, family: Family) -> Option<SocketAddr> {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    pub(crate) fn set(&mut self, family: Family, address: Option<SocketAddr>) {
        match family {
            Family::V4 => self.v4 = address,
            Family::V6 => self.v6 = address,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        [self.v4, self.v6].into_iter().flatten()
    }
}

/// Leave to receive from an IP address (RFC 8656 section 2.3). Kept by IP as the RFC has it;
/// who is behind it is checked per pair when something is to be forwarded.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Permission {
    pub(crate) ip: IpAddr,
    pub(crate) expires_at: Timestamp,
}

/// A channel bound to a peer (RFC 8656 section 2.5).
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Channel {
    pub(crate) number: ChannelNumber,
    pub(crate) peer: SocketAddr,
    pub(crate) expires_at: Timestamp,
}

/// That packets pass from an allocation to a peer: the entries that its worker has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    pub(crate) peer: SocketAddr,
    /// Whose mask address that is.
    pub(crate) to: AllocationId,
    /// The channel that the sender has bound to the peer.
    pub(crate) channel: Option<ChannelNumber>,
    /// The channel that the peer has bound to the sender.
    pub(crate) back: Option<ChannelNumber>,
}

impl Link {
    /// What its sender may write on a packet.
    pub(crate) fn ways(&self) -> impl Iterator<Item = Way> + use<> {
        let channel = self.channel.map(Way::Channel);
        core::iter::once(Way::Peer(self.peer)).chain(channel)
    }
}

/// Makes room for another element, and for no more if it is the first: most allocations have one
/// permission, one channel and one peer, and a vector would make room for four.
pub(crate) fn make_room<T>(list: &mut Vec<T>) {
    if list.is_empty() {
        list.reserve_exact(1);
    }
}

impl Allocation {
    /// Whether the client agrees to exchange packets with `peer`: it holds a permission for the IP
    /// address or a channel bound to the transport address. A channel outlives the permission that
    /// came with it, and there are clients that renew nothing but channels.
    pub(crate) fn consents(&self, now: Timestamp, peer: SocketAddr) -> bool {
        self.permits(now, peer.ip())
            || self
                .channel_to(peer)
                .is_some_and(|channel| now < channel.expires_at)
    }

    fn permits(&self, now: Timestamp, ip: IpAddr) -> bool {
        self.permission(ip)
            .is_ok_and(|index| now < self.permissions[index].expires_at)
    }

    pub(crate) fn permit(&mut self, ip: IpAddr, expires_at: Timestamp) {
        match self.permission(ip) {
            Ok(index) => self.permissions[index].expires_at = expires_at,
            Err(index) => {
                make_room(&mut self.permissions);
                self.permissions
                    .insert(index, Permission { ip, expires_at });
            }
        }
    }

    /// Where the permission for `ip` is, or where it would have its place.
    pub(crate) fn permission(&self, ip: IpAddr) -> Result<usize, usize> {
        self.permissions
            .binary_search_by_key(&ip, |permission| permission.ip)
    }

    /// Every IP address that the client has consented to.
    pub(crate) fn consented(&self) -> impl Iterator<Item = IpAddr> {
        let permissions = self.permissions.iter().map(|permission| permission.ip);
        let channels = self.channels.iter().map(|channel| channel.peer.ip());
        permissions.chain(channels.filter(|ip| self.permission(*ip).is_err()))
    }

    pub(crate) fn channel(&self, number: ChannelNumber) -> Option<&Channel> {
        self.channels
            .iter()
            .find(|channel| channel.number == number)
    }

    pub(crate) fn channel_to(&self, peer: SocketAddr) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.peer == peer)
    }

    pub(crate) fn has_living_channel(&self, now: Timestamp) -> bool {
        self.channels.iter().any(|channel| now < channel.expires_at)
    }

    /// The number of the channel to `peer`, if it lives.
    pub(crate) fn living_channel_to(
        &self,
        now: Timestamp,
        peer: SocketAddr,
    ) -> Option<ChannelNumber> {
        self.channel_to(peer)
            .filter(|channel| now < channel.expires_at)
            .map(|channel| channel.number)
    }

    /// Puts `wanted` in place of the link to `peer`; that one is the answer.
    pub(crate) fn set_link(&mut self, peer: SocketAddr, wanted: Option<Link>) -> Option<Link> {
        let place = self.links.binary_search_by_key(&peer, |link| link.peer);
        match (place, wanted) {
            (Ok(index), Some(wanted)) => Some(core::mem::replace(&mut self.links[index], wanted)),
            (Ok(index), None) => Some(self.links.remove(index)),
            (Err(index), Some(wanted)) => {
                make_room(&mut self.links);
                self.links.insert(index, wanted);
                None
            }
            (Err(_), None) => None,
        }
    }

    /// What the entry for a packet of the client's is looked up by.
    pub(crate) fn key(&self, way: Way) -> ForwardKey {
        let tuple = self.client.tuple;
        ForwardKey { tuple, way }
    }

    /// How fast the ticket may send.
    pub(crate) fn kbps(ticket: &Ticket) -> Option<NonZeroU32> {
        NonZeroU32::new(ticket.kbps)
    }

    /// The earliest time at which something of this allocation ends.
    pub(crate) fn next_deadline(&self) -> Timestamp {
        let permissions = self
            .permissions
            .iter()
            .map(|permission| permission.expires_at);
        let channels = self.channels.iter().map(|channel| channel.expires_at);
        permissions
            .chain(channels)
            .fold(self.expires_at.min(self.ticket_ends_at), Timestamp::min)
    }
}
