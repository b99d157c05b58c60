//! Forwarding entries: all that the packet path reads.
//!
//! While two parties may exchange packets there is an entry for what one sends to the other, by the
//! channel that it has bound and by the peer that a Send indication names. It says where the
//! payload goes and in which form. Each worker keeps a [`ForwardTable`] of its own, so that it needs
//! no lock; an entry goes to the one worker that its sender's packets arrive at.

mod accounts;
mod clients;
mod entries;
mod entry;
mod segments;

use core::hint::black_box;
use core::net::SocketAddr;
use core::ops::Range;

use crate::account::Account;
use crate::address::{Client, FiveTuple};
use crate::channel_data::ChannelNumber;
use crate::id::AllocationId;
use crate::time::Timestamp;
use crate::transmit::Transmit;
use crate::usage::{DropReason, Usage};
use accounts::Accounts;
use clients::{Clients, Known};
use entries::Entries;
use entry::Places;

/// What an incoming packet says about where it is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// `ChannelData` on this channel.
    Channel(ChannelNumber),
    /// A Send indication to this peer.
    Peer(SocketAddr),
}

/// What an entry is looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ForwardKey {
    /// The sender's 5-tuple.
    pub tuple: FiveTuple,
    /// What it wrote on the packet.
    pub way: Way,
}

/// Where a packet goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The receiver.
    pub to: Client,
    /// The form in which it gets the payload.
    pub form: Form,
}

/// The form in which a payload reaches its receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// On the channel that the receiver has bound to the sender.
    ChannelData(ChannelNumber),
    /// As a Data indication from the sender's mask address; the receiver's account numbers it.
    DataIndication(SocketAddr, Account),
}

impl Form {
    /// `body` in this form for `to`.
    pub(crate) fn wrap(&self, to: Client, body: Range<usize>) -> Option<Transmit> {
        match self {
            Self::ChannelData(channel) => Transmit::channel_data(to, *channel, body),
            Self::DataIndication(from, account) => {
                Transmit::data_indication(to, *from, account.next_indication(), body)
            }
        }
    }
}

/// A change of what a worker knows. To be applied in the order in which they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The client of this 5-tuple, whose packets arrive at the worker, has an allocation.
    Join {
        /// Its 5-tuple.
        tuple: FiveTuple,
        /// What it sends is charged here.
        account: Account,
        /// Whether its own address is kept from it.
        masked: bool,
    },
    /// It has none any more. Its entries were removed before.
    Leave(FiveTuple),
    /// Puts an entry in, in place of the one under the same key.
    Install(ForwardKey, Forward),
    /// Takes an entry out.
    Remove(ForwardKey),
}

/// A worker's copy of the clients that send to it and of their forwarding entries.
///
/// Nearly all entries lead from IPv4 to IPv4: those have a key of 16 bytes and a value of 24. The
/// rest take more room. Whatever grows does so in steps.
pub struct ForwardTable {
    clients: Clients,
    accounts: Accounts,
    entries: Entries,
}

/// How many packets [`ForwardTable::look_ahead`] looks at.
const LOOK_AHEAD: usize = 32;

impl ForwardTable {
    /// An empty table. `seed` must be unknown to attackers, who choose the keys.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            clients: Clients::new(seed),
            accounts: Accounts::new(seed),
            entries: Entries::new(seed),
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many clients there are.
    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// Whether the client of this 5-tuple has an allocation.
    pub fn knows(&self, tuple: &FiveTuple) -> bool {
        self.clients.find(tuple).is_some()
    }

    /// Whether it has one that keeps its own address from it.
    pub fn is_masked(&self, tuple: &FiveTuple) -> bool {
        self.clients.find(tuple).is_some_and(|client| client.masked)
    }

    /// Carries out a change. `report` hears what was sent since the last drain where nothing is
    /// left that it could be kept in.
    pub fn apply(&mut self, change: Change, mut report: impl FnMut(AllocationId, Usage)) {
        match change {
            Change::Join {
                tuple,
                account,
                masked,
            } => {
                self.leave(&tuple, &mut report);
                let place = self.accounts.hold(&account);
                self.clients.insert(tuple, Known { place, masked });
            }
            Change::Leave(tuple) => self.leave(&tuple, &mut report),
            Change::Install(key, forward) => self.install(&key, forward, &mut report),
            Change::Remove(key) => self.remove(&key, &mut report),
        }
    }

    fn leave(&mut self, tuple: &FiveTuple, report: &mut impl FnMut(AllocationId, Usage)) {
        if let Some(client) = self.clients.remove(tuple) {
            self.accounts.release(client.place, report);
        }
    }

    fn install(
        &mut self,
        key: &ForwardKey,
        forward: Forward,
        report: &mut impl FnMut(AllocationId, Usage),
    ) {
        let Some(client) = self.clients.find(&key.tuple) else {
            return; // Nothing is passed on for a client that is not known.
        };
        self.remove(key, report);
        let (sender, mut receiver) = (client.place, None);
        if let Form::DataIndication(from, account) = &forward.form {
            receiver = Some(self.accounts.hold(account));
            if let SocketAddr::V4(from) = from {
                self.accounts.set_mask(sender, *from);
            }
        }
        self.accounts.hold_again(sender);
        self.entries
            .insert(key, forward, Places { sender, receiver });
    }

    fn remove(&mut self, key: &ForwardKey, report: &mut impl FnMut(AllocationId, Usage)) {
        let Some(client) = self.clients.find(&key.tuple) else {
            return;
        };
        if let Some(places) = self.entries.remove(key, client.place) {
            self.accounts.release(places.sender, report);
            if let Some(receiver) = places.receiver {
                self.accounts.release(receiver, report);
            }
        }
    }

    /// Takes everything out, after a last report.
    pub fn clear(&mut self, mut report: impl FnMut(AllocationId, Usage)) {
        // What has been used since a drain began is for the next.
        while self.accounts.drain(usize::MAX, &mut report) {}
        self.accounts.drain(usize::MAX, report);
        self.clients.clear();
        self.entries.clear();
        self.accounts.clear();
    }

    /// Reports what was carried, per sender's allocation, of `most` of them at most. Returns
    /// whether there are more that were used before this drain began.
    pub fn drain_usage(&mut self, most: usize, report: impl FnMut(AllocationId, Usage)) -> bool {
        self.accounts.drain(most, report)
    }

    /// Whether there is something to report.
    pub fn has_usage(&self) -> bool {
        self.accounts.has_usage()
    }

    /// What becomes of the payload at `body` in `packet`, if there is an entry for it. A payload
    /// above `cap` has an allowance.
    pub fn forward(
        &mut self,
        now: Timestamp,
        cap: usize,
        key: &ForwardKey,
        packet: &[u8],
        body: Range<usize>,
    ) -> Option<Result<Transmit, DropReason>> {
        let found = self.entries.find(&self.clients, key)?;
        let payload = packet.get(body.clone())?;
        let Places { sender, .. } = found.places();
        if let Err(reason) = self.accounts.charge(sender, now, cap, payload) {
            return Some(Err(reason));
        }
        let transmit = found.transmit(&self.accounts, body);
        self.accounts.count(sender, payload.len());
        Some(transmit.ok_or(DropReason::NoRoom))
    }

    /// Brings the entries for a batch of packets into the processor's cache, all at the same time.
    /// Looked up one after the other, each would wait for memory on its own: with 100,000 circuits
    /// that wait is most of the work.
    pub fn look_ahead<'a>(&self, packets: impl Iterator<Item = (&'a FiveTuple, &'a [u8])>) {
        let sender = |(tuple, bytes): (&FiveTuple, &[u8])| {
            let channel = ChannelNumber::new(u16::from_be_bytes(*bytes.first_chunk()?));
            match channel {
                Some(channel) => self.entries.sender(tuple, channel),
                None => self.clients.find(tuple).map(|client| client.place),
            }
        };
        let mut senders = [None; LOOK_AHEAD];
        for (place, packet) in senders.iter_mut().zip(packets) {
            *place = sender(packet);
        }
        let senders = senders.into_iter().flatten();
        black_box(senders.map(|place| self.accounts.peek(place)).sum::<u32>());
    }
}
