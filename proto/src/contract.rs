//! What goes into the core and what comes out of it.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::{AddAssign, Range};
use serde::{Deserialize, Serialize};

use crate::address::{Client, Family};
use crate::auth::ticket::{CallId, TicketKeys};
use crate::config::{Limits, Masking};
use crate::forward::{Forward, ForwardKey};
use crate::time::WallClock;

/// Names one allocation for as long as the process lives; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AllocationId(pub u64);

/// What to do with a packet that was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send the first so many bytes of the output buffer back to where the packet came from.
    Answer(usize),
    /// Send a part of the packet to somebody else.
    Forward(Delivery),
    /// Nothing is to be sent. Count it.
    Drop(DropReason),
}

/// A packet's payload on its way to another client:
/// on the wire come `prefix`, `payload`, and `padding` zero bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The receiver.
    pub to: Client,
    /// The header to put in front.
    pub prefix: Prefix,
    /// Which bytes of the packet that was handed in are the payload.
    pub payload: Range<usize>,
    /// How many zero bytes follow (0 to 3).
    pub padding: usize,
    /// Whose traffic this is: the sender's allocation.
    pub allocation: AllocationId,
}

/// A `ChannelData` or Data indication header, held inline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    bytes: [u8; Self::CAPACITY],
    len: usize,
}

impl Prefix {
    /// Room for the largest: STUN header, XOR-PEER-ADDRESS with an IPv6 address, DATA's header.
    pub const CAPACITY: usize = 48;

    /// A prefix that `write` fills in, returning how many bytes it wrote.
    pub(crate) fn build(write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<Self> {
        let mut bytes = [0; Self::CAPACITY];
        let len = write(&mut bytes)?;
        Some(Self { bytes, len })
    }

    /// The header's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Work that the core leaves for its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Every hand puts this entry into its [`ForwardTable`](crate::forward::ForwardTable).
    InstallForward(ForwardKey, Forward),
    /// Every hand takes this entry out.
    RemoveForward(ForwardKey),
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

/// Traffic in one direction: packets and their payload bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Packets.
    pub packets: u64,
    /// Bytes of payload, without any TURN header.
    pub bytes: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// Why a packet went nowhere. Each is a counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The label in metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

drop_reasons! {
    /// Neither STUN nor `ChannelData`.
    NotTurn = "not_turn",
    /// STUN that does not hold together.
    MalformedStun = "malformed_stun",
    /// `ChannelData` that does not hold together.
    MalformedChannelData = "malformed_channel_data",
    /// The source's prefix has had its unauthenticated answers.
    AnswerBudget = "answer_budget",
    /// A STUN response, or a method that no client sends.
    Unexpected = "unexpected",
    /// An indication or `ChannelData` from a 5-tuple without an allocation.
    NoAllocation = "no_allocation",
    /// `ChannelData` on a channel that is not bound.
    NoChannel = "no_channel",
    /// The sender has no permission for that peer.
    NoPermission = "no_permission",
    /// The peer is nobody that the sender may reach.
    ForeignPeer = "foreign_peer",
    /// The receiver has no permission for the sender.
    NotPermittedByPeer = "not_permitted_by_peer",
    /// Nothing in the forwarding table for it.
    NoForward = "no_forward",
    /// More than the ticket's rate.
    OverRate = "over_rate",
    /// Plain Binding while `answer_binding` is `never`.
    BindingRefused = "binding_refused",
    /// An answer did not fit the output buffer.
    NoRoom = "no_room",
}
