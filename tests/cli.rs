//! Commands that need no running node: what they print, and their exit codes.

#[allow(dead_code, reason = "a part of it is for tests with a running node")]
use crate::node::{said, vizard};
use std::path::Path;

fn run(arguments: &[&str]) -> (i32, String, String) {
    said(
        &vizard(Path::new("/nonexistent"))
            .args(arguments)
            .output()
            .expect("run"),
    )
}

#[test]
fn check_config_prints_what_a_file_amounts_to() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("v.toml");
    let relay = "[relay]\nrealm = \"example\"\ntcp = []\npublic_addresses = [\"203.0.113.7\"]\n";
    std::fs::write(&file, relay).expect("written");
    let path = file.to_str().expect("UTF-8");
    let (code, out, err) = run(&["check-config", path]);
    let url = "clients get:  turn:203.0.113.7:3478?transport=udp  from the internet\n";
    assert_eq!((code, err.as_str()), (0, url));
    assert!(
        out.contains("realm = \"example\"") && out.contains("ticket_ttl = \"2h\""),
        "{out}"
    );
    let (code, out, _) = run(&["check-config", path, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (code, &json["relay"]["realm"]),
        (0, &serde_json::json!("example"))
    );
}

#[test]
fn check_config_says_no_with_the_place() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("v.toml");
    std::fs::write(&file, "[relay]\nrelm = \"example\"\n").expect("written");
    let path = file.to_str().expect("UTF-8");
    let (code, out, err) = run(&["check-config", path]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.starts_with(&format!("error: {path}:2:1: unknown key `relm`")),
        "{err}"
    );
    assert!(
        err.contains("2 | relm = \"example\"\n  | ^^^^\n  help: did you mean `realm`?"),
        "{err}"
    );
    assert_eq!(run(&["check-config", "/nonexistent.toml"]).0, 1);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        &["bogus"][..],
        &["serve", "--bogus"],
        &["call", "answer", "id"],
        &[],
    ] {
        assert_eq!(run(arguments).0, 2, "{arguments:?}");
    }
    assert_eq!(run(&["--version"]).0, 0);
    for arguments in [&["help"][..], &["help", "call"], &["call", "help", "renew"]] {
        let (code, out, err) = run(arguments);
        assert!(code == 0 && out.contains("Usage:"), "{err}");
    }
}

#[test]
fn openapi_prints_the_document() {
    let (code, out, _) = run(&["openapi"]);
    let document: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(code, 0);
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|v| v.starts_with("3.1"))
    );
    assert!(document["paths"]["/v1/calls"]["post"].is_object());
}

#[test]
fn call_without_a_node_or_a_key_says_what_to_do() {
    let (code, _, err) = run(&["call", "list"]);
    assert_eq!(code, 1);
    assert!(err.contains("VIZARD_API_KEY"), "{err}");
    let output = vizard(Path::new("/nonexistent"))
        .env("VIZARD_API_KEY", "some key")
        .args(["call", "list", "--api", "127.0.0.1:1"])
        .output()
        .expect("run");
    let (code, _, err) = said(&output);
    assert_eq!(code, 3);
    let begin = "error: no vizard answers at 127.0.0.1:1: Connection refused";
    assert!(
        err.starts_with(begin) && err.contains("vizard serve"),
        "{err}"
    );
    assert_eq!(run(&["call", "create"]).0, 1);
    assert_eq!(run(&["call", "list", "--api", "https://example.org"]).0, 1);
}

#[test]
fn output_that_can_t_be_written_is_told_and_a_reader_may_leave() {
    let full = std::fs::File::create("/dev/full").expect("a full device");
    let output = vizard(Path::new("/nonexistent"))
        .arg("openapi")
        .stdout(full)
        .output();
    let (code, _, err) = said(&output.expect("run"));
    assert_eq!(code, 1);
    assert!(
        err.starts_with("error: can't write to standard output"),
        "{err}"
    );

    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = vizard(Path::new("/nonexistent"))
        .arg("openapi")
        .stdout(writer)
        .output();
    let (code, _, err) = said(&output.expect("run"));
    assert_eq!((code, err.as_str()), (0, ""));
}
