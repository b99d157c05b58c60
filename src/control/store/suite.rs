//! What every store has to do, tried on each.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use vizard_proto::auth::ticket::CallId;

use super::*;
use crate::control::calls::{EndReason, Outcome, Party, Traffic};
use crate::control::policy::{self, Policy, Request};

pub(super) const NOW: u64 = 1_790_000_000;

pub(super) fn call(name: u8) -> Call {
    let request = Request::new(vec![policy::Party::default(); 2], Some(0)).unwrap();
    let decide = |phase| policy::decide(&Policy::default(), &request, phase);
    let opened = Outcome::new(NOW, decide(policy::Phase::Ringing));
    let if_answered = Outcome::new(NOW, decide(policy::Phase::Answered));
    Call {
        id: CallId([name; 16]),
        opened_at: NOW,
        expires_at: NOW + 60,
        kbps: 4000,
        request,
        parties: vec![
            Party::new("alice".into(), Vec::new()),
            Party::new("bob".into(), vec!["phone".into(), "laptop".into()]),
        ],
        opened,
        if_answered,
        answered: None,
        end: None,
    }
}

pub(super) fn done(name: u8) -> (RequestKey, DoneRequest) {
    let done = DoneRequest {
        body: [name; 32],
        call: CallId([name; 16]),
        until: NOW + 100,
    };
    (RequestKey([name; 32]), done)
}

fn names(store: &dyn Store, after: Option<u8>, most: usize) -> Vec<u8> {
    let after = after.map(|name| CallId([name; 16]));
    store
        .calls(after, most)
        .unwrap()
        .iter()
        .map(|kept| kept.id.0[0])
        .collect()
}

fn keeps_calls(store: &dyn Store) {
    assert_eq!(store.call(CallId([1; 16])).unwrap(), None);
    let mut one = call(1);
    store.commit(&[Change::Call(&one)]).unwrap();
    assert_eq!(store.call(one.id).unwrap().as_ref(), Some(&one));
    one.answer(&Policy::default(), "bob", Some("laptop"), NOW + 1)
        .unwrap();
    one.parties[0].sent = Traffic {
        packets: 7,
        bytes: u64::MAX,
    };
    one.finish(NOW + 2);
    store.commit(&[Change::Call(&one)]).unwrap();
    let kept = store.calls(None, 9).unwrap().remove(0);
    assert_eq!(
        kept,
        Kept {
            id: one.id,
            expires_at: NOW + 60,
            call: Some(one)
        }
    );
}

fn lists_in_order_and_in_pages(store: &dyn Store) {
    for name in [5, 2, 9, 7] {
        store.commit(&[Change::Call(&call(name))]).unwrap();
    }
    assert_eq!(names(store, None, 3), [2, 5, 7]);
    assert_eq!(names(store, Some(7), 3), [9]);
    assert_eq!(names(store, Some(3), 1), [5]);
    assert_eq!(names(store, Some(9), 3), [0_u8; 0]);
}

fn remembers_requests_for_their_time(store: &dyn Store) {
    let (key, mut request) = done(1);
    assert_eq!(store.request(&key, NOW).unwrap(), None);
    store.commit(&[Change::Request(&key, &request)]).unwrap();
    assert_eq!(store.request(&key, NOW + 99).unwrap(), Some(request));
    assert_eq!(store.request(&key, NOW + 100).unwrap(), None);
    request.until = NOW + 200;
    store.commit(&[Change::Request(&key, &request)]).unwrap();
    store.forget(NOW + 100).unwrap();
    assert_eq!(store.request(&key, NOW + 101).unwrap(), Some(request));
}

fn forgets_what_is_over(store: &dyn Store) {
    let (key, request) = done(1);
    let mut longer = call(2);
    longer.expires_at += 1;
    store
        .commit(&[
            Change::Call(&call(1)),
            Change::Call(&longer),
            Change::Request(&key, &request),
        ])
        .unwrap();
    let end = NOW + 60 + REMEMBERED_AFTER_EXPIRY;
    assert_eq!(store.forget(NOW + 99).unwrap(), 0);
    assert_eq!(store.forget(NOW + 100).unwrap(), 1);
    assert_eq!(store.forget(end - 1).unwrap(), 0);
    assert_eq!(store.forget(end).unwrap(), 1);
    assert_eq!(names(store, None, 9), [2]);
    assert_eq!(store.forget(u64::MAX).unwrap(), 1);
    assert_eq!(names(store, None, 9), [0_u8; 0]);
    assert_eq!(store.call(CallId([1; 16])).unwrap(), None);
}

fn lists_the_ended_by_their_end(store: &dyn Store) {
    let mut calls: Vec<_> = [3, 1, 2, 4].map(call).into();
    for (index, call) in (0..).zip(&mut calls) {
        if call.id.0[0] != 4 {
            call.finish(NOW + index / 2);
        }
        store.commit(&[Change::Call(call)]).unwrap();
    }
    let ended = |after, most| -> Vec<u8> {
        let kept = store.ended(after, most).unwrap();
        kept.iter().map(|kept| kept.id.0[0]).collect()
    };
    assert_eq!(ended(None, 9), [1, 3, 2]);
    assert_eq!(ended(None, 2), [1, 3]);
    assert_eq!(ended(Some((NOW, CallId([1; 16]))), 9), [3, 2]);
    assert_eq!(ended(Some((NOW + 1, CallId([2; 16]))), 9), [0_u8; 0]);
    store.forget(NOW + 60 + REMEMBERED_AFTER_EXPIRY).unwrap();
    assert_eq!(ended(None, 9), [0_u8; 0]);
}

fn a_longer_life_is_remembered_for_longer(store: &dyn Store) {
    let mut longer = call(1);
    store.commit(&[Change::Call(&longer)]).unwrap();
    longer.renew(NOW + 50, 60, 3_600);
    store.commit(&[Change::Call(&longer)]).unwrap();
    let end = NOW + 110 + REMEMBERED_AFTER_EXPIRY;
    assert_eq!(store.forget(end - 1).unwrap(), 0);
    assert_eq!(store.call(longer.id).unwrap(), Some(longer));
    assert_eq!(store.forget(end).unwrap(), 1);
}

fn adds_usage_to_what_it_knows(store: &dyn Store) {
    let mut used = call(1);
    store.commit(&[Change::Call(&used)]).unwrap();
    used.parties[1].connected_at = Some(NOW + 3);
    used.parties[1].sent = Traffic {
        packets: 9,
        bytes: 900,
    };
    store.commit(&[Change::Usage(&used)]).unwrap();
    assert_eq!(store.call(used.id).unwrap().as_ref(), Some(&used));
    // A later state of the call knows better.
    used.parties[1].sent.packets = 10;
    used.finish(NOW + 4);
    store.commit(&[Change::Call(&used)]).unwrap();
    assert_eq!(store.call(used.id).unwrap().as_ref(), Some(&used));
    assert_eq!(store.calls(None, 1).unwrap()[0].call, Some(used));
}

fn remembers_how_long_forgotten_tickets_lived(store: &dyn Store) {
    assert_eq!(store.ended_before().unwrap(), 0);
    let mut longer = call(2);
    longer.expires_at += 500;
    store
        .commit(&[Change::Call(&call(1)), Change::Call(&longer)])
        .unwrap();
    store.forget(NOW + 60 + REMEMBERED_AFTER_EXPIRY).unwrap();
    assert_eq!(store.ended_before().unwrap(), NOW + 60);
    store.forget(u64::MAX).unwrap();
    assert_eq!(store.ended_before().unwrap(), NOW + 560);
    store.commit(&[Change::Call(&call(3))]).unwrap();
    store.forget(u64::MAX).unwrap();
    assert_eq!(store.ended_before().unwrap(), NOW + 560);
}

const SUITE: [fn(&dyn Store); 8] = [
    keeps_calls,
    lists_in_order_and_in_pages,
    remembers_requests_for_their_time,
    forgets_what_is_over,
    lists_the_ended_by_their_end,
    a_longer_life_is_remembered_for_longer,
    adds_usage_to_what_it_knows,
    remembers_how_long_forgotten_tickets_lived,
];

#[test]
fn in_memory() {
    for test in SUITE {
        test(&Embedded::in_memory().unwrap());
    }
}

#[test]
fn in_a_file() {
    for test in SUITE {
        let folder = tempfile::tempdir().unwrap();
        test(&Embedded::open(&folder.path().join("store")).unwrap());
    }
}

#[test]
fn a_file_keeps_all_and_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let (key, request) = done(1);
    let ended = {
        let mut call = call(1);
        call.finish(NOW + 5);
        call
    };
    {
        let store = Embedded::open(&path).unwrap();
        store
            .commit(&[Change::Call(&ended), Change::Request(&key, &request)])
            .unwrap();
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = Embedded::open(&path).unwrap();
    assert_eq!(
        store.call(ended.id).unwrap().unwrap().end.unwrap().reason,
        EndReason::Requested
    );
    assert_eq!(store.request(&key, NOW).unwrap(), Some(request));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let _first = Embedded::open(&path).unwrap();
    assert!(Embedded::open(&path).is_err());
}

#[test]
fn a_file_that_is_no_store_is_an_error_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    std::fs::write(&path, "calls = [ ]\n".repeat(500)).unwrap();
    assert!(Embedded::open(&path).is_err());
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "calls = [ ]\n".repeat(500)
    );
    assert!(Embedded::open(&folder.path().join("missing/store")).is_err());
}

/// A disk that can be full.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<(Mutex<Vec<u8>>, AtomicBool)>);

impl Disk {
    fn fill(&self, full: bool) {
        self.0.1.store(full, Ordering::Relaxed);
    }

    fn room(&self) -> io::Result<()> {
        if self.0.1.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl redb::StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.0.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.0.0.lock().unwrap()[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.room()?;
        self.0
            .0
            .lock()
            .unwrap()
            .resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.room()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room()?;
        let start = usize::try_from(offset).unwrap();
        self.0.0.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[test]
fn many_at_once_are_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Embedded::open(&path).unwrap();
    std::thread::scope(|scope| {
        for name in 0..100 {
            let store = &store;
            scope.spawn(move || store.commit(&[Change::Call(&call(name))]).unwrap());
        }
    });
    drop(store);
    let store = Embedded::open(&path).unwrap();
    assert_eq!(names(&store, None, 200), (0..100).collect::<Vec<u8>>());
}

#[test]
fn a_full_disk_loses_nothing_and_needs_no_restart() {
    let disk = Disk::default();
    let backend = disk.clone();
    let store = Embedded::on(move || backend.clone()).unwrap();
    store.commit(&[Change::Call(&call(1))]).unwrap();
    disk.fill(true);
    for name in 2..9 {
        assert!(store.commit(&[Change::Call(&call(name))]).is_err());
    }
    disk.fill(false);
    assert_eq!(names(&store, None, 9), [1]);
    store.commit(&[Change::Call(&call(9))]).unwrap();
    assert_eq!(names(&store, None, 9), [1, 9]);
}
