//! Decides calls, keeps them, and answers the API.

pub mod calls;
pub mod keys;
pub mod policy;
pub mod problem;
pub mod registry;
pub mod store;
pub mod switchboard;

use std::sync::Arc;

use vizard_proto::contract::{AllocationId, Command, CommandError, Event, Usage};

/// Tells the time in Unix seconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What control needs of the relay.
pub trait RelayControl: Send + Sync {
    /// Has the relay do something, at once.
    fn command(&self, command: Command) -> Result<(), CommandError>;

    /// How much the relay carries.
    fn load(&self) -> Load;
}

/// How much a relay carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Calls that take a place.
    pub calls: usize,
    /// Places for calls.
    pub room: usize,
}

impl Load {
    /// Whether there is no place for another call.
    pub fn is_full(&self) -> bool {
        self.calls >= self.room
    }
}

/// What the relay tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Something happened.
    Event(Event),
    /// An allocation sent so much since the last report about it.
    Usage(AllocationId, Usage),
}
