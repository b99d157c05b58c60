//! The store in one file of the state directory.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use vizard_proto::auth::ticket::CallId;

use super::{Change, DoneRequest, Kept, REMEMBERED_AFTER_EXPIRY, RequestKey, Store, StoreError};
use crate::control::calls::Call;

/// Call -> expiry (Unix seconds, big endian) and the call as JSON.
const CALLS: TableDefinition<[u8; 16], &[u8]> = TableDefinition::new("calls");
/// When which call is to be forgotten.
const CALLS_BY_END: TableDefinition<(u64, [u8; 16]), ()> = TableDefinition::new("calls_by_end");
/// Request -> hash of its body, call, and when it is to be forgotten.
const REQUESTS: TableDefinition<[u8; 32], ([u8; 32], [u8; 16], u64)> =
    TableDefinition::new("requests");
/// When which request is to be forgotten.
const REQUESTS_BY_END: TableDefinition<(u64, [u8; 32]), ()> =
    TableDefinition::new("requests_by_end");

/// The database caches pages in memory up to here.
const CACHE_BYTES: usize = 16 << 20;
/// Most entries forgotten in one transaction, so that writers need not wait for long.
const FORGOTTEN_AT_ONCE: usize = 1_000;
const EXPIRY_LEN: usize = 8;

type Opener = Box<dyn Fn() -> Result<Database, redb::DatabaseError> + Send + Sync>;

/// One file, one process.
pub struct Embedded {
    open: Opener,
    /// After an error the database refuses everything until it is opened again; so it is closed
    /// then, and opened when it is needed: a disk that was full needs no restart.
    database: Mutex<Option<Arc<Database>>>,
    /// What waits for the next transaction.
    waiting: Mutex<Vec<Waiting>>,
    /// Held by whoever writes for all that wait.
    writing: Mutex<()>,
}

/// Records of one commit, and where to say how it went.
struct Waiting {
    records: Vec<Record>,
    tell: SyncSender<Result<(), StoreError>>,
}

/// A change as it is written.
enum Record {
    Call {
        id: [u8; 16],
        forget_at: u64,
        value: Vec<u8>,
    },
    Request {
        key: [u8; 32],
        request: DoneRequest,
    },
}

impl Embedded {
    /// The store in the file at `path`, which is created if need be, readable by its owner alone.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        Self::with(Box::new(move || open_file(&path)))
    }

    /// A store that is gone with the process.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::with(Box::new(|| {
            builder().create_with_backend(InMemoryBackend::new())
        }))
    }

    /// The store on what `backend` returns each time that it is opened.
    #[cfg(test)]
    pub(super) fn on<B: redb::StorageBackend>(
        backend: impl Fn() -> B + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        Self::with(Box::new(move || builder().create_with_backend(backend())))
    }

    fn with(open: Opener) -> Result<Self, StoreError> {
        let store = Self {
            open,
            database: Mutex::new(None),
            waiting: Mutex::default(),
            writing: Mutex::default(),
        };
        store.run(create_tables)?;
        Ok(store)
    }

    fn run<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let database = self.database()?;
        work(&database).map_err(|error| {
            let mut slot = locked(&self.database);
            if slot
                .as_ref()
                .is_some_and(|current| Arc::ptr_eq(current, &database))
            {
                *slot = None;
            }
            StoreError::new(error)
        })
    }

    fn write(&self, waiting: Vec<Waiting>) -> Result<(), StoreError> {
        let result = self.run(|database| {
            let transaction = database.begin_write()?;
            for record in waiting.iter().flat_map(|waiting| &waiting.records) {
                put(&transaction, record)?;
            }
            Ok(transaction.commit()?)
        });
        for waiting in waiting {
            // Our own end is not listened to.
            let _ = waiting.tell.try_send(result.clone());
        }
        result
    }

    fn database(&self) -> Result<Arc<Database>, StoreError> {
        let mut slot = locked(&self.database);
        if let Some(database) = &*slot {
            return Ok(Arc::clone(database));
        }
        let database = Arc::new((self.open)().map_err(StoreError::new)?);
        *slot = Some(Arc::clone(&database));
        Ok(database)
    }
}

impl Store for Embedded {
    /// Commits that come while another is being written are written together by the first of
    /// them: the disk is waited for once.
    fn commit(&self, changes: &[Change<'_>]) -> Result<(), StoreError> {
        let records = changes.iter().map(record).collect::<Result<_, _>>()?;
        let (tell, told) = sync_channel(1);
        locked(&self.waiting).push(Waiting { records, tell });
        let _writing = locked(&self.writing);
        match told.try_recv() {
            Ok(result) => result,
            Err(TryRecvError::Empty) => self.write(std::mem::take(&mut *locked(&self.waiting))),
            Err(TryRecvError::Disconnected) => Err(StoreError::new("the writer panicked")),
        }
    }

    fn call(&self, id: CallId) -> Result<Option<Call>, StoreError> {
        self.run(|database| {
            let table = database.begin_read()?.open_table(CALLS)?;
            let value = table.get(id.0)?;
            Ok(value.and_then(|value| kept(id, value.value()).call))
        })
    }

    fn calls(&self, after: Option<CallId>, most: usize) -> Result<Vec<Kept>, StoreError> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.run(|database| {
            let table = database.begin_read()?.open_table(CALLS)?;
            let from = after.map_or(Unbounded, |id| Excluded(id.0));
            let mut found = Vec::new();
            for entry in table.range::<[u8; 16]>((from, Unbounded))?.take(most) {
                let (id, value) = entry?;
                found.push(kept(CallId(id.value()), value.value()));
            }
            Ok(found)
        })
    }

    fn request(&self, key: &RequestKey, now: u64) -> Result<Option<DoneRequest>, StoreError> {
        self.run(|database| {
            let table = database.begin_read()?.open_table(REQUESTS)?;
            let request = table.get(key.0)?.map(|value| {
                let (body, call, until) = value.value();
                DoneRequest {
                    body,
                    call: CallId(call),
                    until,
                }
            });
            Ok(request.filter(|request| now < request.until))
        })
    }

    fn forget(&self, now: u64) -> Result<usize, StoreError> {
        self.run(|database| {
            if !anything_to_forget(database, now)? {
                return Ok(0);
            }
            let transaction = database.begin_write()?;
            let calls = forget_in(&transaction, CALLS_BY_END, CALLS, now)?;
            let requests = forget_in(&transaction, REQUESTS_BY_END, REQUESTS, now)?;
            transaction.commit()?;
            Ok(calls + requests)
        })
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn open_file(path: &PathBuf) -> Result<Database, redb::DatabaseError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(redb::StorageError::Io)?;
    // A file that was there before may have been created by something less careful.
    restrict(&file).map_err(redb::StorageError::Io)?;
    builder().create_with_backend(FileBackend::new(file)?)
}

fn restrict(file: &std::fs::File) -> io::Result<()> {
    match file.metadata()?.permissions().mode() & 0o077 {
        0 => Ok(()),
        _ => file.set_permissions(std::fs::Permissions::from_mode(0o600)),
    }
}

fn create_tables(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(CALLS)?;
    transaction.open_table(CALLS_BY_END)?;
    transaction.open_table(REQUESTS)?;
    transaction.open_table(REQUESTS_BY_END)?;
    Ok(transaction.commit()?)
}

fn record(change: &Change<'_>) -> Result<Record, StoreError> {
    match change {
        Change::Call(call) => {
            let mut value = call.expires_at.to_be_bytes().to_vec();
            serde_json::to_writer(&mut value, call).map_err(StoreError::new)?;
            let forget_at = call.expires_at.saturating_add(REMEMBERED_AFTER_EXPIRY);
            Ok(Record::Call {
                id: call.id.0,
                forget_at,
                value,
            })
        }
        Change::Request(key, request) => Ok(Record::Request {
            key: key.0,
            request: **request,
        }),
    }
}

fn put(transaction: &WriteTransaction, record: &Record) -> Result<(), redb::Error> {
    match record {
        Record::Call {
            id,
            forget_at,
            value,
        } => {
            transaction
                .open_table(CALLS_BY_END)?
                .insert((*forget_at, *id), ())?;
            transaction
                .open_table(CALLS)?
                .insert(*id, value.as_slice())?;
        }
        Record::Request { key, request } => {
            let mut requests = transaction.open_table(REQUESTS)?;
            let mut by_end = transaction.open_table(REQUESTS_BY_END)?;
            let value = (request.body, request.call.0, request.until);
            if let Some(earlier) = requests.insert(*key, value)? {
                by_end.remove((earlier.value().2, *key))?;
            }
            by_end.insert((request.until, *key), ())?;
        }
    }
    Ok(())
}

fn kept(id: CallId, value: &[u8]) -> Kept {
    match value.split_first_chunk::<EXPIRY_LEN>() {
        Some((expiry, json)) => Kept {
            id,
            expires_at: u64::from_be_bytes(*expiry),
            call: serde_json::from_slice(json).ok(),
        },
        None => Kept {
            id,
            expires_at: u64::MAX,
            call: None,
        },
    }
}

fn anything_to_forget(database: &Database, now: u64) -> Result<bool, redb::Error> {
    let transaction = database.begin_read()?;
    let calls = transaction.open_table(CALLS_BY_END)?;
    let requests = transaction.open_table(REQUESTS_BY_END)?;
    let call = calls.first()?.is_some_and(|(key, _)| key.value().0 <= now);
    let request = requests
        .first()?
        .is_some_and(|(key, _)| key.value().0 <= now);
    Ok(call || request)
}

fn forget_in<const N: usize, V: redb::Value + 'static>(
    transaction: &WriteTransaction,
    by_end: TableDefinition<'static, (u64, [u8; N]), ()>,
    table: TableDefinition<'static, [u8; N], V>,
    now: u64,
) -> Result<usize, redb::Error> {
    let mut by_end = transaction.open_table(by_end)?;
    let mut table = transaction.open_table(table)?;
    let mut due = Vec::new();
    for entry in by_end
        .range(..(now.saturating_add(1), [0; N]))?
        .take(FORGOTTEN_AT_ONCE)
    {
        due.push(entry?.0.value());
    }
    for (at, key) in &due {
        by_end.remove((*at, *key))?;
        table.remove(*key)?;
    }
    Ok(due.len())
}
