//! Decides calls, and keeps them.

pub mod calls;
pub mod policy;
pub mod store;
