//! Files that are not as they were written: none of them may be used, and none may be a panic.

use std::fs;
use std::path::{Path, PathBuf};

use vizard_proto::auth::ticket::CallId;

use super::suite::{NOW, call, done};
use super::{Change, Embedded, Found, Past, Store, StoreFault};
use crate::control::calls::{EndReason, Phase};

/// Calls enough for a tree of several pages.
const CALLS: u8 = 120;

struct Folder {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn folder() -> Folder {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.redb");
    Folder {
        _folder: folder,
        path,
    }
}

/// A store with some calls, every third of them ended.
fn filled() -> Folder {
    let folder = folder();
    let store = Embedded::open(&folder.path).unwrap();
    for name in 0..CALLS {
        let mut call = call(name);
        if name % 3 == 0 {
            call.finish(NOW + 1);
        }
        let (key, request) = done(name);
        store
            .commit(&[Change::Call(&call), Change::Request(&key, &request)])
            .unwrap();
    }
    drop(store);
    folder
}

/// What can be read of every call in the store at `path`.
fn ended(path: &Path) -> Option<Vec<bool>> {
    let found = Found::at(path).ok()?;
    if !found.past().is_whole() {
        return None;
    }
    let store = found.take_up(NOW).ok()?;
    let calls = store.calls(None, usize::MAX).ok()?;
    for name in 0..CALLS {
        let (key, _) = done(name);
        let _ = store.request(&key, NOW);
    }
    store.forget(NOW).ok()?;
    let call = call(200);
    store.commit(&[Change::Call(&call)]).ok()?;
    let calls = calls.iter().filter_map(|kept| kept.call.as_ref());
    Some(calls.map(|call| call.end.is_some()).collect())
}

/// A small generator that gives the same numbers every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % most
    }
}

#[test]
fn damage_is_found_and_is_no_panic() {
    let folder = filled();
    let whole = fs::read(&folder.path).unwrap();
    let truth = ended(&folder.path).unwrap();
    assert_eq!(truth.iter().filter(|ended| **ended).count(), 40);
    let mut numbers = Numbers(7);
    let mut refused = 0;
    for round in 0..160 {
        let mut bytes = whole.clone();
        match round % 4 {
            0 => {
                let at = numbers.below(bytes.len());
                bytes[at] ^= 1 << numbers.below(8);
            }
            1 => {
                let (at, len) = (numbers.below(bytes.len()), 1 + numbers.below(8192));
                let end = (at + len).min(bytes.len());
                let with = u8::try_from(numbers.below(256)).unwrap();
                bytes[at..end].fill(with);
            }
            2 => bytes.truncate(1 + numbers.below(whole.len() - 1)),
            // What stands at the very front decides how all the rest is read.
            _ => {
                let at = numbers.below(512);
                bytes[at] = u8::try_from(numbers.below(256)).unwrap();
            }
        }
        fs::write(&folder.path, &bytes).unwrap();
        // A page that nothing refers to may be damaged: then everything is there.
        match ended(&folder.path) {
            Some(found) => assert_eq!(found, truth, "round {round}"),
            None => refused += 1,
        }
    }
    assert!(refused > 40, "{refused} of 160 were noticed");
}

#[test]
fn a_damaged_store_says_so_and_stays() {
    let folder = filled();
    let mut bytes = fs::read(&folder.path).unwrap();
    // Every page but the first.
    for at in (4096..bytes.len()).step_by(512) {
        bytes[at] ^= 0x55;
    }
    fs::write(&folder.path, &bytes).unwrap();
    let error = Found::at(&folder.path).err().unwrap();
    assert_eq!(error.fault(), StoreFault::Damaged, "{error}");
    assert!(error.to_string().starts_with("the store is damaged"));
    let help = error.help(&folder.path);
    assert!(help.contains(".damaged`, and start again"), "{help}");
    assert!(folder.path.exists());
}

#[test]
fn a_word_that_was_changed_is_noticed() {
    let folder = filled();
    let whole = fs::read(&folder.path).unwrap();
    let names = whole.windows(7).enumerate();
    let names: Vec<usize> = names
        .filter_map(|(at, word)| (word == b"\"alice\"").then_some(at))
        .collect();
    // Some of them are in pages that nothing refers to any more.
    let mut noticed = 0;
    for at in names.iter().step_by(8) {
        let mut bytes = whole.clone();
        bytes[at + 1] = b'A';
        fs::write(&folder.path, &bytes).unwrap();
        match Found::at(&folder.path) {
            Err(error) => {
                assert_eq!(error.fault(), StoreFault::Damaged);
                noticed += 1;
            }
            Ok(found) => {
                let calls = found.take_up(NOW).unwrap().calls(None, 500).unwrap();
                for kept in calls {
                    assert_eq!(kept.call.unwrap().parties[0].id, "alice");
                }
            }
        }
    }
    assert!(noticed > 10, "{noticed} of {}", names.len());
}

#[test]
fn an_older_copy_is_found_out_and_its_calls_end() {
    let folder = folder();
    let store = Embedded::open(&folder.path).unwrap();
    store.commit(&[Change::Call(&call(1))]).unwrap();
    drop(store);
    let older = fs::read(&folder.path).unwrap();
    let store = Embedded::open(&folder.path).unwrap();
    let mut call = call(1);
    call.finish(NOW + 1);
    store.commit(&[Change::Call(&call)]).unwrap();
    drop(store);
    assert_eq!(Found::at(&folder.path).unwrap().past(), Past::Whole);
    fs::write(&folder.path, older).unwrap();
    let found = Found::at(&folder.path).unwrap();
    assert_eq!(found.past(), Past::Short);
    let store = found.take_up(NOW + 9).unwrap();
    let call = store.call(CallId([1; 16])).unwrap().unwrap();
    assert_eq!(call.phase(), Phase::Ended);
    assert_eq!(
        call.end.map(|end| (end.at, end.reason)),
        Some((NOW + 9, EndReason::Lost))
    );
    drop(store);
    assert_eq!(Found::at(&folder.path).unwrap().past(), Past::Whole);
}

#[test]
fn another_store_and_none_are_told_apart() {
    let (one, two) = (filled(), filled());
    let id = Found::at(&one.path).unwrap().id();
    assert_ne!(Found::at(&two.path).unwrap().id(), id);
    fs::copy(&two.path, &one.path).unwrap();
    assert_eq!(Found::at(&one.path).unwrap().past(), Past::Short);
    fs::write(&one.path, "").unwrap();
    let found = Found::at(&one.path).unwrap();
    assert_eq!(found.past(), Past::None);
    assert_ne!(found.id(), id);
    drop(found);
    fs::remove_file(&one.path).unwrap();
    assert_eq!(Found::at(&one.path).unwrap().past(), Past::None);
}

#[test]
fn without_its_mark_a_store_is_believed() {
    let folder = filled();
    let mark = folder.path.with_extension("redb.mark");
    for text in ["", "nonsense\n", "ffff 12"] {
        fs::write(&mark, text).unwrap();
        assert_eq!(Found::at(&folder.path).unwrap().past(), Past::Whole);
    }
    fs::remove_file(&mark).unwrap();
    let found = Found::at(&folder.path).unwrap();
    assert_eq!(found.past(), Past::Whole);
    drop(found.take_up(NOW).unwrap());
    assert_eq!(fs::read_to_string(&mark).unwrap().len(), 50);
}

#[test]
fn a_later_version_is_left_alone() {
    let folder = filled();
    let database = redb::Database::open(&folder.path).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = redb::TableDefinition::<&str, &[u8]>::new("store");
    transaction
        .open_table(table)
        .unwrap()
        .insert("version", &3_u64.to_be_bytes()[..])
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = Found::at(&folder.path).err().unwrap();
    assert_eq!(error.fault(), StoreFault::Later);
    assert!(error.to_string().contains("its version is 3"), "{error}");
}

#[test]
fn another_programs_database_is_left_alone() {
    let folder = folder();
    let database = redb::Database::create(&folder.path).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = redb::TableDefinition::<u64, u64>::new("theirs");
    transaction.open_table(table).unwrap().insert(1, 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = Found::at(&folder.path).err().unwrap();
    assert_eq!(error.fault(), StoreFault::Foreign);
    fs::write(&folder.path, "calls = [ ]\n".repeat(500)).unwrap();
    let error = Found::at(&folder.path).err().unwrap();
    assert_eq!(error.fault(), StoreFault::Foreign, "{error}");
}
