//! A log whose reader stalls, and the signals that a node takes.

use std::fs::OpenOptions;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use serde_json::{Value, json};

use super::{converse, hold_call, servers};
use crate::daemon::{Daemon, LOOPBACK, Setup, wait_until};

/// More lines than the pipe and the node's own queue hold together.
const CALLS: u32 = 1200;

#[test]
fn a_log_that_nobody_reads_holds_nothing_up() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let pipe = folder.path().join("log");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).expect("made");
    // Open at both ends, and never read.
    let reader = OpenOptions::new().read(true).write(true).open(&pipe);
    let reader = reader.expect("opened");
    let into_pipe = ["sh", "-c", "exec \"$@\" 2>\"$0\""].map(str::to_owned);
    let mut wrapper = into_pipe.to_vec();
    wrapper.push(pipe.to_str().expect("UTF-8").to_owned());
    let mut daemon = Daemon::prepare(Setup {
        wrapper,
        ..Setup::new(&format!("{LOOPBACK}[log]\nlevel = \"debug\"\n"))
    });
    daemon.launch();
    let [udp, ..] = servers(&daemon.open())[..] else {
        panic!("no URL");
    };
    let (tickets, [mut alice, mut bob]) = hold_call(&daemon, [udp, udp]);
    for _ in 0..CALLS {
        let call = daemon.open();
        daemon.end(call.id());
    }
    converse(&mut alice, &mut bob);
    daemon.end(tickets.id());
    assert_eq!(alice.refresh(600), Err(401));
    wait_until("lines that had no room are counted", || {
        daemon.metric("vizard_log_lines_dropped_total") > 0
    });
    daemon.stop();
    drop(reader);
}

#[test]
fn signals_drain_and_reload_and_none_kills_by_surprise() {
    let daemon = Daemon::start(LOOPBACK);
    let reloads = || daemon.metric("vizard_config_reloads_total{outcome=\"taken\"}");
    for (count, signal) in (1..).zip([Signal::SIGHUP, Signal::SIGUSR2]) {
        daemon.signal(signal);
        wait_until("it has reloaded", || reloads() == count);
    }
    let is_draining = || {
        let node = daemon.ask("GET", "/v1/node", &Value::Null, 200);
        node["draining"] == json!(true)
    };
    assert!(!is_draining());
    daemon.signal(Signal::SIGUSR1);
    wait_until("it drains", is_draining);
}
