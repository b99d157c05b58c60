//! What is counted: traffic, and why packets went nowhere.

use core::ops::AddAssign;

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
    /// An indication or `ChannelData` from a 5-tuple that nobody here has an allocation on.
    NoAllocation = "no_allocation",
    /// `ChannelData` on a channel that is not bound.
    NoChannel = "no_channel",
    /// The sender has no permission for that peer.
    NoPermission = "no_permission",
    /// The peer is nobody that the sender may reach.
    ForeignPeer = "foreign_peer",
    /// The receiver has no permission for the sender.
    NotPermittedByPeer = "not_permitted_by_peer",
    /// The sender may not send there for whatever reason, and too many such packets come to ask the
    /// relay for it.
    NoForward = "no_forward",
    /// More than the ticket's rate.
    OverRate = "over_rate",
    /// A payload above the cap that is no DTLS handshake, or one too many of those.
    TooLarge = "too_large",
    /// Plain Binding while `answer_binding` is `never`.
    BindingRefused = "binding_refused",
    /// An answer did not fit the output buffer.
    NoRoom = "no_room",
}
