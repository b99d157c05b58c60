//! A state directory on a disk that fills up: nothing is promised that could not be kept, nothing
//! that was promised is lost, and room is all that it takes to go on.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{converse, hold_call, servers};
use crate::daemon::world::{self, shell};
use crate::daemon::{Daemon, LOOPBACK, Setup, Tickets, wait_until};

#[test]
fn a_full_disk_is_no_end() {
    world::enter(concat!(module_path!(), "::inside"), &["--mount"]);
}

#[test]
#[ignore = "runs in the mount namespace that the test above makes"]
fn inside() {
    if !world::is_inside() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let disk = Disk::mount(&folder);
    let mut daemon = Daemon::prepare(Setup {
        state: Some(disk.0.join("state")),
        ..Setup::new(LOOPBACK)
    });
    a_first_start_on_a_full_disk(&disk, &mut daemon);
    daemon.launch();
    let mut kept: HashSet<String> = (0..3).map(|_| daemon.open().id().to_owned()).collect();
    disk.fill();
    kept.extend(open_until_refused(&daemon));
    calls_go_on_and_end(&disk, &daemon);
    a_start_on_a_full_disk(&disk, &mut daemon);
    disk.free();
    kept.insert(daemon.open().id().to_owned());
    assert!(kept.is_subset(&calls(&daemon)));
    daemon.restart();
    let all = calls(&daemon);
    assert!(kept.is_subset(&all), "{kept:?} {all:?}");
    let log = String::from_utf8_lossy(&daemon.said("err")).into_owned();
    assert!(!log.contains("panic"), "{log}");
}

/// A small file system of our own.
struct Disk(PathBuf);

impl Disk {
    fn mount(folder: &TempDir) -> Self {
        let path = folder.path().to_owned();
        shell(&format!(
            "mount -t tmpfs -o size=2m none {}",
            path.display()
        ));
        Self(path)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    fn fill(&self) {
        let mut options = std::fs::OpenOptions::new();
        let file = options.create(true).append(true).open(self.filler());
        let mut file = file.expect("created");
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0xFF; size]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).expect("removed");
    }
}

fn a_first_start_on_a_full_disk(disk: &Disk, daemon: &mut Daemon) {
    disk.fill();
    let said = daemon.launch_in_vain();
    assert!(said.contains("free some space"), "{said}");
    assert!(!said.contains("panic"), "{said}");
    disk.free();
}

/// Opens calls, first as large and then as small as they may be, until the disk has no room for
/// another; those that were opened.
fn open_until_refused(daemon: &Daemon) -> Vec<String> {
    let name = |kind: &str, index: i32| format!("{kind} {index} {}", "x".repeat(100));
    let devices: Vec<String> = (0..8).map(|index| name("device", index)).collect();
    let party = |index| json!({"id": name("party", index), "devices": devices});
    let large = json!({"parties": (0..16).map(party).collect::<Vec<_>>()});
    let small = json!({"parties": [{"id": "a"}, {"id": "b"}]});
    let mut opened = open_all(daemon, &large);
    opened.extend(open_all(daemon, &small));
    opened
}

fn open_all(daemon: &Daemon, wish: &Value) -> Vec<String> {
    let mut opened = Vec::new();
    for _ in 0..5_000 {
        let response = daemon.http().json("POST", "/v1/calls", wish);
        match response.status {
            201 => opened.push(Tickets(response.parsed()).id().to_owned()),
            503 => {
                let problem = response.parsed();
                assert_eq!(problem["type"], "/problems/store-unavailable");
                assert!(!response.text().contains("credential"));
                return opened;
            }
            other => panic!("{other}: {}", response.text()),
        }
    }
    panic!("the disk is not full");
}

/// Calls that go on are not touched, and one that is ended stops even if that can't be written.
fn calls_go_on_and_end(disk: &Disk, daemon: &Daemon) {
    disk.free();
    let (call, [mut alice, mut bob]) = hold_call(daemon, [servers(&daemon.open())[0]; 2]);
    disk.fill();
    open_until_refused(daemon);
    converse(&mut alice, &mut bob);
    assert_eq!(daemon.show(call.id())["phase"], "ringing");
    let path = format!("/v1/calls/{}", call.id());
    let answer = json!({"party": "bob"});
    let response = daemon
        .http()
        .json("POST", &format!("{path}/answer"), &answer);
    assert_eq!(response.status, 503, "{}", response.text());
    assert_eq!(
        daemon.show(call.id())["phase"],
        "ringing",
        "it was not answered"
    );
    let response = daemon.http().json("DELETE", &path, &Value::Null);
    assert_eq!(response.status, 503, "{}", response.text());
    assert_eq!(alice.refresh(600), Err(401), "it has ended all the same");
    disk.free();
    daemon.end(call.id());
    disk.fill();
    assert_eq!(daemon.metric("vizard_worker_panics_total"), 0);
}

/// It may start or say why not; either way nothing is lost.
fn a_start_on_a_full_disk(disk: &Disk, daemon: &mut Daemon) {
    let before = calls(daemon);
    open_until_refused(daemon);
    daemon.stop();
    disk.fill();
    daemon.launch();
    assert_eq!(calls(daemon), before);
    open_until_refused(daemon);
    assert!(Path::new(&daemon.state()).exists());
}

/// The ids of all calls.
fn calls(daemon: &Daemon) -> HashSet<String> {
    let mut ids = HashSet::new();
    let mut path = "/v1/calls?limit=500".to_owned();
    loop {
        let page = daemon.ask("GET", &path, &Value::Null, 200);
        let calls = page["calls"].as_array().expect("calls");
        ids.extend(
            calls
                .iter()
                .filter_map(|it| it["id"].as_str().map(str::to_owned)),
        );
        match page["next_cursor"].as_str() {
            Some(next) => path = format!("/v1/calls?limit=500&cursor={next}"),
            None => return ids,
        }
    }
}

/// The same without a file system of our own: no file may grow beyond a limit.
#[test]
fn a_file_that_may_not_grow_is_no_end() {
    let limited = |blocks: u32| {
        let script = format!("ulimit -f {blocks}; exec \"$@\"");
        ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
    };
    let mut daemon = Daemon::prepare(Setup {
        wrapper: limited(100),
        ..Setup::new(LOOPBACK)
    });
    let said = daemon.launch_in_vain();
    assert!(said.contains("free some space"), "{said}");

    daemon.wrap(&limited(2_200));
    daemon.launch();
    let (call, [mut alice, mut bob]) = hold_call(&daemon, [servers(&daemon.open())[0]; 2]);
    let kept = open_until_refused(&daemon);
    converse(&mut alice, &mut bob);
    daemon.stop();
    daemon.wrap(&[]);
    daemon.launch();
    let all = calls(&daemon);
    assert!(all.contains(call.id()) && kept.iter().all(|id| all.contains(id)));
    daemon.open();
}

/// Standard output and error are often files on a disk as well.
#[test]
fn a_log_that_can_t_be_written_stops_nobody() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let socket = format!("unix:{}", folder.path().join("api").display());
    let config = LOOPBACK.replacen(
        "listen = \"127.0.0.1:0\"",
        &format!("listen = \"{socket}\""),
        1,
    );
    let daemon = Daemon::prepare(Setup::new(&config));
    let full = || std::fs::File::create("/dev/full").expect("a full device");
    let mut process = daemon
        .command(&["serve", "--config"])
        .arg(daemon.config())
        .stdout(full())
        .stderr(full())
        .spawn()
        .expect("started");
    let run = |arguments: &[&str]| {
        let mut command = daemon.command(arguments);
        let output = command.env("VIZARD_API", &socket).output().expect("run");
        output.status.success()
    };
    wait_until("it lets requests in", || run(&["call", "list"]));
    // What it says of this, and of the reload, it can't.
    assert!(run(&["call", "create", "--party", "alice,bob"]));
    let id = nix::unistd::Pid::from_raw(process.id().cast_signed());
    for signal in [Signal::SIGHUP, Signal::SIGTERM] {
        assert!(run(&["call", "list"]));
        nix::sys::signal::kill(id, signal).expect("sent");
    }
    assert_eq!(process.wait().expect("ours").code(), Some(0));
}
