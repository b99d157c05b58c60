//! Whether workers serve clients: not yet, now, or no longer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// See the module's description.
#[derive(Default)]
pub(super) struct Lifecycle {
    serving: Mutex<bool>,
    began: Condvar,
    stopping: AtomicBool,
}

impl Lifecycle {
    /// Lets the workers serve clients.
    pub(super) fn start_serving(&self) {
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.began.notify_all();
    }

    /// Waits until clients are to be served, or the node stops.
    pub(super) fn wait_for_start(&self) {
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        while !*serving {
            serving = self
                .began
                .wait(serving)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Has the workers stop, those that wait included.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.start_serving();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}
