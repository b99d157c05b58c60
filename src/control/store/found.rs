//! What is found where a store should be, and what it means for the tickets that were handed out.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use redb::Database;
use redb::backends::{FileBackend, InMemoryBackend};

use super::embedded::{Embedded, Opener, Slot};
use super::mark::{Mark, Position};
use super::record::VERSION;
use super::tables::{self, Content};
use super::{StoreError, StoreFault};

/// The database caches pages in memory up to here.
const CACHE_BYTES: usize = 16 << 20;

/// Tells stores apart: 16 random bytes, made with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreId(pub [u8; 16]);

/// What a store knows of the calls of before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// All of them.
    Whole,
    /// All of them; the first version of vizard wrote it, without an id.
    FirstVersion,
    /// Nothing: it has just been made.
    None,
    /// Not what happened last: it is older than the mark beside it says, or another store.
    Short,
}

impl Past {
    /// Whether every call that was ended is known to have ended.
    pub fn is_whole(self) -> bool {
        matches!(self, Self::Whole | Self::FirstVersion)
    }
}

/// A store that has been verified and not been touched.
pub struct Found {
    slot: Slot,
    /// Where it is, if it is a file.
    path: Option<PathBuf>,
    id: StoreId,
    past: Past,
}

impl Found {
    /// Opens the file at `path`, which is created if need be, readable by its owner alone, and
    /// verifies all of it.
    pub fn at(path: &Path) -> Result<Self, StoreError> {
        let file = path.to_owned();
        let open = move |verify| open_file(&file, verify);
        Self::with(Box::new(open), Some(path))
    }

    pub(super) fn in_memory() -> Result<Self, StoreError> {
        Self::on(InMemoryBackend::new)
    }

    pub(super) fn on<B: redb::StorageBackend>(
        backend: impl Fn() -> B + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        Self::with(
            Box::new(move |verify| builder(verify).create_with_backend(backend())),
            None,
        )
    }

    fn with(open: Opener, path: Option<&Path>) -> Result<Self, StoreError> {
        let slot = Slot::new(open)?;
        let mark = path.and_then(Mark::read);
        let (id, past) = match slot.run(tables::content)? {
            Content::Empty => (None, Past::None),
            Content::FirstVersion if mark.is_some() => (None, Past::Short),
            Content::FirstVersion => (None, Past::FirstVersion),
            Content::Store(_, version) if version > u32::from(VERSION) => {
                let cause = format!("its version is {version}, this one reads up to {VERSION}");
                return Err(StoreError::of(StoreFault::Later, cause));
            }
            Content::Store(position, _) => (Some(position.id), past(position, mark)),
            Content::Foreign => {
                let cause = "it is a database with other tables";
                return Err(StoreError::of(StoreFault::Foreign, cause));
            }
        };
        Ok(Self {
            slot,
            path: path.map(Path::to_owned),
            id: id.map_or_else(new_id, Ok)?,
            past,
        })
    }

    /// Its id; a store without one gets it when it is taken up.
    pub fn id(&self) -> StoreId {
        self.id
    }

    /// What it knows.
    pub fn past(&self) -> Past {
        self.past
    }

    /// Uses the store from `now` (Unix seconds) on. In one with a short past every call ends: it
    /// may have been ended before.
    pub fn take_up(self, now: u64) -> Result<Embedded, StoreError> {
        let Self {
            slot,
            path,
            id,
            past,
        } = self;
        let first_version = slot
            .run(tables::content)
            .map(|content| matches!(content, Content::FirstVersion))?;
        let position = slot.run(|database| tables::found(database, id, first_version))?;
        if past == Past::Short {
            slot.run(|database| tables::end_all(database, now))?;
        }
        let mark = match path {
            Some(path) => {
                let mark = Mark::open(&path).map_err(StoreError::new)?;
                mark.set(position).map_err(StoreError::new)?;
                Some(mark)
            }
            None => None,
        };
        Embedded::start(slot, mark)
    }
}

fn past(position: Position, mark: Option<Position>) -> Past {
    match mark {
        Some(mark) if mark.id != position.id || mark.commits > position.commits => Past::Short,
        _ => Past::Whole,
    }
}

fn new_id() -> Result<StoreId, StoreError> {
    let mut id = [0; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut id)
        .map_err(|_| StoreError::new("the system gives no random numbers"))?;
    Ok(StoreId(id))
}

fn builder(verify: bool) -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder.set_check_integrity_on_open(verify);
    builder
}

fn open_file(path: &Path, verify: bool) -> Result<Database, redb::DatabaseError> {
    let empty = path.metadata().map_or(true, |file| file.len() == 0);
    if empty {
        create_file(path)?;
    }
    open_existing(path, verify)
}

/// Makes an empty store in a file of another name, which then takes the place of `path`: a disk
/// that is full, or a process that is killed, leaves no half of a store.
fn create_file(path: &Path) -> Result<(), redb::DatabaseError> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    // What is left from another try is not needed; if there is nothing, all the better.
    let _ = std::fs::remove_file(&fresh);
    let created = open_existing(&fresh, false).and_then(redb::Database::close);
    let placed = created.and_then(|()| {
        let rename = std::fs::rename(&fresh, path);
        // The rename itself lasts only once the directory is on the disk.
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        rename
            .and_then(|()| std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all())
            .map_err(|error| redb::StorageError::Io(error).into())
    });
    placed.inspect_err(|_| {
        // The error to report is the first one.
        let _ = std::fs::remove_file(&fresh);
    })
}

fn open_existing(path: &Path, verify: bool) -> Result<Database, redb::DatabaseError> {
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
    builder(verify).create_with_backend(FileBackend::new(file)?)
}

fn restrict(file: &std::fs::File) -> io::Result<()> {
    match file.metadata()?.permissions().mode() & 0o077 {
        0 => Ok(()),
        _ => file.set_permissions(std::fs::Permissions::from_mode(0o600)),
    }
}
