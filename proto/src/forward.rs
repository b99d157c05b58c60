//! Forwarding entries: all that the packet path reads.
//!
//! When two allocations have bound channels to each other, relaying is a circuit: a `ChannelData`
//! message that comes in from one client leaves towards the other with another channel number and
//! nothing else changed. Each worker keeps a [`ForwardTable`] of its own, so that it needs no lock.

use ahash::RandomState;
use alloc::vec::Vec;
use core::hint::black_box;
use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use core::num::NonZeroU32;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use serde::{Deserialize, Serialize};

use crate::address::{Client, FiveTuple, Transport};
use crate::channel_data::{self, ChannelNumber};
use crate::contract::{AllocationId, DropReason, Usage};
use crate::rate::Meters;
use crate::time::Timestamp;

/// What an incoming `ChannelData` message is looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ForwardKey {
    /// The sender's 5-tuple.
    pub tuple: FiveTuple,
    /// The channel that it sent on.
    pub channel: ChannelNumber,
}

/// Where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// The receiver.
    pub to: Client,
    /// The receiver's channel back to the sender.
    pub channel: ChannelNumber,
    /// The sender's allocation: whose traffic this is.
    pub allocation: AllocationId,
    /// The sender's rate limit in kilobits of payload per second.
    pub kbps: Option<NonZeroU32>,
}

/// One packet's next hop. The message itself was changed in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The receiver.
    pub to: Client,
    /// How many bytes of the message to send: header and payload.
    pub len: usize,
    /// How many zero bytes to send behind it (stream receivers only).
    pub padding: usize,
}

/// A worker's copy of the forwarding entries.
///
/// Nearly all entries lead from IPv4 to IPv4. Those are kept in 64 bytes, one cache line, under a
/// 16-byte key; the rest take the longer way.
pub struct ForwardTable {
    narrow: HashTable<Narrow>,
    wide: HashTable<Wide>,
    hasher: RandomState,
    meters: Meters,
    used: Vec<ForwardKey>,
}

/// How many packets [`ForwardTable::look_ahead`] looks at.
const LOOK_AHEAD: usize = 32;

/// Traffic since the last drain; 32 bits of packets are hours at any rate that one flow reaches.
#[derive(Clone, Copy, Default)]
struct Tally {
    packets: u32,
    bytes: u64,
}

#[repr(align(64))]
struct Narrow {
    key: u128,
    tally: Tally,
    allocation: AllocationId,
    remote: SocketAddrV4,
    local: SocketAddrV4,
    kbps: Option<NonZeroU32>,
    channel: ChannelNumber,
    hand: u16,
    transport: Transport,
}

const _: () = assert!(size_of::<Narrow>() == 64, "an entry is one cache line");

struct Wide {
    key: ForwardKey,
    forward: Forward,
    tally: Tally,
}

impl ForwardTable {
    /// An empty table. `seed` must be unknown to attackers, who choose the keys.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            narrow: HashTable::new(),
            wide: HashTable::new(),
            hasher: crate::hash::state(seed, "forward"),
            meters: Meters::new(seed),
            used: Vec::new(),
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.narrow.len() + self.wide.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts an entry in, replacing the one under the same key.
    pub fn insert(&mut self, key: ForwardKey, forward: Forward) {
        // In this order the meter of an allocation with one entry survives the entry's renewal.
        if let Some(kbps) = forward.kbps {
            self.meters.attach(forward.allocation, kbps);
        }
        self.remove(&key);
        let hasher = &self.hasher;
        if let Some(entry) = Narrow::new(&key, &forward) {
            self.narrow
                .insert_unique(hasher.hash_one(entry.key), entry, |e| {
                    hasher.hash_one(e.key)
                });
        } else {
            let entry = Wide {
                key,
                forward,
                tally: Tally::default(),
            };
            self.wide
                .insert_unique(hasher.hash_one(key), entry, |e| hasher.hash_one(e.key));
        }
        // Room for every entry, so that noting its first packet never allocates.
        self.used
            .reserve(self.len().saturating_sub(self.used.len()));
    }

    /// Takes an entry out; what it carried since the last drain is the answer.
    pub fn remove(&mut self, key: &ForwardKey) -> Option<(AllocationId, Usage)> {
        let (allocation, kbps, tally) = self.take(key)?;
        if kbps.is_some() {
            self.meters.detach(allocation);
        }
        Some((allocation, tally.into()))
    }

    fn take(&mut self, key: &ForwardKey) -> Option<(AllocationId, Option<NonZeroU32>, Tally)> {
        if let Some(narrow) = narrow_key(&key.tuple, key.channel) {
            let hash = self.hasher.hash_one(narrow);
            if let Entry::Occupied(entry) =
                self.narrow
                    .entry(hash, |e| e.key == narrow, |e| self.hasher.hash_one(e.key))
            {
                let (entry, _) = entry.remove();
                return Some((entry.allocation, entry.kbps, entry.tally));
            }
        }
        let hash = self.hasher.hash_one(key);
        match self
            .wide
            .entry(hash, |e| e.key == *key, |e| self.hasher.hash_one(e.key))
        {
            Entry::Occupied(entry) => {
                let (entry, _) = entry.remove();
                Some((entry.forward.allocation, entry.forward.kbps, entry.tally))
            }
            Entry::Vacant(_) => None,
        }
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.narrow.clear();
        self.wide.clear();
        self.meters.clear();
        self.used.clear();
    }

    /// Decides about one `ChannelData` message and turns it, in place, into the one to send on.
    /// [`DropReason::NoForward`] means that the [`Relay`](crate::Relay) must be asked.
    pub fn forward(
        &mut self,
        now: Timestamp,
        tuple: &FiveTuple,
        bytes: &mut [u8],
    ) -> Result<Hop, DropReason> {
        let message =
            channel_data::parse_datagram(bytes).ok_or(DropReason::MalformedChannelData)?;
        let payload = message.payload.len();
        let route = self.route(now, tuple, message.channel, payload)?;
        let header = bytes
            .first_chunk_mut::<2>()
            .ok_or(DropReason::MalformedChannelData)?;
        *header = route.channel.get().to_be_bytes();
        let len = message.payload.end;
        let padding = if route.to.tuple.transport.is_stream() {
            len.next_multiple_of(4) - len
        } else {
            0
        };
        Ok(Hop {
            to: route.to,
            len,
            padding,
        })
    }

    /// Brings the entries for a batch of packets into the processor's cache, all at the same time.
    /// Looked up one after the other, each would wait for memory on its own: with 100,000 circuits
    /// that wait is most of the work. Packets that are no `ChannelData` are passed over.
    pub fn look_ahead<'a>(&self, packets: impl Iterator<Item = (&'a FiveTuple, &'a [u8])>) {
        let mut hashes = [(0, 0); LOOK_AHEAD];
        let mut count = 0;
        let keys = packets.filter_map(|(tuple, bytes)| {
            let channel = u16::from_be_bytes(*bytes.first_chunk()?);
            narrow_key(tuple, ChannelNumber::new(channel)?)
        });
        for (place, key) in hashes.iter_mut().zip(keys) {
            *place = (key, self.hasher.hash_one(key));
            count += 1;
        }
        let found = hashes[..count]
            .iter()
            .filter(|(key, hash)| self.narrow.find(*hash, |entry| entry.key == *key).is_some());
        black_box(found.count());
    }

    fn route(
        &mut self,
        now: Timestamp,
        tuple: &FiveTuple,
        channel: ChannelNumber,
        payload: usize,
    ) -> Result<Route, DropReason> {
        if let Some(key) = narrow_key(tuple, channel) {
            let hash = self.hasher.hash_one(key);
            if let Some(entry) = self.narrow.find_mut(hash, |e| e.key == key) {
                if entry.kbps.is_some() && !self.meters.admit(now, entry.allocation, payload) {
                    return Err(DropReason::OverRate);
                }
                if entry.tally.add(payload) {
                    self.used.push(ForwardKey {
                        tuple: *tuple,
                        channel,
                    });
                }
                return Ok(entry.route());
            }
        }
        if self.wide.is_empty() {
            return Err(DropReason::NoForward);
        }
        let key = ForwardKey {
            tuple: *tuple,
            channel,
        };
        let entry = self
            .wide
            .find_mut(self.hasher.hash_one(key), |e| e.key == key)
            .ok_or(DropReason::NoForward)?;
        let forward = &entry.forward;
        if forward.kbps.is_some() && !self.meters.admit(now, forward.allocation, payload) {
            return Err(DropReason::OverRate);
        }
        if entry.tally.add(payload) {
            self.used.push(key);
        }
        Ok(Route {
            to: forward.to,
            channel: forward.channel,
        })
    }

    /// Reports what was carried since the last drain, per sender's allocation.
    pub fn drain_usage(&mut self, mut report: impl FnMut(AllocationId, Usage)) {
        let mut used = core::mem::take(&mut self.used);
        for key in used.drain(..) {
            if let Some((allocation, tally)) = self.tally(&key) {
                let carried = core::mem::take(tally);
                if carried.packets > 0 {
                    report(allocation, carried.into());
                }
            }
        }
        self.used = used;
    }

    fn tally(&mut self, key: &ForwardKey) -> Option<(AllocationId, &mut Tally)> {
        if let Some(narrow) = narrow_key(&key.tuple, key.channel) {
            let hash = self.hasher.hash_one(narrow);
            if let Some(entry) = self.narrow.find_mut(hash, |e| e.key == narrow) {
                return Some((entry.allocation, &mut entry.tally));
            }
        }
        let entry = self
            .wide
            .find_mut(self.hasher.hash_one(key), |e| e.key == *key)?;
        Some((entry.forward.allocation, &mut entry.tally))
    }
}

struct Route {
    to: Client,
    channel: ChannelNumber,
}

impl Narrow {
    fn new(key: &ForwardKey, forward: &Forward) -> Option<Self> {
        let FiveTuple {
            transport,
            local: SocketAddr::V4(local),
            remote: SocketAddr::V4(remote),
        } = forward.to.tuple
        else {
            return None;
        };
        Some(Self {
            key: narrow_key(&key.tuple, key.channel)?,
            tally: Tally::default(),
            allocation: forward.allocation,
            remote,
            local,
            kbps: forward.kbps,
            channel: forward.channel,
            hand: forward.to.hand,
            transport,
        })
    }

    fn route(&self) -> Route {
        let tuple = FiveTuple {
            transport: self.transport,
            local: SocketAddr::V4(self.local),
            remote: SocketAddr::V4(self.remote),
        };
        Route {
            to: Client {
                tuple,
                hand: self.hand,
            },
            channel: self.channel,
        }
    }
}

impl Tally {
    /// Counts one packet; whether it is the first since the last drain.
    fn add(&mut self, payload: usize) -> bool {
        let first = self.packets == 0;
        self.packets = self.packets.saturating_add(1);
        self.bytes = self.bytes.saturating_add(payload as u64);
        first
    }
}

impl From<Tally> for Usage {
    fn from(tally: Tally) -> Self {
        Self {
            packets: u64::from(tally.packets),
            bytes: tally.bytes,
        }
    }
}

/// An IPv4 5-tuple and a channel in 122 bits.
fn narrow_key(tuple: &FiveTuple, channel: ChannelNumber) -> Option<u128> {
    let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (tuple.local, tuple.remote) else {
        return None;
    };
    let transport = u128::from(tuple.transport.is_stream());
    Some(half(remote) << 80 | half(local) << 32 | u128::from(channel.get()) << 8 | transport)
}

fn half(address: SocketAddrV4) -> u128 {
    u128::from(Ipv4Addr::to_bits(*address.ip())) << 16 | u128::from(address.port())
}
