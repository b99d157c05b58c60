//! Why a store can't be used, and what can be done about it.

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

/// The store could not be read or written.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the store {fault}: {cause}")]
pub struct StoreError {
    fault: StoreFault,
    cause: Arc<dyn std::error::Error + Send + Sync>,
}

/// What kind of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    /// The disk is full, the file may not be read, another process has it, and the like.
    #[error("is unavailable")]
    Unavailable,
    /// What the file holds is not what was written.
    #[error("is damaged")]
    Damaged,
    /// The file is something else.
    #[error("is no store of vizard")]
    Foreign,
    /// A later version of vizard wrote it.
    #[error("was written by a later version of vizard")]
    Later,
}

impl StoreError {
    /// Because of `cause`, which is part of the message.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::of(StoreFault::Unavailable, cause)
    }

    pub(super) fn of(
        fault: StoreFault,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let cause = Arc::from(cause.into());
        Self { fault, cause }
    }

    /// Of a panic inside the database: it takes damage that it does not expect for its own mistake.
    pub(super) fn of_panic(_: Box<dyn Any + Send>) -> Self {
        Self::of(StoreFault::Damaged, "the database gave up on it")
    }

    /// What kind of error it is.
    pub fn fault(&self) -> StoreFault {
        self.fault
    }

    /// What whoever starts a node can do about it.
    pub fn help(&self, file: &Path) -> String {
        let file = file.display();
        match self.fault {
            StoreFault::Unavailable => {
                "free some space, stop the other process, or name another file with store.path"
                    .into()
            }
            StoreFault::Damaged => format!(
                "nothing was taken from it, and it stays where it is. Restore it from a backup, or \
                 `mv {file} {file}.damaged`, and start again. Either way the node then makes a new \
                 ticket key: the calls of before are over, their tickets are dead, and what was \
                 ended stays ended"
            ),
            StoreFault::Foreign => {
                format!("name another file with store.path, or move {file} out of the way")
            }
            StoreFault::Later => {
                "start the version that wrote it, or name another file with store.path; with \
                 another file, the calls of before are over and their tickets dead"
                    .into()
            }
        }
    }
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        let fault = match &error {
            redb::Error::Corrupted(_) => StoreFault::Damaged,
            redb::Error::UpgradeRequired(_) | redb::Error::TableTypeMismatch { .. } => {
                StoreFault::Foreign
            }
            redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                StoreFault::Foreign
            }
            _ => StoreFault::Unavailable,
        };
        Self::of(fault, error)
    }
}
