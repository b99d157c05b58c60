//! A process that dies at any moment, as in a power cut: what was promised holds.

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{hold_call, servers, talk};
use crate::daemon::http::Http;
use crate::daemon::{Daemon, LOOPBACK, wait_until};

const KILLS: u64 = 100;
const CLIENTS: usize = 4;

/// What the API has promised by answering.
#[derive(Default)]
struct Promised {
    /// Calls that go on: opened, and nobody tried to end them.
    open: Vec<String>,
    ended: Vec<String>,
}

/// Opens calls and ends every other one until the API is gone.
fn work(api: &Http, promised: &Mutex<Promised>) {
    let body = json!({"parties": [{"id": "alice"}, {"id": "bob"}], "caller": "alice"});
    let open = api.request("POST", "/v1/calls", &[], body.to_string().as_bytes());
    for number in 0.. {
        let Some(answer) = api.attempt(&open) else {
            return;
        };
        // An answer that was cut off promises nothing.
        let Some(id) = answer.parsed()["id"].as_str().map(String::from) else {
            return;
        };
        assert_eq!(answer.status, 201);
        let lock = || promised.lock().expect("no client failed");
        if number % 2 == 0 {
            lock().open.push(id);
            continue;
        }
        let end = api.request("DELETE", &format!("/v1/calls/{id}"), &[], b"");
        match api
            .attempt(&end)
            .map(|answer| answer.parsed()["phase"].clone())
        {
            Some(Value::String(phase)) if phase == "ended" => lock().ended.push(id),
            _ => return,
        }
    }
}

#[test]
fn a_hundred_kills_lose_nothing_that_was_promised() {
    let mut daemon = Daemon::start(LOOPBACK);
    let mut all = Promised::default();
    for kill in 0..KILLS {
        let (api, promised) = (daemon.http(), Mutex::default());
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| work(&api, &promised));
            }
            thread::sleep(Duration::from_millis(30 + kill * 7 % 60));
            daemon.kill();
        });
        daemon.launch();
        let Promised { open, ended } = promised.into_inner().expect("no client failed");
        check(&daemon, &open, &ended);
        all.open.extend(open);
        all.ended.extend(ended);
    }
    assert!(
        all.open.len() > 100 && all.ended.len() > 100,
        "there was something to lose"
    );
    // Those of the first kill went through all that followed.
    check(&daemon, &all.open[..50], &all.ended[..50]);
}

fn check(daemon: &Daemon, open: &[String], ended: &[String]) {
    for id in open {
        assert_eq!(daemon.show(id)["phase"], "ringing");
    }
    for id in ended {
        assert_eq!(daemon.show(id)["phase"], "ended");
    }
}

/// What was sent more than a second before is known after a kill; a clean stop loses nothing.
#[test]
fn usage_outlives_the_process() {
    let mut daemon = Daemon::start(LOOPBACK);
    let all = servers(&daemon.open());
    let (tickets, [mut alice, mut bob]) = hold_call(&daemon, [all[0], all[0]]);
    let sent = |daemon: &Daemon| daemon.show(tickets.id())["parties"]["alice"]["usage"].clone();
    for _ in 0..5 {
        talk(&mut alice, 0x4001, &mut bob, 0x4002, &[1; 100]);
    }
    let five = json!({"packets": 5, "bytes": 500});
    wait_until("it is reported", || sent(&daemon) == five);
    // It is saved within a second; three, because this machine may have other things to do.
    thread::sleep(Duration::from_secs(3));
    daemon.kill();
    daemon.launch();
    assert_eq!(sent(&daemon), five);
    let shown = daemon.show(tickets.id());
    assert_eq!(shown["timeline"][1]["event"], "party.connected");

    let (tickets, [mut alice, mut bob]) = hold_call(
        &daemon,
        [
            super::Server {
                address: daemon.udp(0),
                by_tcp: false,
            },
            super::Server {
                address: daemon.tcp(0),
                by_tcp: true,
            },
        ],
    );
    for _ in 0..7 {
        talk(&mut alice, 0x4001, &mut bob, 0x4002, &[1; 100]);
    }
    daemon.restart();
    let shown = daemon.show(tickets.id());
    let seven = json!({"packets": 7, "bytes": 700});
    assert_eq!(shown["parties"]["alice"]["usage"], seven);
    assert_eq!(shown["timeline"][2]["event"], "party.connected");
}
