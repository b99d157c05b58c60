//! coturn's own client tools against a node: a smoke test with an implementation that knows
//! nothing of masks.
//!
//! `turnutils_uclient -y` lets the tool talk to itself under one ticket. A masked ticket reaches
//! other parties only, so all of that is asserted to be lost; the tool's media is shown with a party
//! of ours as its peer, who says everything back.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::daemon::{Daemon, LOOPBACK};
use crate::loopback::{Caller, Heard};
use vizard_proto::auth::ticket::Credential;

/// Mask addresses are out of this network, which is small: a peer can permit them all.
const POOL: &str = "198.18.7.0/24";
const PREFIX: &str = "198.18.7.";

/// Whether the tools are there; says so past the test runner if not.
fn present() -> bool {
    let tool = |name| {
        Command::new(name)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    };
    let all = ["turnutils_uclient", "turnutils_stunclient"];
    let present = all.iter().all(|name| tool(name).is_ok());
    if !present {
        let _ = writeln!(
            std::io::stderr(),
            "\nNOT run: coturn's tools are not installed"
        );
    }
    present
}

/// A tool that has a minute.
fn tool(name: &str, server: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["60", name, "-p", &server.port().to_string()])
        .args(arguments)
        .arg(server.ip().to_string());
    command
}

/// `turnutils_uclient` with a ticket.
fn uclient(server: SocketAddr, ticket: &Credential, arguments: &[&str]) -> Command {
    let credential = ["-v", "-u", &ticket.username, "-w", &ticket.password];
    tool(
        "turnutils_uclient",
        server,
        &[&credential[..], arguments].concat(),
    )
}

fn said(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&all).into_owned()
}

fn start() -> Daemon {
    Daemon::start(&format!(
        "{LOOPBACK}permissions = 256\n[masking]\npool_v4 = \"{POOL}\"\n"
    ))
}

/// A flag for TCP, and where its server is.
fn transports(daemon: &Daemon) -> [(&'static [&'static str], SocketAddr); 2] {
    [(&[], daemon.udp(0)), (&["-t"], daemon.tcp(0))]
}

#[test]
fn stunclient_is_told_its_address() {
    if !present() {
        return;
    }
    let daemon = start();
    let output = tool("turnutils_stunclient", daemon.udp(0), &[]).output();
    let said = said(&output.expect("run"));
    assert!(said.contains("UDP reflexive addr: 127.0.0.1:"), "{said}");
}

#[test]
fn uclient_reaches_nobody_but_the_other_party() {
    if !present() {
        return;
    }
    let daemon = start();
    let tickets = daemon.open();
    let foreign = ["-c", "-n", "3", "-e", "127.0.0.1", "-r", "9"];
    let cases: [(&[&str], &str); 4] = [
        (&foreign, "channel bind: error 403"),
        (
            &["-s", "-c", "-n", "3", "-e", "10.0.0.1"],
            "create permission error 403",
        ),
        // One ticket at both ends.
        (
            &["-y", "-c", "-n", "3"],
            "Total lost packets 6 (100.000000%)",
        ),
        // A reserved second port, which means nothing behind a mask.
        (&["-y", "-n", "3"], "error 508"),
    ];
    for (transport, server) in transports(&daemon) {
        for (arguments, expected) in cases {
            let arguments = [transport, arguments].concat();
            let output = uclient(server, &tickets.of("alice"), &arguments).output();
            let said = said(&output.expect("run"));
            let allocated = said.contains(&format!("Received relay addr: {PREFIX}"));
            assert!(allocated || expected == "error 508", "{said}");
            assert!(said.contains(expected), "{arguments:?}: {said}");
        }
    }
    assert_eq!(daemon.metric("vizard_packets_forwarded_total"), 0);
}

#[test]
fn uclient_without_a_good_ticket_gets_nothing() {
    if !present() {
        return;
    }
    let daemon = start();
    let tickets = daemon.open();
    daemon.end(tickets.id());
    let wrong = Credential {
        password: "wrong".into(),
        ..daemon.open().of("alice")
    };
    for (transport, server) in transports(&daemon) {
        for ticket in [&wrong, &tickets.of("alice")] {
            let arguments = [transport, &["-c", "-e", "127.0.0.1"]].concat();
            let output = uclient(server, ticket, &arguments).output();
            let said = said(&output.expect("run"));
            assert!(said.contains("Cannot complete Allocation"), "{said}");
            assert!(!said.contains("Received relay addr"), "{said}");
        }
    }
}

/// On channels and in indications.
#[test]
fn uclient_holds_a_call() {
    if !present() {
        return;
    }
    let daemon = start();
    let ways: [&[&str]; 2] = [&[], &["-s"]];
    let all = transports(&daemon)
        .into_iter()
        .flat_map(|it| ways.map(|way| (it, way)));
    for ((transport, server), way) in all {
        let tickets = daemon.open();
        let mut bob = Caller::udp(daemon.udp(0), tickets.of("bob"));
        let mask = bob.allocate();
        let (ip, port) = (mask.ip().to_string(), mask.port().to_string());
        let peer = ["-c", "-n", "100", "-e", &ip, "-r", &port];
        let arguments = [transport, way, &peer[..]].concat();
        permit_all(&mut bob);
        let mut alice = uclient(server, &tickets.of("alice"), &arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("run");
        echo(&mut bob, || alice.try_wait().expect("ours").is_some());
        let said = said(&alice.wait_with_output().expect("ours"));
        assert!(received(&said) > 0, "{arguments:?}: {said}");
    }
}

/// Permits every mask address, before she has hers.
fn permit_all(bob: &mut Caller) {
    for host in 1..255 {
        let mask = format!("{PREFIX}{host}:9");
        assert_eq!(bob.permit(mask.parse().expect("an address")), Ok(()));
    }
}

/// Says everything back to whoever said it, until `done`.
fn echo(bob: &mut Caller, mut done: impl FnMut() -> bool) {
    while !done() {
        if let Some(Heard::Data(from, words)) = bob.hear_within(Duration::from_millis(100)) {
            bob.indicate(from, &words);
        }
    }
}

/// How many messages the tool says that it has received.
fn received(said: &str) -> u32 {
    let numbers = said.rsplit("tot_recv_msgs=").next().unwrap_or_default();
    let digits = numbers.split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
