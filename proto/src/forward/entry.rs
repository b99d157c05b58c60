//! How entries lie in memory.

use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use core::ops::Range;

use super::accounts::{Accounts, Place};
use super::{Form, Forward, ForwardKey, Way};
use crate::address::{Client, FiveTuple, Transport};
use crate::channel_data::ChannelNumber;
use crate::transmit::Transmit;

/// What an entry from IPv4 to IPv4 is looked up by, in 16 bytes: the sender's 5-tuple and channel,
/// or the place of its account and an IPv4 peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub(super) struct NarrowKey(pub(super) [u64; 2]);

/// Tells keys by peer from those by channel, which end in a channel number.
const BY_PEER: u64 = 1;

impl NarrowKey {
    pub(super) fn by_channel(tuple: &FiveTuple, channel: ChannelNumber) -> Option<Self> {
        let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (tuple.local, tuple.remote) else {
            return None;
        };
        Some(Self([
            half(remote) << 16 | u64::from(tuple.transport.is_stream()),
            half(local) << 16 | u64::from(channel.get()),
        ]))
    }

    pub(super) fn by_peer(Place(sender): Place, peer: &SocketAddr) -> Option<Self> {
        let SocketAddr::V4(peer) = peer else {
            return None;
        };
        Some(Self([u64::from(sender), half(*peer) << 16 | BY_PEER]))
    }

    pub(super) fn new(key: &ForwardKey, sender: Place) -> Option<Self> {
        match &key.way {
            Way::Channel(channel) => Self::by_channel(&key.tuple, *channel),
            Way::Peer(peer) => Self::by_peer(sender, peer),
        }
    }
}

/// An IPv4 transport address in 48 bits.
pub(super) fn half(address: SocketAddrV4) -> u64 {
    u64::from(Ipv4Addr::to_bits(*address.ip())) << 16 | u64::from(address.port())
}

/// An entry from IPv4 to IPv4.
#[repr(C)]
pub(super) struct Narrow {
    pub(super) key: NarrowKey,
    value: Value,
}

/// Where it leads, in 24 bytes.
#[derive(Clone, Copy)]
#[repr(C)]
struct Value {
    remote_ip: u32,
    local_ip: u32,
    remote_port: u16,
    local_port: u16,
    /// The receiver's channel, 0 for a Data indication.
    channel: u16,
    worker: u8,
    transport: Transport,
    sender: Place,
    /// Who counts Data indications.
    receiver: Place,
}

const _: () = assert!(size_of::<NarrowKey>() == 16 && size_of::<Value>() == 24);

impl Narrow {
    /// The entry, if it fits.
    pub(super) fn new(key: &ForwardKey, forward: &Forward, places: Places) -> Option<Self> {
        let Places { sender, receiver } = places;
        let FiveTuple {
            transport,
            local: SocketAddr::V4(local),
            remote: SocketAddr::V4(remote),
        } = forward.to.tuple
        else {
            return None;
        };
        let channel = match &forward.form {
            Form::ChannelData(channel) => channel.get(),
            Form::DataIndication(SocketAddr::V4(_), _) => 0,
            Form::DataIndication(SocketAddr::V6(_), _) => return None,
        };
        let value = Value {
            remote_ip: remote.ip().to_bits(),
            local_ip: local.ip().to_bits(),
            remote_port: remote.port(),
            local_port: local.port(),
            channel,
            worker: u8::try_from(forward.to.worker).ok()?,
            transport,
            sender,
            receiver: receiver.unwrap_or(sender),
        };
        let key = NarrowKey::new(key, sender)?;
        Some(Self { key, value })
    }

    pub(super) fn places(&self) -> Places {
        Places {
            sender: self.value.sender,
            receiver: (self.value.channel == 0).then_some(self.value.receiver),
        }
    }

    /// `body` on its way. `None` if an account that it needs is gone, which is never.
    pub(super) fn transmit(&self, accounts: &Accounts, body: Range<usize>) -> Option<Transmit> {
        let value = &self.value;
        let address = |ip, port| SocketAddrV4::new(Ipv4Addr::from_bits(ip), port).into();
        let tuple = FiveTuple {
            transport: value.transport,
            local: address(value.local_ip, value.local_port),
            remote: address(value.remote_ip, value.remote_port),
        };
        let worker = u16::from(value.worker);
        let to = Client { tuple, worker };
        if let Some(channel) = ChannelNumber::new(value.channel) {
            return Transmit::channel_data(to, channel, body);
        }
        let from = accounts.mask(value.sender)?;
        let number = accounts.get(value.receiver)?.next_indication();
        Transmit::data_indication(to, from.into(), number, body)
    }
}

/// The accounts that an entry holds.
#[derive(Clone, Copy)]
pub(super) struct Places {
    pub(super) sender: Place,
    pub(super) receiver: Option<Place>,
}

/// What any other entry is looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct WideKey {
    pub(super) sender: Place,
    pub(super) way: Way,
}

/// Any other entry.
pub(super) struct Wide {
    pub(super) key: WideKey,
    pub(super) forward: Forward,
    pub(super) receiver: Option<Place>,
}

impl Wide {
    pub(super) fn places(&self) -> Places {
        Places {
            sender: self.key.sender,
            receiver: self.receiver,
        }
    }
}
