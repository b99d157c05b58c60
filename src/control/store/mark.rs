//! How far a store has come, in a small file beside it.
//!
//! A file system snapshot, a backup or a repair can put an older state of the store in its place.
//! The calls that were ended since would then be alive again. The mark says how many commits there
//! were: a store with fewer has fallen back.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::found::StoreId;

/// 32 digits of the store's id, a space, 16 digits of the number of commits, a line feed.
const LEN: usize = 32 + 1 + 16 + 1;

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Which store.
    pub(super) id: StoreId,
    /// How many commits it has seen.
    pub(super) commits: u64,
}

/// The mark of an open store.
pub(super) struct Mark(File);

impl Mark {
    /// Where the mark of the store in `store` is.
    pub(super) fn path(store: &Path) -> PathBuf {
        let mut name = store.as_os_str().to_owned();
        name.push(".mark");
        name.into()
    }

    /// What the mark of the store in `store` says; `None` if there is none that can be read.
    pub(super) fn read(store: &Path) -> Option<Position> {
        let text = std::fs::read_to_string(Self::path(store)).ok()?;
        let (id, commits) = text.strip_suffix('\n')?.split_once(' ')?;
        Some(Position {
            id: StoreId(u128::from_str_radix(id, 16).ok()?.to_be_bytes()),
            commits: u64::from_str_radix(commits, 16).ok()?,
        })
    }

    /// Opens or creates the mark of the store in `store`.
    pub(super) fn open(store: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(Self::path(store))?;
        file.set_len(LEN as u64)?;
        Ok(Self(file))
    }

    /// Moves the mark. Not synced: after a power cut it may lag, which accuses nobody.
    pub(super) fn set(&self, position: Position) -> io::Result<()> {
        let id = u128::from_be_bytes(position.id.0);
        let line = format!("{id:032x} {:016x}\n", position.commits);
        self.0.write_all_at(line.as_bytes(), 0)
    }
}
