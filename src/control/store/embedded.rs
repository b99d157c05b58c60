//! The store in one file of the state directory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use redb::Database;
use vizard_proto::auth::ticket::CallId;

use super::found::Found;
use super::mark::{Mark, Position};
use super::tables::{self, Record};
use super::writer::{Job, Work, Writer};
use super::{Change, DoneRequest, Kept, RequestKey, Store, StoreError};
use crate::control::calls::Call;
use crate::telemetry::log;

/// Opens the database; whether to verify all of it first.
pub(super) type Opener = Box<dyn Fn(bool) -> Result<Database, redb::DatabaseError> + Send + Sync>;

/// One file, one process.
pub struct Embedded {
    slot: Arc<Slot>,
    writer: Writer,
}

/// The open database. After an error it refuses everything until it is opened again; so it is
/// closed then, and opened when it is needed: a disk that was full needs no restart.
pub(super) struct Slot {
    open: Opener,
    database: Mutex<Option<Arc<Database>>>,
}

impl Embedded {
    /// The store in the file at `path`, whatever became of it; see [`Found`] for those who care.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Found::at(path)?.take_up(now.as_secs())
    }

    /// A store that is gone with the process.
    pub fn in_memory() -> Result<Self, StoreError> {
        Found::in_memory()?.take_up(0)
    }

    /// The store on what `backend` returns each time that it is opened.
    pub fn on<B: redb::StorageBackend>(
        backend: impl Fn() -> B + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        Found::on(backend)?.take_up(0)
    }

    /// A store that writes to `slot`, and notes in `mark` how far it has come.
    pub(super) fn start(slot: Slot, mark: Option<Mark>) -> Result<Self, StoreError> {
        let slot = Arc::new(slot);
        let own = Arc::clone(&slot);
        let writer = Writer::start(move |jobs| write(&own, mark.as_ref(), jobs))?;
        Ok(Self { slot, writer })
    }
}

impl Store for Embedded {
    fn commit(&self, changes: &[Change<'_>]) -> Result<(), StoreError> {
        let records = changes.iter().map(Record::of).collect();
        self.writer.have(Work::Put(records)).map(drop)
    }

    fn call(&self, id: CallId) -> Result<Option<Call>, StoreError> {
        self.slot.run(|database| tables::call(database, id))
    }

    fn calls(&self, after: Option<CallId>, most: usize) -> Result<Vec<Kept>, StoreError> {
        self.slot
            .run(|database| tables::calls(database, after, most))
    }

    fn ended(&self, after: Option<(u64, CallId)>, most: usize) -> Result<Vec<Kept>, StoreError> {
        self.slot
            .run(|database| tables::ended(database, after, most))
    }

    fn request(&self, key: &RequestKey, now: u64) -> Result<Option<DoneRequest>, StoreError> {
        let request = self
            .slot
            .run(|database| tables::request(database, &key.0))?;
        Ok(request.filter(|request| now < request.until))
    }

    fn forget(&self, now: u64) -> Result<usize, StoreError> {
        self.writer.have(Work::Forget(now))
    }

    fn ended_before(&self) -> Result<u64, StoreError> {
        self.slot.run(tables::ended_before)
    }
}

impl Slot {
    /// A database that `open` opens; it is verified.
    pub(super) fn new(open: Opener) -> Result<Self, StoreError> {
        let slot = Self {
            open,
            database: Mutex::new(None),
        };
        slot.database(true)?;
        Ok(slot)
    }

    /// Does something with the database.
    pub(super) fn run<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let database = self.database(false)?;
        guarded(|| work(&database).map_err(StoreError::from)).inspect_err(|_| self.close(&database))
    }

    fn close(&self, failed: &Arc<Database>) {
        let mut slot = self.locked();
        if slot
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, failed))
        {
            let database = slot.take();
            // What it can't do on a damaged file, the next opening finds out.
            let _ = guarded(move || {
                drop(database);
                Ok(())
            });
        }
    }

    fn database(&self, verify: bool) -> Result<Arc<Database>, StoreError> {
        let mut slot = self.locked();
        if let Some(database) = &*slot {
            return Ok(Arc::clone(database));
        }
        let open = || (self.open)(verify).map_err(|error| redb::Error::from(error).into());
        let database = Arc::new(guarded(open)?);
        *slot = Some(Arc::clone(&database));
        Ok(database)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Option<Arc<Database>>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what `jobs` hold in one transaction and tells each how it went.
fn write(slot: &Slot, mark: Option<&Mark>, jobs: Vec<Job>) {
    let records = || {
        jobs.iter().flat_map(|job| match &job.work {
            Work::Put(records) => records.as_slice(),
            Work::Forget(_) => &[],
        })
    };
    let written = if records().next().is_some() {
        let written = slot.run(|database| tables::write(database, records()));
        written.map(|position| note(mark, position))
    } else {
        Ok(())
    };
    for job in jobs {
        let result = match job.work {
            Work::Put(_) => written.clone().map(|()| 0),
            Work::Forget(now) => {
                slot.run(|database| tables::forget(database, now))
                    .map(|(count, position)| {
                        if let Some(position) = position {
                            note(mark, position);
                        }
                        count
                    })
            }
        };
        job.tell(result);
    }
}

fn note(mark: Option<&Mark>, position: Position) {
    if let Some(mark) = mark {
        // A mark that can't be moved lags: a later fall of the store may go unseen, no more.
        let _ = mark.set(position);
    }
}

/// Carries out `work`; a panic in it is an error like any other.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    log::without_panics(|| catch_unwind(AssertUnwindSafe(work)))
        .unwrap_or_else(|panic| Err(StoreError::of_panic(panic)))
}
