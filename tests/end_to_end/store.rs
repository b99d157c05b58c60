//! A store that is lost, damaged or older than it was: no ticket of an ended call comes back, and
//! whoever starts the node is told what it means.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::{connect, converse, servers};
use crate::daemon::{Daemon, LOOPBACK, Tickets};

/// A node that has ended a call, with its store's file, a copy from before the end, and the ended
/// call. It stands still.
fn with_an_ended_call() -> (Daemon, PathBuf, Vec<u8>, Tickets) {
    let mut daemon = Daemon::start(LOOPBACK);
    let ended = daemon.open();
    daemon.stop();
    let file = daemon.state().join("calls.redb");
    let older = fs::read(&file).expect("a store");
    daemon.launch();
    daemon.end(ended.id());
    is_dead(&daemon, &ended);
    daemon.stop();
    (daemon, file, older, ended)
}

fn is_dead(daemon: &Daemon, tickets: &Tickets) {
    let server = servers(&daemon.open())[0];
    for party in ["alice", "bob"] {
        let mut caller = server.join(tickets.of(party));
        assert_eq!(caller.try_allocate(), Err(401));
    }
}

/// The node starts, says what the operator has to know, and works, without the calls of before.
fn starts_over(daemon: &mut Daemon, ended: &Tickets, what: &str) {
    daemon.launch();
    let said = [daemon.said("out"), daemon.said("err")].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(
        said.contains("ATTENTION") && said.contains("WARN"),
        "{said}"
    );
    assert!(
        said.contains(what) && said.contains("calls of before are over"),
        "{said}"
    );
    is_dead(daemon, ended);
    let tickets = daemon.open();
    let server = servers(&tickets)[0];
    let (mut alice, mut bob) = (
        server.join(tickets.of("alice")),
        server.join(tickets.of("bob")),
    );
    connect(&mut alice, &mut bob);
    converse(&mut alice, &mut bob);
    // From here on it is a start like any other.
    let before = daemon.said("out").len();
    daemon.restart();
    let said = String::from_utf8_lossy(&daemon.said("out")[before..]).into_owned();
    assert!(!said.contains("ATTENTION"), "{said}");
    is_dead(daemon, ended);
    daemon.show(tickets.id());
}

#[test]
fn a_removed_store_takes_the_tickets_with_it() {
    let (mut daemon, file, _, ended) = with_an_ended_call();
    fs::remove_file(&file).expect("there");
    starts_over(&mut daemon, &ended, "is new");
}

#[test]
fn so_does_an_empty_one() {
    let (mut daemon, file, _, ended) = with_an_ended_call();
    fs::write(&file, "").expect("written");
    starts_over(&mut daemon, &ended, "is new");
}

#[test]
fn so_does_an_older_one() {
    let (mut daemon, file, older, ended) = with_an_ended_call();
    fs::write(&file, older).expect("written");
    starts_over(&mut daemon, &ended, "is older than the last one");
    let shown = daemon.show(ended.id());
    assert_eq!(shown["phase"], json!("ended"));
}

#[test]
fn what_is_said_of_a_damaged_one_helps() {
    let (mut daemon, file, _, ended) = with_an_ended_call();
    let mut bytes = fs::read(&file).expect("a store");
    for at in (4096..bytes.len()).step_by(512) {
        bytes[at] ^= 0x55;
    }
    fs::write(&file, &bytes).expect("written");
    let said = daemon.launch_in_vain();
    assert!(said.contains("the store is damaged"), "{said}");
    assert!(!said.contains("panic"), "{said}");
    let file = file.display();
    let hint = format!("`mv {file} {file}.damaged`, and start again");
    assert!(said.contains(&hint), "{said}");
    crate::daemon::world::shell(&format!("mv {file} {file}.damaged"));
    starts_over(&mut daemon, &ended, "is new");
}
