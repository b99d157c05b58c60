//! Values that must not be printed: they can be carried and used, but not shown.

use std::fmt;

/// A value whose `Display` and `Debug` hide it: an address, a user name, a secret.
///
/// ```
/// use vizard::telemetry::Redacted;
/// let peer = Redacted("203.0.113.9:5000");
/// assert_eq!(format!("{peer} {peer:?}"), "[redacted] [redacted]");
/// assert_eq!(peer.0.len(), 16);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Redacted<T>(pub T);

impl<T> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T> From<T> for Redacted<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}
