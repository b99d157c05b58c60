//! What workers follow: the core's settings, and how packets travel. Changed by the control side,
//! looked at by each worker before it deals with a batch.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vizard_proto::config::Config;
use vizard_proto::contract::Command;

use super::udp::FastPath;

/// See the module's description.
pub(super) struct Rules {
    config: Mutex<Arc<Config>>,
    /// Counts the changes of `config`.
    version: AtomicU64,
    /// [`FastPath`] as a number.
    fast_path: AtomicU8,
    /// In nanoseconds.
    coalesce: AtomicU64,
}

impl Rules {
    pub(super) fn new(config: Config, fast_path: FastPath, coalesce: Duration) -> Self {
        let rules = Self {
            config: Mutex::new(Arc::new(config)),
            version: AtomicU64::new(0),
            fast_path: AtomicU8::new(fast_path as u8),
            coalesce: AtomicU64::new(0),
        };
        rules.set_coalesce(coalesce);
        rules
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Config>> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The core's settings.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.lock())
    }

    /// The core's settings, if they are not those of version `seen`, which is then brought up to
    /// date.
    pub(super) fn news(&self, seen: &mut u64) -> Option<Arc<Config>> {
        let version = self.version.load(Ordering::Acquire);
        (version != std::mem::replace(seen, version)).then(|| self.config())
    }

    /// Has workers follow what the relay was told.
    pub(super) fn follow(&self, command: &Command) {
        let mut config = self.lock();
        match command {
            Command::SetPolicy { masking, limits } => {
                let config = Arc::make_mut(&mut config);
                config.masking = masking.clone();
                config.limits = limits.clone();
            }
            Command::SetTicketKeys(keys) => {
                Arc::make_mut(&mut config).tickets = Arc::clone(keys);
            }
            Command::SetClock(clock) => Arc::make_mut(&mut config).clock = *clock,
            Command::OpenCall { .. } | Command::Revoke { .. } | Command::EndedBefore(_) => return,
        }
        self.version.fetch_add(1, Ordering::Release);
    }

    /// How datagrams are to travel.
    pub(super) fn fast_path(&self) -> FastPath {
        let number = self.fast_path.load(Ordering::Relaxed);
        let same = |it: &FastPath| *it as u8 == number;
        FastPath::ALL.into_iter().find(same).unwrap_or_default()
    }

    /// Chooses how datagrams travel; each worker follows with its next round.
    pub(super) fn set_fast_path(&self, fast_path: FastPath) {
        self.fast_path.store(fast_path as u8, Ordering::Relaxed);
    }

    /// How often workers are to look for datagrams while they keep coming.
    pub(super) fn coalesce(&self) -> Duration {
        Duration::from_nanos(self.coalesce.load(Ordering::Relaxed))
    }

    /// Chooses how often workers look for datagrams while they keep coming.
    pub(super) fn set_coalesce(&self, interval: Duration) {
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        self.coalesce.store(nanos, Ordering::Relaxed);
    }
}
