//! A client that takes its allocation along to another network (RFC 8016).
//!
//! Its mask address, permissions and channels stay, so that the other parties see nothing of it.

use super::{ErrorCode, Relay};
use crate::address::Client;
use crate::allocation::{Allocation, Mobility};
use crate::auth::login::Login;
use crate::auth::mobility;
use crate::id::AllocationId;
use crate::stun::{Message, TransactionId};

/// Whether a Refresh moves the allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Roaming {
    Yes,
    /// It names no mobility ticket, or did so before and is sent again.
    No,
}

impl Relay {
    /// The allocation that `ticket` is good for. 405 for a ticket that is not ours or was used.
    pub(super) fn roaming(
        &self,
        from: &Client,
        ticket: &[u8],
        message: &Message<'_>,
        login: &Login,
    ) -> Result<(AllocationId, Roaming), ErrorCode> {
        let opened = self.mobility.open(ticket);
        let (id, moves) = opened.ok_or(ErrorCode::MOBILITY_FORBIDDEN)?;
        let allocation = self.living(id)?;
        if !allocation.ticket.is_of_same_device(&login.ticket) {
            return Err(ErrorCode::WRONG_CREDENTIALS);
        }
        let state = allocation.mobility.ok_or(ErrorCode::MOBILITY_FORBIDDEN)?;
        match self.by_tuple.get(&from.tuple) {
            Some(there) if *there != id => Err(ErrorCode::ALLOCATION_MISMATCH),
            Some(_) if is_repeated(state, moves, message) => Ok((id, Roaming::No)),
            _ if moves == state.moves => Ok((id, Roaming::Yes)),
            _ => Err(ErrorCode::MOBILITY_FORBIDDEN),
        }
    }

    /// Puts the allocation onto another 5-tuple; what led to the old one leads there.
    pub(super) fn roam(&mut self, id: AllocationId, to: &Client, transaction: TransactionId) {
        let Some(allocation) = self.allocations.get_mut(&id) else {
            return;
        };
        let moves = allocation.mobility.map_or(0, |state| state.moves) + 1;
        allocation.mobility = Some(Mobility { moves, transaction });
        self.move_client(id, *to);
    }

    /// The ticket for the next move, where the client has asked for one.
    pub(super) fn mobility_ticket(
        &self,
        id: AllocationId,
        allocation: &Allocation,
    ) -> Option<[u8; mobility::LEN]> {
        let state = allocation.mobility?;
        Some(self.mobility.seal(id, state.moves))
    }
}

fn is_repeated(state: Mobility, moves: u64, message: &Message<'_>) -> bool {
    moves.checked_add(1) == Some(state.moves) && message.transaction_id() == state.transaction
}
