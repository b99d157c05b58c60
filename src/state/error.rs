//! What can be wrong with the state directory, and what to do about it.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;

/// The state directory can't be used.
#[derive(Debug)]
pub struct StateError {
    what: String,
    help: String,
}

impl std::error::Error for StateError {}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  help: {}", self.what, self.help)
    }
}

impl StateError {
    fn new(what: String, help: String) -> Self {
        Self { what, help }
    }

    /// The system refused to `action` the file `path`.
    pub(super) fn of_io(action: &str, path: &Path, error: &io::Error) -> Self {
        let elsewhere = "point VIZARD_STATE_DIR to a directory that this user can write to";
        let help = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                "free some space there; what was in the directory is unchanged"
            }
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
                "something else has that name: remove it, or point VIZARD_STATE_DIR elsewhere"
            }
            _ => elsewhere,
        };
        Self::new(
            format!("can't {action} {}: {error}", path.display()),
            help.into(),
        )
    }

    pub(super) fn homeless() -> Self {
        Self::new(
            "no place for the state directory: HOME is not set".into(),
            "set VIZARD_STATE_DIR".into(),
        )
    }

    pub(super) fn in_use(directory: &Path) -> Self {
        Self::new(
            format!(
                "another vizard is running on the state directory {}",
                directory.display()
            ),
            "stop it, or give this one its own with VIZARD_STATE_DIR".into(),
        )
    }

    pub(super) fn wrong_owner(directory: &Path, owner: u32, me: u32) -> Self {
        let path = directory.display();
        Self::new(
            format!(
                "the state directory {path} belongs to user {owner}, this process is user {me}"
            ),
            format!("run as user {owner}, or `chown -R {me} {path}`, or set VIZARD_STATE_DIR"),
        )
    }

    pub(super) fn writable_by_others(directory: &Path, mode: u32) -> Self {
        let path = directory.display();
        Self::new(
            format!(
                "other users can write to the state directory {path} (mode {:o})",
                mode & 0o777
            ),
            format!("`chmod 700 {path}` if nobody else needs it, or set VIZARD_STATE_DIR"),
        )
    }

    pub(super) fn readable_by_others(file: &Path, mode: u32) -> Self {
        let path = file.display();
        Self::new(
            format!(
                "other users can read the secret in {path} (mode {:o})",
                mode & 0o777
            ),
            format!("`chmod 600 {path}`; if they may have read it, delete it for a fresh one"),
        )
    }

    pub(super) fn malformed(file: &Path, expected: &str) -> Self {
        let path = file.display();
        Self::new(
            format!("{path} does not hold {expected}"),
            format!("restore it from a backup, or delete {path} for a fresh one"),
        )
    }

    pub(super) fn no_api_key(file: &Path) -> Self {
        Self::new(
            format!("no API key: {} is not there", file.display()),
            "set VIZARD_API_KEY or --api-key-file, or run as the user that runs `vizard serve`"
                .into(),
        )
    }

    pub(super) fn no_randomness() -> Self {
        Self::new(
            "the system gives no random numbers".into(),
            "check that getrandom(2) is not forbidden to this process".into(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_called_that() {
        let error = io::Error::from(ErrorKind::StorageFull);
        let shown = StateError::of_io("write", Path::new("/s/ticket.keys"), &error).to_string();
        assert!(
            shown.starts_with("can't write /s/ticket.keys: no storage space"),
            "{shown}"
        );
        assert!(shown.contains("free some space"), "{shown}");
    }
}
