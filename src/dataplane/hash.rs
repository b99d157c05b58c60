//! Hash states for maps whose keys strangers choose.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A state that nobody can guess, fresh for every map.
pub(super) fn state() -> ahash::RandomState {
    let random = || RandomState::new().build_hasher().finish();
    ahash::RandomState::with_seeds(random(), random(), random(), random())
}
