//! The state directory: what a node keeps between two runs, readable by its own user only.
//!
//! | file | holds |
//! |---|---|
//! | `lock` | nothing; a running node holds a lock on it |
//! | `ticket.keys` | keys of the tickets, `ID HEX` per line: the first mints, all verify; and the store that knows which of the tickets are dead |
//! | `ticket.keys.old` | the keys before, if the store did not know that any more |
//! | `nonce.secret` | key of the nonces, so that clients need no new one after a restart |
//! | `api.keys` | SHA-256 of the API key made at the first start |
//! | `api.key` | that API key itself, for `vizard call` on this machine; delete it once it is kept elsewhere |
//! | `calls.redb` | the embedded store |
//! | `calls.redb.mark` | how far the store has come: one that is older shows by it |
//!
//! Whoever reads this directory can mint tickets, so `api.key` in it opens nothing more.

mod error;
mod files;
mod secrets;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub use error::StateError;
pub use secrets::{KeysBound, Secret, Secrets, StoredKey};

const LOCK: &str = "lock";
/// The API key that was made at the first start.
const API_KEY: &str = "api.key";

/// Where the state directory is: `VIZARD_STATE_DIR`, else systemd's `STATE_DIRECTORY`, else
/// `$XDG_STATE_HOME/vizard`, else `~/.local/state/vizard`. Empty variables count as absent.
pub fn locate() -> Result<PathBuf, StateError> {
    locate_by(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
}

fn locate_by(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, StateError> {
    if let Some(path) = variable("VIZARD_STATE_DIR") {
        return Ok(path.into());
    }
    if let Some(paths) = variable("STATE_DIRECTORY") {
        // systemd separates several directories by colons; the first is the main one.
        let first = paths
            .to_string_lossy()
            .split(':')
            .next()
            .unwrap_or_default()
            .to_owned();
        return Ok(first.into());
    }
    if let Some(path) = variable("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|p| p.is_absolute())
    {
        return Ok(path.join("vizard"));
    }
    let home = variable("HOME").ok_or_else(StateError::homeless)?;
    Ok(PathBuf::from(home).join(".local/state/vizard"))
}

/// The API key that the node of `directory` made at its first start, for a client on this machine.
pub fn read_api_key(directory: &Path) -> Result<String, StateError> {
    let path = directory.join(API_KEY);
    let bytes = files::read(&path)?.ok_or_else(|| StateError::no_api_key(&path))?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// The state directory of a running node. No second process can open it meanwhile.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    _lock: Flock<File>,
}

impl StateDirectory {
    /// Opens `path`, making it if it is not there.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| StateError::of_io("make the state directory", path, &error))?;
        check_directory(path)?;
        let lock = lock(&path.join(LOCK), path)?;
        files::remove_leftovers(path);
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The embedded store's file.
    pub fn store_file(&self) -> PathBuf {
        self.path.join("calls.redb")
    }

    /// The file with the API key that was made at the first start.
    pub fn api_key_file(&self) -> PathBuf {
        self.path.join(API_KEY)
    }

    /// The node's secrets; what is missing is made.
    pub fn secrets(&self) -> Result<Secrets, StateError> {
        Secrets::load(&self.path)
    }

    /// Binds the keys of the tickets to the store with that id; `whole` says that it knows every
    /// call that was ended under keys made for it, or for no store. See [`KeysBound`].
    pub fn bind_ticket_keys(&self, store: [u8; 16], whole: bool) -> Result<KeysBound, StateError> {
        secrets::bind_ticket_keys(&self.path, store, whole)
    }

    /// The keys of the tickets as they stand in the file.
    pub fn ticket_keys(&self) -> Result<Vec<StoredKey>, StateError> {
        secrets::ticket_keys(&self.path)
    }

    /// Lines of hashed API keys, as `api_keys_file` takes them.
    /// Makes a key and leaves it in `api.key` if there is none yet; then it is returned as well.
    pub fn api_keys(&self) -> Result<(String, Option<String>), StateError> {
        secrets::api_keys(&self.path)
    }
}

fn check_directory(path: &Path) -> Result<(), StateError> {
    let metadata = path
        .metadata()
        .map_err(|error| StateError::of_io("look at", path, &error))?;
    let me = nix::unistd::geteuid().as_raw();
    if metadata.uid() != me {
        return Err(StateError::wrong_owner(path, metadata.uid(), me));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(StateError::writable_by_others(path, metadata.mode()));
    }
    Ok(())
}

fn lock(file: &Path, directory: &Path) -> Result<Flock<File>, StateError> {
    let opened = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(file)
        .map_err(|error| StateError::of_io("open", file, &error))?;
    Flock::lock(opened, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EAGAIN => StateError::in_use(directory),
        other => StateError::of_io("lock", file, &other.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn located(variables: &[(&str, &str)]) -> String {
        let find = |name: &str| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| OsString::from(value))
        };
        locate_by(find)
            .map(|path| path.display().to_string())
            .unwrap_or_default()
    }

    #[test]
    fn the_nearest_variable_decides() {
        let all = [
            ("VIZARD_STATE_DIR", "/a"),
            ("STATE_DIRECTORY", "/b:/c"),
            ("XDG_STATE_HOME", "/d"),
            ("HOME", "/e"),
        ];
        assert_eq!(located(&all), "/a");
        assert_eq!(located(&all[1..]), "/b");
        assert_eq!(located(&all[2..]), "/d/vizard");
        assert_eq!(located(&all[3..]), "/e/.local/state/vizard");
        assert_eq!(located(&[]), "");
    }

    #[test]
    fn is_made_for_its_user_only_and_opened_once() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("state/vizard");
        let open = StateDirectory::open(&path).expect("opened");
        assert_eq!(path.metadata().expect("there").mode() & 0o777, 0o700);
        let second = StateDirectory::open(&path).expect_err("locked").to_string();
        assert!(second.contains("another vizard"), "{second}");
        drop(open);
        StateDirectory::open(&path).expect("free again");
    }

    #[test]
    fn is_refused_when_others_can_write_to_it() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        folder.path().metadata().expect("there");
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).expect("set");
        let error = StateDirectory::open(folder.path())
            .expect_err("refused")
            .to_string();
        assert!(error.contains("chmod 700"), "{error}");
    }

    #[test]
    fn a_file_in_its_place_is_an_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("file");
        std::fs::write(&path, "").expect("written");
        let error = StateDirectory::open(&path)
            .expect_err("refused")
            .to_string();
        assert!(error.contains("help: "), "{error}");
    }
}
