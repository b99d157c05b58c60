//! What the relay and the workers share of an allocation: its sender's rate, what is left
//! of its allowance, and the count of what its client was sent.

use alloc::sync::Arc;
use core::fmt;
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use serde::{Deserialize, Serialize};

use crate::config::LARGEST_PAYLOAD;
use crate::id::AllocationId;
use crate::rate::Meter;
use crate::time::Timestamp;
use crate::usage::DropReason;

/// How many DTLS handshake packets above the cap an allocation may send: some tries at a handshake
/// whose certificates make it long.
const LARGE_PACKETS: u32 = 64;

/// One allocation's account. Clones are the same account: the relay and the workers have one each.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "State", into = "State")]
pub struct Account(Arc<Inner>);

struct Inner {
    allocation: AllocationId,
    limit: Option<(NonZeroU32, Meter)>,
    indications: AtomicU64,
    large: AtomicU32,
}

/// An account as a snapshot holds it; its meter is its ticket's.
#[derive(Serialize, Deserialize)]
struct State {
    allocation: AllocationId,
    indications: u64,
    large: u32,
}

impl Account {
    /// A fresh account of `allocation`, whose ticket may send `kbps` together with what else is
    /// charged to `meter`.
    pub fn new(allocation: AllocationId, kbps: Option<NonZeroU32>, meter: Meter) -> Self {
        Self(Arc::new(Inner {
            allocation,
            limit: kbps.map(|kbps| (kbps, meter)),
            indications: AtomicU64::new(0),
            large: AtomicU32::new(0),
        }))
    }

    /// The same as of a snapshot, with the limit that was left out there.
    pub(crate) fn restore(self, kbps: Option<NonZeroU32>, meter: Meter) -> Self {
        let State {
            allocation,
            indications,
            large,
        } = self.into();
        Self(Arc::new(Inner {
            allocation,
            limit: kbps.map(|kbps| (kbps, meter)),
            indications: AtomicU64::new(indications),
            large: AtomicU32::new(large),
        }))
    }

    /// Whose it is.
    pub fn allocation(&self) -> AllocationId {
        self.0.allocation
    }

    /// Whether its client's rate is limited.
    pub(crate) fn is_limited(&self) -> bool {
        self.0.limit.is_some()
    }

    /// Whether its client may send `payload`, which is then charged to it.
    pub(crate) fn charge(
        &self,
        now: Timestamp,
        cap: usize,
        payload: &[u8],
    ) -> Result<(), DropReason> {
        check_size(cap, payload)?;
        if let Some((kbps, meter)) = &self.0.limit
            && !meter.take(now, *kbps, payload.len())
        {
            return Err(DropReason::OverRate);
        }
        // Many threads may come here at a time, each of which takes one.
        if payload.len() > cap && self.0.large.fetch_add(1, Ordering::Relaxed) >= LARGE_PACKETS {
            self.0.large.store(LARGE_PACKETS, Ordering::Relaxed);
            return Err(DropReason::TooLarge);
        }
        Ok(())
    }

    /// The number of the next Data indication to its client.
    pub(crate) fn next_indication(&self) -> u64 {
        self.0.indications.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// The sizes that may pass between any two clients: up to the cap, and up to [`LARGEST_PAYLOAD`] for
/// a DTLS handshake (RFC 7983), of which an allocation has an allowance.
pub(crate) fn check_size(cap: usize, payload: &[u8]) -> Result<(), DropReason> {
    let is_handshake = matches!(payload.first(), Some(20..=22));
    let most = if is_handshake { LARGEST_PAYLOAD } else { cap };
    if payload.len() <= most.min(LARGEST_PAYLOAD) {
        Ok(())
    } else {
        Err(DropReason::TooLarge)
    }
}

impl From<State> for Account {
    fn from(state: State) -> Self {
        Self(Arc::new(Inner {
            allocation: state.allocation,
            limit: None,
            indications: AtomicU64::new(state.indications),
            large: AtomicU32::new(state.large),
        }))
    }
}

impl From<Account> for State {
    fn from(account: Account) -> Self {
        Self {
            allocation: account.allocation(),
            indications: account.0.indications.load(Ordering::Relaxed),
            large: account.0.large.load(Ordering::Relaxed),
        }
    }
}

/// Accounts of the same allocation are the same.
impl PartialEq for Account {
    fn eq(&self, other: &Self) -> bool {
        self.allocation() == other.allocation()
    }
}

impl Eq for Account {}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Account").field(&self.allocation()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account::new(AllocationId(1), None, Meter::default())
    }

    #[test]
    fn above_the_cap_only_handshakes_pass_and_not_for_ever() {
        let account = account();
        let charge = |first, len| {
            let mut payload = std::vec![0; len];
            payload[0] = first;
            account.charge(Timestamp::ZERO, 1200, &payload)
        };
        assert_eq!(charge(0x80, 1200), Ok(()));
        assert_eq!(charge(0x80, 1201), Err(DropReason::TooLarge));
        assert_eq!(charge(23, 1201), Err(DropReason::TooLarge));
        assert_eq!(charge(22, 4097), Err(DropReason::TooLarge));
        for _ in 0..LARGE_PACKETS {
            assert_eq!(charge(22, 4096), Ok(()));
        }
        for _ in 0..3 {
            assert_eq!(charge(20, 1201), Err(DropReason::TooLarge));
        }
        assert_eq!(charge(20, 1200), Ok(()));
    }

    #[test]
    fn a_snapshot_keeps_the_counts() {
        let account = account();
        assert_eq!(
            (account.next_indication(), account.next_indication()),
            (1, 2)
        );
        let bytes = postcard::to_allocvec(&account).expect("it serializes");
        let read: Account = postcard::from_bytes(&bytes).expect("what was written");
        let read = read.restore(None, Meter::default());
        assert_eq!(
            (read.allocation(), read.next_indication()),
            (AllocationId(1), 3)
        );
    }
}
