//! What has to survive a restart: calls, and which requests were already carried out.
//!
//! A call is kept until shortly after its tickets have expired. What it says of the parties is what
//! the platform said: no address is in it, no credential, and nothing is kept longer than that.

#[cfg(test)]
mod damage;
mod embedded;
mod error;
mod found;
mod mark;
mod record;
#[cfg(test)]
mod suite;
mod tables;
mod writer;

use vizard_proto::auth::ticket::CallId;

use super::calls::Call;

pub use embedded::Embedded;
pub use error::{StoreError, StoreFault};
pub use found::{Found, Past, StoreId};

/// How long a call is remembered after its tickets have expired, in seconds.
pub const REMEMBERED_AFTER_EXPIRY: u64 = 600;
/// How long a request that came with an `Idempotency-Key` is remembered, in seconds.
pub const REQUEST_REMEMBERED: u64 = 86_400;

/// Keeps calls and requests.
pub trait Store: Send + Sync {
    /// Keeps all of `changes` or none. When it returns `Ok`, they survive a power cut. What is
    /// handed in first is kept first.
    fn commit(&self, changes: &[Change<'_>]) -> Result<(), StoreError>;

    /// The call with that name.
    fn call(&self, id: CallId) -> Result<Option<Call>, StoreError>;

    /// At most `most` calls after `after`, in the order of their names.
    fn calls(&self, after: Option<CallId>, most: usize) -> Result<Vec<Kept>, StoreError>;

    /// At most `most` ended calls after `after`, in the order of their ends (Unix seconds).
    fn ended(&self, after: Option<(u64, CallId)>, most: usize) -> Result<Vec<Kept>, StoreError>;

    /// The request with that key, unless it is too old at `now` (Unix seconds).
    fn request(&self, key: &RequestKey, now: u64) -> Result<Option<DoneRequest>, StoreError>;

    /// Forgets what is no longer to be remembered at `now` (Unix seconds), some of it per call;
    /// returns how much.
    fn forget(&self, now: u64) -> Result<usize, StoreError>;

    /// Unix seconds of the latest expiry of a forgotten call: a ticket that expires no later is
    /// good only for a call that is still known.
    fn ended_before(&self) -> Result<u64, StoreError>;
}

/// Something to keep.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// A call as it is from here on.
    Call(&'a Call),
    /// What the parties of a call have sent, and when they connected; the rest of it is kept as
    /// it is.
    Usage(&'a Call),
    /// A request that was carried out.
    Request(&'a RequestKey, &'a DoneRequest),
}

/// A call as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub id: CallId,
    /// Unix seconds at which its tickets expire.
    pub expires_at: u64,
    /// The call; `None` if this version can't read what another wrote.
    pub call: Option<Call>,
}

/// Hash of who asked, where, and the `Idempotency-Key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey(pub [u8; 32]);

/// A request that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoneRequest {
    /// Hash of its body.
    pub body: [u8; 32],
    /// The call that it was about.
    pub call: CallId,
    /// Unix seconds until when it is remembered.
    pub until: u64,
}
