//! Reading and writing small secret files: whole or not at all, mode 0600.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::StateError;

const LEFTOVER: &str = ".new";

/// The file's bytes; `None` if there is no such file. Refuses one that other users can read.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StateError::of_io("read", path, &error)),
    };
    if metadata.mode() & 0o077 != 0 {
        return Err(StateError::readable_by_others(path, metadata.mode()));
    }
    fs::read(path)
        .map(Some)
        .map_err(|error| StateError::of_io("read", path, &error))
}

/// Puts `bytes` into the file, so that after a crash or on a full disk it holds either what it
/// held before or all of `bytes`.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let fresh = leftover_of(path);
    replace(path, &fresh, bytes).map_err(|error| {
        // The error to report is the first one; if this fails too, the next start cleans up.
        let _ = fs::remove_file(&fresh);
        StateError::of_io("write", path, &error)
    })
}

fn replace(path: &Path, fresh: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(fresh, path)?;
    // The rename itself lasts only once the directory is on the disk.
    path.parent()
        .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

fn leftover_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(LEFTOVER);
    name.into()
}

/// Removes what a crash in the middle of [`write`] left behind.
pub(super) fn remove_leftovers(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.to_string_lossy().ends_with(LEFTOVER) {
            // One that stays is overwritten by the next write.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_written_is_read_and_only_by_its_owner() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("secret");
        assert!(read(&path).expect("readable").is_none());
        write(&path, b"one").expect("written");
        write(&path, b"two").expect("written");
        assert_eq!(read(&path).expect("readable").as_deref(), Some(&b"two"[..]));
        assert_eq!(path.metadata().expect("there").mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
    }

    #[test]
    fn what_others_can_read_is_no_secret() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("secret");
        write(&path, b"one").expect("written");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("set");
        let error = read(&path).expect_err("refused").to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn leftovers_of_a_crash_go() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        fs::write(folder.path().join("ticket.keys.new"), b"half").expect("written");
        fs::write(folder.path().join("other"), b"").expect("written");
        remove_leftovers(folder.path());
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
    }
}
