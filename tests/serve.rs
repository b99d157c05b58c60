//! `vizard serve` from its first start to its stop, and everything that can keep it from starting.

use crate::node::{Node, QUIET, said, vizard};
use nix::sys::signal::Signal;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

#[test]
fn a_first_start_is_all_that_a_first_call_needs() {
    let node = Node::start(QUIET);
    assert_eq!(node.welcome.len(), 5);
    assert!(
        node.welcome[0].contains("UDP 127.0.0.1:") && node.welcome[0].contains("TCP 127.0.0.1:")
    );
    assert!(node.welcome[1].contains("call create"));
    assert!(node.welcome[2].ends_with("state/api.key"));
    for (line, transport) in node.welcome[3..].iter().zip(["udp", "tcp"]) {
        assert!(
            line.contains("turn:127.0.0.1:") && line.contains(transport),
            "{line}"
        );
        assert!(line.ends_with("from this machine only"), "{line}");
    }
    let (code, out, err) = node.call(&[
        "create",
        "--party",
        "alice,bob",
        "--caller",
        "alice",
        "--json",
    ]);
    assert_eq!((code, err.as_str()), (0, ""));
    let call: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let id = call["id"].as_str().expect("an id");
    assert_eq!(call["route"], "masked");
    let configuration = &call["parties"]["alice"]["rtc_configuration"];
    assert_eq!(configuration["iceTransportPolicy"], "relay");
    assert!(
        configuration["iceServers"][0]["urls"]
            .as_array()
            .is_some_and(|urls| urls.len() == 2)
    );

    let (code, out, _) = node.call(&["show", id]);
    assert!(code == 0 && out.contains("ringing"), "{out}");
    let (code, out, _) = node.call(&["answer", id, "--party", "bob"]);
    assert!(code == 0 && out.contains("answered"), "{out}");
    let (code, out, _) = node.call(&["list", "--phase", "answered"]);
    assert!(code == 0 && out.contains(id), "{out}");
    assert_eq!(node.call(&["end", id]).0, 0);
    assert!(node.call(&["show", id]).1.contains("ended"));
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn what_the_api_refuses_is_told_with_its_reason() {
    let node = Node::start(QUIET);
    let (code, out, err) = node.call(&["create", "--party", "alice"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.starts_with("error: ") && err.contains("parties"),
        "{err}"
    );
    let body = node.folder.path().join("body.json");
    let facts = r#"{"parties":[{"id":"alice"},{"id":"bob"}],"caller":"alice",
        "facts":[{"from":"bob","to":"alice","is":["blocked"]}]}"#;
    std::fs::write(&body, facts).expect("written");
    let file = body.to_str().expect("UTF-8");
    let (code, _, err) = node.call(&["create", "--file", file]);
    assert!(code == 1 && err.contains("because of"), "{err}");
    let (code, out, _) = node.call(&["create", "--file", file, "--dry-run"]);
    assert!(code == 0 && out.starts_with("refused\n"), "{out}");
    assert_eq!(node.call(&["show", "0192"]).0, 1);
    let wrong = vizard(&node.state())
        .env("VIZARD_API_KEY", "vizard_wrong_wrong_wrong")
        .args(["call", "list", "--api", node.api()])
        .output();
    let (code, _, err) = said(&wrong.expect("run"));
    assert!(code == 1 && err.contains("--api-key-file"), "{err}");
}

/// The commands that the README names, one after the other.
#[test]
fn a_whole_call_from_a_shell() {
    let node = Node::start(QUIET);
    let call = |arguments: &[&str]| {
        let (code, out, err) = node.call(arguments);
        assert_eq!(code, 0, "{arguments:?}: {err}");
        out
    };
    call(&[
        "create", "--party", "alice", "--party", "bob", "--caller", "alice",
    ]);
    let listed = call(&["list"]);
    let row = listed.lines().nth(1).expect("a call after the header");
    assert!(
        listed.starts_with("ID ") && row.ends_with("alice, bob"),
        "{listed}"
    );
    let id = row.split_whitespace().next().expect("an id");
    assert!(call(&["answer", id, "--party", "bob"]).contains("answered"));
    let shown = call(&["show", id]);
    assert!(shown.contains("party.answered (bob)"), "{shown}");
    assert!(
        shown.contains("alice could learn of bob: nothing"),
        "{shown}"
    );
    let renewed = call(&["renew", id, "--ttl", "3h"]);
    assert!(
        renewed.contains("username") && renewed.contains("set-configuration"),
        "{renewed}"
    );
    assert!(call(&["end", id]).contains("has ended"));
    assert!(call(&["show", id]).contains("call.ended"));
    let drained = vizard(&node.state())
        .args(["drain", "--api", node.api()])
        .output();
    let (code, out, _) = said(&drained.expect("run"));
    assert_eq!((code, out.as_str()), (0, "draining, 0 calls go on\n"));
    assert_eq!(node.call(&["create", "--party", "alice,bob"]).0, 1);
}

#[test]
fn secrets_are_made_once_and_for_their_owner_only() {
    let node = Node::start(QUIET);
    for entry in std::fs::read_dir(node.state()).expect("readable").flatten() {
        let mode = entry.metadata().expect("there").mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
    let key = std::fs::read_to_string(node.state().join("api.key")).expect("there");
    let kept = std::fs::read_to_string(node.state().join("api.keys")).expect("there");
    assert!(kept.starts_with("sha256:") && !kept.contains(key.trim()));
    assert!(!node.welcome.join("").contains(key.trim()), "not to a pipe");
}

#[test]
fn a_state_directory_has_one_node() {
    let node = Node::start(QUIET);
    let second = vizard(&node.state())
        .args(["serve", "--config"])
        .arg(node.config())
        .output();
    let (code, out, err) = said(&second.expect("run"));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("another vizard is running") && err.contains("VIZARD_STATE_DIR"),
        "{err}"
    );
}

fn refused(config: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("v.toml");
    std::fs::write(&file, config).expect("written");
    let output = vizard(&folder.path().join("state"))
        .args(["serve", "--config"])
        .arg(&file)
        .output();
    let (code, out, err) = said(&output.expect("run"));
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    err
}

#[test]
fn a_port_in_use_is_an_error_that_says_what_to_do() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    let port = taken.local_addr().expect("bound").port();
    let config = QUIET.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1);
    let error = refused(&config);
    assert!(error.contains("choose another port"), "{error}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let listen = format!(
        "listen = \"127.0.0.1:{}\"",
        taken.local_addr().expect("bound").port()
    );
    let error = refused(&QUIET.replace("listen = \"127.0.0.1:0\"", &listen));
    assert!(error.contains("control.listen"), "{error}");
}

#[test]
fn a_broken_configuration_or_key_file_is_refused_before_anything_starts() {
    let error = refused("[relay]\nudp = 1\n");
    assert!(error.contains("v.toml:2:7: `relay.udp`"), "{error}");
    let error = refused(&format!("{QUIET}api_keys_file = \"none\"\n"));
    assert!(error.contains("none"), "{error}");
    let output = vizard(Path::new("/nonexistent"))
        .args(["serve", "--config", "/nonexistent"])
        .output();
    assert_eq!(said(&output.expect("run")).0, 1);
}

#[test]
fn a_reload_takes_all_of_a_good_file_and_nothing_of_a_broken_one() {
    let mut node = Node::start(QUIET);
    let reveal = "[policy]\ndefault_callable_by = []\n";
    std::fs::write(
        node.config(),
        format!("{QUIET}{reveal}[log]\nlevel = \"loud\"\n"),
    )
    .expect("written");
    node.signal(Signal::SIGHUP);
    let line = node.logged("not reloaded");
    assert!(line.contains("the old one stays in force"), "{line}");
    let create = ["create", "--party", "alice,bob", "--caller", "alice"];
    assert_eq!(node.call(&create).0, 0, "the old policy holds");

    std::fs::write(node.config(), format!("{QUIET}{reveal}")).expect("written");
    node.signal(Signal::SIGHUP);
    node.logged("configuration reloaded");
    let (code, _, err) = node.call(&create);
    assert!(
        code == 1 && err.contains("callable"),
        "the new policy holds: {err}"
    );

    std::fs::write(node.config(), QUIET.replace("workers = 1", "workers = 2")).expect("written");
    node.signal(Signal::SIGHUP);
    let line = node.logged("configuration reloaded");
    assert!(line.contains("relay.workers"), "{line}");
    assert_eq!(node.call(&create).0, 0);
    assert_eq!(node.stop(), Some(0));
}

/// A masked call without a URL is none: werift gathers its own addresses, whatever it is told.
#[test]
fn no_reload_leaves_clients_without_a_url() {
    let mut node = Node::start(QUIET);
    let create = ["create", "--party", "alice,bob", "--json"];
    let before = node.call(&create).1;
    let unreachable = QUIET.replace("[relay]", "[relay]\npublic_addresses = [\"2001:db8::6\"]");
    // By the file alone it would do: it asks for another listener, which holds from the next start.
    let elsewhere = unreachable.replacen("127.0.0.1:0", "[::1]:0", 1);
    for (config, reason) in [
        (unreachable, "nothing listens for 2001:db8::6"),
        (elsewhere, "this node does not listen on IPv6"),
    ] {
        std::fs::write(node.config(), config).expect("written");
        node.signal(Signal::SIGHUP);
        let line = node.logged("not reloaded");
        assert!(line.contains(reason), "{line}");
        let (code, after, err) = node.call(&create);
        assert_eq!(code, 0, "{err}");
        let urls = |call: &str| {
            let call: serde_json::Value = serde_json::from_str(call).expect("JSON");
            call["parties"]["alice"]["rtc_configuration"]["iceServers"][0]["urls"].clone()
        };
        assert_eq!(
            urls(&after),
            urls(&before),
            "the old addresses are in force"
        );
    }
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn addresses_that_nothing_serves_are_refused_before_anything_starts() {
    let error = refused(&QUIET.replace("[relay]", "[relay]\npublic_addresses = [\"2001:db8::6\"]"));
    assert!(
        error.contains("v.toml:2:20: `relay.public_addresses`: nothing listens for"),
        "{error}"
    );
}

#[test]
fn the_api_may_be_a_unix_socket() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let listen = format!(
        "listen = \"unix:{}\"",
        folder.path().join("control.sock").display()
    );
    let node = Node::start(&QUIET.replace("listen = \"127.0.0.1:0\"", &listen));
    assert!(node.api().starts_with("unix:/"), "{}", node.api());
    assert!(node.welcome[1].contains("--api unix:/"));
    let (code, out, err) = node.call(&["create", "--party", "alice,bob"]);
    assert!(code == 0 && out.contains("ringing"), "{out}{err}");
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn an_interrupt_stops_it_as_well() {
    let mut node = Node::start(QUIET);
    node.signal(Signal::SIGINT);
    node.logged("stopping");
}

/// A file system of its own that is full, where the system lets us have one.
#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let script = r#"mount -t tmpfs -o size=64k none "$1" || exit 77
        dd if=/dev/zero of="$1/filler" bs=1k 2>/dev/null
        VIZARD_STATE_DIR="$1/state" "$2" serve"#;
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(env!("CARGO_BIN_EXE_vizard"))
        .output();
    let ran = output.map(|output| said(&output));
    let Ok((code, _, err)) = ran.map_err(|_| ()).and_then(|ran| {
        let impossible = ran.0 == 77 || ran.2.starts_with("unshare:");
        if impossible { Err(()) } else { Ok(ran) }
    }) else {
        // Past the test harness, which keeps what a passed test prints to itself.
        let _ = writeln!(
            std::io::stderr(),
            "full disk: NOT run, no file systems of our own here"
        );
        return;
    };
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("free some space"), "{err}");
}
