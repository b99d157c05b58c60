//! What goes into the core and what comes out of it.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::address::{Client, Family};
use crate::auth::ticket::{CallId, TicketKeys};
use crate::config::{Limits, Masking};
use crate::forward::Change;
use crate::id::AllocationId;
use crate::stun::Header;
use crate::time::WallClock;
use crate::transmit::Transmit;
use crate::usage::DropReason;

/// What the relay says about a packet; [`Worker::settle`](crate::worker::Worker::settle) makes of
/// it what is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send the first so many bytes of the output buffer back to where the packet came from.
    Answer(usize),
    /// Send a part of the packet to another client. It is traffic of this allocation, its sender's.
    Transmit(AllocationId, Transmit),
    /// The ticket of the request with this header is good no more: 401 and a challenge.
    Refused(Header),
    /// Nothing is to be sent. Count it.
    Drop(DropReason),
}

/// Work that the core leaves for its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The worker of this index [applies](crate::worker::Worker::apply) this.
    Change(u16, Change),
    /// This client's connection is to be closed, and what still waits in it thrown away: its call
    /// has ended. Only for streams; a datagram that was sent cannot be called back.
    Disconnect(Client),
    /// Something happened that the control side may want to know.
    Event(Event),
}

/// What happened, without anybody's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A party's device made an allocation.
    AllocationCreated {
        /// Its name in usage reports.
        allocation: AllocationId,
        /// The call.
        call: CallId,
        /// The party's index.
        party: u8,
        /// The device's serial number.
        device: u8,
        /// The family of its first mask address.
        family: Family,
    },
    /// An allocation is gone.
    AllocationEnded {
        /// Its name in usage reports.
        allocation: AllocationId,
        /// The call.
        call: CallId,
        /// The party's index.
        party: u8,
        /// The device's serial number.
        device: u8,
        /// Why.
        reason: EndReason,
    },
}

/// Why an allocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The client asked for it (Refresh with lifetime 0).
    Deleted,
    /// It was not refreshed in time.
    Expired,
    /// Its ticket expired.
    TicketExpired,
    /// Its call, party or device was revoked.
    Revoked,
    /// The client's connection closed.
    Disconnected,
    /// Its ticket had as many as it may have and wanted another, and this one had been idle for
    /// the longest time.
    Evicted,
}

/// What the control side tells the core.
#[derive(Clone)]
pub enum Command {
    /// A call was opened: a place is taken for it until it is revoked or `until` passes.
    OpenCall {
        /// The call.
        call: CallId,
        /// Unix seconds at which its last ticket expires.
        until: u64,
        /// The usernames of its tickets, so that USERHASH can be resolved and it is known how many
        /// devices there are.
        usernames: Vec<String>,
    },
    /// Ends every allocation in the scope at once and lets none come back.
    Revoke {
        /// The call.
        call: CallId,
        /// Which part of it.
        scope: Scope,
        /// Unix seconds at which the scope's last ticket expires, after which there is nothing
        /// left to refuse.
        until: u64,
    },
    /// Calls that ended before this Unix second may have been forgotten, by an earlier process or
    /// by the store: a ticket that expires by then is refused unless its call is opened here. It
    /// never goes back. To be said before the first call is opened.
    EndedBefore(u64),
    /// From here on tickets are verified with these keys.
    SetTicketKeys(Arc<TicketKeys>),
    /// The wall clock was set, or the caller's own clock stood still while the machine slept: this
    /// is what time it is.
    SetClock(WallClock),
    /// From here on these settings hold. The pools stay as they were at the start.
    SetPolicy {
        /// Masking settings; pools excepted.
        masking: Masking,
        /// Limits.
        limits: Limits,
    },
}

/// A part of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// All of it.
    Call,
    /// Every device of one party.
    Party(u8),
    /// One device (serial number) of one party.
    Device(u8, u8),
}

impl Scope {
    /// Whether it holds that device of that party.
    pub fn covers(self, party: u8, device: u8) -> bool {
        match self {
            Self::Call => true,
            Self::Party(which) => which == party,
            Self::Device(which, serial) => which == party && serial == device,
        }
    }
}

/// Why a command was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// No place for another call or allocation, or no pool of mask addresses.
    Capacity,
}
