//! Names of things.

use serde::{Deserialize, Serialize};

/// Names one allocation for as long as the process lives; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AllocationId(pub u64);
