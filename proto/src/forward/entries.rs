//! All entries of a table, in the form that each needs.

use core::ops::Range;

use ahash::RandomState;

use super::accounts::{Accounts, Place};
use super::clients::Clients;
use super::entry::{Narrow, NarrowKey, Places, Wide, WideKey};
use super::segments::Segments;
use super::{Forward, ForwardKey, Way};
use crate::address::FiveTuple;
use crate::channel_data::ChannelNumber;
use crate::transmit::Transmit;

pub(super) struct Entries {
    narrow: Segments<Narrow>,
    wide: Segments<Wide>,
    hasher: RandomState,
}

/// An entry that was found.
pub(super) enum Found<'e> {
    Narrow(&'e Narrow),
    Wide(&'e Wide),
}

impl Entries {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self {
            narrow: Segments::new(),
            wide: Segments::new(),
            hasher: crate::hash::state(seed, "forward"),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.narrow.len() + self.wide.len()
    }

    /// Puts in an entry whose key is not in yet.
    pub(super) fn insert(&mut self, key: &ForwardKey, forward: Forward, places: Places) {
        let hasher = &self.hasher;
        if let Some(entry) = Narrow::new(key, &forward, places) {
            let hash = hasher.hash_one(entry.key);
            self.narrow
                .insert(hash, entry, |entry| hasher.hash_one(entry.key));
        } else {
            let entry = Wide {
                key: WideKey {
                    sender: places.sender,
                    way: key.way,
                },
                forward,
                receiver: places.receiver,
            };
            let hash = hasher.hash_one(entry.key);
            self.wide
                .insert(hash, entry, |entry| hasher.hash_one(entry.key));
        }
    }

    /// Takes an entry out; the accounts that it held are the answer.
    pub(super) fn remove(&mut self, key: &ForwardKey, sender: Place) -> Option<Places> {
        if let Some(narrow) = NarrowKey::new(key, sender) {
            let hash = self.hasher.hash_one(narrow);
            if let Some(entry) = self.narrow.remove(hash, |entry| entry.key == narrow) {
                return Some(entry.places());
            }
        }
        let key = WideKey {
            sender,
            way: key.way,
        };
        let hash = self.hasher.hash_one(key);
        let entry = self.wide.remove(hash, |entry| entry.key == key)?;
        Some(entry.places())
    }

    /// The entry for `key`. Between IPv4 clients, and from their channels, that is one look-up.
    pub(super) fn find(&self, clients: &Clients, key: &ForwardKey) -> Option<Found<'_>> {
        if let Way::Channel(channel) = key.way
            && let Some(narrow) = NarrowKey::by_channel(&key.tuple, channel)
            && let Some(entry) = self.find_narrow(narrow)
        {
            return Some(Found::Narrow(entry));
        }
        let sender = clients.find(&key.tuple)?.place;
        if let Way::Peer(peer) = &key.way
            && let Some(narrow) = NarrowKey::by_peer(sender, peer)
            && let Some(entry) = self.find_narrow(narrow)
        {
            return Some(Found::Narrow(entry));
        }
        if self.wide.len() == 0 {
            return None;
        }
        let key = WideKey {
            sender,
            way: key.way,
        };
        let hash = self.hasher.hash_one(key);
        let entry = self.wide.find(hash, |entry| entry.key == key)?;
        Some(Found::Wide(entry))
    }

    /// The sender's account, if there is an entry from IPv4 to IPv4.
    pub(super) fn sender(&self, tuple: &FiveTuple, channel: ChannelNumber) -> Option<Place> {
        let entry = self.find_narrow(NarrowKey::by_channel(tuple, channel)?)?;
        Some(entry.places().sender)
    }

    fn find_narrow(&self, key: NarrowKey) -> Option<&Narrow> {
        let hash = self.hasher.hash_one(key);
        self.narrow.find(hash, |entry| entry.key == key)
    }

    pub(super) fn clear(&mut self) {
        self.narrow.clear();
        self.wide.clear();
    }
}

impl Found<'_> {
    /// The accounts that it holds.
    pub(super) fn places(&self) -> Places {
        match self {
            Self::Narrow(entry) => entry.places(),
            Self::Wide(entry) => entry.places(),
        }
    }

    /// `body` on its way. `None` if it does not fit.
    pub(super) fn transmit(&self, accounts: &Accounts, body: Range<usize>) -> Option<Transmit> {
        match self {
            Self::Narrow(entry) => entry.transmit(accounts, body),
            Self::Wide(entry) => entry.forward.form.wrap(entry.forward.to, body),
        }
    }
}
