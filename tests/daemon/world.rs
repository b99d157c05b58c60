//! Namespaces of a test's own: the test starts itself again inside of them.

use std::io::Write;
use std::process::{Command, Stdio};

const INSIDE: &str = "VIZARD_TEST_WORLD";

/// Runs the ignored test `test`, named with its whole path, inside new namespaces (`unshare`
/// flags), and fails if it fails. Where the system lets us have none, it says so past the test runner.
pub fn enter(test: &str, flags: &[&str]) {
    let Some(root) = ["--fork", "--map-root-user"]
        .into_iter()
        .find(|root| possible(root, flags))
    else {
        // Not by `eprintln!`, which the runner keeps to itself.
        let _ = writeln!(
            std::io::stderr(),
            "\nNOT run: {test}, this machine gives us no namespaces ({})",
            flags.join(" ")
        );
        return;
    };
    // The runner's names are without the program's.
    let (_, name) = test.split_once("::").expect("a path");
    let output = Command::new("unshare")
        .arg(root)
        .args(flags)
        .arg(std::env::current_exe().expect("a path"))
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env(INSIDE, "yes")
        .output()
        .expect("run");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    // A name that no test has would be a success as well.
    let passed = output.status.success() && said.contains(" 1 passed;");
    assert!(passed, "{test} failed inside its namespaces: {said}");
}

/// Whether this process is where [`enter`] starts tests.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Carries out a shell script, which must succeed.
pub fn shell(script: &str) {
    let status = Command::new("sh").args(["-euc", script]).status();
    assert!(status.is_ok_and(|status| status.success()), "{script}");
}

fn possible(root: &str, flags: &[&str]) -> bool {
    let probe = "mount -t tmpfs -o size=64k none /mnt";
    let status = Command::new("unshare")
        .arg(root)
        .args(flags)
        .args(["sh", "-c", probe])
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
