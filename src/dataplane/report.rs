//! What the control side hears of the data plane.

use vizard_proto::contract::Event;
use vizard_proto::id::AllocationId;
use vizard_proto::usage::Usage;

/// How much more allocations' clients sent to their peers.
pub type UsageBatch = Vec<(AllocationId, Usage)>;

/// Where the data plane's reports go. Workers call it, at times under the relay's lock: it must
/// neither wait nor use the [`Handle`](super::Handle).
pub trait Reporter: Send + Sync {
    /// Something happened to an allocation.
    fn event(&self, event: Event);

    /// Takes the batch that `batch` makes, if there is room for it; without, what was sent adds up
    /// where it is. What a client sent last may be reported after [`Event::AllocationEnded`].
    /// Returns whether there was room.
    fn usage(&self, batch: &mut dyn FnMut() -> UsageBatch) -> bool;
}

/// Load at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Allocations.
    pub allocations: usize,
    /// Open calls.
    pub calls: usize,
    /// Forwarding entries, up to a second old.
    pub forwards: usize,
}
