//! Sizes: how much is received at once, and how large it may be.

/// How many datagrams are received before they are dealt with.
pub(super) const BATCH: usize = 32;
/// The largest packet that is taken in, in bytes: a payload of 4 KiB, which the core passes on, and
/// the headers and attributes around it.
pub(super) const SLOT: usize = 4096 + 256;
/// The largest message on its way to a connection of another worker: the largest packet after the
/// largest prefix, and padding.
pub(super) const HANDOVER: usize = SLOT + 64;
