//! What the control side hears of the data plane.

use vizard_proto::contract::Event;
use vizard_proto::id::AllocationId;
use vizard_proto::usage::Usage;

/// What the control side hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Something happened to an allocation.
    Event(Event),
    /// An allocation's client sent so much more to its peers. What it sent last may be reported up
    /// to a second after [`Event::AllocationEnded`].
    Usage(AllocationId, Usage),
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

/// Where reports go.
pub(super) type Reporter = Box<dyn Fn(Report) + Send + Sync>;
