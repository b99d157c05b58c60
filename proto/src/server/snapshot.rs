//! Writing the relay's state out and reading it back, so that a new process can take over.
//!
//! A snapshot holds clients' addresses. It is for a pipe between two processes of one operator, or
//! for an encrypted file; it must not be stored or shown in the clear.

use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

use super::{Relay, Timer};
use crate::allocation::Allocation;
use crate::auth::ticket::CallId;
use crate::calls::Call;
use crate::config::Config;
use crate::id::AllocationId;
use crate::rng::Rng;
use crate::time::Timestamp;

const VERSION: u16 = 3;

#[derive(Serialize, Deserialize)]
struct Snapshot {
    version: u16,
    last_id: u64,
    rng: Rng,
    allocations: Vec<(AllocationId, Allocation)>,
    calls: Vec<(CallId, Call)>,
    floor: u64,
}

/// Why a snapshot was not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// It does not read as a snapshot.
    Malformed,
    /// Another version of vizard wrote it.
    Version,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the snapshot is damaged",
            Self::Version => "the snapshot was written by another version of vizard",
        })
    }
}

impl core::error::Error for SnapshotError {}

impl Relay {
    /// The state as bytes. Every output must have been polled before. The same state gives the
    /// same bytes.
    #[expect(clippy::disallowed_methods, reason = "sorted before anybody sees it")]
    pub fn snapshot(&self) -> Vec<u8> {
        let mut allocations: Vec<_> = self
            .allocations
            .iter()
            .map(|(id, allocation)| (*id, allocation.clone()))
            .collect();
        allocations.sort_unstable_by_key(|(id, _)| *id);
        let snapshot = Snapshot {
            version: VERSION,
            last_id: self.last_id,
            rng: self.rng.clone(),
            allocations,
            calls: self.calls.export(),
            floor: self.calls.floor(),
        };
        // Only a type that cannot say its length fails, and these are vectors.
        postcard::to_allocvec(&snapshot).unwrap_or_default()
    }

    /// A relay that goes on where the snapshot's left off. Its clock must go on as well: the new
    /// caller's timestamps continue those of the old one.
    pub fn restore(config: Config, seed: [u8; 32], snapshot: &[u8]) -> Result<Self, SnapshotError> {
        let (version, _) =
            postcard::take_from_bytes::<u16>(snapshot).map_err(|_| SnapshotError::Malformed)?;
        if version != VERSION {
            return Err(SnapshotError::Version);
        }
        let snapshot: Snapshot =
            postcard::from_bytes(snapshot).map_err(|_| SnapshotError::Malformed)?;
        let mut relay = Self::new(config, seed);
        relay.rng = snapshot.rng;
        relay.last_id = snapshot.last_id;
        let ids: Vec<CallId> = snapshot.calls.iter().map(|(id, _)| *id).collect();
        relay
            .calls
            .import(relay.config.realm.as_bytes(), snapshot.calls);
        // Their meters are their calls'.
        for (id, allocation) in snapshot.allocations {
            relay.adopt(id, allocation);
        }
        relay.calls.raise_floor(snapshot.floor);
        for id in ids {
            relay.watch_call(id);
            if relay.calls.doomed(id).next().is_some() {
                relay.timers.insert((Timestamp::ZERO, Timer::Doomed(id)));
            }
        }
        Ok(relay)
    }

    fn adopt(&mut self, id: AllocationId, mut allocation: Allocation) {
        for address in allocation.masks.iter() {
            self.masks.claim(address, id);
        }
        let ticket = &allocation.ticket;
        allocation.account = allocation
            .account
            .restore(Allocation::kbps(ticket), self.calls.meter(ticket));
        self.by_tuple.insert(allocation.client.tuple, id);
        allocation.deadline = allocation.next_deadline();
        self.timers
            .insert((allocation.deadline, Timer::Allocation(id)));
        self.allocations.insert(id, allocation);
    }
}
