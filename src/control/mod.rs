//! Decides calls, and keeps them.

pub mod policy;
