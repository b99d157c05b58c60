//! What a data plane reports, in the order in which it does.

use vizard_proto::contract::Event;
use vizard_proto::id::AllocationId;
use vizard_proto::usage::Usage;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Something happened to an allocation.
    Event(Event),
    /// An allocation's client sent so much more.
    Usage(AllocationId, Usage),
}
